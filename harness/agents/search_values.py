"""The values of a search space where an experiment has them: settings of its profile, and constants of its code.

A constant is a literal that an editable file assigns at its top level or in the body of a class, or one in such a value: of
a dict's key, of a call's keyword. It is read and replaced where it stands, so a diff shows that change and nothing else.
"""

from __future__ import annotations

import ast
import operator
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ..campaign.contract import Setting
from ..campaign.errors import InputError
from ..campaign.search_space import SearchSpec

Value = bool | int | float | str

_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
"""What a literal may be made of: `1 / 32`."""
_NAMED = 8
"""Of what could be searched, so many are named in a message."""


@dataclass(frozen=True)
class SearchSpace:
    """`specs` by name; those among `settings`, the profile's with their values, are such, the others constants of code."""

    specs: Mapping[str, SearchSpec]
    settings: Mapping[str, Setting]

    @property
    def constants(self) -> list[str]:
        return [name for name in self.specs if name not in self.settings]

    def values(self, files: Mapping[str, bytes], overrides: Mapping[str, Setting]) -> dict[str, Value]:
        """The values that this code has when it is executed with `overrides`. Raises InputError where one is not found."""
        found: dict[str, Value] = {}
        for name in self.specs:
            is_setting = name in self.settings
            value = {**self.settings, **overrides}[name] if is_setting else _constant(files, name, self.settings).value
            if value is None:
                raise InputError(f"[search] {name}: the setting has no value to begin with; give it one in the profile.")
            found[name] = value
        return found

    def overrides(self, values: Mapping[str, Value]) -> dict[str, Setting]:
        """The settings among `values`."""
        return {name: value for name, value in values.items() if name in self.settings}

    def applied(self, files: Mapping[str, bytes], values: Mapping[str, Value]) -> dict[str, bytes]:
        """The files with the constants among `values` in place."""
        changed = dict(files)
        for name in self.constants:
            place = _constant(changed, name)
            if place.value != values[name]:
                source = changed[place.file]
                changed[place.file] = source[: place.start] + repr(values[name]).encode() + source[place.end :]
        return changed


@dataclass(frozen=True)
class _Constant:
    """A literal in a file, by its bytes from `start` to `end`."""

    file: str
    value: Value
    start: int
    end: int


def _constant(files: Mapping[str, bytes], name: str, settings: Iterable[str] = ()) -> _Constant:
    """The only literal called `name`. Raises InputError, which names what is meant, also of `settings`."""
    there: list[tuple[str, str, ast.expr]] = []
    for file, source in files.items():
        if file.endswith(".py"):
            try:
                there += [(known, file, node) for known, node in _assigned(ast.parse(source).body)]
            except (SyntaxError, ValueError, RecursionError) as error:
                raise InputError(f"{file}: does not parse, so its constants cannot be searched: {error}.") from error
    found = [(file, node) for known, file, node in there if known == name]
    if not found:
        literals = [known for known, _, node in there if _value(node) is not None]
        raise InputError(
            f"[search] {name}: neither a setting of the profile nor a constant that {' or '.join(files)} assigns at its top "
            f"level or in a class. {_names(name, [*literals, *settings])}"
        )
    if len(found) > 1:
        lines = ", ".join(f"{file}, line {node.lineno}" for file, node in found)
        raise InputError(f"[search] {name}: assigned more than once ({lines}). Name a constant that has one value.")
    file, node = found[0]
    value = _value(node)
    if value is None:
        raise InputError(
            f"[search] {name}: in {file}, line {node.lineno}, it is `{ast.unparse(node)}` and no literal. "
            "Assign it a number, a text, True or False."
        )
    # The parser counts from behind a byte order mark.
    starts = [
        len(BOM_UTF8) if files[file].startswith(BOM_UTF8) else 0,
        *(match.end() for match in re.finditer(rb"\r\n|\r|\n", files[file])),
    ]
    assert node.end_lineno is not None and node.end_col_offset is not None
    start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
    return _Constant(file, value, start, end)


def _names(name: str, known: list[str]) -> str:
    """What to name instead, as it is written in TOML."""
    last = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]]
    near = dict.fromkeys([*last, *get_close_matches(name, known)])
    shown = [f'"{each}"' if "." in each else each for each in near or known][:_NAMED]
    if not shown:
        return "There is none: give what is to be searched a name."
    return f"Did you mean {' or '.join(shown)}?" if near else f"There are {', '.join(shown)}."


def _assigned(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.expr]]:
    """What these statements assign, and what is in it: names and values."""
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _assigned(statement.body, f"{prefix}{statement.name}.")
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield from _inside(prefix + target.id, statement.value)


def _inside(name: str, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    yield name, value
    if isinstance(value, ast.Dict):
        for key, each in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield from _inside(f"{name}.{key.value}", each)
    elif isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg:
                yield from _inside(f"{name}.{keyword.arg}", keyword.value)
    elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):  # of two dicts
        for side in (value.left, value.right):
            yield from (found for found in _inside(name, side) if found[0] != name)


def _value(node: ast.expr) -> Value | None:
    """The value of a literal, arithmetic of two included; None of anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, bool | int | float | str) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        return -value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _value(node.left), _value(node.right)
        if isinstance(left, int | float) and isinstance(right, int | float):
            try:
                return _ARITHMETIC[type(node.op)](left, right)  # type: ignore[no-any-return]
            except (ArithmeticError, ValueError):
                return None
    return None
