"""The memory of a training process."""

from __future__ import annotations

import ctypes

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
