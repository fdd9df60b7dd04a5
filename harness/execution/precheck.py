"""The pre-check: what rejects a change before it costs a run, without executing any of it.

A reason is a message to the agent: what happened, where, what to do. Where it cannot be sure it lets the change
pass; the smoke test comes after it. It judges the code as text: a change that computes the same numbers in other words
passes here and is found by its results.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruff.__main__ import find_ruff_bin  # type: ignore[import-untyped]

from ..campaign.code_identity import code_differs
from ..campaign.contract import Contract
from ..campaign.errors import CannotGoOn

CHECK_TIME = 60  # seconds; one of the two checks takes some 30 ms
MAX_FINDINGS = 10  # of those told at once

# Pyflakes rules whose finding raises when the line is executed. Unused or odd code is not among them, and F722 is not,
# because shapes in annotations (`Float[Tensor, "batch d"]`) trigger it.
CRASHES = "F502,F503,F505,F506,F507,F508,F509,F521,F524,F525,F633,F821,F823"

RUFF = f"""check --isolated --no-cache --ignore-noqa --quiet --select {CRASHES} --target-version py313
    --output-format json --stdin-filename code.py -""".split()


def reject(
    after: Mapping[str, bytes],
    parent: Mapping[str, bytes],
    last_failed: Mapping[str, bytes] | None,
    contract: Contract,
    python: str = sys.executable,
    *,
    problems: Sequence[str] = (),
    wrote_notes: bool = False,
) -> str | None:
    """Why the agent's change cannot be run, as a message to the agent; None when nothing speaks against it.

    `after` is the code that would be executed, `parent` that of the run it started from, `last_failed` that of the attempt
    before, where that one failed. `python` is the experiment's interpreter, whose syntax counts. `problems` are files of the
    change that cannot be used, a sentence each.
    """
    if problems:
        return "This change cannot be run. " + " ".join(problems)
    files = " or ".join(contract.editable)
    if not _differ(after, parent, contract.editable, as_text=True):
        also = [path for path in contract.auxiliary if after.get(path) != parent.get(path)]
        also += ["notes.txt"] if wrote_notes else []
        if also:
            return f"Only {' and '.join(also)} changed, which no run executes. Put the idea into {files}."
        return (
            f"{' and '.join(contract.editable)} did not change: it is the code of the run that you started from, and "
            f"nothing was run. A plan, or code shown in the answer, changes nothing. Edit {files} itself."
        )
    if not _differ(after, parent, contract.editable):
        return (
            "Only comments, docstrings or formatting changed: the run would compute the same numbers again. "
            f"Change what {files} does."
        )
    if last_failed is not None and not _differ(after, last_failed, contract.editable):
        return f"This is the code of the attempt that just failed; it would fail again. Repair it in {files}."
    changed = [p for p in contract.editable if p.endswith(".py") and after.get(p, b"") != parent.get(p, b"")]
    crashes: list[str] = []
    for path in changed:
        checked = _compile(path, after.get(path, b""), python)
        if checked.error:
            return checked.error
        crashes += _new_crashes(path, after.get(path, b""), parent.get(path, b""), checked.version)
    if crashes:
        more = [f"and {len(crashes) - MAX_FINDINGS} more"] if len(crashes) > MAX_FINDINGS else []
        return "This would crash when it is executed:\n" + "\n".join(crashes[:MAX_FINDINGS] + more) + "\nRepair it."
    return _lost_option(after, parent, contract)


def _differ(a: Mapping[str, bytes], b: Mapping[str, bytes], paths: Iterable[str], as_text: bool = False) -> bool:
    for path in paths:
        old, new = a.get(path, b""), b.get(path, b"")
        if old != new and (as_text or not path.endswith(".py") or code_differs(old, new)):
            return True
    return False


@dataclass(frozen=True)
class _Compiled:
    error: str
    version: tuple[int, int]


# Runs in the experiment's own Python, whose version may differ, and in a process of its own: on some versions a source
# can bring the interpreter down.
_COMPILE = """
import json, sys, warnings
warnings.simplefilter("ignore")
found = {"version": sys.version_info[:2]}
try:
    compile(sys.stdin.buffer.read(), "code", "exec", dont_inherit=True)
except SyntaxError as error:
    found.update(message=error.msg, line=error.lineno, text=error.text)
except ValueError as error:
    found.update(message=str(error))
except (RecursionError, MemoryError, OverflowError):
    found.update(message="it is nested too deeply for Python to read")
