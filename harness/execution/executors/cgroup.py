"""A control group (cgroup v2) for each execution, below the harness's own, where this user may make one there.

The kernel then knows what belongs to an execution, ends all of it at once, and where it controls these counts its memory and
holds the number of its processes. Never elsewhere: who ends a job of Slurm's, a container or a session ends all that is in
its group. Imports nothing heavy: each supervisor starts with this.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import struct
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

from .process_tree import Process, descendants, still_there

FORCED = "HARNESS_CGROUP"
"""`0` has none used, in tests and measurements."""
_CONTROLLERS = ("memory", "pids")
_OWN = "harness.own"
"""What this process goes into where its group is to have controllers: a group has processes, or groups with controllers."""
_PREFIX = "harness-"
_LIST, _KILL = "cgroup.procs", "cgroup.kill"
_TASKS = 4
"""Tasks for each process that is allowed: the kernel counts threads too."""
_ENDS_WITHIN, _LOCKED_WITHIN = 2.0, 2.0
_CLONE3, _INTO_GROUP = 435, 0x200000000  # from unistd.h (the same on every architecture) and linux/sched.h
_SIGCHLD = 17


class Group:
    """That of one execution; without a folder there is none."""

    def __init__(self, folder: Path | None, processes: int | None = None) -> None:
        """At most so many `processes` at once, and their threads."""
        self._folder, self._lock, self._moves = folder, -1, False
        if folder is None:
            return
        try:
            folder.mkdir()
            self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # until this process has ended: a group without it is left over
            if processes is not None and (folder / "pids.max").exists():
                (folder / "pids.max").write_text(str(processes * _TASKS))
        except OSError:
            self.remove()

    def __bool__(self) -> bool:
        return self._folder is not None

    def fork(self, *, goes_on: bool = False) -> int:
        """As `os.fork`, into the group. To move a process later takes the kernel some 15 ms. One that `goes_on`, and neither
        executes anything nor forks, is moved: of a process that it did not fork the C library knows another number."""
        if self._folder is None:
            return os.fork()
        pid = -1 if goes_on else _clone_into(self._lock)
        self._moves = pid < 0
        if self._moves:  # also where a filter of a container refuses it
            pid = os.fork()
            if pid == 0:
                with suppress(OSError):
                    (self._folder / _LIST).write_text("0")
        return pid

    def holds(self, pid: int) -> bool:
        """Whether it does. What could not be moved would be in no look, so then there is no group."""
        if self._folder and self._moves and f"/{self._folder.name}\n" not in _read(Path(f"/proc/{pid}/cgroup")):
            self.remove()
        return bool(self)

    @property
    def processes(self) -> set[Process]:
        return still_there(map(int, _read(self._folder / _LIST).split())) if self._folder else set()

    @property
    def memory(self) -> int | None:
        """Bytes, what is swapped out included and pages of files not; None where the kernel does not count them."""
        statistics = _read(self._folder / "memory.stat") if self._folder else ""
        if not statistics:
            return None
        assert self._folder
        held = sum(map(int, re.findall(r"^(?:anon|shmem) (\d+)$", statistics, re.M)))
        elsewhere = (self._folder / "memory.swap.current", *self._folder.glob("hugetlb.*.current"))
        return held + sum(int(_read(path) or 0) for path in elsewhere)

    @property
    def refused(self) -> bool:
        """Whether a process or thread was not started, because there were too many."""
        return bool(self._folder and re.search(r"^max [1-9]", _read(self._folder / "pids.events"), re.M))

    def end(self) -> bool:
        """End all processes. Whether the kernel does it; they may go on for a moment."""
        if self._folder is None:
            return False
        try:
            (self._folder / _KILL).write_text("1")
        except OSError:  # before Linux 5.14
            return False
        return True

    def remove(self) -> None:
        """Of processes that have ended."""
        if self._folder is not None:
            _remove(self._folder)
        if self._lock >= 0:
            os.close(self._lock)
        self._folder, self._lock = None, -1


def end_left_over(folder: Path | None) -> None:
    """End what is in the group of an execution without a supervisor, and remove it."""
    if folder is None or not folder.is_dir():
        return
    with suppress(OSError):
        (folder / _KILL).write_text("1")
        until = time.monotonic() + _ENDS_WITHIN
        while "populated 1" in _read(folder / "cgroup.events") and time.monotonic() < until:
            time.sleep(0.01)
    _remove(folder)


def place(mark: str) -> Path | None:
    """Where the execution with this mark has its group; None where there can be none."""
    above = available()
    return above / f"{_PREFIX}{mark}" if above else None


@cache
def available() -> Path | None:
    """The folder of groups below this process's own, None where it may make none. What earlier executions left is removed.

    Where nobody but this process and what it started is in its group, they go into one below it, so that the kernel gives
    the others its controllers.
    """
    above = _own()
    if above is not None and above.name == _OWN:
        above = above.parent
    if above is None or os.environ.get(FORCED) == "0":
        return None
    if not all(os.access(each, os.W_OK) for each in (above, above / _LIST)):
        return None
    for folder in above.glob(f"{_PREFIX}*"):
        if _is_left_over(folder):
            end_left_over(folder)
    tried = Group(above / f"{_PREFIX}{uuid.uuid4().hex}")
    possible = tried.end()
    tried.remove()
    if not possible:
        return None
    with suppress(OSError):
        _have_controllers(above)
    return above


def sentence() -> str:
    """How limits are held: the same in `doctor`, record, report and paper."""
    above = available()
    if above is None:
        return "Limits are enforced by sampling the processes, not by a cgroup"
    held = [name for name in _CONTROLLERS if name in _read(above / "cgroup.subtree_control").split()]
    counts = f", which counts {' and '.join(held)}" if held else ""
    return f"Each execution is in a cgroup of its own{counts}, and ended by it"


def _own() -> Path | None:
    """The folder of this process's group."""
    try:
        path = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        mounts = re.findall(r"^\d+ \d+ \S+ (\S+) (\S+) .* - cgroup2 ", Path("/proc/self/mountinfo").read_text(), re.M)
    except (OSError, StopIteration):
        return None
    for root, target in mounts:
        if ".." not in path and (path == root or path.startswith(f"{root.rstrip('/')}/")):
            return Path(target, path[len(root.rstrip("/")) :].lstrip("/"))
    return None


