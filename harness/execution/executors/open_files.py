"""The files that processes have open or mapped, with and without a name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .process_tree import Process

_DELETED = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) .{4} \S+ ([0-9a-f]+):([0-9a-f]+) (\d+) +/.* \(deleted\)$", re.M)


class Inode(NamedTuple):
    """A file, whatever names it has."""

    device: int
    number: int


def places(processes: Collection[Process]) -> list[str]:
    """Where the kernel tells of each process (Linux only)."""
    return [place for process in processes if (place := _place(process.pid)) is not None]


def opened(places: Collection[str]) -> dict[Inode, os.stat_result]:
    """The files that have a descriptor in one of the processes. What a process hides is left out."""
    found: dict[Inode, os.stat_result] = {}
    for place in places:
        try:
            descriptors = os.listdir(f"{place}/fd")  # noqa: PTH208
        except OSError:
            continue
        for descriptor in descriptors:
            with suppress(OSError):
                status = os.stat(f"{place}/fd/{descriptor}")  # noqa: PTH116
                if stat.S_ISREG(status.st_mode):
                    found[Inode(status.st_dev, status.st_ino)] = status
    return found


def without_name(places: Collection[str], elsewhere: Collection[int | None]) -> dict[Inode, int]:
    """What files take on disk that no folder has any more and a process still holds. Not that of a device `elsewhere`."""
    found: dict[Inode, int] = {}
    for place in places:
        with suppress(OSError):
            for begin, end, major, minor, number in _DELETED.findall(read(f"{place}/maps")):
                inode = Inode(os.makedev(int(major, 16), int(minor, 16)), int(number))
                # How much of it is not a hole is told of what is open only.
                found[inode] = max(found.get(inode, 0), int(end, 16) - int(begin, 16))
    for inode, status in opened(places).items():
        if status.st_nlink == 0:
            found[inode] = status.st_blocks * 512
        else:
            found.pop(inode, None)
    return {inode: size for inode, size in found.items() if inode.device not in elsewhere}


def mapped_below(folder: Path, places: Collection[str]) -> set[Inode]:
    """The files of a folder that one of the processes has mapped: many close what they have mapped."""
    below = re.compile(rb"^\S+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) (\d+) +%b/" % re.escape(os.fsencode(folder)), re.M)
    found: set[Inode] = set()
    for place in places:
        with suppress(OSError):
            for major, minor, number in below.findall(read(f"{place}/maps")):
                found.add(Inode(os.makedev(int(major, 16), int(minor, 16)), int(number)))
    return found


def read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.readall()


def _place(pid: int) -> str | None:
    """That of a thread which still runs: the first one need not."""
    place = f"/proc/{pid}"
    for each in (place, *_threads(place)):
        with suppress(OSError):
            if b"VmRSS" in read(f"{each}/status"):
                return each
    return None


def _threads(place: str) -> Iterator[str]:
    with suppress(OSError):
        yield from (f"{place}/task/{thread}" for thread in os.listdir(f"{place}/task"))  # noqa: PTH208
