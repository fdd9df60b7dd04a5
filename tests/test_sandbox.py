"""What an execution cannot reach, and what it leaves to nobody: each attack under bubblewrap and, where it holds, Landlock."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.journal import Journal
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import Limits, Silent
from harness.campaign.stop import Stop
from harness.cli import machine_check
from harness.execution import holdout_uses
from harness.execution.executors.local import LocalExecutor
from harness.execution.executors.machine import all_slots
from harness.execution.executors.sandbox import MountPlan, Parts, available, bubblewrap, control_sockets, seccomp
from harness.execution.executors.sandbox.plan import Mount
from harness.execution.executors.shared_memory import why_full
from harness.execution.jobs import Jobs, Variant
from harness.execution.scoring import sealed_folders

from .conftest import OURS
from .executing import Workshop, begun, supervisor_of, wait
from .waiting import HANGS, until

namespaces = pytest.mark.skipif(
    not {"mount", "pid", "ipc"}.issubset(available("bubblewrap").held), reason="users have no namespaces here"
)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "a folder as deep as people have them" / "projects" / "2026" / "sparse autoencoders")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder that is not hidden because it lies in /tmp."""
    home = Path(tempfile.mkdtemp(prefix=OURS, dir="/var/tmp"))
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield home
    shutil.rmtree(home)


# Processes


@namespaces
def test_no_process_outside_is_ended_limited_or_slowed(workshop: Workshop) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    code = f"""
import os, resource, signal
for act in (
    lambda: os.kill({bystander.pid}, signal.SIGKILL),
    lambda: resource.prlimit({bystander.pid}, resource.RLIMIT_CPU, (0, 0)),
    lambda: os.setpriority(os.PRIO_PROCESS, {bystander.pid}, 19),
    lambda: os.sched_setaffinity({bystander.pid}, {{0}}),
    lambda: os.kill(-1, signal.SIGTERM) or os.kill({os.getpid()}, 0),
):
    try:
        act()
        print("reached", act)
    except ProcessLookupError:
        pass
print("lives")
"""
    signal_of_all = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    try:
        assert workshop.run_python(signal_of_all + code).ended == "ok"
        assert workshop.log == b"lives\n"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


SURVIVOR = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sh", ["sh", "-c", "trap '' TERM; echo begun > pids; while :; do sleep 1; done"], {})
    os._exit(0)
while True: time.sleep(1)
"""


@namespaces
def test_no_process_survives_its_supervisor_not_even_one_without_a_mark(workshop: Workshop) -> None:
    workshop.submit_python(SURVIVOR)
    begun(workshop)
    supervisor_of(workshop).kill()
    until(lambda: not workshop.running())  # without anybody looking for it


# Files and devices

CARRIED = """
import os, pathlib, sys
for folder in ("/tmp", "/dev/shm", "/var/tmp", os.path.expanduser("~")):
    try:
        file = pathlib.Path(folder, "carried")
        print(folder, file.exists())
        file.write_text("from run 1")
    except OSError:
        pass
"""


def test_nothing_is_carried_from_one_execution_to_the_next(tmp_path: Path, sandboxed: str) -> None:
    """Landlock has no other /dev/shm: there what was seen to be open is removed (test_system_calls.py)."""
    code = CARRIED if sandboxed == "bubblewrap" else CARRIED.replace('"/dev/shm", ', "")
    for name in ("first", "second"):
        each = Workshop(tmp_path / name)
        assert each.run_python(code).ended == "ok"
        assert b"/tmp False" in each.log and b"True" not in each.log
        assert not Path("/tmp/carried").exists() and not Path("/dev/shm/carried").exists()


@namespaces
def test_modes_times_and_attributes_of_other_files_stay(workshop: Workshop, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    mine.chmod(0o640)
    before = mine.stat()
    code = f"""
import os
for act in (
    lambda path: os.chmod(path, 0), lambda path: os.utime(path, (1, 1)), lambda path: os.setxattr(path, "user.x", b"x"),
    lambda path: os.chown(path, os.getuid(), os.getgid()),
):
    try:
        act({str(mine)!r})
        print("changed")
    except OSError:
        pass
