"""The processes of an execution: how they are found, and how all of them are ended.

A supervisor finds the descendants of itself: as their subreaper (Linux) it inherits those whose parents have ended,
whatever group or session they moved to. Everybody finds those that carry the execution's mark in their environment. What
neither finds: after the supervisor has died, a process that has also emptied its environment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE = 30.0
"""Seconds after which a process that SIGKILL does not end is given up: it hangs in a driver or a file system."""
_LOOK = 0.03

# From linux/prctl.h.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def become_subreaper() -> None:
    """From now on descendants whose parents have ended become children of this process (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(signal_number: int) -> None:
    """The kernel sends this process the signal as soon as its parent has ended (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def marked(name: str, value: str) -> set[psutil.Process]:
    """The processes with `name=value` in the environment they were started with, and their descendants.

    Sees only what the system lets this user see, which is all of the user's own.
    """
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(name) == value:
                found.add(process)
    return found.union(*(descendants(process) for process in found))


def descendants(process: psutil.Process) -> set[psutil.Process]:
    with suppress(psutil.Error):
        return set(process.children(recursive=True))
    return set()


def memory(processes: Iterable[psutil.Process], limit: int | None) -> int:
    """Resident bytes of all processes together.

    Pages that several share are counted for each, which is quick; where that makes more than `limit`, they are counted once.
    """
    resident = 0
    processes = list(processes)
    for process in processes:
        with suppress(psutil.Error):
            resident += process.memory_info().rss
    if limit is None or resident <= limit or sys.platform != "linux":
        return resident
    shared_once = 0
    for process in processes:
        with suppress(psutil.Error):
            try:
                shared_once += process.memory_full_info().pss
            except psutil.AccessDenied:
                # A process can forbid this look, but not the one at its resident size.
                shared_once += process.memory_info().rss
    return shared_once


def ask_to_end(find: Callable[[], set[psutil.Process]], grace: float, meanwhile: Callable[[float], None]) -> None:
    """SIGTERM, once, to every process that `find` returns, until it returns none or `grace` seconds are over.

    `meanwhile(seconds)` is called between two looks. A process id that has since been given to another process is never
    signalled, here and below (psutil compares creation times).
    """
    asked: set[psutil.Process] = set()
    begun = time.monotonic()
    while time.monotonic() - begun < grace and (processes := find()):
        # Once each, because many programs take a second SIGTERM for an order to drop everything.
        for process in processes - asked:
            with suppress(psutil.Error):
                process.terminate()
        asked |= processes
        meanwhile(_LOOK)


def kill(find: Callable[[], set[psutil.Process]], meanwhile: Callable[[float], None]) -> int:
    """SIGKILL to every process that `find` returns, until it returns none. Returns how many are given up, normally 0."""
    begun = time.monotonic()
    while processes := find():
        if time.monotonic() - begun > PATIENCE:
            return len(processes)
        # In every round again: between list and signal a process may have forked one that is on no list.
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        meanwhile(_LOOK)
    return 0


def kill_children() -> None:
    """SIGKILL to the children of this process, at once: for those that fork and end faster than processes can be listed.

    Only in a process of one thread that waits for its children itself: until it does, their ids belong to them.
    """
    with suppress(OSError):
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
