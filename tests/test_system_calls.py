"""What Landlock does not govern, and a filter of system calls does: attacks of a real execution that has no namespaces."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.campaign.protocols import Limits
from harness.execution.executors.open_files import opened
from harness.execution.executors.sandbox import available, seccomp
from harness.execution.executors.shared_files import SharedFiles

from .conftest import OURS, SHARED_MEMORY
from .executing import Workshop
from .waiting import HANGS

confined = pytest.mark.skipif(
    not available("landlock").confined or not seccomp.available(), reason="no Landlock or no filter of system calls here"
)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("HARNESS_SANDBOX", "landlock")
    return Workshop(tmp_path)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Path]]:
    """In /dev/shm, which an execution shares here with everybody."""
    found = [SHARED_MEMORY / f"{OURS}-{tmp_path.name}-{number}" for number in range(3)]
    yield found
    for path in found:
        path.unlink(missing_ok=True)


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


KEEPS = """
import mmap, sys, time
closed, mapped = sys.argv[1:]
with open(closed, "wb") as file:
    file.write(bytes(120_000_000))
while True:  # one of the two at a time: that both are there only who remembers them knows
    with open(closed, "rb"):
        time.sleep(0.1)
    with open(mapped, "ab+") as file:
        file.truncate(60_000_000)
        memory = mmap.mmap(file.fileno(), 0)
    for place in range(0, len(memory), 4096):
        memory[place] = 1
    time.sleep(0.1)
    memory.close()
"""


@confined
def test_a_file_in_shared_memory_counts_when_it_is_closed_too_and_is_gone_afterwards(
    workshop: Workshop, places: list[Path]
) -> None:
    theirs, closed, mapped = places
    theirs.write_bytes(b"of another program")
    outcome = workshop.run("python3", "-c", KEEPS, str(closed), str(mapped), limits=Limits(time=HANGS, memory=150_000_000))
    assert outcome.ended == "out_of_memory", (outcome, workshop.log)
    assert theirs.read_bytes() == b"of another program"
    assert not closed.exists() and not mapped.exists()


@confined
def test_no_file_in_shared_memory_is_removed_that_another_program_made_or_holds(tmp_path: Path, places: list[Path]) -> None:
    before, theirs, mine = places
    before.touch()
    files = SharedFiles()
    for path in (theirs, mine):
        path.write_bytes(b"x")
    with mine.open() as one, before.open() as another, theirs.open() as held:
        assert sorted(files.look([], opened(["/proc/self"])).values())[-2:] == [4096, 4096]
        one.close(), another.close()
        files.remove()
        assert held.read() == "x"
    assert before.exists() and theirs.exists() and not mine.exists()


@confined
def test_a_memory_file_that_no_process_maps_counts(workshop: Workshop) -> None:
    code = "import os, time; f = os.memfd_create('x')\nfor _ in range(20): os.write(f, b'x' * 10_000_000)\ntime.sleep(1200)"
    assert workshop.run_python(code, limits=Limits(time=HANGS, memory=150_000_000)).ended == "out_of_memory"
