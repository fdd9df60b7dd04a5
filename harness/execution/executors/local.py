"""This machine: each execution is watched by a supervisor process that goes on when the harness is killed."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...campaign.errors import CannotGoOn
from ...campaign.protocols import Job, Outcome, Waits
from . import cgroup, process_tree, supervisor, warm
from .gpu import VISIBLE, models
from .home import EXECUTION_MARK, LOG, SUPERVISOR_MARK, Home, Spec
from .machine import this_machine
from .output import end_of_output, join, last_line
from .sandbox import available, make_tmp, remove_tmp

_LOOK = 0.03
_TICK = 0.25
_HOLDS = 1 << 16
"""Bytes that a pipe takes before somebody reads."""
_ANSWERS_WITHIN = supervisor.GRACE + process_tree.PATIENCE + 10
"""Seconds in which a supervisor that was asked to stop has ended the tree, or it hangs itself."""


_SUPERVISORS: dict[tuple[tuple[str, str], ...], warm.WarmProcess] = {}
"""The warm process from which supervisors are forked, by its environment: it knows of no job, so it serves all executors."""
_WARMING = threading.Lock()
"""Held while a warm process is looked for: executions that are submitted at once share one."""


class LocalExecutor:
    """Executes jobs as processes of this user, in a sandbox where the system has one.

    An execution is submitted once: its `home` must be new. Several at a time are possible; each has its share of the machine
    for itself (`slots.py`).
    """

    def __init__(self, *, shares: bool = True) -> None:
        """Without `shares` no execution waits for its own, however much others have."""
        self._shares = shares
        self._warm: dict[tuple[str, ...], warm.WarmProcess] = {}
        weakref.finalize(self, _close, self._warm)

    def submit(self, job: Job, home: Path) -> LocalExecution:
        """Start `job`. Raises CannotGoOn when `home` exists or cannot be written."""
        home = home.absolute()
        files = Home(home)
        mark = uuid.uuid4().hex
        # Before there is a lock: what is started to try the system would hold it too, until it executes something.
        parts = available()
        machine = this_machine() if job.share and self._shares else None
        try:
            home.mkdir(parents=True)
            job.scratch.mkdir(parents=True, exist_ok=True)
            lock = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                # Before there is a spec: who finds a spec and the lock free ends all that is left of the execution.
                fcntl.flock(lock, fcntl.LOCK_EX)
                files.wanted.touch()
                files.complaints.touch()
                tmp = make_tmp(parts, job.scratch.resolve())
                files.write_spec(Spec(absolute(job), mark, time.monotonic(), parts, tmp, machine, cgroup.place(mark)))
                # With the descriptor a supervisor gets the lock: there is no moment at which nobody holds it.
                process = self._start_supervisor(job, files, mark, lock)
            finally:
                os.close(lock)
        except OSError as error:
            raise CannotGoOn(
                f"{error.filename or home}: the execution cannot be started: {error.strerror}. "
                "It needs a new folder there, and space."
            ) from error
        return LocalExecution(home, process)

    def _start_supervisor(self, job: Job, files: Home, mark: str, lock: int) -> subprocess.Popen[bytes] | None:
        """Fork it from a warm process; where that cannot be, start one, which is returned."""
        # In a pipe, which is full before it starts, it finds what nobody finds in a file or in its environment.
        told, tell = os.pipe()
        said = json.dumps(dict(job.secrets)).encode()
        try:
            with os.fdopen(tell, "wb") as pipe:
                if len(said) > _HOLDS and sys.platform == "linux":
                    fcntl.fcntl(tell, fcntl.F_SETPIPE_SZ, len(said))
                pipe.write(said)
            if sys.platform == "linux" and self._warm_process(job).start(files.path, lock, told):
                return None
            return _start_cold(files, mark, lock, told)
        finally:
            os.close(told)

    def warm_up(self, job: Job) -> None:
        """See the protocol."""
        if sys.platform == "linux":
            self._warm_process(job)

    def _warm_process(self, job: Job) -> warm.WarmProcess:
        environment = supervisor_environment()
        mere = tuple(sorted(environment.items()))
        with _WARMING:
            if kind := warm.kind(job):
                if kind not in self._warm:
                    self._warm[kind] = warm.WarmProcess(job, {})
                return self._warm[kind]
            if mere not in _SUPERVISORS or _SUPERVISORS[mere].has_ended:
                _SUPERVISORS[mere] = warm.WarmProcess(None, environment)
            return _SUPERVISORS[mere]

    def attach(self, home: Path) -> LocalExecution | None:
        """The execution in `home`; None when it has no outcome and never will have one. Then nothing of it runs."""
        execution = LocalExecution(home.absolute(), None)
        return execution if execution.exists() else None


class LocalExecution:
    """An execution whose supervisor may be a child of this process or of an earlier one."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes] | None) -> None:
        self.home = home
        self._files = Home(home)
        self._process = process

    def exists(self) -> bool:
        """Whether it runs or has an outcome; where it does neither, what is left of it is ended."""
        # In this order: a supervisor writes the outcome before it lets go of the lock.
        if self._files.is_alive() or self._files.outcome.exists():
            return True
        if self._files.spec.exists():
            self._end_what_is_left()
        return False

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        """See the protocol. An exception from `tick` or `stop` leaves the execution running; it can be attached to again."""
        asked_to_stop: float | None = None
        next_tick = 0.0
        begun = time.monotonic()
        while self._files.is_alive():
            now = time.monotonic()
            if now >= next_tick:
                tick(Waits(self._files.waits_for()) or last_line(end_of_output(self.home, size=8192)))
                next_tick = now + _TICK
            if asked_to_stop is None and stop():
                self._files.wanted.unlink(missing_ok=True)
                asked_to_stop = now
            if asked_to_stop is not None and now - asked_to_stop > _ANSWERS_WITHIN:
                self._end_what_is_left()
            self._pause(now - begun)
        if self._process is not None:
            self._process.wait()
        outcome = self._files.read_outcome()
        if outcome is None:
            self._end_what_is_left()
            outcome = self._without_supervisor(stopped=asked_to_stop is not None)
            try:
                self._files.write_outcome(outcome)
            except OSError as error:
                raise CannotGoOn(
                    f"{self.home}: how the execution ended cannot be written: {error.strerror}. "
                    "Make it writable, or free space there."
                ) from error
        return replace(outcome, gpus=self._gpus())

    def _gpus(self) -> tuple[str, ...] | None:
        """The models of those that it had, None where nobody tells."""
        job = self._files.read_spec().job
        visible = self._files.gpu.read_text(encoding="utf-8") if self._files.gpu.exists() else job.environment.get(VISIBLE)
        found = models(visible)
        return () if found and job.share and job.share.gpu_memory == 0 else found

    def _pause(self, waited: float) -> None:
        """For a moment that grows with `waited`, or until the supervisor ends, where it is a child of this process."""
        if self._process is None or self._process.poll() is not None or not hasattr(os, "pidfd_open"):
            time.sleep(min(_LOOK, 0.002 + waited / 20))
            return
        descriptor = os.pidfd_open(self._process.pid)
        try:
            select.select([descriptor], [], [], _TICK / 2)
        finally:
            os.close(descriptor)

    def _without_supervisor(self, stopped: bool) -> Outcome:
        """The outcome of an execution whose supervisor ended before it could write one."""
        complaints = self._files.complaints.read_bytes()
        if not self._files.log.exists():
            self._files.log.write_bytes(complaints)
        complaint = last_line(complaints)
        why = f"its supervisor ended without an outcome ({complaint or 'it was killed'})"
        # Where the machine was started anew, this clock can stand before the time that was written down.
        seconds = max(0.0, time.monotonic() - self._files.read_spec().submitted)
        if stopped:
            return Outcome("stopped", None, f"stopped by you; {why}", seconds, None, LOG, False)
        return Outcome("lost", None, why, seconds, None, LOG, False)

    def _end_what_is_left(self) -> None:
        spec = self._files.read_spec()
        mark = spec.mark
        # What it started must not be judged while it is being ended from here, and with the supervisor it would end at once.
        supervisors = process_tree.carrying(SUPERVISOR_MARK, mark)
        for each in supervisors:
            each.signal(signal.SIGSTOP)
        # bubblewrap, which waits for the command, would end it at once if it was asked too.
        waiting = process_tree.children(*(each.pid for each in supervisors)) if spec.parts.namespaces else set()
        process_tree.ask_to_end(lambda: self._left(mark, supervisors) - waiting, supervisor.GRACE, time.sleep)
        cgroup.end_left_over(spec.group)
        process_tree.kill(lambda: self._left(mark, supervisors), time.sleep)
        process_tree.kill(lambda: process_tree.carrying(SUPERVISOR_MARK, mark), time.sleep)
        remove_tmp(spec.tmp)
        if self._files.log.exists():
            join(self.home)

    @staticmethod
    def _left(mark: str, supervisors: set[process_tree.Process]) -> set[process_tree.Process]:
        """All but the supervisors: those with the mark, and what a supervisor that is stopped has inherited."""
        return process_tree.marked(EXECUTION_MARK, mark, *(each.pid for each in supervisors if each.runs)) - supervisors


