"""How much memory processes have together: what they changed or share, and never pages of files, which can be read again.

Each page once, however many processes share it. A memory file (memfd) counts as long as one of them has it open or mapped,
and a file of the machine's /dev/shm that they made as long as it is there; where they have a /dev/shm of their own, all that
is in it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

from .open_files import Inode, opened, places, read
from .process_tree import Process
from .shared_files import SharedFiles

_IN_MEMORY = re.compile(rb"^\d+ \d+ (\d+):(\d+) /\S* (\S+) .* - (?:tmpfs|ramfs) ", re.M)
_INODE = 1024
"""Bytes that the kernel keeps for a file without content."""
_ANY = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap|HugetlbPages):\s*(\d+) kB", re.M)
_OWN = re.compile(rb"^(?:Pss_Anon|SwapPss|Private_Hugetlb|Shared_Hugetlb):\s*(\d+) kB", re.M)
_MAPPING = re.compile(
    rb"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) (\d+).*\n(?:[A-Z]\w*:.*\n)*?Pss:\s*(\d+) kB", re.M
)


def memory(
    processes: Collection[Process], limit: int | None, shared: SharedFiles | None = None, counted: int | None = None
) -> int:
    """Bytes that all processes have together. `shared` are what they made in the machine's /dev/shm, `counted` are the bytes
    that the kernel says they have, where it counts.

    What several share is counted for each, which is quick; where that makes more than `limit`, it is counted once.
    """
    if sys.platform != "linux":
        return sum(_resident(process) for process in processes)
    told = places(processes)
    in_memory = {inode: status for inode, status in opened(told).items() if inode.device in _devices()}
    files = {inode: status.st_blocks * 512 for inode, status in in_memory.items()}
    if shared is not None:
        files |= shared.look(told, in_memory)
    private = _private_file_systems(told, pages=counted is None)
    if counted is not None:
        return counted + private
    quick = sum(map(_all_of, told)) + sum(files.values()) + private
    if limit is None or quick <= limit:
        return quick
    # Twice: a child that is about to execute a program has, for a moment, the very memory of its parent.
    return min(_exact(told, files), _exact(told, files)) + private


def _exact(told: Collection[str], files: dict[Inode, int]) -> int:
    own = 0
    mapped: dict[Inode, int] = {}
    for place in told:
        try:
            # Its parts first, so that a process that forbids this look is counted as the quick look does.
            parts = _mapped(place)
            own += sum(int(size) << 10 for size in _OWN.findall(read(f"{place}/smaps_rollup")))
        except OSError:
            own += _all_of(place)
            continue
        for inode, size in parts:
            mapped[inode] = mapped.get(inode, 0) + size
    shared = sum(max(files.get(inode, 0), mapped.get(inode, 0)) for inode in files.keys() | mapped.keys())
    return own + shared


def _all_of(place: str) -> int:
    try:
        return sum(int(size) << 10 for size in _ANY.findall(read(f"{place}/status")))
    except OSError:
        return 0


def _mapped(place: str) -> list[tuple[Inode, int]]:
    """The same for what is mapped: the pages that the process has, a page of n processes as its nth part."""
    found = []
    for major, minor, inode, size in _MAPPING.findall(read(f"{place}/smaps")):
        device = os.makedev(int(major, 16), int(minor, 16))
        if device in _devices():
            found.append((Inode(device, int(inode)), int(size) << 10))
    return found


def _private_file_systems(told: Collection[str], *, pages: bool) -> int:
    """What is in file systems in memory that are theirs and not this machine's: /dev/shm, and what they mount themselves.
    Without `pages` what their files take without their content."""
    found: dict[int, int] = {}
    machine = {device for device, _ in _file_systems_in_memory("self")}
    looked_at = set()
    for place in told:
        with suppress(OSError):
            namespace = os.readlink(f"{place}/ns/mnt")  # noqa: PTH115
            if namespace in looked_at:
                continue
            looked_at.add(namespace)
            for device, target in _file_systems_in_memory(place.removeprefix("/proc/")):
                if device not in machine and device not in found:
                    found[device] = file_system_use(f"{place}/root{target}", device, pages=pages)
    return sum(found.values())


def file_system_use(folder: str, device: int, *, pages: bool = True) -> int:
    """Bytes that the file system on `device` takes, which is mounted at `folder`.

    While a sandbox is set up its root moves, and for a moment the same path leads to the machine's whole disk.
    """
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return 0
    try:
        if os.fstat(descriptor).st_dev != device:
            return 0
        status = os.fstatvfs(descriptor)
    finally:
        os.close(descriptor)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize if pages else 0
    return used + (status.f_files - status.f_ffree) * _INODE


def _file_systems_in_memory(process: str) -> list[tuple[int, str]]:
    """The device of each, and where it is mounted."""
    mounts = _IN_MEMORY.findall(read(f"/proc/{process}/mountinfo"))
    return [(os.makedev(int(major), int(minor)), _unescaped(target)) for major, minor, target in mounts]


def _unescaped(target: bytes) -> str:
    """A space, among others, is written as its number there."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), target))


def devices(told: Collection[str]) -> set[int | None]:
    """Those of files that are in memory: the kernel's own, this machine's /dev/shm, and a private one of the processes."""
    return {*_devices(), *(_shared_memory(f"{place}/root") for place in told)}


@cache
def _devices() -> frozenset[int | None]:
    """The kernel's own (memory files, shared mappings, System V segments) and this machine's /dev/shm."""
    found = {_shared_memory("")}
    with suppress(OSError, AttributeError):
        descriptor = os.memfd_create("device")
        found.add(os.fstat(descriptor).st_dev)
        os.close(descriptor)
    return frozenset(found)


def _shared_memory(root: str) -> int | None:
    """The device of /dev/shm. In a container it can be an ordinary folder, and its files are on the disk."""
    device = _device(Path(f"{root}/dev/shm"))
    return device if device != _device(Path(f"{root}/dev")) else None


def _device(folder: Path) -> int | None:
    with suppress(OSError):
        return folder.stat().st_dev
    return None


def _resident(process: Process) -> int:
    import psutil  # here, because it takes a third of the time in which a supervisor starts

    with suppress(psutil.Error):
        return int(psutil.Process(process.pid).memory_info().rss)
    return 0