"""
    assert workshop.run_python(code, readable=(tmp_path,)).ended == "ok"
    assert workshop.log == b""
    after = mine.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (before.st_mode, before.st_mtime_ns, before.st_ctime_ns)


@namespaces
def test_it_has_no_capability_and_makes_no_device_even_as_root(workshop: Workshop) -> None:
    code = """
import os, stat
print([line.split()[1].strip("0") for line in open("/proc/self/status") if line.startswith("Cap")])
try:
    os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 11))
    os.open("device", os.O_RDONLY)
    print("the kernel's log was opened")
except OSError:
    print("no device")
print(sorted(set(os.listdir("/dev")) & {"kmsg", "mem", "sda", "vda", "fuse", "kvm", "loop-control"}))
"""
    assert workshop.run_python(code).ended == "ok"
    assert workshop.log.decode().splitlines() == ["['', '', '', '', '']", "no device", "[]"]


SWITCHES = """
import pathlib
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
             "/sys/kernel/mm/ksm/run"):
    try:
        if pathlib.Path(path).exists():
            open(path, "w").close()  # nothing is written, in case it can be
            print(path)
    except OSError:
        pass
"""


def test_no_setting_of_the_kernel_is_changed_not_even_by_root(sandboxed: str, workshop: Workshop) -> None:
    """Most ask for no capability, and with one of them the kernel starts a program of one's choice."""
    assert workshop.run_python(SWITCHES).ended == "ok"
    assert workshop.log == b""


@namespaces
def test_no_terminal_of_another_window_is_read_or_written(workshop: Workshop) -> None:
    mine, theirs = os.openpty()
    try:
        os.set_blocking(mine, False)
        assert workshop.run_python(f"open({os.ttyname(theirs)!r}, 'w').write('run 5: improved')").ended == "crashed"
        with pytest.raises(BlockingIOError):
            os.read(mine, 100)
    finally:
        os.close(mine)
        os.close(theirs)


@pytest.mark.parametrize("place", ["os.environ['TMPDIR']", "os.environ['SCRATCH'] + '/home'", "'run_1'"])
def test_what_it_writes_counts_as_disk_in_each_of_its_folders(sandboxed: str, workshop: Workshop, place: str) -> None:
    environment = workshop.job("x").environment | {"SCRATCH": str(workshop.scratch)}
    (workshop.scratch / "home").mkdir()
    code = f"import os, time\nfor i in '123': open({place} + '/' + i, 'wb').write(bytes(1_000_000))\ntime.sleep(1200)"
    outcome = workshop.run_python(code, environment=environment, limits=Limits(time=HANGS, disk=2_000_000))
    assert outcome.ended == "too_much_disk"


KEYS = """
import ctypes, os
libc, x86 = ctypes.CDLL(None), os.uname().machine == "x86_64"
for ring in (-3, -4, -5):
    print(libc.syscall(248 if x86 else 217, b"user", b"harness-test", b"state", 5, ring), end=" ")
    print(libc.syscall(249 if x86 else 218, b"user", b"harness-test", 0, ring), end=" ")
"""


@pytest.mark.skipif(not seccomp.available(), reason="no filter of system calls here")
def test_no_key_of_the_session_is_read_or_left_there(sandboxed: str, workshop: Workshop) -> None:
    assert workshop.run_python(KEYS).ended == "ok"
    assert workshop.log.split() == [b"-1"] * 6


BEYOND = """
import ctypes, os, socket
X86 = os.uname().machine == "x86_64"
call = ctypes.CDLL(None).syscall
def told(act):
    try:
        return "made" if act() >= 0 else "refused"
    except OSError:
        return "refused"
def a_socket(family): return lambda: socket.socket(family).detach()
print(told(lambda: call(ctypes.c_long(447), 0)), told(lambda: call(ctypes.c_long(321 if X86 else 280), 0, bytes(128), 128)))
libc = ctypes.CDLL(None)
def a_mount():
    libc.unshare(0x10020000)
    return libc.mount(b"none", b"/mnt", b"tmpfs", 0, b"")
print(told(a_mount), *(told(a_socket(family)) for family in (socket.AF_UNIX, socket.AF_VSOCK)))
"""


