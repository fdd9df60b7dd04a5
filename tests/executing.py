"""Jobs for the tests of the executor: real processes in folders of their own."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from harness.campaign.protocols import Job, Limits, Outcome
from harness.execution.executors.home import SUPERVISOR_MARK, Home
from harness.execution.executors.local import LocalExecution, LocalExecutor
from harness.execution.executors.process_tree import carrying
from tests.waiting import HANGS, until

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
READABLE = (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1])
"""What a job reads wherever the checkout lies: an execution has a /tmp of its own."""


class Workshop:
    """A working copy, a scratch folder and a home for one execution."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.folder = root / "copy"
        self.out_dir = self.folder / "run_1"
        self.scratch = root / "scratch"
        self.out_dir.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(exist_ok=True)

    def job(self, *command: str, readable: tuple[Path, ...] = (), **changes: Any) -> Job:
        limits = Limits(time=HANGS)
        job = Job(command, self.folder, self.out_dir, self.scratch, dict(ENVIRONMENT), limits)
        return replace(job, readable=(*READABLE, *readable), **changes)

    def submit(self, *command: str, **changes: Any) -> LocalExecution:
        return LocalExecutor().submit(self.job(*command, **changes), self.home)

    def run(self, *command: str, **changes: Any) -> Outcome:
        return wait(self.submit(*command, **changes))

    def submit_python(self, code: str, **changes: Any) -> LocalExecution:
        return self.submit(sys.executable, "-c", code, **changes)

    def run_python(self, code: str, **changes: Any) -> Outcome:
        return wait(self.submit_python(code, **changes))

    @property
    def log(self) -> bytes:
        return (self.home / "log.txt").read_bytes()

    def pids(self) -> list[int]:
        """The process ids that the job wrote, one a line, as they are outside of its namespace. They run."""
        inside = {_in_namespace(process): process.pid for process in self.running()}
        return [inside[int(pid)] for pid in (self.folder / "pids").read_text().split()]

    def running(self) -> list[psutil.Process]:
        """What runs in the working copy, whoever started it."""
        return running(self.folder)


def running(folder: Path) -> list[psutil.Process]:
    """What runs in a folder or below it, whoever started it."""

    def is_in(process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder)
        except (psutil.Error, OSError):
            return False

    return [process for process in psutil.process_iter() if is_in(process)]


def _in_namespace(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except FileNotFoundError:  # it has ended since, or this is no Linux
        return process.pid
    return int(next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")))


def wait(execution: LocalExecution) -> Outcome:
    return execution.wait(lambda line: None, lambda: False)


def runs(pid: int) -> bool:
    """Whether the process is there and not just a name that nobody has asked after yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def begun(workshop: Workshop) -> None:
    """Wait until the job has written its process ids, or whatever it writes there when it has begun."""
    pids = workshop.folder / "pids"
    until(lambda: pids.exists() and pids.read_text().endswith("\n"))


def supervisor_of(workshop: Workshop) -> psutil.Process:
    [supervisor] = carrying(SUPERVISOR_MARK, Home(workshop.home).read_spec().mark)
    return psutil.Process(supervisor.pid)


def group_of(workshop: Workshop) -> Path:
    """The folder of the job's control group."""
    folder = Home(workshop.home).read_spec().group
    assert folder is not None
    return folder


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