def _close(processes: Mapping[Any, warm.WarmProcess]) -> None:
    for process in processes.values():
        process.close()


atexit.register(_close, _SUPERVISORS)


def _start_cold(files: Home, mark: str, lock: int, told: int) -> subprocess.Popen[bytes]:
    with files.complaints.open("wb") as complaints:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", supervisor.__name__, str(files.path)],
            cwd="/",
            env=supervisor_environment() | {SUPERVISOR_MARK: mark},
            stdin=told,
            stdout=complaints,
            stderr=complaints,
            start_new_session=True,
            pass_fds=(lock,),
        )


def absolute(job: Job) -> Job:
    return replace(
        job,
        folder=job.folder.resolve(),
        out_dir=job.out_dir.absolute(),
        scratch=job.scratch.resolve(),
        writable=tuple(path.absolute() for path in job.writable),
        readable=tuple(path.absolute() for path in job.readable),
        hidden=tuple(path.absolute() for path in job.hidden),
    )


def supervisor_environment() -> dict[str, str]:
    """What Python needs to start, and nothing that the experiment should not read from a process of the same user."""
    names = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH")
    package = Path(__file__).parents[3]
    search = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {name: os.environ[name] for name in names if name in os.environ} | {"PYTHONPATH": os.pathsep.join(search)}