@pytest.mark.skipif(not seccomp.available(), reason="no filter of system calls here")
@pytest.mark.parametrize("network", [True, False])
def test_no_memory_is_had_that_nobody_counts_and_no_network_past_a_namespace(
    sandboxed: str, workshop: Workshop, network: bool
) -> None:
    """Secret memory and BPF; a file system that is mounted and taken away while somebody is in it is in no list; vsock leads
    to what a virtual machine runs on."""
    assert workshop.run_python(BEYOND, network=network).ended == "ok"
    said = workshop.log.decode().split()
    assert said[:4] == ["refused", "refused", "refused", "made"]
    assert network or said[4] == "refused"


NETWORK = """
import socket, sys
port = int(sys.argv[1])
def send():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
def connect():
    socket.create_connection(("127.0.0.1", port))
for act in (send, connect):
    try:
        act()
        print("sent", end=" ")
    except OSError:
        print("refused", end=" ")
here, there = socket.socketpair()
here.send(b"x")
print(there.recv(1))
"""


@pytest.mark.parametrize("network", [True, False])
def test_without_a_network_nothing_is_sent_not_even_a_datagram(sandboxed: str, workshop: Workshop, network: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        udp.setblocking(False)
        assert workshop.run(sys.executable, "-c", NETWORK, str(port), network=network).ended == "ok"
        if network:
            assert udp.recv(1) == b"x"
            assert workshop.log == b"sent sent b'x'\n"
        else:
            # A namespace has a loopback of its own, where a datagram is lost.
            assert workshop.log.endswith(b"refused b'x'\n")
            with pytest.raises(BlockingIOError):
                udp.recv(1)


def test_sockets_of_programs_that_start_others_are_hidden_wherever_they_are_in_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr("harness.execution.executors.sandbox.plan._RUN", run)
    with contextlib.ExitStack() as listening:
        for name in ("some/new/daemon.sock", "munge/munge.socket.2", "systemd/private", "systemd/resolve/io", "nscd/socket"):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            listening.enter_context(socket.socket(socket.AF_UNIX)).bind(str(run / name))
        (run / "some" / "pid").write_text("1")
        found = {str(path.relative_to(run)) for path in control_sockets()}
    assert {"some/new/daemon.sock", "munge", "systemd/private", "user"} <= found
    assert not found & {"systemd/resolve/io", "nscd/socket", "some/pid"}


@namespaces
def test_a_hidden_socket_is_connected_to_by_nobody(workshop: Workshop, tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    with contextlib.chdir(place), socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind("daemon.sock")
        daemon.listen()
        code = f"import os, socket; os.chdir({str(place)!r}); socket.socket(socket.AF_UNIX).connect('daemon.sock')"
        for hidden in ((), (place / "daemon.sock",)):
            each = Workshop(tmp_path / f"{len(hidden)}")
            assert each.run_python(code, readable=(place,), hidden=hidden).ended == ("crashed" if hidden else "ok")


FILLS = """
import mmap, os
print(os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize)
file = open("/dev/shm/large", "wb+")
file.truncate(40_000_000)
memory = mmap.mmap(file.fileno(), 0)
for each in range(0, 40_000_000, 4096):
    memory[each] = 1
"""


@namespaces
@pytest.mark.skipif(not bubblewrap.limits_shared_memory(), reason="this bubblewrap does not limit it (0.7 does)")
def test_shared_memory_holds_half_of_the_memory_limit_and_who_fills_it_is_told_so(workshop: Workshop) -> None:
    outcome = workshop.run_python(FILLS, limits=Limits(time=HANGS, memory=60_000_000))
    assert int(workshop.log.split()[0]) in range(29_900_000, 30_100_000)
    assert (outcome.ended, outcome.exit_code) == ("crashed", -signal.SIGBUS)
    assert "/dev/shm was full, which holds 30 MB, half of the memory limit; raise `memory`" in outcome.why


@pytest.mark.parametrize(
    "said",
    [
        "RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out "
        "of shared memory. Please try to raise your shared memory limit.",
        "RuntimeError: unable to write to file </torch_7_1_0>: No space left on device (28)",
        "host:7:7 [0] NCCL WARN Error while creating shared memory segment /dev/shm/nccl-x (size 9), error: No space left on device",
        "Signal 7 (SIGBUS) received by PID 7",
    ],
)
def test_shared_memory_that_is_full_is_known_by_what_programs_say_of_it(said: str) -> None:
    assert "raise `memory` under [limits]" in why_full(1, f"step 1\n{said}\n", 10**9)
    assert "on this machine" in why_full(1, said, None)
    assert why_full(1, "OSError: [Errno 28] No space left on device: 'run_1/model'", 10**9) == ""


@namespaces
def test_no_mount_of_it_can_be_taken_away_again(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "campaign").mkdir()
    (tmp_path / "campaign" / "record.json").write_text("secret")
    code = f"unshare -r -m sh -c 'umount {tmp_path}/campaign; cat {tmp_path}/campaign/record.json'; true"
    workshop.run("bash", "-c", code, readable=(tmp_path,), hidden=(tmp_path / "campaign",))
    assert b"secret" not in workshop.log


# Honest programs

SOCKETS = """
import multiprocessing, os, socket, tempfile
with multiprocessing.Manager() as manager:
    print(len(manager.list([1, 2])))
with socket.socket(socket.AF_UNIX) as end:
    end.bind(tempfile.mkdtemp() + "/" + "x" * 40)
print(socket.gethostbyname(socket.gethostname()) != "")
"""


def test_sockets_fit_into_tmpdir_however_deep_the_folder_lies(sandboxed: str, workshop: Workshop) -> None:
    assert workshop.run_python(SOCKETS, network=False).ended == "ok", workshop.log
    assert workshop.log == b"2\nTrue\n"


def test_a_short_folder_for_temporary_files_is_gone_afterwards_also_after_a_kill(
    monkeypatch: pytest.MonkeyPatch, workshop: Workshop
) -> None:
    monkeypatch.setenv("HARNESS_SANDBOX", "landlock")
    execution = workshop.submit("bash", "-c", "touch $TMPDIR/file; echo $TMPDIR > where; echo 1 > pids; sleep 600")
    begun(workshop)
    folder = Path((workshop.folder / "where").read_text().strip())
    assert (folder / "file").exists() and len(str(folder)) < 30
    supervisor_of(workshop).send_signal(signal.SIGKILL)
    wait(execution)
    assert not folder.exists()


def test_files_that_it_makes_belong_to_who_started_it(sandboxed: str, workshop: Workshop) -> None:
    workshop.run("bash", "-c", "echo x > made; chmod 600 made")
    assert (workshop.folder / "made").stat().st_uid == os.geteuid()
    assert (workshop.folder / "made").stat().st_gid == os.getegid()


# What this system has

LACKING = {
    ("bubblewrap", ("mount", "user", "pid", "ipc", "uts", "net", "syscalls", "sockets")): (),
    ("bubblewrap", ("mount", "pid", "ipc", "uts", "net", "syscalls", "sockets")): (),  # root needs no user namespace
    ("bubblewrap", ("mount", "user", "ipc", "uts", "net", "syscalls", "sockets")): ("it sees the other processes",),
    ("bubblewrap", ("mount", "user", "pid", "uts", "net", "syscalls", "sockets")): ("it shares System V IPC",),
    ("bubblewrap", ("mount", "user", "pid", "ipc", "uts")): (
        "keys of your session's keyring",
        "abstract sockets",
        "keeps the network",
    ),
    ("landlock", ("files", "truncate", "signal", "syscalls")): (
        "shares /tmp",
        "sees the other processes",
        "System V",
        "modes and times",
    ),
    ("landlock", ("files", "truncate", "syscalls")): (
        "send signals to your",
        "shares /tmp",
        "sees the other",
        "System V",
        "modes and",
    ),
    ("landlock", ("files", "signal", "syscalls")): (
        "could empty files",
        "shares /tmp",
        "sees the other",
        "System V",
        "modes and",
    ),
    ("landlock", ("files", "truncate", "signal")): (
        "end your processes by limits",
        "shares /tmp",
        "sees",
        "System V",
        "modes and",
    ),
    ("none", ()): ("it can read and write whatever you can",),
}


@pytest.mark.parametrize(
    ("system", "lacking"), LACKING.items(), ids=lambda each: "-".join(map(str, each[1:])) if each else ""
)
def test_for_each_part_that_a_system_lacks_it_is_said_what_is_not_guaranteed(
    system: tuple[str, tuple[str, ...]], lacking: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(*(system[0], system[0], system[1]), why="a reason")
    assert len(parts.not_guaranteed) == len(lacking)
    assert all(any(word in said for said in parts.not_guaranteed) for word in lacking)
    monkeypatch.setattr(machine_check, "available", lambda: parts)
    check = machine_check.confinement()
    assert (check.state, check.detail) == ("warning" if lacking else "ok", parts.sentence)
    if lacking:
        assert all(word in check.detail for word in (*lacking, "(a reason)"))
        # How to have more: never by lowering the system's guard.
        assert "apt install bubblewrap" in check.todo and "AppArmor profile" in check.todo
        assert not re.search(r"sysctl|apparmor_restrict|disable|privileged", check.todo)


# The plan


def test_of_two_entries_of_a_plan_the_longer_path_decides(tmp_path: Path) -> None:
    for name in ("home/.cache/hub", "home/.config", "home/data", "copy"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/.cache/hub/token").write_text("secret")
    (tmp_path / "home/link").symlink_to("data")
    home = tmp_path / "home"
    plan = MountPlan(
        tmp_path / "copy",
        writable=(tmp_path / "copy",),
        readable=(home / "data", home / "link", home / ".cache/hub", tmp_path / "copy"),
        hidden=(home, home / ".cache/hub/token", tmp_path / "not there"),
    ).resolved()
    assert list(plan.mounts()) == [
        Mount("empty", home, home),
        Mount("writable", tmp_path / "copy", tmp_path / "copy"),
        Mount("readable", home / "data", home / "data"),
        Mount("link", home / "link", Path("data")),
        Mount("readable", home / ".cache/hub", home / ".cache/hub"),
        Mount("unreadable", home / ".cache/hub/token", home / ".cache/hub/token"),
    ]


def test_a_bubblewrap_in_a_relative_folder_of_the_path_is_that_of_the_person_and_not_one_of_the_workspace(
    tmp_path, monkeypatch
):
    theirs = tmp_path / "bin/bwrap"
    theirs.parent.mkdir()
    theirs.write_text("#!/bin/sh\n")
    theirs.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    assert bubblewrap.program.__wrapped__() == str(theirs)


def test_what_is_hidden_in_a_hidden_folder_is_not_hidden_a_second_time(tmp_path):
    inside = tmp_path / "home/.claude"
    inside.mkdir(parents=True)
    plan = MountPlan(tmp_path, hidden=(inside.parent, inside))
    assert list(plan.mounts()) == [Mount("empty", inside.parent, inside.parent)]


@pytest.mark.parametrize("elsewhere_is_seen", [True, False])
def test_of_a_hidden_link_what_it_leads_to_is_hidden_wherever_that_lies(
    workshop: Workshop, tmp_path: Path, elsewhere_is_seen: bool
) -> None:
    elsewhere, cache = tmp_path / "other" / "elsewhere", tmp_path / "project" / "cache"
    for folder in (elsewhere, cache):
        folder.mkdir(parents=True)
    (elsewhere / "lock").write_text("held")
    (cache / "slots").symlink_to(elsewhere)
    code = f"import os; print([os.path.exists(name) for name in {[f'{cache}/slots/lock', f'{elsewhere}/lock']!r}])"
    seen = (cache.parent, elsewhere.parent) if elsewhere_is_seen else (cache.parent,)
    assert workshop.run_python(code, readable=seen, hidden=(cache / "slots",)).ended == "ok"
    assert workshop.log.decode().strip() == "[False, False]"


# Results, keys and locks of others

HOLD_KEYS = (
    *(
        ".bashrc",
        ".profile",
        ".bash_profile",
        ".zshrc",
        ".zshenv",
        ".config/fish/config.fish",
        ".config/environment.d/k.conf",
    ),
    *(".bash_history", ".python_history", ".local/share/fish/fish_history", ".pgpass", ".netrc", ".config/openai/key"),
    *(".config/anthropic/key", ".config/rclone/rclone.conf", ".ssh/id_rsa", ".aws/credentials", ".claude/.credentials.json"),
    *(".codex/auth.json", ".cache/huggingface/token", ".new-tool-of-next-year/login"),
)


def test_no_key_is_read_wherever_programs_and_shells_keep_them(
    sandboxed: str, make_campaign: Callable[..., Campaign], experiment: Path, person: Path
) -> None:
    keys = [person / name for name in HOLD_KEYS]
    keys += [experiment / ".env", experiment / "conf" / "deploy", experiment.parent / ".env"]
    for path in (*keys, person / "data" / "words", person / ".cache" / "huggingface" / "hub" / "model"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("OPENAI_API_KEY=sk-proj-0123456789abcdef\n")
    campaign = make_campaign({})
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    place = campaign.execution("run_1/execute")
    job = Jobs(opened).job(place, 1, Variant(0))
    job.out_dir.mkdir(parents=True)
    code = "import sys\nfor name in sys.argv[1:]:\n    try: print(name, open(name).read())\n    except OSError: pass\n"
    job = replace(job, command=(sys.executable, "-c", code, *map(str, keys), str(person / "data" / "words")))
    assert wait(LocalExecutor().submit(job, place / "job")).ended == "ok"
    assert (place / "job" / "log.txt").read_text().split()[::2] == [str(person / "data" / "words")]


def test_no_execution_reads_a_report_beside_the_campaigns_and_other_files_there_it_does(
    make_campaign: Callable[..., Campaign], sandboxed: str
) -> None:
    """It has the results of every campaign, held-out ones among them."""
    campaign = make_campaign({})
    runs = campaign.root.parent
    for name in ("report.html", f"{campaign.name}-report.html", "vocabulary.txt"):
        (runs / name).write_text("words")
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    place = campaign.execution("run_1/execute")
    job = Jobs(opened).job(place, 1, Variant(0))
    job.out_dir.mkdir(parents=True)
    code = "import pathlib, sys\nfor name in sys.argv[1:]:\n    try: print('read:', name, pathlib.Path(name).read_text())\n"
    code += "    except OSError: pass\n"
    job = replace(job, command=(sys.executable, "-c", code, *map(str, sorted(runs.glob("*.*")))))
    assert wait(LocalExecutor().submit(job, place / "job")).ended == "ok"
    assert (place / "job" / "log.txt").read_text() == f"read: {runs / 'vocabulary.txt'} words\n"


def test_no_execution_takes_the_slots_of_others_or_reads_what_was_held_out(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandboxed: str
) -> None:
    """A lock needs a file that is open to read alone."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    hidden = sealed_folders()
    files = (all_slots() / "core-0", holdout_uses.folder() / "a.json")
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    code = (
        "import fcntl, os, sys\nfor name in sys.argv[1:]:\n"
        "    try: fcntl.flock(os.open(name, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB); print('locked', name)\n"
        "    except OSError: pass\n"
    )
    assert (
        workshop.run(sys.executable, "-c", code, *map(str, files), readable=(tmp_path / "cache",), hidden=hidden).ended
        == "ok"
    )
    assert workshop.log == b""
