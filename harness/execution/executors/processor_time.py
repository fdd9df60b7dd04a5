"""Processor seconds of an execution: of all its processes, those that ended between two looks included.

Where the kernel lets a user count (`kernel.perf_event_paranoid` is 2 or less), it counts for whatever this process starts.
Elsewhere it adds up the time of every process that was waited for, but for one whose parent ignores that its children end;
what looks at the processes saw is added up too, which misses such a one where it lives shorter than they are apart. The
largest counts.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import struct
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

from .open_files import read
from .process_tree import Process

_ACCELERATORS = re.compile(r"/dev/(nvidia\d|nvidiactl|kfd|dri/renderD|accel)")
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
# From linux/perf_event.h: the clock of a task, inherited by what it starts, without the kernel's own events.
_SOFTWARE, _TASK_CLOCK, _INHERITED, _NO_KERNEL, _CLOSE_ON_EXEC, _SIZE = 1, 1, 1 << 1, 1 << 5, 8, 112


class Counter:
    """The kernel's, of this thread and all that it starts from now on."""

    def __init__(self) -> None:
        self._file, self._own = -1, time.process_time()
        number = _PERF_EVENT_OPEN.get(platform.machine())
        if sys.platform == "linux" and number is not None:
            wanted = struct.pack("IIQQQQQ", _SOFTWARE, _SIZE, _TASK_CLOCK, 0, 0, 0, _INHERITED | _NO_KERNEL)
            arguments = map(ctypes.c_long, (0, -1, -1, _CLOSE_ON_EXEC))
            self._file = ctypes.CDLL(None).syscall(ctypes.c_long(number), wanted.ljust(_SIZE, b"\0"), *arguments)

    @property
    def is_there(self) -> bool:
        return self._file >= 0

    @property
    def seconds(self) -> float:
        """What others than this process took; 0 where the kernel does not count."""
        if not self.is_there:
            return 0.0
        (nanoseconds,) = struct.unpack("Q", os.read(self._file, 8))
        return max(0.0, float(nanoseconds) / 1e9 - (time.process_time() - self._own))


class ProcessorTime:
    """Of the descendants of this process, which start after it is made."""

    def __init__(self) -> None:
        self._counter = Counter()
        self._seen: dict[Process, float] = {}
        self._elsewhere = False

    def look(self, processes: Collection[Process]) -> None:
        if sys.platform != "linux":
            return
        for process in processes:
            with suppress(OSError, ValueError, IndexError):
                stat = read(f"/proc/{process.pid}/stat")
                # After the name, which may hold anything: user and system time, see proc(5).
                fields = stat[stat.rindex(b")") + 2 :].split()
                self._seen[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            self._elsewhere = self._elsewhere or (_has_accelerators() and _uses_accelerator(process))

    @property
    def seconds(self) -> float | None:
        """None where an accelerator was used: then the processor's time is not what was spent. Right when all of them have
        been waited for."""
        if self._elsewhere:
            return None
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return round(max(used.ru_utime + used.ru_stime, sum(self._seen.values()), self._counter.seconds), 3)


@cache
def _has_accelerators() -> bool:
    return any(any(Path("/dev").glob(name)) for name in ("nvidia[0-9]*", "kfd", "dri/renderD*", "accel*"))


def _uses_accelerator(process: Process) -> bool:
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{process.pid}/fd"):  # noqa: PTH208
            with suppress(OSError):
                if _ACCELERATORS.match(os.readlink(f"/proc/{process.pid}/fd/{descriptor}")):  # noqa: PTH115
                    return True
    return False
