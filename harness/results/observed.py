"""What a loop of somebody else left: its runs, read and not executed, and what it says of them.

Two shapes are read: an AI-Scientist results folder (`run_0/` to `run_5/` with `run_1.py` to `run_5.py` beside them), and an
autoresearch repository (`results.tsv`, whose rows name commits). Nothing that it left is believed to be more than its claim.
"""

from __future__ import annotations

import csv
import math
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ..campaign.errors import InputError
from ..campaign.experiment_folder import RUN_FOLDER
from ..campaign.files import read_bounded
from ..campaign.git import NO_FETCH
from ..campaign.text import decoded
from .reading import read_results

TABLE = "results.tsv"
_WORDS = ("commit", "status", "description")
_LARGEST = 1 << 24
"""Bytes of a file that is read."""
_COMMIT = re.compile(r"[0-9a-fA-F]{4,40}")
_OF_A_RUN = r"^#+ *Run {number}\b[^\n]*\n(.*?)(?=^#+ *Run \d|\Z)"


@dataclass(frozen=True)
class ObservedRun:
    """A run as it was left. `code` is None where it is not known; the first run is the baseline."""

    name: str
    metrics: dict[str, float]
    code: bytes | None
    kept: bool
    """The loop went on from it, where it says so."""
    claim: str
    folder: Path | None = None
    """Of what it left, where there is one."""


@dataclass(frozen=True)
class Observed:
    """What was found, the baseline first, and what was not read, with the reason."""

    runs: list[ObservedRun]
    left_out: list[str]


def observe(folder: Path, code_file: str) -> Observed:
    """The runs in `folder`; `code_file` is what its loop edits. Raises InputError."""
    left_out: list[str] = []
    if (folder / TABLE).is_file():
        found = list(_autoresearch(folder, code_file, left_out))
    else:
        found = list(_ai_scientist(folder, left_out))
    if len(found) < 2:
        raise InputError(
            f"{folder}: no runs of a loop here. Read are a results folder of AI-Scientist (run_0/, run_1/, run_1.py, ...) "
            f"and a repository with {TABLE} (columns commit, a metric, status, description).{_in_short(left_out)}"
        )
    return Observed(found, left_out)


def _in_short(left_out: Sequence[str]) -> str:
    return f" Left out: {left_out[0]}{f', and {len(left_out) - 1} more' if left_out[1:] else ''}." if left_out else ""


def _ai_scientist(folder: Path, left_out: list[str]) -> Iterator[ObservedRun]:
    runs = [path for path in folder.glob("run_*") if path.is_dir() and RUN_FOLDER.fullmatch(path.name)]
    notes = _text(folder / "notes.txt").replace("\r\n", "\n").replace("\r", "\n")
    runs.sort(key=lambda each: int(each.name[4:]))
    read = [read_results(path) for path in runs]
    known = {name for results in read for name in results.metrics}
    for path, results in zip(runs, read, strict=True):
        code = _content(folder / f"{path.name}.py")
        said = re.search(_OF_A_RUN.format(number=int(path.name[4:])), notes, re.DOTALL | re.MULTILINE)
        # Of whole files, and of what is a number in another run.
        left_out += [f"{path.name}/{each}" for each in results.findings if not each.key or each.name in known]
        claim = " ".join(said[1].split()) if said else ""
        yield ObservedRun(path.name, results.numbers, code, True, claim, path)


def _content(file: Path) -> bytes | None:
    """Of a file there. A link could lead to any file of yours, whose content would be executed and shown as the loop's."""
    content, more = read_bounded(file, _LARGEST)
    return content if content and not more else None


def _text(file: Path) -> str:
    return decoded(_content(file) or b"", "replace")


def _autoresearch(folder: Path, code_file: str, left_out: list[str]) -> Iterator[ObservedRun]:
    table = csv.DictReader(StringIO(_text(folder / TABLE), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        rows = [(table.line_num, row) for row in table]
    except csv.Error as error:
        raise InputError(f"{folder / TABLE}: cannot be read as a table: {error}.") from error
    wanted: set[str] = set()  # of the first row, which is the baseline: other columns may hold words
    for number, row in rows:
        here = f"{TABLE}, line {number}"
        status = (row.get("status") or "").strip().lower()
        measured = {name: _number(text) for name, text in row.items() if name and name not in _WORDS}
        metrics = {name: value for name, value in measured.items() if value is not None} if status != "crash" else {}
        commit = (row.get("commit") or "").strip()
        if not metrics and not _COMMIT.fullmatch(commit):
            left_out.append(f"{here}: no commit and no number")
            continue
        wanted = wanted or set(metrics)
        if status != "crash":
            lost = [name for name, value in measured.items() if value is None and name in wanted]
            left_out += [f"{here}: {name} is no number: {row[name] or 'nothing'}" for name in lost]
        yield ObservedRun(
            commit or f"row {number - 1}",
            metrics,
            _shown(folder, commit, code_file),
            status == "keep",
            row.get("description") or "",
        )


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _shown(folder: Path, commit: str, file: str) -> bytes | None:
    """A file at a commit, where the repository still has that: a loop throws away the commits that it does not keep."""
    if not _COMMIT.fullmatch(commit):
        return None
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "cat-file", "blob", f"{commit}:./{file}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=os.environ | NO_FETCH)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
