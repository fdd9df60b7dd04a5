"""Holding one execution to its limits: looks at what it uses and what it says, each as often as its cost allows."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from ...campaign.protocols import NOT_EXITED, Ended, Job
from .abort_rules import TrainingLog
from .cgroup import Group
from .disk import disk_usage
from .home import Home
from .idle import Idleness
from .memory import devices, memory
from .open_files import places, without_name
from .output import OutputWriter
from .process_tree import Process
from .processor_time import ProcessorTime
from .shared_files import SharedFiles

_EXITS_WITHIN = 2.0
"""Seconds that a process may take to end after its last work."""
_SHARE = 0.05
"""The part of the supervisor's time that a kind of look may take."""


class Broken(NamedTuple):
    """A limit that was broken, or a wish to end, and how."""

    ended: Ended
    why: str


class LimitWatch:
    """Watches the processes of an execution."""

    def __init__(self, job: Job, home: Home, tmp: Path, output: OutputWriter, shared: SharedFiles | None) -> None:
        self.peak_memory = 0
        self._shared = shared
        self.processor = ProcessorTime()
        self._job, self._home, self._tmp, self._output = job, home, tmp, output
        self._training = TrainingLog(job.out_dir, job.training_log, job.abort) if job.training_log else None
        self._idleness = Idleness(job.out_dir / job.results, (job.folder, job.scratch)) if job.results else None
        self._started = self._heard = time.monotonic()
        self._found: set[Process] | None = None
        self._group = Group(None)
        self._find: Callable[[], set[Process]] = set
        self._looks = [
            Look(0.1, self._is_wanted),
            Look(0.1, self._number),
            Look(0.25, self._memory),
            Look(0.25, self._training_log),
            Look(1.0, self._disk),
            Look(1.0, self._idle),
        ]

    def begin(self, started: float, group: Group, find: Callable[[], set[Process]]) -> None:
        """Watch an execution that was `started` then, in this `group`, whose processes are what one can `find`; in a process
        with one thread: an alarm ends what looks too long."""
        self._group, self._find = group, find
        self._started = self._heard = started
        signal.signal(signal.SIGALRM, _time_is_up)

    def hear(self) -> None:
        """There is output."""
        self._heard = time.monotonic()

    def broken(self) -> Broken | None:
        """What is broken by now, as far as looks are due."""
        limits, now = self._job.limits, time.monotonic()
        if broken := self._too_much_output():
            return broken
        if limits.time is not None and now - self._started > limits.time:
            return self._idle_at_the_end() or Broken("timed_out", f"not finished after {limits.time:g} s")
        if broken := self._look(now):
            return broken
        if limits.silence is not None and now - self._heard > limits.silence and not self._may_have_ended(now):
            return Broken("stalled", f"no output for {limits.silence:g} s")
        return None

    def broken_at_the_end(self) -> Broken | None:
        """What an execution that has ended broke after the last look."""
        self._found = None
        return self._too_much_output() or self._disk()

    @property
    def _processes(self) -> set[Process]:
        """Those of the execution, found once for all looks of a round: to find them is most of what a look costs."""
        if self._found is None:
            self._found = self._find()
        return self._found

    def _look(self, now: float) -> Broken | None:
        """Take the looks that are due. At thousands of processes one takes longer than the time limit can wait."""
        self._found = None
        limit = self._job.limits.time
        left = 0.0 if limit is None else max(0.001, self._started + limit - now)
        try:
            signal.setitimer(signal.ITIMER_REAL, left)
            try:
                for look in self._looks:
                    if look.is_due(now) and (broken := look.take()):
                        return broken
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _TimeIsUp:
            pass
        return None

    def _is_wanted(self) -> Broken | None:
        return None if self._home.wanted.exists() else Broken("stopped", "stopped by you")

    def _number(self) -> Broken | None:
        limit = self._job.limits.processes
        if limit is not None and (number := len(self._processes)) > limit:
            return Broken("too_many_processes", f"{number:,} of its processes ran at once; the limit is {limit:,}")
        if limit is not None and self._group.refused:
            return Broken("too_many_processes", f"it wanted more threads than {limit:,} processes are given, the limit")
        return None

    def _memory(self) -> Broken | None:
        limit = self._job.limits.memory
        self.processor.look(self._processes)
        used = memory(self._processes, limit, self._shared, self._group.memory)
        self.peak_memory = max(self.peak_memory, used)
        if limit is not None and used > limit:
            return Broken(
                "out_of_memory", f"its processes used {size_in_words(used)} of memory; the limit is {size_in_words(limit)}"
            )
        return None

    def _training_log(self) -> Broken | None:
        if self._training is None:
            return None
        grew, broken = self._training.read()
        if grew:
            self._heard = time.monotonic()
        return Broken("aborted", broken) if broken else None

    def _disk(self) -> Broken | None:
        limit = self._job.limits.disk
        if limit is None:
            return None
        used = disk_usage((self._job.folder, self._job.scratch, self._tmp))
        told = places(self._processes)
        used += sum(without_name(told, devices(told)).values())
        if used > limit:
            return Broken(
                "too_much_disk",
                f"its files and folders take {size_in_words(used)} on disk; the limit is {size_in_words(limit)}",
            )
        return None

    def _idle(self) -> Broken | None:
        limit = self._job.limits.idle
        if limit is None or self._idleness is None or self._idleness.look(self._heard) <= limit:
            return None
        return Broken("ok", f"{NOT_EXITED}: results complete, then nothing for {limit:g} s, so it was ended")

    def _may_have_ended(self, now: float) -> bool:
        """Whether results are complete and it is still to be seen whether it does anything more, though it says nothing."""
        limit, idleness = self._job.limits.idle, self._idleness
        if limit is None or idleness is None or idleness.since is None:
            return False
        return now - self._heard <= limit or not idleness.is_busy

    def _idle_at_the_end(self) -> Broken | None:
        """What its time is over for has ended well where it only did not exit."""
        if self._job.limits.idle is None or self._waited < _EXITS_WITHIN:
            return None
        return Broken("ok", f"{NOT_EXITED}: results complete, then nothing for {self._waited:.0f} s until its time was over")

    @property
    def _waited(self) -> float:
        """Seconds for which nothing has happened since results were complete."""
        since = self._idleness.since if self._idleness is not None else None
        return time.monotonic() - since if since is not None else 0.0

    def _too_much_output(self) -> Broken | None:
        limit = self._job.limits.output
        if limit is not None and self._output.total > limit:
            return Broken("too_much_output", f"it wrote more than {size_in_words(limit)} of output")
        return None


class Look:
    """A look at something, `every` so many seconds, or less often when it takes long."""

    def __init__(self, every: float, take: Callable[[], Broken | None]) -> None:
        self._every = every
        self._take = take
        self._due = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self._due

    def take(self) -> Broken | None:
        begun = time.monotonic()
        found = self._take()
        done = time.monotonic()
        self._due = done + max(self._every, (done - begun) / _SHARE)
        return found


class _TimeIsUp(Exception):
    """The time limit came while something was looked at."""


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise _TimeIsUp


def size_in_words(size: float) -> str:
    """`4.2 GB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"
