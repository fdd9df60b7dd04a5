"""A quick executor, like any other: for tests whose subject is what comes of executions and not how they are executed.

One process of each worker has imported what small experiments import, and is forked for each execution, which saves the start
of a Python, of a supervisor and of a sandbox. Nothing confines it and no limit holds it; what could reach its limit of time is
executed by the executor of this machine. Executions as they are:
`test_executor`, and all that does not ask for the fixture `quick`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from harness.campaign.protocols import Execution, Job, Outcome
from harness.execution.executors.home import LOG, Home
from harness.execution.executors.local import LocalExecutor
from harness.execution.executors.output import end_of_output, last_error, last_line
from harness.execution.executors.sandbox import available

QUICK = "tests.quick_executor:QuickExecutor"
QUICK_WITH_TORCH = "tests.quick_executor:QuickExecutorWithTorch"
"""For the shipped experiment and its scorer, of whose time the most goes to importing torch."""
START = "import sys; sys.path.insert(0, sys.argv[1]); from tests.quick_executor import serve; serve(int(sys.argv[2]), *sys.argv[3:])"
REACHED = 60.0
"""Seconds that no test waits for."""


class QuickExecutor:
    imported: tuple[str, ...] = ()
    """What is imported before the first execution, and no part of an experiment."""

    def __init__(self) -> None:
        self._local = LocalExecutor()

    def submit(self, job: Job, home: Path) -> Execution:
        if job.limits.time is not None and job.limits.time < REACHED:
            return self._local.submit(job, home)
        tmp = job.scratch / "tmp"
        for folder in (home, tmp):
            folder.mkdir(parents=True)
        environment = job.environment | {"TMPDIR": str(tmp), "PWD": str(job.folder)} | dict(job.secrets)
        said = json.dumps([job.command, str(job.folder), environment]).encode()
        ended, end = os.pipe()
        with (home / LOG).open("wb") as log:
            socket.send_fds(_forked(*self.imported), [said], [log.fileno(), end])
        os.close(end)
        return QuickExecution(home, ended)

    def warm_up(self, job: Job) -> None:
        pass

    def attach(self, home: Path) -> Execution | None:
        if Home(home).spec.exists():
            return self._local.attach(home)
        return QuickExecution(home, -1) if Home(home).read_outcome() else None


class QuickExecutorWithTorch(QuickExecutor):
    imported = ("torch", "onnx", "onnxruntime", "safetensors.torch")


class QuickExecution:
    def __init__(self, home: Path, ended: int) -> None:
        self.home, self._ended, self._begun = home, ended, time.monotonic()

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        if outcome := Home(self.home).read_outcome():
            return outcome
        told, stopped = b"", False
        while told.count(b"\n") < 2:
            tick(last_line(end_of_output(self.home)))
            if select.select([self._ended], [], [], 0.05)[0]:
                told += os.read(self._ended, 100)
            if not stopped and stop() and b"\n" in told:
                stopped = True
                os.killpg(int(told.split()[0]), signal.SIGKILL)
        os.close(self._ended)
        code, seconds = told.split()[1:]
        outcome = self._outcome(int(code), float(seconds), stopped)
        Home(self.home).write_outcome(outcome)
        return outcome

    def _outcome(self, code: int, processor: float, stopped: bool) -> Outcome:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        error = last_error(end_of_output(self.home))
        why = how if code == 0 else f"{how}: {error}" if error else f"{how}, no output"
        ended: Any = "stopped" if stopped else "ok" if code == 0 else "killed" if code < 0 else "crashed"
        seconds = time.monotonic() - self._begun
        parts = available()  # of which it is said that they held
        return Outcome(
            ended, code, why, seconds, 10_000_000, LOG, parts.confined, parts.not_guaranteed, processor_seconds=processor
        )


@cache
def _forked(*imported: str) -> socket.socket:
    """The harness's end of the process that is forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        root, number = Path(__file__).parents[1], theirs.fileno()
        command = [sys.executable, "-c", START, str(root), str(number), *imported]
        process = subprocess.Popen(command, cwd="/", pass_fds=(number,))

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve(descriptor: int, *imported: str) -> None:
    for module in imported:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as end:
        while True:
            said, passed, _, _ = socket.recv_fds(end, 1 << 20, 2)
            if not said:
                return
            if os.fork() == 0:
                end.close()
                _watch(*json.loads(said), *passed)
            for each in passed:
                os.close(each)


def _watch(command: list[str], folder: str, environment: dict[str, str], output: int, told: int) -> None:
    """Have the command executed, and say its process id and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (child := os.fork()) == 0:
        os.close(told)
        _execute(command, folder, environment, output)
    os.write(told, b"%d\n" % child)
    _, status, used = os.wait4(child, 0)
    with suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    os.write(told, b"%d %.3f\n" % (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime))
    os._exit(0)


def _execute(command: list[str], folder: str, environment: dict[str, str], output: int) -> None:
    code: Any = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        os.environ.clear()
        os.environ.update(environment)
        if command[0] != sys.executable or not (command[1] == "-m" or command[1].endswith(".py")):
            os.execvp(command[0], command)
        sys.argv = command[1:]
        sys.path[:] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
        with suppress(ImportError):
            __import__("sitecustomize")
        code = _run(command[1:])
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _run(arguments: list[str]) -> int:
    """The exit code that Python would have."""
    script = arguments[0]
    try:
        if script == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        print(ending.code, file=sys.stderr)
        return 1
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != script:
            trace = trace.tb_next
        sys.stdout.flush()
        traceback.print_exception(error.with_traceback(trace))
        return 1
    return 0
