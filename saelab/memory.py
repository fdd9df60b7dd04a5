"""The memory of a process: kept for the next step, or limited to what there is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path

LIMIT = "HARNESS_MEMORY"
"""Bytes that a scorer may use, where its contract limits them."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def keep_memory() -> None:
    """Let malloc keep what is freed, so that the next step has it at once.

    Without this the C library gives each large tensor back to the system, and the next step gets it as fresh pages, which
    the system clears one by one: a fifth of a training step at 2,048 x 8,192 pre-activations. For a process that does one
    thing and ends. Where the C library is not glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """This process gets no more memory in here than the machine has left: a few bytes of a graph can ask for any amount.

    On Linux alone, and not on a GPU."""
    available = available_memory()
    if available is None:
        yield
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + available
    soft = min([wanted, *(limit for limit in before if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def available_memory() -> int | None:
    """Bytes that can be had without taking them from anybody; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return 1024 * (found.get("MemAvailable", 0) + found.get("SwapFree", 0)) or None


def room() -> int | None:
    """As `available_memory`, within what this process may use."""
    available = available_memory()
    if available is None or LIMIT not in os.environ:
        return available
    in_memory = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return min(available, max(int(os.environ[LIMIT]) - in_memory, 0))