def _have_controllers(above: Path) -> None:
    """Where the kernel has them and nobody else is there. Raises OSError."""
    there = set(_read(above / "cgroup.controllers").split())
    wanted = [name for name in _CONTROLLERS if name in there - set(_read(above / "cgroup.subtree_control").split())]
    # The root of the machine has no such file. It is not the harness's.
    if not wanted or not (above / "cgroup.type").exists():
        return
    for _ in range(10):  # what is started meanwhile is there as well
        inside = {int(pid) for pid in _read(above / _LIST).split()}
        if not inside:
            break
        if not inside <= {os.getpid(), *(each.pid for each in descendants(os.getpid()))}:
            return
        (above / _OWN).mkdir(exist_ok=True)
        for pid in inside:
            with suppress(ProcessLookupError):
                (above / _OWN / _LIST).write_text(str(pid))
    for name in wanted:
        (above / "cgroup.subtree_control").write_text(f"+{name}")


def _is_left_over(folder: Path) -> bool:
    """Whether no supervisor has it. One that has just made it locks it in the next moment."""
    try:
        if time.time() - folder.stat().st_mtime < _LOCKED_WITHIN:
            return False
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _remove(folder: Path) -> None:
    """With groups in it that an execution without a sandbox made. What still ends stays until the next look."""
    for each, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(each).rmdir()


def _clone_into(group: int) -> int:
    """Fork into the group that this descriptor is of; -1 where the kernel refuses."""
    arguments = struct.pack("=11Q", _INTO_GROUP, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, group)
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None)  # which keep the interpreter to themselves meanwhile
    python.PyOS_BeforeFork()
    pid = int(libc.syscall(ctypes.c_long(_CLONE3), arguments, ctypes.c_size_t(len(arguments))))
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return pid


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
