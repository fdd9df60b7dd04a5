"""The processes of an execution: how they are found, and how all of them are ended.

A supervisor finds the descendants of itself: as their subreaper (Linux) it inherits those whose parents have ended,
whatever group or session they moved to. Everybody finds those that carry the execution's mark in their environment. What
neither finds: after the supervisor has died, a process that has also emptied its environment. Each way looks once at all
processes of the machine, however many there are.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PATIENCE = 30.0
"""Seconds after which a process that SIGKILL does not end is given up: it hangs in a driver or a file system."""
_LOOK = 0.03

# From linux/prctl.h.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Process(NamedTuple):
    """A process, and not a later one with the same id."""

    pid: int
    started: float

    @property
    def runs(self) -> bool:
        seen = _seen(self.pid)
        return seen is not None and seen.process == self

    def signal(self, number: int) -> None:
        """Does nothing where the process has ended."""
        if self.runs:
            with suppress(OSError):
                os.kill(self.pid, number)


class _Seen(NamedTuple):
    """What one look at a process says."""

    process: Process
    parent: int


def become_subreaper() -> None:
    """From now on descendants whose parents have ended become children of this process (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(signal_number: int) -> None:
    """The kernel sends this process the signal as soon as its parent has ended (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def marked(name: str, value: str, *parents: int) -> set[Process]:
    """The processes with `name=value` in the environment they were started with, the children of `parents`, and the
    descendants of both.

    Sees only what the system lets this user see, which is all of the user's own.
    """
    seen = _all()
    return _with_descendants(
        seen, (pid for pid, each in seen.items() if each.parent in parents or _carries(pid, name, value))
    )


def carrying(name: str, value: str) -> set[Process]:
    """The same without descendants that do not have it."""
    return {each.process for pid, each in _all().items() if _carries(pid, name, value)}


def descendants(*pids: int) -> set[Process]:
    """Those of the processes `pids`, without them; nor what has ended and waits for its parent to ask after it."""
    seen = _all()
    return _with_descendants(seen, (pid for pid, each in seen.items() if each.parent in pids))


def still_there(pids: Iterable[int]) -> set[Process]:
    """Those of these processes that have not ended."""
    return {seen.process for seen in map(_seen, pids) if seen is not None}


def children(*pids: int) -> set[Process]:
    """Those of the processes `pids`."""
    return {each.process for each in _all().values() if each.parent in pids}


def ask_to_end(find: Callable[[], set[Process]], grace: float, meanwhile: Callable[[float], None]) -> None:
    """SIGTERM, once, to every process that `find` returns, until it returns none or `grace` seconds are over.

    `meanwhile(seconds)` is called between two looks. A process id that has since been given to another process is never
    signalled, here and below.
    """
    asked: set[Process] = set()
    begun = time.monotonic()
    while time.monotonic() - begun < grace and (processes := find()):
        # Once each, because many programs take a second SIGTERM for an order to drop everything.
        for process in processes - asked:
            process.signal(signal.SIGTERM)
        asked |= processes
        meanwhile(_LOOK)


def kill(find: Callable[[], set[Process]], meanwhile: Callable[[float], None]) -> int:
    """SIGKILL to every process that `find` returns, until it returns none. Returns how many are given up, normally 0."""
    begun = time.monotonic()
    while processes := find():
        if time.monotonic() - begun > PATIENCE:
            return len(processes)
        # In every round again: between list and signal a process may have forked one that is on no list. The oldest first:
        # where they have a namespace for process ids it is that one's init, and with it the kernel ends all the others.
        for process in sorted(processes, key=lambda each: each.started):
            process.signal(signal.SIGKILL)
        meanwhile(_LOOK)
    return 0


def own_children() -> set[Process]:
    """Those of this process, which are known without a look at all processes (Linux only)."""
    return still_there(_own_children())


def kill_children() -> None:
    """SIGKILL to the children of this process, at once: for those that fork and end faster than processes can be listed.

    Only in a process of one thread that waits for its children itself: until it does, their ids belong to them.
    """
    for child in _own_children():
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)


def _own_children() -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def _with_descendants(seen: Mapping[int, _Seen], roots: Iterable[int]) -> set[Process]:
    children: dict[int, list[int]] = {}
    for pid, each in seen.items():
        children.setdefault(each.parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return {seen[pid].process for pid in found}


def _all() -> dict[int, _Seen]:
    looks = ((pid, _seen(pid)) for pid in _pids())
    return {pid: seen for pid, seen in looks if seen is not None}


def _pids() -> list[int]:
    if sys.platform != "linux":
        import psutil  # here and below, because it takes a third of the time in which a supervisor starts

        return psutil.pids()
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _seen(pid: int) -> _Seen | None:
    """None where it is no more, or has ended and waits for its parent to ask after it."""
    if sys.platform != "linux":
        import psutil

        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                return _Seen(Process(pid, process.create_time()), process.ppid())
        return None
    try:
        stat = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # After the name, which may hold anything: state, parent, …, number of threads (18th), …, start (20th), see proc(5).
    fields = stat[stat.rindex(b")") + 2 :].split()
    # The first thread of a process may end before the others do: then it goes on, and this says "zombie".
    if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1:
        return None
    return _Seen(Process(pid, int(fields[19])), int(fields[1]))


def _carries(pid: int, name: str, value: str) -> bool:
    """Whether the process was started with `name=value` in its environment."""
    if sys.platform != "linux":
        import psutil

        with suppress(psutil.Error, OSError):
            return psutil.Process(pid).environ().get(name) == value
        return False
    with suppress(OSError):
        # Sought as a whole: a look at all processes of a machine would spend most of its time on taking them apart.
        return os.fsencode(f"\0{name}={value}\0") in b"\0%b\0" % _read(f"/proc/{pid}/environ")
    return False


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while more := os.read(descriptor, 1 << 16):
            data += more
        return data
    finally:
        os.close(descriptor)
