"""The process that stays with one execution: starts it, keeps its output, holds it to its limits, ends its whole tree.

In a session of its own, so that it outlives the harness: forked from a warm process (`warm.py`), or started as `python -m
harness.execution.executors.supervisor HOME`. It writes the outcome when nothing of the execution runs any more. It is one
thread that waits for output, the end of a child, or the next look at the limits (`limits.py`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import select
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import FrameType

from ...campaign.files import sync
from ...campaign.protocols import Ended, Outcome
from . import shared_memory
from .cgroup import Group
from .gpu import VISIBLE, make_devices, mps
from .home import EXECUTION_MARK, LOG, Home
from .limits import Broken, LimitWatch, size_in_words
from .output import OutputWriter, end_of_output, last_error
from .process_tree import (
    Process,
    ask_to_end,
    become_subreaper,
    descendants,
    die_with_parent,
    kill,
    kill_children,
    marked,
    own_children,
)
from .sandbox import MountPlan, Sandbox, remove_tmp
from .shared_files import SharedFiles
from .slots import Slot, take

GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""
_TICK = 0.1
_READ = 1 << 16
_PIPE_SIZE = 1 << 20
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_SIGNALS = {int(number) for number in signal.Signals}
_KERNEL_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the second is how a shell passes it on
_OUT_OF_MEMORY = re.compile(
    r"\bMemoryError\b|\bOutOfMemoryError\b|out of memory|can't allocate memory|not enough memory|std::bad_alloc", re.I
)


_GROWS = ("out_of_memory", "too_much_output", "too_much_disk", "too_many_processes")


class Supervisor:
    """Takes the execution in `home` from its spec to its outcome."""

    executes = True
    """Whether the command is executed, and not forked."""

    def __init__(self, home: Path, secrets: Mapping[str, str]) -> None:
        """`secrets` are the job's, which its spec has not."""
        self.home = Home(home)
        spec = self.home.read_spec()
        self.job = job = replace(spec.job, secrets=secrets)
        self.mark = spec.mark
        self.tmp = spec.tmp
        self.machine = spec.machine
        self.slot: Slot | None = None
        make_devices()
        daemon = mps(job.environment)
        own = (job.folder, job.scratch, *job.writable, *([daemon] if daemon else []))
        readable = (*job.readable, *([job.warm.folder] if job.warm else []))
        plan = MountPlan(job.folder, own, readable, job.hidden, spec.tmp, job.network, shared_memory.size(job.limits.memory))
        self.sandbox = Sandbox(plan, spec.parts, executes=self.executes)
        self.output = OutputWriter(home)
        self.shared = None if spec.parts.namespaces else SharedFiles()
        self._group_folder, self.group = spec.group, Group(None)
        self.limits = LimitWatch(job, self.home, spec.tmp, self.output, self.shared)
        self.command = -1
        self.exit_code: int | None = None
        self.confined = False
        self._status = -1
        self.asked_to_end = ""
        self._pipe = -1
        self._childless = False
        # A select that a signal interrupts goes on (PEP 475), so each signal also writes to a pipe that select watches.
        # SIGCHLD needs a handler, though it does nothing: without one of Python's nothing is written.
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def run(self) -> Outcome:
        # Before anything is started: only those whose parents end from now on are inherited.
        become_subreaper()
        if not self._has_slot():
            self.output.close()
            remove_tmp(self.tmp)
            ended: Ended = "lost" if self.asked_to_end else "stopped"
            return Outcome(ended, None, "it was ended while it waited for its share of the machine", 0.0, None, LOG, False)
        kernel_kills = _kernel_kills()
        started = time.monotonic()
        try:
            self._start()
        except (OSError, ValueError) as error:
            self.output.close()
            self.group.remove()
            remove_tmp(self.tmp)
            return Outcome("not_started", None, self._not_started(error), 0.0, None, LOG, False)
        broken = self._watch(started)
        seconds = time.monotonic() - started
        # What grows without bounds is not given time to go on.
        at_once = broken is not None and broken.ended in _GROWS
        if not at_once:
            ask_to_end(self._inside, GRACE, self._pump)
        self.group.end()
        left = kill(self._still_to_end, self._chase) and len(self._processes())
        self._bury()
        # What is in the pipe, and no more: a process that got away could go on writing for ever.
        for _ in range(_PIPE_SIZE // _READ):
            if not self._read():
                break
        self.output.close()
        self.group.remove()
        remove_tmp(self.tmp)
        if self.shared:
            self.shared.remove()
        kernel_killed = _kernel_kills() > kernel_kills
        broken = self._never_began() or broken or self._judge(kernel_killed)
        if self.asked_to_end and broken.ended in ("killed", "crashed"):
            # Who ends a session, or a job of a cluster, ends all that is in it, and the command may be first.
            broken = self._asked()
        why = broken.why
        if left:
            why += f"; {left} of its processes hang in the kernel and could not be ended"
        if self.output.fault:
            why += f"; its output could not be kept: {self.output.fault}"
        peak = max(self.limits.peak_memory, _peak_of_children())
        code = None if broken.ended == "not_started" else self.exit_code
        parts, processor = self.sandbox.parts.not_guaranteed, self.limits.processor.seconds
        device = seconds if processor is None and self.slot and self.slot.has_gpu_alone else None
        return Outcome(broken.ended, code, why, seconds, peak or None, LOG, self.confined, parts, processor, device)

    def _has_slot(self) -> bool:
        """Wait for the execution's share of the machine. Whether it has it, or takes none."""
        if self.machine is None or self.job.share is None:
            return True

        def goes_on() -> bool:
            return self.home.wanted.exists() and not self.asked_to_end

        self.slot = take(self.machine, self.job.share, goes_on, self.home.say_waiting)
        if self.slot and self.slot.gpu:
            self.home.gpu.write_text(self.slot.gpu, encoding="utf-8")
        return self.slot is not None

    def _start(self) -> None:
        job = self.job
        told, tell = os.pipe()
        supervisor = os.getpid()
        file_size = _within_hard_limit(resource.RLIMIT_FSIZE, job.limits.disk)

        def between_fork_and_exec() -> None:
            die_with_parent(signal.SIGKILL)
            # The supervisor may have ended just before, and then no signal would ever be sent.
            if os.getppid() != supervisor:
                os._exit(1)
            if self.slot and self.slot.cores:
                os.sched_setaffinity(0, self.slot.cores)
            # A core file can be as large as all memory of the process, and nobody reads it.
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            # The looks at the disk are a second or more apart; in between the kernel holds each single file to the limit.
            if file_size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
            if self.sandbox.enter():
                os.write(tell, b"1")

        self.group = Group(self._group_folder, job.limits.processes)
        self._pipe, output = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            self.command = self._launch(output, between_fork_and_exec)
        finally:
            os.close(output)
            os.close(tell)
        # The child's end of the pipe is closed before the job's own code runs, so this read ends in any case.
        self.confined = os.read(told, 1) == b"1" and self.sandbox.parts.confined
        os.close(told)
        self.group.holds(self.command)

    def _launch(self, output: int, in_child: Callable[[], None]) -> int:
        """Start the command, which calls `in_child` first, with its output to `output`. Returns its process id."""
        self._status, status = os.pipe()
        fault, tell = os.pipe()
        refused = self.sandbox.refused
        command = self.sandbox.command(self.job.command, status, refused)
        passed = (status, *([] if refused is None else [refused]))
        pid = self.group.fork()
        if pid == 0:
            try:
                for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
                    signal.signal(number, signal.SIG_DFL)
                self.begin_in_child(output, in_child)
                for each in passed:
                    os.set_inheritable(each, self.sandbox.parts.namespaces)
                for last, following in pairwise(sorted((2, *passed, tell, 1 << 20))):
                    os.closerange(last + 1, following)
                os.execvpe(command[0], command, {**self.environment, **self.job.secrets})
            except BaseException as error:
                code, place = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
                os.write(tell, json.dumps([code, str(error), os.fsdecode(place or command[0])]).encode())
            finally:
                os._exit(255)
        for each in (*passed, tell):
            os.close(each)
        with os.fdopen(fault, "rb") as file:
            said = file.read()
        if said:
            os.waitpid(pid, 0)
            code, text, place = json.loads(said)
            raise OSError(code, os.strerror(code), place) if code else ValueError(text)
        return pid

    def begin_in_child(self, output: int, in_child: Callable[[], None]) -> None:
        """Be a child that is about to become the job."""
        # A signal to the job would be written to the supervisor's pipe.
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self.job.folder)
        in_child()

    @property
    def environment(self) -> dict[str, str]:
        """What the command is told, besides secrets."""
        own = {"TMPDIR": self.sandbox.tmp, "PWD": str(self.job.folder), EXECUTION_MARK: self.mark}
        gpu = {VISIBLE: self.slot.gpu} if self.slot and self.slot.gpu else {}
        return self.job.environment | own | gpu

    def _never_began(self) -> Broken | None:
        """bubblewrap tells how a command ended that it could execute."""
        if self._status < 0 or self.exit_code != 1 or not self.sandbox.parts.namespaces:
            return None
        with os.fdopen(self._status, "rb") as status:
            if b"exit-code" in status.read():
                return None
        why = last_error(end_of_output(self.home.path)).removeprefix("bwrap: ").removeprefix("execvp ")
        return Broken("not_started", self._not_started(OSError(why)))

    def _watch(self, started: float) -> Broken | None:
        """Wait until the command has ended by itself (None) or must be ended."""
        self.limits.begin(started, self.group, self._found)
        while self.exit_code is None:
            self._pump(_TICK)
            if self.exit_code is not None:
                break
            if self.asked_to_end:
                return self._asked()
            if broken := self.limits.broken():
                return broken
        return None

    def _asked(self) -> Broken:
        return Broken("lost", f"its supervisor was asked to end by {self.asked_to_end}")

    def _judge(self, kernel_killed: bool) -> Broken:
        """How the command ended that ended by itself."""
        code = self.exit_code
        if broken := self.limits.broken_at_the_end():
            return broken
        if code == 0:
            return Broken("ok", "exit code 0")
        assert code is not None
        output = end_of_output(self.home.path)
        error = last_error(output)
        how = f"{_signal_name(-code)}" if code < 0 else f"exit code {code}"
        # The counter is that of the whole machine, so it is believed only where the exit agrees with it.
        if kernel_killed and (code in _KERNEL_KILLED or b"signal: Killed" in output):
            return Broken("out_of_memory", f"the system ended it for lack of memory ({how})")
        if _OUT_OF_MEMORY.search(error):
            return Broken("out_of_memory", f"{how}: {error}")
        if self.job.limits.disk is not None and (code == -signal.SIGXFSZ or os.strerror(errno.EFBIG) in error):
            return Broken("too_much_disk", f"a file would have become larger than {size_in_words(self.job.limits.disk)}")
        if -code in _FROM_OUTSIDE:
            return Broken("killed", f"ended from outside by {how}")
        full = shared_memory.why_full(code, output.decode("utf-8", "replace"), self.sandbox.shared_memory)
        return Broken("crashed", "; ".join(filter(None, [f"{how}: {error}" if error else f"{how}, no output", full])))

    def _found(self) -> set[Process]:
        """Those of the execution. What is confined cannot leave its group."""
        return self.group.processes if self.group and self.confined else descendants(os.getpid())

    def _processes(self) -> set[Process]:
        self._reap()
        if self.group and self.confined:
            return self.group.processes
        # All processes of a namespace end with its first one, which this process would inherit.
        if "pid" in self.sandbox.parts.held:
            return set() if self._childless else descendants(os.getpid())
        # A subreaper without children has no descendants, which no list of processes can say as surely.
        return marked(EXECUTION_MARK, self.mark, *([] if self._childless else [os.getpid()]))

    def _still_to_end(self) -> set[Process]:
        """Those whose end is the end of all. With the first of a namespace, which becomes a child of this process where
        bubblewrap has ended, the kernel ends all others: nobody has to list thousands."""
        if "pid" not in self.sandbox.parts.held:
            return self._processes()
        self._reap()
        return set() if self._childless else own_children() or self._processes()

    def _inside(self) -> set[Process]:
        """Those that are asked to end: bubblewrap, which waits for the command, would end it at once if it was asked too."""
        found = self._processes()
        return {each for each in found if each.pid != self.command} if self.sandbox.parts.namespaces else found

    def _pump(self, timeout: float) -> None:
        """Take what output there is, for at most `timeout` seconds until there is some, and bury children."""
        waiting_for = [self._wake] if self._pipe < 0 else [self._wake, self._pipe]
        ready, _, _ = select.select(waiting_for, [], [], timeout)
        if self._wake in ready:
            os.read(self._wake, _READ)
        if self._pipe in ready:
            self._read()
        self._reap()

    def _chase(self, seconds: float) -> None:
        """Like `_pump`, and keeps up with children that fork and end all the time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._childless:
            kill_children()
            self._pump(0)

    def _read(self) -> bool:
        """Take at most _READ bytes of output; whether there may be more."""
        if self._pipe < 0:
            return False
        try:
            data = os.read(self._pipe, _READ)
        except BlockingIOError:
            return False
        if not data:
            os.close(self._pipe)
            self._pipe = -1
            return False
        self.limits.hear()
        self.output.write(data)
        return True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._childless = True
                return
            if pid == 0:
                self._childless = False
                return
            if pid == self.command:
                self.exit_code = self._exit_code(os.waitstatus_to_exitcode(status))

    def _bury(self) -> None:
        """Those that have ended, so that their time counts. The last threads of a process take a moment."""
        for _ in range(50):
            self._reap()
            if self._childless:
                break
            time.sleep(0.002)

    def _exit_code(self, code: int) -> int:
        """The command's own: bubblewrap ends with 128 and the number where a signal ended it."""
        number = code - 128
        return -number if self.sandbox.parts.namespaces and number in _SIGNALS else code

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_end = _signal_name(number)

    def _not_started(self, error: Exception) -> str:
        what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        return f"{what} (command: {shlex.join(self.job.command)}; folder: {self.job.folder})"


def _kernel_kills() -> int:
    """How often the kernel has ended a process for lack of memory since it was started; 0 where it does not say."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", counters, re.M)
    return int(found[1]) if found else 0


def _peak_of_children() -> int:
    """The most that one process had resident; the looks at memory miss what lives shorter than they are apart."""
    # Bytes on macOS, KiB on Linux (getrusage(2)).
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _within_hard_limit(which: int, wanted: int | None) -> int | None:
    _, hard = resource.getrlimit(which)
    if wanted is None or hard == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, hard)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def supervise(supervisor: Supervisor) -> None:
    """See an execution through, and write how it ended."""
    outcome = supervisor.run()
    sync(supervisor.home.path)  # an outcome must not outlive, in a power cut, what it is the outcome of
    # The lock is let go of when this process ends, so whoever finds it free finds the outcome.
    supervisor.home.write_outcome(outcome)


if __name__ == "__main__":
    supervise(Supervisor(Path(sys.argv[1]), json.load(sys.stdin)))
