"""The files in which a run may have left results, and what is in them: JSON whose content nobody has checked yet.

A file is read only when it can be one that this run wrote: regular, not a link, new enough, of a size that can be held.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..campaign.protocols import EVAL_FOLDER, EXECUTED_ON, FACTS, FINAL_INFO, SKIPPED
from ..campaign.text import decoded, shown

MAX_BYTES = 64 * 2**20
"""Of one file. The largest that SAEBench writes, core with details of 65k features, is about 16 MB."""
MAX_FILES = 100
SUMMARIES = ("results.json", "result.json", "metrics.json", "final_results.json", "final_metrics.json", "scores.json")
"""Other names of a summary."""
WANTED = (
    f'{FINAL_INFO} in --out_dir should hold {{"loss": 0.12}}, or {{"settings": {{"lr": 0.1}}, "metrics": {{"loss": 0.1}}}}, '
    'or by data set {"mnist": {"loss": 0.12}} or {"mnist": {"means": {"loss": 0.12}}}; the values of seeds that the '
    'experiment itself ran stand beside their mean: {"means": {"loss": 0.12}, "final_info_dict": {"loss": [0.11, 0.13]}}'
)
"""The shapes of a summary, in words."""
MAX_NAMED = 5
_DEEPEST, _MOST = 3, 1_000  # folders below out_dir, and files in them, that are looked through for what was left
MAX_DEPTH = 8
"""Folders below eval_results."""

CLOCK_GRAIN = 2.0
"""Seconds by which a file's time may lie before the clock's: some file systems keep it as coarsely as that."""


class Unusable(Exception):
    """Why a whole file is not read."""


class Twice:
    """Stands for the value of a key that an object has more than once: there is no telling which was meant."""


def load(path: Path, newer_than: float | None) -> Any:
    """The file's content. `newer_than` in seconds since the epoch. Raises Unusable, and nothing else."""
    try:
        with open(path, "rb", opener=_open_as_is) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unusable("not a regular file")
            if newer_than is not None and status.st_mtime < newer_than - CLOCK_GRAIN:
                raise Unusable("older than this run: something else wrote it")
            if status.st_size > MAX_BYTES:
                raise Unusable(f"larger than {MAX_BYTES // 2**20} MB, the most that is read")
            content = file.read(MAX_BYTES)
        return json.loads(decoded(content), object_pairs_hook=_object)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unusable("a symbolic link, and links are not followed") from error
        raise Unusable(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unusable(f"not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise Unusable(f"not JSON: {error.msg}, line {error.lineno} column {error.colno}") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise Unusable(f"cannot be read: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise Unusable("nested too deep or too large to be read") from error


Found = tuple[list[tuple[str, Path]], list[tuple[str, str]]]
"""Name and path of each file to look at; name and problem of what is passed over."""


def result_files(out_dir: Path, summary: str = FINAL_INFO) -> Found:
    """The summary first, then eval_results, then other JSON beside it."""
    beside: list[tuple[str, Path]] = []
    evaluations: list[tuple[str, Path]] = []
    problems: list[tuple[str, str]] = []
    try:
        entries = _entries(out_dir)
    except OSError as error:
        return [], [(str(out_dir), f"cannot be read: {error.strerror}")]
    for entry, is_link, is_folder in entries:
        if entry == EVAL_FOLDER and is_folder:
            evaluations, problems = _evaluations(out_dir / entry)
        elif entry == EVAL_FOLDER and is_link:
            problems.append((entry, "a symbolic link, and links are not followed"))
        elif entry.endswith(".json") and entry != EXECUTED_ON:
            beside.append((entry, out_dir / entry))
    found = [*evaluations, *beside]
    if "/" in summary:
        found.append((summary, out_dir / summary))
    found.sort(key=lambda item: item[0] != summary)
    return _at_most(found, problems)


def summary_file(out_dir: Path) -> tuple[str, str]:
    """The experiment's summary, a path below `out_dir`: `final_info.json`, or the only file that can be meant for it, under
    another name or one folder further down. Where there is none, also why."""
    if os.path.lexists(out_dir / FINAL_INFO):
        return FINAL_INFO, ""
    try:
        entries = _entries(out_dir)
    except OSError:
        entries = []
    folders = [name for name, _, is_folder in entries if is_folder and name != EVAL_FOLDER]
    meant = [name for name, _, _ in entries if name in SUMMARIES]
    meant += [f"{name}/{FINAL_INFO}" for name in folders if (out_dir / name / FINAL_INFO).is_file()]
    if len(meant) == 1:
        return meant[0], ""
    problem = "missing: the experiment did not write it"
    if meant:
        problem += f", and {' and '.join(meant)} could each be meant for it"
    elif left := _left(out_dir, entries):
        problem += f"; it left {', '.join(map(shown, left[:3]))}{' and others' if left[3:] else ''}"
    return FINAL_INFO, problem


def _left(out_dir: Path, entries: Iterable[tuple[str, bool, bool]]) -> list[str]:
    """The files in a folder, and in those up to three further down: those that look like results first."""
    names: list[str] = []
    left = [entry for entry in entries if entry[0] != EVAL_FOLDER]
    while left and len(names) < _MOST:
        name, _, is_folder = left.pop(0)
        if not is_folder:
            names.append(name)
        elif name.count("/") < _DEEPEST:
            with suppress(OSError):
                left += [(f"{name}/{each}", link, deeper) for each, link, deeper in _entries(out_dir / name)]
    kinds = (".json", ".jsonl", ".csv", ".tsv")
    return sorted((name for name in names if name != EXECUTED_ON), key=lambda name: not name.endswith(kinds))


def evaluation_files(folder: Path) -> Found:
    """The files of a folder of evaluations, wherever it is; their names begin with `eval_results`."""
    return _at_most(*_evaluations(folder))


def _evaluations(folder: Path) -> Found:
    found: list[tuple[str, Path]] = []
    problems: list[tuple[str, str]] = []
    pending = [(folder, f"{EVAL_FOLDER}/")]
    for place, prefix in pending:
        try:
            entries = _entries(place)
        except OSError as error:
            problems.append((prefix, f"cannot be read: {error.strerror}"))
            continue
        for entry, is_link, is_folder in entries:
            name = prefix + entry
            if is_folder and name.count("/") <= MAX_DEPTH:
                pending.append((place / entry, f"{name}/"))
            elif is_folder:
                problems.append((name, f"more than {MAX_DEPTH} folders deep, not read"))
            elif entry.endswith(".json") and entry not in (FACTS, SKIPPED):
                found.append((name, place / entry))
            elif is_link:
                problems.append((name, "a symbolic link, and links are not followed"))
    return sorted(found), problems


def _entries(folder: Path) -> list[tuple[str, bool, bool]]:
    """Name, whether it is a link, whether it is a folder."""
    with os.scandir(folder) as listing:
        return sorted((entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False)) for entry in listing)


def _at_most(found: list[tuple[str, Path]], problems: list[tuple[str, str]]) -> Found:
    if len(found) > MAX_FILES:
        problems.append((EVAL_FOLDER, f"{len(found)} files; only the first {MAX_FILES} are read"))
    return found[:MAX_FILES], problems


def _open_as_is(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # a named pipe must not block the harness


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        found.update((key, Twice()) for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return found
