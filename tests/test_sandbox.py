"""What an execution cannot reach, and what it leaves to nobody: each attack under bubblewrap and, where it holds, Landlock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.execution.executors.sandbox import MountPlan, available, bubblewrap
from harness.execution.executors.sandbox.plan import Mount
from harness.execution.visible import interpreter

from .executing import Workshop, begun, supervisor_of, wait
from .waiting import until

namespaces = pytest.mark.skipif(
    not {"mount", "pid", "ipc"}.issubset(available("bubblewrap").held), reason="users have no namespaces here"
)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "a folder as deep as people have them" / "projects" / "2026" / "sparse autoencoders")


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
        print(file.exists(), end=" ")
        file.write_text("from run 1")
    except OSError:
        pass
"""


@namespaces
def test_nothing_is_carried_from_one_execution_to_the_next(tmp_path: Path) -> None:
    for name in ("first", "second"):
        each = Workshop(tmp_path / name)
        assert each.run_python(CARRIED).ended == "ok"
        assert b"True" not in each.log
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


@pytest.mark.parametrize("layout", [".local/share/uv/python", ".pyenv/versions", ".conda/envs", ".local/pipx/venvs"])
def test_an_interpreter_in_a_hidden_folder_starts(
    layout: str, sandboxed: str, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment in it, named by a link of a link, with an editable package beside and nothing else of the folder."""
    home = tmp_path / "person"
    place = home / layout / "cpython-3"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", place], check=True)
    (home / ".local" / "bin").mkdir(parents=True, exist_ok=True)
    (home / layout / "current").symlink_to("cpython-3")
    (home / ".local" / "bin" / "python").symlink_to(f"../../{layout}/current/bin/python")
    (home / ".src" / "package").mkdir(parents=True)
    (home / ".src" / "package" / "mine.py").write_text("x = 1")
    (site,) = place.glob("lib/python3*/site-packages")
    (site / "editable.pth").write_text(f"{home}/.src/package\n")
    (home / layout / "key").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    python = str(home / layout / "current" / "bin" / "python")
    code = f"import mine, os, sys; print(mine.x, os.path.exists({str(home / layout / 'key')!r}) and open({str(home / layout / 'key')!r}))"
    outcome = workshop.run(python, "-c", code, readable=interpreter(python).paths, hidden=(home,))
    assert (outcome.ended, workshop.log) == ("ok", b"1 False\n") or b"PermissionError" in workshop.log


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
