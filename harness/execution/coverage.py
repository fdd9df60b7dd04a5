"""Which lines that a change added or changed never ran in the smoke test: advice to the agent, never a verdict.

What is late by design (a schedule, a warm-up) does not run in a few steps either, and the experiment's own process says what
ran, so it could lie. Nothing is said of a file that the process itself did not execute, since a subprocess of it may have.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from . import coverage_startup

Lines = tuple[int, int]
"""First and last line of a statement; of a compound one (`if`, `def`), of its head."""

STARTUP = "sitecustomize.py"
MOST_RANGES = 12
_LARGEST = 10**6
_WITHOUT_CODE = (ast.Global, ast.Nonlocal)


def changed_statements(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> dict[str, list[Lines]]:
    """The statements of each Python file that have a new or changed line. A file that cannot be read has none."""
    found = {path: _changed(before.get(path, b""), code) for path, code in after.items() if path.endswith(".py")}
    return {path: statements for path, statements in found.items() if statements}


def plant(folder: Path, copy: Path, wanted: Mapping[str, Sequence[Lines]], environment: Mapping[str, str]) -> dict[str, str]:
    """Put the start-up module that watches the statements of files in `copy` into `folder`, which the process may write.

    Both paths are absolute and without links. Returns the environment that starts it.
    """
    folder.mkdir(parents=True)
    shutil.copyfile(coverage_startup.__file__, folder / STARTUP)
    files = {str(copy / path): statements for path, statements in wanted.items()}
    (folder / coverage_startup.WANTED).write_text(json.dumps(files), encoding="utf-8")
    paths = [str(folder), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def never_ran(folder: Path, wanted: Mapping[str, Sequence[Lines]]) -> str:
    """`experiment.py 120-124, 130`: the watched statements that did not run, "" where all did or nothing is known."""
    try:
        with (folder / coverage_startup.RAN).open(encoding="ascii", errors="replace") as file:
            noted = file.read(_LARGEST).split("\n")
    except OSError:
        return ""
    parts = []
    for number, (path, statements) in enumerate(wanted.items()):
        ran = {note.partition(" ")[2] for note in noted if note.partition(" ")[0] == str(number)}
        idle = [lines for i, lines in enumerate(statements) if str(i) not in ran]
        if coverage_startup.SEEN in ran and idle:
            parts.append(f"{path} {_in_words(idle)}")
    return "; ".join(parts)


def _changed(before: bytes, after: bytes) -> list[Lines]:
    try:
        tree = ast.parse(after)
    except (SyntaxError, ValueError, RecursionError):
        return []
    old, new = before.splitlines(), after.splitlines()
    differing = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = {line for tag, _, _, first, last in differing if tag != "equal" for line in range(first + 1, last + 1)}
    statements = sorted(set(_statements(tree)))  # two on one line are one: a line event tells no more
    return [lines for lines in statements if not changed.isdisjoint(range(lines[0], lines[1] + 1))]


def _statements(tree: ast.AST) -> Iterator[Lines]:
    """Those that become code, in the order of their lines."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt) and _has_code(node):
            head = [node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            last = _first_line(body[0]) - 1 if body else node.end_lineno or node.lineno
            yield min(head), max(last, *head)
        yield from _statements(node)


def _first_line(node: ast.AST) -> int:
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    lines: list[int] = [getattr(node, "lineno", 1), *(each.lineno for each in getattr(node, "decorator_list", []))]
    return min(lines)


def _has_code(node: ast.stmt) -> bool:
    if isinstance(node, ast.AnnAssign):
        return node.value is not None
    if isinstance(node, ast.Try | ast.TryStar):
        return False
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return not (constant or isinstance(node, _WITHOUT_CODE))


def _in_words(idle: Sequence[Lines]) -> str:
    ranges: list[Lines] = []
    for first, last in idle:
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(last, ranges[-1][1])
        else:
            ranges.append((first, last))
    shown = [f"{first}-{last}" if last > first else f"{first}" for first, last in ranges[:MOST_RANGES]]
    more = len(ranges) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
