"""How much memory processes have together: what they changed or share, and never pages of files, which can be read again.

Each page once, however many processes share it. A memory file (memfd) counts as long as one of them has it open or mapped,
and so does a file of the machine's /dev/shm; where they have a /dev/shm of their own, all that is in it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from .process_tree import Process

_SHARED_MEMORY = Path("/dev/shm")
_INODE = 1024
"""Bytes that the kernel keeps for a file without content."""
_ANY = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap|HugetlbPages):\s*(\d+) kB", re.M)
_OWN = re.compile(rb"^(?:Pss_Anon|SwapPss|Private_Hugetlb|Shared_Hugetlb):\s*(\d+) kB", re.M)
_MAPPING = re.compile(
    rb"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) (\d+).*\n(?:[A-Z]\w*:.*\n)*?Pss:\s*(\d+) kB", re.M
)

Inode = tuple[int, int]


def memory(processes: Collection[Process], limit: int | None) -> int:
    """Bytes that all processes have together.

    What several share is counted for each, which is quick; where that makes more than `limit`, it is counted once.
    """
    if sys.platform != "linux":
        return sum(_resident(process) for process in processes)
    places = [place for process in processes if (place := _place(process.pid)) is not None]
    outside = _files_in_memory(places)
    private = _private_shared_memory(places)
    quick = sum(map(_all_of, places)) + sum(outside.values()) + private
    if limit is None or quick <= limit:
        return quick
    # Twice: a child that is about to execute a program has, for a moment, the very memory of its parent.
    return min(_exact(places, outside), _exact(places, outside)) + private


def _exact(places: Collection[str], files: dict[Inode, int]) -> int:
    own = 0
    mapped: dict[Inode, int] = {}
    for place in places:
        try:
            # Its parts first, so that a process that forbids this look is counted as the quick look does.
            parts = _mapped(place)
            own += sum(int(size) << 10 for size in _OWN.findall(_read(f"{place}/smaps_rollup")))
        except OSError:
            own += _all_of(place)
            continue
        for inode, size in parts:
            mapped[inode] = mapped.get(inode, 0) + size
    shared = sum(max(files.get(inode, 0), mapped.get(inode, 0)) for inode in files.keys() | mapped.keys())
    return own + shared


def _place(pid: int) -> str | None:
    """Where the kernel tells of the process: of a thread of it that still runs, which the first one need not."""
    place = f"/proc/{pid}"
    for each in (place, *_threads(place)):
        with suppress(OSError):
            if b"VmRSS" in _read(f"{each}/status"):
                return each
    return None


def _threads(place: str) -> Iterator[str]:
    with suppress(OSError):
        yield from (f"{place}/task/{thread}" for thread in os.listdir(f"{place}/task"))  # noqa: PTH208


def _all_of(place: str) -> int:
    try:
        return sum(int(size) << 10 for size in _ANY.findall(_read(f"{place}/status")))
    except OSError:
        return 0


def _files_in_memory(places: Collection[str]) -> dict[Inode, int]:
    """The size of each file in the kernel's own memory and in the machine's /dev/shm that a process has open."""
    found: dict[Inode, int] = {}
    devices = _devices()
    for place in places:
        try:
            descriptors = os.listdir(f"{place}/fd")  # noqa: PTH208
        except OSError:
            continue
        for descriptor in descriptors:
            with suppress(OSError):
                status = os.stat(f"{place}/fd/{descriptor}")  # noqa: PTH116
                if status.st_dev in devices:
                    found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return found


def _mapped(place: str) -> list[tuple[Inode, int]]:
    """The same for what is mapped: the pages that the process has, a page of n processes as its nth part."""
    devices = _devices()
    found = []
    for major, minor, inode, size in _MAPPING.findall(_read(f"{place}/smaps")):
        device = os.makedev(int(major, 16), int(minor, 16))
        if device in devices:
            found.append(((device, int(inode)), int(size) << 10))
    return found


def _private_shared_memory(places: Collection[str]) -> int:
    """What is in a /dev/shm that is theirs and not the machine's."""
    found: dict[int, int] = {}
    machine = _device(_SHARED_MEMORY)
    for place in places:
        shared_memory = f"{place}/root{_SHARED_MEMORY}"
        with suppress(OSError):
            device = os.stat(shared_memory).st_dev  # noqa: PTH116
            if device != machine and device not in found:
                status = os.statvfs(shared_memory)
                files = (status.f_files - status.f_ffree) * _INODE
                found[device] = (status.f_blocks - status.f_bfree) * status.f_frsize + files
    return sum(found.values())


@cache
def _devices() -> frozenset[int | None]:
    """Of the kernel's own memory files, shared mappings and System V segments among them, and of this process's /dev/shm."""
    devices: set[int | None] = set()
    with suppress(OSError):
        descriptor = os.memfd_create("device")
        devices.add(os.fstat(descriptor).st_dev)
        os.close(descriptor)
    # In a container it can be an ordinary folder, and its files are on the disk.
    if (shared_memory := _device(_SHARED_MEMORY)) != _device(_SHARED_MEMORY.parent):
        devices.add(shared_memory)
    return frozenset(devices)


def _device(folder: Path) -> int | None:
    with suppress(OSError):
        return folder.stat().st_dev
    return None


def _resident(process: Process) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(process.pid).memory_info().rss)
    return 0


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.readall()
