"""/dev/shm, in which every execution may write, as libraries expect: what one leaves there is removed, so that no later one
finds it.

Nothing says who made a file there. What goes is new since the execution began, this user's, and neither open nor mapped
in any process, at two looks. So what another program leaves there meanwhile, and has not open, goes with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..folders import remove

PLACE = Path("/dev/shm")
_BETWEEN_LOOKS = 0.3


def entries() -> dict[Path, int]:
    """The inode of each of this user's files and folders there."""
    found = {}
    with suppress(OSError), os.scandir(PLACE) as members:
        for member in members:
            status = member.stat(follow_symlinks=False)
            if status.st_uid == os.geteuid():
                found[Path(member.path)] = status.st_ino
    return found


def remove_new(before: dict[Path, int], meanwhile: Callable[[float], None]) -> None:
    """Remove what is not as it was `before`. `meanwhile(seconds)` is called between the looks."""
    left = _left(before)
    if left:
        meanwhile(_BETWEEN_LOOKS)
        remove(*sorted(left & _left(before)))


def _left(before: dict[Path, int]) -> set[Path]:
    new = {path for path, inode in entries().items() if before.get(path) != inode}
    return new - _in_use() if new else new


def _in_use() -> set[Path]:
    """What processes have open or mapped, as far as one may look."""
    found: set[Path] = set()
    for process in Path("/proc").glob("[0-9]*"):
        names: list[str] = []
        with suppress(OSError):
            lines = (process / "maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            names += [line.partition("/")[2] for line in lines if f" {PLACE}/" in line]
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    names.append(os.readlink(descriptor).removeprefix("/"))  # noqa: PTH115
        paths = (Path("/", name) for name in names)
        found |= {Path(*path.parts[: len(PLACE.parts) + 1]) for path in paths if path.is_relative_to(PLACE)}
    return found
