"""Adoption: what a run changed in the code, brought into the person's own experiment, cleanly or not at all.

The change is the run's code against the campaign's unmodified experiment. Where the person's file is not that experiment any
more, the two are merged three ways; where both touch the same lines nothing is written. Only files that the contract lets
the agent edit are ever written.
"""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..campaign.campaign import Campaign
from ..campaign.errors import CannotGoOn, InputError
from ..campaign.layout import Layout
from ..campaign.numbers import counted
from ..campaign.repository import Repository
from ..campaign.temporary import TemporaryFolder

_SHOWN = 12  # lines of a conflict
_GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}


@dataclass(frozen=True)
class Adopted:
    """A file of the person's as it is and as it will be. `before` is None for one that the run adds."""

    path: str
    before: bytes | None
    after: bytes
    merged: bool
    """The person's file was not the campaign's unmodified one."""


@dataclass(frozen=True)
class Adoption:
    """What will be written, below `folder`; nothing where the person's files have the change already."""

    folder: Path
    files: tuple[Adopted, ...]

    @property
    def changed(self) -> list[Adopted]:
        return [file for file in self.files if file.before != file.after]

    def patch(self) -> bytes:
        """The change of the person's files, as git shows it."""
        with TemporaryFolder() as place:
            for file in self.changed:
                for side, content in (("a", file.before), ("b", file.after)):
                    target = Path(place, side, file.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if content is not None:
                        target.write_bytes(content)
            options = ("--no-color", "--no-ext-diff", "--src-prefix=", "--dst-prefix=")
            found = _git(["diff", "--no-index", *options, "a", "b"], Path(place))
            if found.returncode not in (0, 1):
                raise CannotGoOn(f"git diff failed: {found.stderr.decode(errors='replace').strip()}")
            return found.stdout

    def write(self) -> None:
        """Write all files or none. Raises InputError where one is not what the patch was made from any more."""
        beside: dict[Path, Path] = {}
        done: list[Adopted] = []
        try:
            for file in self.changed:
                target = self.folder / file.path
                if _own(self.folder, file.path) != file.before:
                    raise InputError(f"{target}: changed meanwhile; nothing was written. Try again.")
                beside[target] = _written_beside(target, file.after)
            for file in self.changed:
                beside[self.folder / file.path].replace(self.folder / file.path)
                done.append(file)
        except OSError as error:
            for file in done:
                _put_back(self.folder / file.path, file.before)
            where = error.filename or self.folder
            raise CannotGoOn(f"{where}: cannot be written: {error.strerror}. Nothing was changed.") from error
        finally:
            for place in beside.values():
                place.unlink(missing_ok=True)


def adopt(layout: Layout, run: int, folder: Path) -> Adoption:
    """The change of `run` as it goes into the experiment in `folder`. Writes nothing.

    Raises InputError, which says what to do, for run 0, a run that failed or changed nothing, a file that is not the
    person's own (a link, a file elsewhere), and a conflict.
    """
    record = layout.record(run)
    if run == 0:
        raise InputError("run 0 is the unmodified experiment, so there is nothing to adopt.")
    if record["status"] != "completed":
        raise InputError(
            f"run {run} {record['status']}: no attempt of it completed, so there is no code to adopt. "
            f"`harness show {layout.name} {run}` says what was tried."
        )
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. --into DIR names that of your own experiment.")
    if folder.resolve().is_relative_to(layout.root.resolve()):
        raise InputError(f"{folder}: this is the campaign itself. --into DIR names the folder of your own experiment.")
    campaign = Campaign(layout.root.absolute())
    if not (campaign.root / ".git").exists():
        raise InputError(f"{layout.root}: its git repository, which holds the code of the runs, is not in this copy.")
    repository = Repository(campaign.root, campaign.local)
    base = repository.files(layout.record(0)["commit"], campaign.code)
    theirs = repository.files(record["commit"], campaign.code)
    paths = [path for path in theirs if theirs[path] != base.get(path)]
    if not paths:
        raise InputError(f"run {run}: its code is that of the unmodified experiment, so there is nothing to adopt.")
    return Adoption(folder, tuple(_merged(folder, path, base.get(path), theirs[path], run) for path in paths))


def _merged(folder: Path, path: str, base: bytes | None, theirs: bytes, run: int) -> Adopted:
    mine = _own(folder, path)
    target = folder / path
    if base is None:
        if mine not in (None, theirs):
            raise InputError(f"{target}: run {run} adds this file, and you have another one there. Move yours away first.")
        return Adopted(path, mine, theirs, merged=False)
    if mine is None:
        raise InputError(
            f"{target}: no such file, and run {run} changes it. --into DIR names the folder of your own experiment."
        )
    if mine == base:
        return Adopted(path, mine, theirs, merged=False)
    base, theirs = (_with_ends_of(mine, other) for other in (base, theirs))
    after = _three_ways(mine, base, theirs, target, run)
    if path.endswith(".py") and _parses(mine) and not _parses(after):
        raise InputError(
            f"{target}: with run {run}'s change your file would not be valid Python, though no line is in conflict. "
            "Nothing was written; bring the change in by hand."
        )
    return Adopted(path, mine, after, merged=True)


def _own(folder: Path, path: str) -> bytes | None:
    """The person's file, None where there is none. Raises InputError where it is not a file of their own in `folder`."""
    target = folder / path
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{target}: outside {folder}, by a symbolic link. --into DIR names the folder that holds the file itself."
        )
    if target.is_symlink():
        raise InputError(
            f"{target}: a symbolic link to {target.readlink()}. --into DIR names the folder that holds the file itself."
        )
    try:
        if not target.exists():
            return None
        if not stat.S_ISREG(target.stat().st_mode):
            raise InputError(f"{target}: not a file. Move it away first.")
        if not os.access(target, os.W_OK):
            raise InputError(f"{target}: you may not write it. Change its permissions first.")
        return target.read_bytes()
    except OSError as error:
        raise InputError(f"{target}: cannot be read: {error.strerror}.") from error


