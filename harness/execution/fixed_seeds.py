"""Fixed seeds that a change puts into the code: then other seeds of the run repeat the same numbers, or parts of them.

Read off the syntax tree, without executing anything. A seed is fixed where it is made of constants alone, names of such
constants included. What goes through functions, files or the command line is not followed: this is for a warning, and that
all seeds give the same results is found by the results.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

_SEEDING = frozenset(
    [
        *("seed", "manual_seed", "manual_seed_all", "seed_all", "seed_everything", "set_seed", "fix_seed"),
        *("Random", "RandomState", "default_rng", "SeedSequence", "PCG64", "MT19937", "Philox", "SFC64"),
        "PRNGKey",
    ]
)
"""Functions and classes whose first argument is a seed, whatever module they are reached by."""
_NAMES = frozenset({"seed", "random_state", "random_seed", "HARNESS_SEED"})
"""Keywords, names, attributes and keys that hold a seed."""


def fixed_seeds(before: bytes, after: bytes) -> list[str]:
    """The fixed seeds of `after` that `before` does not have, each as `line 12: random.seed(137)`, in order of lines.

    Empty where `after` does not parse; a `before` that does not parse counts as empty.
    """
    known = Counter(text for _, text in _seeds(before))
    found = []
    for line, text in _seeds(after):
        if known[text] > 0:
            known[text] -= 1
        else:
            found.append(f"line {line}: {text}")
    return found


@lru_cache(maxsize=16)  # each look at a run asks after its code and after the baseline's
def _seeds(source: bytes) -> tuple[tuple[int, str], ...]:
    try:
        tree = ast.parse(source)
        return tuple(sorted(_found(tree, _constants(tree))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()


def _found(node: ast.AST, constants: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and text of the outermost nodes that fix a seed."""
    shown = _fixed_by(node, constants)
    if shown is not None and isinstance(node, ast.stmt | ast.expr):
        yield node.lineno, ast.unparse(shown)
        return
    for child in ast.iter_child_nodes(node):
        yield from _found(child, constants)


def _fixed_by(node: ast.AST, constants: frozenset[str]) -> ast.AST | None:
    """What to show of a node that itself fixes a seed; None of one that does not."""
    if isinstance(node, ast.Call):
        seeds = [keyword.value for keyword in node.keywords if keyword.arg in _NAMES]
        if _last_name(node.func) in _SEEDING:
            seeds += node.args[:1]
        if _is_seed_option(node):
            seeds += [keyword.value for keyword in node.keywords if keyword.arg == "default"]
        return node if any(_is_fixed(seed, constants) for seed in seeds) else None
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        is_seed = any(_last_name(target) in _NAMES for target in targets)
        return node if is_seed and _is_fixed(node.value, constants) else None
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in _NAMES and _is_fixed(value, constants):
                return ast.Dict([key], [value])
    return None


def _is_seed_option(call: ast.Call) -> bool:
    """`parser.add_argument("--seed", default=137)`: the command is the contract's and gives no such option."""
    names = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    return _last_name(call.func) == "add_argument" and any(str(name).endswith("seed") for name in names)


def _last_name(node: ast.expr) -> str:
    """`seed` of `seed`, `np.random.seed`, `settings["seed"]`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return ""


def _is_fixed(node: ast.expr, constants: frozenset[str]) -> bool:
    """Made of constants alone, and one of them at least a number or a text: `None` lets the system choose."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float | str | bytes) and not isinstance(node.value, bool)
    if isinstance(node, ast.Name):
        return node.id in constants
    if isinstance(node, ast.UnaryOp):
        return _is_fixed(node.operand, constants)
    if isinstance(node, ast.BinOp):
        return _is_fixed(node.left, constants) and _is_fixed(node.right, constants)
    if isinstance(node, ast.List | ast.Tuple):
        return bool(node.elts) and all(_is_fixed(item, constants) for item in node.elts)
    if isinstance(node, ast.Call):  # int("137"), SeedSequence(137) inside of default_rng
        return (
            _last_name(node.func) in {*_SEEDING, "int", "str", "hash"}
            and bool(node.args)
            and all(_is_fixed(argument, constants) for argument in node.args)
        )
    return False


def _constants(tree: ast.Module) -> frozenset[str]:
    """Names that are bound once in the whole source, to a number or a text; not those that are a finding themselves."""
    bound: Counter[str] = Counter()
    values: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound[node.id] += 1
        elif isinstance(node, ast.arg):
            bound[node.arg] += 1
        elif isinstance(node, ast.alias):
            bound[(node.asname or node.name).partition(".")[0]] += 1
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    values[target.id] = node.value
    once = {name for name in values if bound[name] == 1} - _NAMES
    return frozenset(name for name in once if _is_fixed(values[name], frozenset()))
