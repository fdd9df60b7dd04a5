"""Processor seconds of an execution: of all its processes, those that ended between two looks included.

The kernel adds up the time of every process that was waited for, but for one whose parent ignores that its children end.
What looks at the processes saw is added up too, so that nothing is gained by that; the larger of the two counts.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

from .open_files import read
from .process_tree import Process

_ACCELERATORS = re.compile(r"/dev/(nvidia\d|nvidiactl|kfd|dri/renderD|accel)")


class ProcessorTime:
    """Of the descendants of this process."""

    def __init__(self) -> None:
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
        return round(max(used.ru_utime + used.ru_stime, sum(self._seen.values())), 3)


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
