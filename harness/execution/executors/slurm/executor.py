"""Slurm as a place to execute: a job for each execution, found again by the execution's own folder."""

from __future__ import annotations

import shlex
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....campaign.errors import CannotGoOn
from ....campaign.protocols import Execution, Job, Outcome, Waits
from ..home import LOG, Spec
from ..local import LocalExecutor, absolute, supervisor_environment
from ..output import end_of_output, last_line
from ..sandbox import available
from . import job as in_job
from .commands import NoAnswer, Refused, ask
from .home import SlurmHome
from .queue import QUEUE, Answer, QueuedJob, from_accounting
from .settings import SlurmSettings

_LOOK = 0.1
_TICK = 0.25
_ANSWERS_WITHIN = 20.0
"""Seconds in which a supervisor that was asked to stop has ended the tree; then Slurm is asked to end it."""
_PUT_BACK = "Slurm put its job back into the queue"
_NO_NODE_BEGAN = 10.0
"""Seconds in which the shared file system shows what a job that has ended had begun."""


class SlurmExecutor:
    """Submits jobs. What is to be executed where the harness runs (`settings.jobs`), or gets a key, is executed there.

    The keyword arguments are the keys of `SlurmSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = SlurmSettings.of(settings)
        self._here = LocalExecutor()
        self._failed_nodes: dict[str, None] = {}

    def submit(self, job: Job, home: Path) -> Execution:
        """See the protocol. Raises CannotGoOn where `home` exists or cannot be written, or Slurm refuses the job; where
        Slurm does not answer, the job is submitted while it is waited for."""
        # A key is written nowhere, and the only way to a job is a file.
        if job.part not in self.settings.jobs or job.secrets:
            return self._here.submit(job, home)
        files = SlurmHome(home.absolute(), uuid.uuid4().hex)
        try:
            files.path.mkdir(parents=True)
            job.scratch.mkdir(parents=True, exist_ok=True)
            files.wanted.touch()
            files.script.write_text(_script(files), encoding="utf-8")
            files.offer()
            # Last: what has a spec is found again, and submitted where it was not yet.
            files.write_spec(Spec(absolute(job), files.mark, time.monotonic(), available(), job.scratch / "tmp"))
        except OSError as error:
            raise CannotGoOn(
                f"{error.filename or home}: the execution cannot be started: {error.strerror}. "
                "It needs a new folder there, and space."
            ) from error
        execution = SlurmExecution(files, self)
        execution.submit()
        return execution

    def warm_up(self, job: Job) -> None:
        """See the protocol: nothing is kept warm on other machines."""
        if job.part not in self.settings.jobs:
            self._here.warm_up(job)

    def attach(self, home: Path) -> Execution | None:
        """See the protocol. An execution that was not submitted yet is submitted while it is waited for."""
        files = SlurmHome.found(home.absolute())
        return SlurmExecution(files, self) if files else self._here.attach(home)

    def options(self, files: SlurmHome, job: Job) -> list[str]:
        """The options of `sbatch`. Those that the harness rests on come last, where nothing replaces them."""
        # A job that Slurm began again would execute in a folder that was used: the harness submits it again instead.
        own = [f"--job-name={files.name}", f"--output={files.complaints}", "--no-requeue", "--export=ALL", "--chdir=/"]
        own.append(f"--comment={files.path}")  # for a person: the name says nothing
        away = [f"--exclude={','.join(self._failed_nodes)}"] if self._failed_nodes else []
        return ["--parsable", *self.settings.options(job.limits, job.share), *away, *own]

    def avoid(self, node: str) -> None:
        """Submit nothing more to a node that failed."""
        if node:
            self._failed_nodes[node] = None


class SlurmExecution:
    """One execution, of this process or of an earlier one."""

    def __init__(self, files: SlurmHome, executor: SlurmExecutor) -> None:
        self.home = files.path
        self._files = files
        self._executor = executor
        self._settings = executor.settings
        self._submitted = float("-inf")
        """When, by this process's monotonic clock."""
        self._silence = ""
        """Why Slurm did not take the job when it was submitted last."""
        self._since: dict[str, float] = {}
        self._beat = (0.0, float("-inf"))
        """The last heartbeat, and when it was first seen."""

    def submit(self) -> None:
        """Submit the job, where Slurm answers. Raises CannotGoOn where it refuses it."""
        files, job = self._files, self._files.read_spec().job
        command = ["sbatch", *self._executor.options(files, job), str(files.script)]
        self._submitted = time.monotonic()
        try:
            said = ask(command, more={"PYTHONPATH": supervisor_environment()["PYTHONPATH"]})
        except NoAnswer as error:
            # It may have been taken all the same: two jobs for one execution do no harm, for one of them claims it.
            self._silence = str(error)
            return
        except Refused as error:
            files.give_up()
            raise CannotGoOn(
                f"Slurm refuses the job: {error}. `harness doctor --executor slurm` looks at each of its settings."
            ) from error
        self._silence = ""
        files.number.write_text(said.strip().partition(";")[0], encoding="ascii")
        self._submitted = time.monotonic()

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        """See the protocol."""
        QUEUE.watch(self._files.name)
        try:
            return self._wait(tick, stop)
        finally:
            QUEUE.forget(self._files.name)

    def _wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        asked_to_stop: float | None = None
        next_tick = 0.0
        while True:
            now = time.monotonic()
            written = self._files.read_outcome()
            answer = QUEUE.look(self._files.name, self._settings.poll)
            if written and (ended := self._as_slurm_knows(written, answer)):
                return self._on_its_node(ended)
            if asked_to_stop is None and stop():
                asked_to_stop = now
                if self._cancel():
                    return self._write(self._ended("stopped", "stopped by you before it began"))
            if asked_to_stop is not None and now - asked_to_stop > _ANSWERS_WITHIN:
                self._scancel()
                asked_to_stop = now
            if not written and (outcome := self._without_outcome(answer, asked_to_stop is not None)):
                return self._write(outcome)
            if now >= next_tick:
                waits = self._waits_for(answer)
                self._files.say_waiting(waits)
                tick(waits or last_line(end_of_output(self.home, size=8192)))
                next_tick = now + _TICK
            time.sleep(_LOOK)

    def _as_slurm_knows(self, outcome: Outcome, answer: Answer) -> Outcome | None:
        """The outcome that was written, with what Slurm knows better: who ends a job ends the supervisor in it too. None
        while Slurm may still say it."""
        if outcome.ended not in ("lost", "killed"):
            return outcome
        lasts = self._lasts("written", True)
        job = answer.job if answer.asked > self._since["written"] else None
        if job is not None and job.waits:
            self._scancel()
            return replace(outcome, ended="preempted", why=_PUT_BACK)
        if job is None or not job.has_ended:
            if not lasts:
                return None
            job = from_accounting(self._files.name)
        return self._judged(job, outcome) if job else outcome

    def _without_outcome(self, answer: Answer, stopping: bool) -> Outcome | None:
        """How an execution ended that has written nothing: what Slurm says of its job, once that has lasted. None while it
        goes on, or may."""
        files, job = self._files, answer.job
        is_fresh = answer.asked > self._submitted
        is_silent = self._is_silent()
        is_put_back = is_silent and files.is_claimed() and job is not None and job.waits
        if files.put_back.exists() or self._lasts("put back", is_put_back):
            self._scancel()
            return self._ended("preempted", _PUT_BACK)
        if not files.is_claimed():
            # Never submitted, or forgotten by Slurm before it began: for one that it knows of, that has to last.
            known = files.number.exists()
            if is_fresh and job is None and not stopping and (not known or self._lasts("unknown", True)):
                self._since.clear()
                self.submit()
            elif job is not None:
                self._since.pop("unknown", None)
            over = is_fresh and job is not None and job.has_ended
            if self._lasts("never began", over, min(_NO_NODE_BEGAN, self._settings.gone)) and files.give_up():
                assert job
                return self._never_began(job)
            return None
        if not self._lasts("over", is_fresh and (job is None or job.has_ended)) or not is_silent:
            return None
        job = job or from_accounting(files.name)
        complaint = files.complaint()
        why = "Slurm no longer knows its job, and the job gives no sign of life"
        if job:
            why = f"its job ended without an outcome: Slurm says {job.state}"
        lost = self._ended("stopped" if stopping else "lost", f"{why} ({complaint})" if complaint else why)
        return self._judged(job, lost) if job and not stopping else lost

    def _judged(self, job: QueuedJob, outcome: Outcome) -> Outcome:
        """How an execution ended whose job ended like this."""
        where = f"Slurm's job {job.number}" + (f" on {job.node}" if job.node else "")
        if job.state == "PREEMPTED":
            return replace(outcome, ended="preempted", why=f"{where} was preempted")
        if job.state in ("NODE_FAIL", "BOOT_FAIL"):
            self._executor.avoid(job.node)
            return replace(outcome, ended="lost", why=f"{where}: the node failed")
        if job.state == "TIMEOUT":
            return replace(outcome, ended="timed_out", why=f"{where} was ended at its time limit")
        if job.state == "OUT_OF_MEMORY":
            return replace(outcome, ended="out_of_memory", why=f"{where} was ended for lack of memory ({outcome.why})")
        if job.state == "CANCELLED":
            return replace(outcome, ended="lost", why=f"{where} was cancelled")
        return outcome

    def _never_began(self, job: QueuedJob) -> Outcome:
        """How it ended where no supervisor began. Raises CannotGoOn where none ever would."""
        if job.state in ("FAILED", "COMPLETED"):
            raise CannotGoOn(
                f"Slurm's job {job.number} on {job.node or 'its node'} ended without executing anything: "
                f"{self._files.complaint() or job.state}. Python ({sys.executable}), the harness and the folder of "
                f"campaigns ({self.home}) must lie on a file system that the nodes share, at the same paths."
            )
        return self._judged(job, self._ended("lost", f"Slurm ended job {job.number} before it began: {job.state}"))

    def _cancel(self) -> bool:
        """Have it end; whether it never begins."""
        if self._files.give_up():
            self._scancel()
            return True
        self._files.wanted.unlink(missing_ok=True)
        return False

    def _scancel(self) -> None:
        with suppress(NoAnswer, Refused):  # a job that begins later finds that nobody wants it
            ask(["scancel", f"--name={self._files.name}"])

    def _is_silent(self) -> bool:
        """Whether no heartbeat was heard for a while, by this machine's clock: those of others may be wrong."""
        last = self._files.last_beat()
        if last != self._beat[0]:
            self._beat = (last, time.monotonic())
        return time.monotonic() - self._beat[1] > self._settings.gone

    def _lasts(self, what: str, is_so: bool, seconds: float | None = None) -> bool:
        """Whether `is_so` each time that it was asked for so many seconds."""
        if not is_so:
            self._since.pop(what, None)
            return False
        since = self._since.setdefault(what, time.monotonic())
        return time.monotonic() - since >= (self._settings.gone if seconds is None else seconds)

    def _waits_for(self, answer: Answer) -> Waits:
        """For what it waits, in a line; empty once it has begun."""
        job = answer.job
        if self._files.is_claimed():
            return Waits()
        number = f" (job {job.number})" if job else ""
        if job is None and (silence := answer.silence or self._silence):
            return Waits(f"Slurm accepts no job at the moment: {silence}")
        if job is not None and job.waits:
            return Waits(f"waits in Slurm's queue: {job.reason or job.state}{number}")
        return Waits(f"submitted to Slurm{number}")

    def _ended(self, ended: Any, why: str) -> Outcome:
        return Outcome(ended, None, why, self._files.seconds(), None, LOG, False)

    def _write(self, outcome: Outcome) -> Outcome:
        """Keep an outcome that no supervisor has written."""
        self._files.write_outcome(outcome)
        return self._on_its_node(outcome)

    def _on_its_node(self, outcome: Outcome) -> Outcome:
        if not self._files.log.exists():
            self._files.log.write_text(self._files.complaint(), encoding="utf-8")
        return replace(outcome, gpus=tuple(self._files.read_node().get("gpus", ())))


def _script(files: SlurmHome) -> str:
    command = [sys.executable, "-P", "-m", in_job.__name__, str(files.path), files.mark]
    return f"#!/bin/sh\nexec {shlex.join(command)}\n"