def _with_ends_of(mine: bytes, other: bytes) -> bytes:
    """`other` with the line ends of `mine`, where that has one kind only."""
    with_cr, all_ends = mine.count(b"\r\n"), mine.count(b"\n")
    if with_cr not in (0, all_ends) or not all_ends:
        return other
    plain = other.replace(b"\r\n", b"\n")
    return plain.replace(b"\n", b"\r\n") if with_cr else plain


def _three_ways(mine: bytes, base: bytes, theirs: bytes, target: Path, run: int) -> bytes:
    """What `theirs` changes of `base`, in `mine`. Raises InputError where both change the same lines."""
    with TemporaryFolder() as place:
        contents: Mapping[str, bytes] = {"yours": mine, "baseline": base, "run": theirs}
        for name, content in contents.items():
            Path(place, name).write_bytes(content)
        labels = [part for label in ("yours", "the baseline", f"run {run}") for part in ("-L", label)]
        found = _git(["merge-file", "-p", "-q", *labels, *contents], Path(place))
    if found.returncode == 0:
        return found.stdout
    if found.returncode > 127:
        problem = found.stderr.decode(errors="replace").strip()
        raise InputError(f"{target}: cannot be merged: {problem}. Nothing was written; bring the change in by hand.")
    count = counted(found.returncode, "place")
    raise InputError(
        f"{target}: you and run {run} changed the same lines, in {count}, so nothing was written. The first:\n"
        + "\n".join(_first_conflict(found.stdout.decode(errors="replace").splitlines()))
        + "\nPut those lines back as the campaign had them, or bring the change in by hand: `harness diff` shows it."
    )


def _first_conflict(lines: Sequence[str]) -> list[str]:
    begin = next((i for i, line in enumerate(lines) if line.startswith("<<<<<<< yours")), 0)
    end = next((i for i, line in enumerate(lines) if i > begin and line.startswith(">>>>>>> run ")), begin)
    shown = [f"  {line}" for line in lines[begin : end + 1]]
    return shown if len(shown) <= _SHOWN else [*shown[:_SHOWN], f"  [{len(shown) - _SHOWN} lines more]"]


def _parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _written_beside(target: Path, content: bytes) -> Path:
    """A file beside `target` with this content and the same permissions."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644)
    return Path(name)


def _put_back(target: Path, before: bytes | None) -> None:
    with suppress(OSError):
        if before is None:
            target.unlink()
        else:
            target.write_bytes(before)


def _git(arguments: Sequence[str], place: Path) -> subprocess.CompletedProcess[bytes]:
    try:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | _GIT
        command = ["git", "-c", "core.quotePath=false", *arguments]
        return subprocess.run(command, cwd=place, env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        raise CannotGoOn("git is not installed or not on PATH; install git 2.28 or newer.") from None