json.dump(found, sys.stdout)
"""


def _compile(path: str, source: bytes, python: str) -> _Compiled:
    """Whether `python` can compile `source`. Raises CannotGoOn when it does not start."""
    try:
        # -X utf8 and the ASCII of json.dump: any text of the source comes back whole. -I -S: nothing else is imported.
        done = subprocess.run(
            [python, "-I", "-S", "-X", "utf8", "-c", _COMPILE], input=source, capture_output=True, timeout=CHECK_TIME
        )
    except OSError as error:
        raise CannotGoOn(f"{python}: cannot be started: {error.strerror}. --python names the interpreter.") from error
    except subprocess.TimeoutExpired:
        return _Compiled(f"{path} does not parse: Python needs more than {CHECK_TIME} s. Write it simpler.", (0, 0))
    try:
        found = json.loads(done.stdout)
        version: tuple[int, int] = (found["version"][0], found["version"][1])
    except (ValueError, KeyError, IndexError, TypeError):
        if done.returncode < 0:
            return _Compiled(f"{path} does not parse: Python itself crashes on it. Write it simpler.", (0, 0))
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise CannotGoOn(f"{python}: is not a working Python 3: {said} --python names the interpreter.") from None
    if "message" not in found:
        return _Compiled("", version)
    where = f"{path}, line {found['line']}" if found.get("line") else path
    text = (found.get("text") or "").strip()
    shown = f"\n    {text[:200]}" if text else ""
    return _Compiled(f"{where} does not parse: {found['message']}.{shown}\nRepair the syntax.", version)


def _new_crashes(path: str, source: bytes, before: bytes, version: tuple[int, int]) -> list[str]:
    """What ruff finds in `source` and not in `before` and what would raise when executed, a line each."""
    findings = _ruff(source)
    if not findings:
        return []
    known = {(finding["code"], finding["message"]) for finding in _ruff(before)}
    findings = [f for f in findings if (f["code"], f["message"]) not in known]
    try:
        unsure = _Unsure(source, version)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # compiled by the experiment's Python, too new for this one
    return [
        f"- {path}, line {f['location']['row']}: {f['message']}\n    {unsure.line(f['location']['row'])}"
        for f in findings
        if not unsure.covers(f["code"], f["location"]["row"], f["location"]["column"])
    ]


def _ruff(source: bytes) -> list[dict[str, Any]]:
    """Ruff's findings; none where ruff itself fails, because the smoke test still comes.

    No configuration and no `noqa` has a say. A new target version knows the builtins of the old ones.
    """
    try:
        done = subprocess.run([find_ruff_bin(), *RUFF], input=source, capture_output=True, timeout=CHECK_TIME, env={})
    except FileNotFoundError as error:
        raise CannotGoOn("ruff is not where its package says; install the harness again (`pip install ruff`).") from error
    except subprocess.TimeoutExpired:
        return []
    if done.returncode not in (0, 1):
        return []
    found: list[dict[str, Any]] = json.loads(done.stdout or b"[]")
    return [finding for finding in found if finding["code"] in CRASHES.split(",")]


class _Unsure(ast.NodeVisitor):
    """The places of a source where a finding need not raise: names in text (annotations as strings), annotations that are
    never evaluated, `try` bodies that catch it; for locals, loops, where an earlier round may have assigned them."""

    def __init__(self, source: bytes, version: tuple[int, int]) -> None:
        tree = ast.parse(source)
        self._lines = re.split(rb"\r\n|\r|\n", source)
        self._areas: list[tuple[str, tuple[int, int], tuple[int, int]]] = []
        self._in_function = False
        self._lazy = version >= (3, 14) or any(
            isinstance(node, ast.ImportFrom)
            and node.module == "__future__"
            and any(alias.name == "annotations" for alias in node.names)
            for node in tree.body
        )
        # Names that are made while the program runs cannot be known from its text.
        self._makes_names = any(
            (isinstance(node, ast.Name) and node.id in {"exec", "globals", "builtins", "__builtins__"})
            or (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules")
            for node in ast.walk(tree)
        )
        self.visit(tree)

    def covers(self, code: str, row: int, column: int) -> bool:
        if code == "F821" and self._makes_names:
            return True
        text = self._lines[row - 1].decode(errors="replace")
        place = (row, len(text[: column - 1].encode()))  # ruff counts characters, ast bytes
        kinds = {"F821": ("try", "text"), "F823": ("try", "loop")}.get(code, ("try",))
        return any(kind in kinds and start <= place < end for kind, start, end in self._areas)

    def line(self, row: int) -> str:
        return self._lines[row - 1].decode(errors="replace").strip()[:200]

    def _add(self, kind: str, first: ast.expr | ast.stmt, last: ast.expr | ast.stmt) -> None:
        end = (last.end_lineno or last.lineno, last.end_col_offset or last.col_offset)
        self._areas.append((kind, (first.lineno, first.col_offset), end))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._add("text", node, node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        for part in node.values:  # its texts have the place of the whole f-string before Python 3.12
            if not isinstance(part, ast.Constant):
                self.visit(part)

    def visit_arg(self, node: ast.arg) -> None:
        self._annotation(node.annotation, self._lazy)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation, self._lazy or self._in_function)
        self.visit(node.target)
        if node.value:
            self.visit(node.value)

    def _annotation(self, node: ast.expr | None, lazy: bool) -> None:
        if node is not None and lazy:
            self._add("text", node, node)
        elif node is not None:
            self.visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, node.args):
            self.visit(part)
        self._annotation(node.returns, self._lazy)
        outer, self._in_function = self._in_function, True
        for statement in node.body:
            self.visit(statement)
        self._in_function = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._in_function = self._in_function, False
        self.generic_visit(node)
        self._in_function = outer

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        if node.handlers:
            self._add("try", node.body[0], node.body[-1])
        self.generic_visit(node)

    def visit_TryStar(self, node: ast.TryStar) -> None:
        self.visit_Try(node)

    def visit_For(self, node: ast.For | ast.While) -> None:
        self._add("loop", node, node)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.visit_For(node)


def _lost_option(after: Mapping[str, bytes], parent: Mapping[str, bytes], contract: Contract) -> str | None:
    """The command's option for the out_dir, where the code had its name and now nowhere has."""
    match = re.search(r"--?([\w-]+)[= ]\{out_dir\}", " ".join(contract.command))
    if not match:
        return None
    name = match[1].replace("-", "_").encode()

    def names_it(files: Mapping[str, bytes]) -> bool:
        return any(name in files.get(path, b"").replace(b"-", b"_") for path in contract.editable)

    if not names_it(parent) or names_it(after):
        return None
    command = " ".join(contract.command).replace("{out_dir}", "run_i")
    return f"The code does not read --{match[1]} any more, and the command is fixed: `{command}`. Take the option again."
