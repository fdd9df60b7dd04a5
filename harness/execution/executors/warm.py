"""Warm processes: one has imported what all jobs of a kind take long to import, and is forked for each of them.

A fork of it becomes the job's supervisor. Most jobs ask for no more: their command is executed from there. Of a job with a
`WarmStart` a fork of that becomes the job: confined, limited, found by its marks and ended with its tree like a process that
was started cold, with the environment, folder and arguments of its command. Nothing that a job did is there for the next.
The warm process itself never sees what a job is about; it ends with the harness, the supervisors go on.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ...campaign.protocols import Job
from .home import EXECUTION_MARK, SUPERVISOR_MARK, Home
from .sandbox import available, bubblewrap, namespaces
from .supervisor import Supervisor, supervise

_PACKAGE = str(Path(__file__).parents[3])
NO_MARK = "0" * 32
"""In the place of a mark, which has as many characters."""
_OF_THE_JOB = ("HARNESS_", "HOME", "TMPDIR")
"""Variables of the environment that libraries do not read when they are imported: they may differ from job to job."""
_SERVE = """\
import sys
sys.path.insert(0, sys.argv[2])
from harness.execution.executors.warm import serve
sys.path[0] = sys.argv[1]
serve(int(sys.argv[3]), sys.argv[4:])
"""


def kind(job: Job) -> tuple[str, ...]:
    """What jobs must share to be forked from one process; () where they share their supervisor's code alone."""
    if (
        job.warm is None
        or not job.warm.imports
        or job.secrets
        or job.command[0] != sys.executable
        or "-c" not in job.command
        or (available().namespaces and not namespaces.possible())
    ):
        return ()
    common = {name: value for name, value in job.environment.items() if not name.startswith(_OF_THE_JOB)}
    return (str(job.warm.folder), *job.warm.imports, *(f"{name}={value}" for name, value in sorted(common.items())))


class WarmProcess:
    """The harness's end of one."""

    def __init__(self, job: Job | None, environment: Mapping[str, str]) -> None:
        """Start one for jobs of the kind of `job`, or for supervisors alone, with this `environment`. Returns at once, and
        imports meanwhile. Raises OSError."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        start = job.warm if job else None
        where = [str(start.folder) if start else "", _PACKAGE, str(theirs.fileno()), *(start.imports if start else ())]
        # The marks have their place in the memory that /proc/PID/environ shows; forks write theirs there.
        marks = {SUPERVISOR_MARK: NO_MARK}
        flags: tuple[str, ...] = ("-P",)
        self._home: Path | None = None
        if job and start:
            flags = job.command[1 : job.command.index("-c")]
            # Libraries make folders in their home while they are imported. A job's is removed and made anew meanwhile.
            self._home = start.log.with_suffix(".home")
            self._home.mkdir(exist_ok=True)
            environment = job.environment | {"HOME": str(self._home), "TMPDIR": str(self._home)}
            marks[EXECUTION_MARK] = NO_MARK
        with theirs, open(start.log if start else os.devnull, "wb") as log:  # noqa: PTH123
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", _SERVE, *where],
                cwd="/",
                env={**environment, **marks},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )

    def start(self, home: Path, lock: int, told: int) -> bool:
        """Have the job in `home` started, with its lock, and its secrets in `told`; False where the process is no more."""
        if self.has_ended:
            return False
        with suppress(OSError):
            socket.send_fds(self._socket, [os.fsencode(home)], [lock, told])
            return True
        return False

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """End it, though it may still import. Jobs go on."""
        self._socket.close()
        if self._home is None:  # it ends by itself, after the last job that was sent to it
            self._process.wait()
            return
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)


def serve(descriptor: int, imports: list[str]) -> None:
    """What the warm process does: import, then fork for each message, until the harness has closed its end."""
    marks = Marks()
    for name in imports:
        try:
            module, _, function = name.partition(":")
            found = importlib.import_module(module)
            if function:
                getattr(found, function)()
        except Exception:  # the job will fail with a message of its own
            traceback.print_exc()
    bubblewrap.limits_shared_memory()  # tried once for all that are forked
    gc.freeze()  # what is there is never looked through again, so its pages stay shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
    # Without that of the list itself, which is closed by now: its number is given to the first lock.
    own = frozenset(int(each) for each in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{each}"))  # noqa: PTH208
    with socket.socket(fileno=descriptor) as end:
        while True:
            message, passed, _, _ = socket.recv_fds(end, 4096, 2)
            if not message:
                return
            if os.fork() == 0:
                end.close()
                _supervise(Path(os.fsdecode(message)), passed[1], marks, own - {descriptor}, forks=bool(imports))
            # The fork keeps the lock; held here too it would outlive the supervisor.
            for each in passed:
                os.close(each)


class Marks:
    """The marks in the environment that this process was started with, as others read it."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        libc.getenv.restype = ctypes.c_void_p
        # Where the kernel put them: nobody has set them since.
        self._places = {name: libc.getenv(name.encode()) for name in (EXECUTION_MARK, SUPERVISOR_MARK)}

    def set(self, name: str, mark: str) -> None:
        place = self._places[name]
        if place and len(mark) == len(NO_MARK):
            ctypes.memmove(place, mark.encode(), len(mark))


def _supervise(home: Path, told: int, marks: Marks, own: frozenset[int], *, forks: bool) -> None:
    """Be the supervisor of the job in `home`, with its secrets in `told`. `own` are the warm process's descriptors. The job
    `forks` from there, or its command is executed. Does not return."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        files = Home(home)
        complaints = os.open(files.complaints, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(complaints, 1)
        os.dup2(complaints, 2)
        spec = files.read_spec()
        marks.set(SUPERVISOR_MARK, spec.mark)
        with os.fdopen(told) as pipe:
            secrets = json.load(pipe)
        supervise(_WarmSupervisor(home, marks, own) if forks else Supervisor(home, secrets))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(status)


class _WarmSupervisor(Supervisor):
    """Forks itself where another starts a command."""

    executes = False

    def __init__(self, home: Path, marks: Marks, own: frozenset[int]) -> None:
        super().__init__(home, {})
        self._marks, self._own = marks, own

    def _launch(self, output: int, in_child: Callable[[], None]) -> int:
        pid = self.group.fork(goes_on=not self.sandbox.parts.namespaces)
        if pid == 0:
            self._become_the_job(output, in_child)
        return pid

    def _become_the_job(self, output: int, in_child: Callable[[], None]) -> None:
        """Does not return."""
        status = 1
        try:
            # The fork inherits this mark, and with it would be found and ended as the supervisor.
            self._marks.set(SUPERVISOR_MARK, NO_MARK)
            self._marks.set(EXECUTION_MARK, self.mark)
            self.begin_in_child(output, in_child)
            # The lock is among them: a job that held it would pass for a supervisor that still lives.
            for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208
                if descriptor > 2 and descriptor not in self._own:
                    with suppress(OSError):  # that of the list itself is closed by now
                        os.close(descriptor)
            status = _run(self.job, self.environment)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)


def _run(job: Job, environment: Mapping[str, str]) -> int:
    """Run the `-c` code of the job's command as the interpreter would. Returns the exit code."""
    at = job.command.index("-c")
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # of another TMPDIR
    sys.argv = ["-c", *job.command[at + 2 :]]
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    code = 0
    try:
        exec(compile(job.command[at + 1], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if code == 1 and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 0xFF
