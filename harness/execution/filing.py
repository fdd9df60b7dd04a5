"""What an execution left in its out_dir, moved into the folder of its run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..campaign.campaign import RESERVED
from ..campaign.files import remove, walk
from ..campaign.protocols import EVAL_FOLDER
from ..campaign.repository import takes
from ..campaign.text import shown
from .scoring import is_real

REPORTED = "reported"
"""Where eval results are filed that the experiment wrote and a scorer has better ones of."""


def file_results(source: Path, target: Path, scores: Path | None = None) -> list[str]:
    """Move what an execution left in its out_dir into a run's folder. Returns what was renamed, a sentence each.

    `scores` are a scorer's eval results, which become the run's; then the experiment's own are filed as `reported`. Safe to
    repeat after a crash in the middle. Links and pipes are not taken over: a record holds its own files. Nor is the right to
    run as you.
    """
    target.mkdir(parents=True, exist_ok=True)
    there = is_real(source, source.parent) and source.is_dir()
    warnings = _drop_all_but_files(source) if there else []
    reserved = RESERVED if scores is None else RESERVED | {REPORTED}
    for child in sorted(source.iterdir()) if there else ():
        name = child.name
        if name in reserved:
            name = f"experiment_{name}"
            warnings.append(f"{child.name}: this name belongs to the harness; the experiment's is kept as {name}.")
        elif scores is not None and name == EVAL_FOLDER:
            name = REPORTED
            warnings.append(f"{child.name}: the experiment wrote eval results itself; they are kept as {name} and not read.")
        files, closed = walk(child) if child.is_dir() else ([child], [])
        paths = [str(file.relative_to(source)) for file in files]
        if odd := [path for path in paths if not takes(path)]:
            more = f", with {len(odd) - 1} more files" if odd[1:] else ""
            warnings.append(f"{shown(odd[0])}: git takes no file at this path; it stays outside git{more}.")
        deep = [shown(str(each.relative_to(source))) for each in closed]
        warnings += [f"{path}: too deep to look into; it stays outside git." for path in deep]
        _move(child, target / name)
    if scores is not None and scores.exists():
        _move(scores, target / EVAL_FOLDER)
    return warnings


def file_scores(scores: Path, target: Path, name: str) -> None:
    """Move further eval results of a scorer into a run's folder, as `name` among the others. Safe to repeat."""
    if scores.exists():
        (target / EVAL_FOLDER).mkdir(exist_ok=True)
        _move(scores, target / EVAL_FOLDER / name)


def _drop_all_but_files(folder: Path) -> list[str]:
    """Remove what is neither a file nor a folder, however deep it lies. Returns what it was, a sentence for each kind."""
    links: list[str] = []
    others: list[str] = []
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                members = list(entries)
        except OSError:  # a path too long for anybody to follow
            continue
        for entry in members:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                if mode & (stat.S_ISUID | stat.S_ISGID):  # for others a program that runs as you
                    Path(entry.path).chmod(mode & 0o777)
            else:
                (links if entry.is_symlink() else others).append(os.path.relpath(entry.path, folder))
                Path(entry.path).unlink()
    said = ((links, "a link; links are not kept"), (others, "what is no file; such are not kept"))
    return [
        f"{shown(min(names))}: the experiment left {what}{f' ({len(names) - 1} more)' if names[1:] else ''}."
        for names, what in said
        if names
    ]


def _move(source: Path, target: Path) -> None:
    # No rename replaces a folder that is not empty. After a crash in between the source is still whole.
    if target.is_dir() and not target.is_symlink():
        remove(target)
    source.replace(target)
