"""`harness cache`: what lies in the harness's cache and the laboratory's, and removing what a person names.

All of it is made again when it is needed, but for what a person put there. What the laboratory's folders are they say
themselves, in their `manifest.json`; the harness knows nothing else of them.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..campaign.errors import CannotGoOn
from ..campaign.numbers import counted
from ..campaign.paths import cache_folder
from ..execution.executors.disk import disk_usage
from ..execution.scoring import lab_cache

LEFT = (".new", ".removed")
"""How folders end that nobody finished making, or removing."""
UNFINISHED = "unfinished; nothing reads it"
BY_HAND = "not made by the harness"


@dataclass(frozen=True)
class Cached:
    """A folder in one of the caches. `size` in bytes, `changed` in seconds since the epoch."""

    name: str
    path: Path
    what: str
    """For a person."""
    size: int
    changed: float

    @property
    def is_made_again(self) -> bool:
        """Whether nothing is lost with it but time."""
        return self.what != BY_HAND

    @property
    def in_use(self) -> str:
        """Who needs it now, for a person; empty when it can be removed."""
        if self.path.is_symlink():
            return f"is a link to {self.path.resolve()}; remove it there"
        try:
            with _lock_of(self.path).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass
        except BlockingIOError:
            return "another process is making it"
        user = next(_users(self.path), None)
        return f"process {user} uses it" if user else ""


def cached() -> list[Cached]:
    """What there is in the caches: environments of agents, kept baselines, and what the laboratory made. Reads only."""
    found = [_item(folder.name, folder, "an agent's packages") for folder in _folders(cache_folder(), "aider-*")]
    for folder in _folders(cache_folder() / "baselines"):
        seeds = [each for each in _folders(folder) if not each.name.endswith(LEFT)]
        what = f"results of an unmodified experiment, {counted(len(seeds), 'seed')}"
        found.append(_item(f"baselines/{folder.name[:12]}", folder, what))
    for part in _folders(lab_cache()):
        inside = _folders(part)
        if any(each.name.endswith(LEFT) or (each / "manifest.json").exists() for each in inside):
            found += [_item(f"{part.name}/{folder.name}", folder, _what(folder)) for folder in inside]
        elif any(each.suffix != ".lock" for each in part.iterdir()):
            found.append(_item(part.name, part, "hashes of large files" if part.name == "hashes" else BY_HAND))
    return found


def remove(item: Cached) -> None:
    """Remove `item`. Raises CannotGoOn when it is in use, or cannot be removed; then what is left stays listed."""
    if reason := item.in_use:
        raise CannotGoOn(f"{item.path}: not removed: {reason}.")
    gone = item.path if item.path.name.endswith(LEFT) else item.path.with_name(item.path.name + ".removed")
    try:
        with _locked(item.path):
            if gone != item.path:
                if gone.exists():
                    shutil.rmtree(gone)
                item.path.rename(gone)  # what is half removed must not pass for whole
            shutil.rmtree(gone)
    except OSError as error:
        raise CannotGoOn(f"{error.filename or item.path}: cannot be removed: {error.strerror}.") from error


def age(item: Cached) -> str:
    """How long ago it was changed: `5 min`, `3 h`, `12 d`."""
    seconds = max(0.0, time.time() - item.changed)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _item(name: str, folder: Path, what: str) -> Cached:
    what = UNFINISHED if folder.name.endswith(LEFT) else what
    size = 0 if folder.is_symlink() else disk_usage([folder])
    return Cached(name, folder, what, size, folder.lstat().st_mtime)


def _what(folder: Path) -> str:
    try:
        return str(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["what"])
    except FileNotFoundError:
        return BY_HAND
    except (OSError, ValueError, TypeError, KeyError):
        return "its manifest.json cannot be read"


def _folders(place: Path, pattern: str = "*") -> list[Path]:
    return sorted(each for each in place.glob(pattern) if each.is_dir())


def _lock_of(folder: Path) -> Path:
    """The lock that a process holds which makes the folder, also while it is unfinished."""
    name = folder.name
    for ending in LEFT:
        name = name.removesuffix(ending)
    return folder.with_name(name + ".lock")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody makes the folder meanwhile. Where it has no lock nobody ever does who would take one."""
    lock = _lock_of(folder)
    if not lock.exists():
        yield
        return
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _users(folder: Path) -> Iterator[int]:
    """Processes that were started from the folder, or have a file of it in their memory, as far as one may look."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = process.info["cmdline"]
        if command and Path(command[0]).is_relative_to(folder):
            yield process.info["pid"]
            continue
        try:
            mapped = Path(f"/proc/{process.info['pid']}/maps").read_text(encoding="utf-8", errors="replace")
        except OSError:  # another user's, one that has ended, or a system without /proc
            continue
        if f" {folder}/" in mapped:
            yield process.info["pid"]
