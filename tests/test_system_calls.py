"""What Landlock does not govern, and a filter of system calls does: attacks of a real execution that has no namespaces."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.execution.executors.sandbox import available, seccomp

from .executing import Workshop

confined = pytest.mark.skipif(
    not available("landlock").confined or not seccomp.available(), reason="no Landlock or no filter of system calls here"
)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("HARNESS_SANDBOX", "landlock")
    return Workshop(tmp_path)


ATTACKS = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
def call(name, *arguments):
    numbers = {"sched_setattr": (314, 274), "ioprio_set": (251, 30), "add_key": (248, 217), "keyctl": (250, 219)}
    if libc.syscall(ctypes.c_long(numbers[name][0 if X86 else 1]), *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
idle = os.sched_param(0)
for other in (int(os.environ["BYSTANDER"]), os.getppid()):
    for name, attack in {
        "prlimit": lambda: resource.prlimit(other, resource.RLIMIT_CPU, (0, 0)),
        "prlimit of files": lambda: resource.prlimit(other, resource.RLIMIT_NOFILE, (0, 0)),
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, other, 19),
        "nice of a user": lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19),
        "nice of this user": lambda: os.setpriority(os.PRIO_USER, 0, 19),
        "cores": lambda: os.sched_setaffinity(other, {0}),
        "idle": lambda: os.sched_setscheduler(other, os.SCHED_IDLE, idle),
        "idle, by parameters": lambda: os.sched_setparam(other, idle),
        "idle, by attributes": lambda: call("sched_setattr", other, (ctypes.c_uint32 * 12)(48, 5), 0),
        "disk": lambda: call("ioprio_set", 1, other, 3 << 13),
        "a key for the next run": lambda: call("add_key", b"user", b"harness", b"state", 5, -4),
        "a key of the last run": lambda: call("keyctl", 0, -4, 0),
        "signal": lambda: os.kill(other, 9),
        "memory": lambda: open(f"/proc/{other}/mem", "rb"),
    }.items():
        try:
            attack()
            print("succeeded:", name)
        except PermissionError:
            pass
"""

HONEST = """
import os, resource
resource.prlimit(0, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0))
os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
os.nice(1)
child = os.fork()
if child == 0:
    import time
    time.sleep(600)
os.sched_setaffinity(child, os.sched_getaffinity(0))
os.setpriority(os.PRIO_PROCESS, child, os.getpriority(os.PRIO_PROCESS, child) + 1)
os.kill(child, 9)
os.wait()
print("done")
"""


@confined
def test_no_other_process_is_limited_slowed_or_ended_and_no_key_is_left(workshop: Workshop) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        environment = workshop.job("x").environment | {"BYSTANDER": str(bystander.pid)}
        outcome = workshop.run_python(ATTACKS, environment=environment)
        assert (outcome.ended, workshop.log) == ("ok", b"")
        assert bystander.poll() is None
        assert os.getpriority(os.PRIO_PROCESS, bystander.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        bystander.kill()
        bystander.wait()


@confined
def test_its_own_processes_may_be_limited_slowed_and_moved(workshop: Workshop) -> None:
    outcome = workshop.run_python(HONEST)
    assert (outcome.ended, workshop.log) == ("ok", b"done\n")


@confined
def test_no_device_is_made_and_no_capability_to_change_the_machine_is_left_even_to_root(workshop: Workshop) -> None:
    code = """
import os, stat
for kind in (stat.S_IFCHR, stat.S_IFBLK):
    for folder in (".", "/dev/shm"):
        try:
            os.mknod(f"{folder}/device", kind | 0o666, os.makedev(1, 11))
            print("made")
        except PermissionError:
            pass
effective = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapBnd" if os.getuid() else "CapEff"))
print([each for each in range(41) if int(effective, 16) >> each & 1 and each not in (1, 14) and not os.getuid()])
"""
    assert workshop.run_python(code).ended == "ok"
    assert workshop.log == b"[]\n"
