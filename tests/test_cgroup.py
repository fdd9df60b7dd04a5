"""Each execution has a control group below the harness's own, where one can be made: it knows, ends and counts all of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign.protocols import Limits
from harness.cli import several
from harness.execution.executors import cgroup
from harness.execution.executors.cgroup import Group
from harness.execution.executors.home import Home
from harness.execution.executors.limits import LimitWatch
from harness.execution.executors.output import OutputWriter

from .executing import Workshop, begun, group_of, runs, supervisor_of, wait
from .test_executor_tree import attached, harness_that_dies, tell
from .test_sandbox import SURVIVOR
from .waiting import HANGS, until

groups = pytest.mark.skipif(
    cgroup.available() is None, reason="needs cgroup v2 of Linux 5.14, and to be allowed to make groups"
)
ALL = "memory pids"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


# Real ones


@groups
def test_an_execution_is_in_a_group_below_the_harness_s_own_and_the_group_is_gone_afterwards(
    workshop: Workshop, sandboxed: str
) -> None:
    assert workshop.run("cat", "/proc/self/cgroup").ended == "ok"
    said = next(line for line in workshop.log.decode().splitlines() if line.startswith("0::"))
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    assert said == f"{own.rstrip('/')}/{group_of(workshop).name}"
    assert not group_of(workshop).exists()


@groups
def test_no_process_leaves_its_group(workshop: Workshop, sandboxed: str) -> None:
    above = cgroup.available()
    code = f"""
import os
for act in (lambda: open("{above}/cgroup.procs", "w").write("0"), lambda: os.mkdir("{above}/other")):
    try:
        print("left", act())
    except OSError:
        pass
"""
    assert workshop.run_python(code).ended == "ok"
    assert workshop.log == b""


@groups
@pytest.mark.parametrize("harness", ["lives", "killed"])
def test_what_nothing_else_finds_ends_with_the_group(
    workshop: Workshop, harness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a sandbox, a supervisor and an environment to find it by."""
    monkeypatch.setenv("HARNESS_SANDBOX", "none")
    if harness == "killed":
        other = harness_that_dies(workshop, SURVIVOR)
        tell(other)
        other.communicate()
    else:
        execution = workshop.submit_python(SURVIVOR)
    begun(workshop)
    supervisor_of(workshop).kill()
    if harness == "killed":
        until(lambda: attached(workshop) is None)
    else:
        assert wait(execution).ended == "lost"
    assert not workshop.running()
    assert not group_of(workshop).exists()


@groups
def test_a_group_that_nobody_asks_after_is_removed_by_the_next_harness_and_one_in_use_is_not(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_SANDBOX", "none")
    workshop.submit_python(SURVIVOR)
    begun(workshop)
    code = "from harness.execution.executors import cgroup; cgroup._LOCKED_WITHIN = 0.0; print(cgroup.available())"
    found = [sys.executable, "-c", code]
    subprocess.run(found, check=True, stdout=subprocess.DEVNULL)
    assert group_of(workshop).exists() and workshop.running()
    supervisor = supervisor_of(workshop)
    supervisor.kill()
    until(lambda: not runs(supervisor.pid))
    subprocess.run(found, check=True, stdout=subprocess.DEVNULL)
    assert not workshop.running()
    assert not group_of(workshop).exists()


@groups
def test_where_a_filter_refuses_to_start_a_process_in_a_group_it_is_moved_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_clone_into", lambda group: -1)
    group = Group(cgroup.place(tmp_path.name))
    pid = group.fork()
    if pid == 0:
        time.sleep(HANGS)
        os._exit(0)
    until(lambda: [each.pid for each in group.processes] == [pid])
    assert group.holds(pid) and not group.holds(os.getpid()) and not group
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    cgroup.end_left_over(cgroup.place(tmp_path.name))


@groups
def test_groups_that_an_execution_made_in_its_own_end_with_it(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_SANDBOX", "none")
    code = f"""
import os, sys
own = sys.argv[1] + "/" + [name for name in open("/proc/self/cgroup") if name.startswith("0::")][0].strip().rpartition("/")[2]
os.makedirs(own + "/a/b")
if os.fork() == 0:
    open(own + "/a/b/cgroup.procs", "w").write("0")
    os.execve("/bin/sleep", ["sleep", "{HANGS}"], {{}})
while "populated 0" in open(own + "/a/b/cgroup.events").read():
    pass
"""
    assert workshop.run(sys.executable, "-c", code, str(cgroup.available())).ended == "ok"
    assert not workshop.running() and not group_of(workshop).exists()


# Those of a kernel that has controllers there


@pytest.fixture
def delegated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A group as a session manager delegates it, with these processes in it: a folder in the kernel's place."""

    def delegate(*processes: int, name: str = "scope") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "type": "domain",
            "procs": "".join(f"{pid}\n" for pid in processes),
            "controllers": ALL,
            "subtree_control": "",
        }
        for file, content in files.items():
            (folder / f"cgroup.{file}").write_text(content)
        monkeypatch.setattr(cgroup, "_own", lambda: folder)
        monkeypatch.setattr(Group, "end", lambda group: bool(group))
        cgroup.available.cache_clear()
        return folder

    yield delegate
    cgroup.available.cache_clear()


def test_controllers_are_asked_for_where_nobody_else_is_in_the_group(delegated: Callable[..., Path]) -> None:
    folder = delegated(os.getpid())
    # The kernel takes a process out of one group when it is put into another; this folder does not.
    cgroup.available()
    assert (folder / "harness.own/cgroup.procs").read_text() == str(os.getpid())
    (folder / "cgroup.procs").write_text("")
    cgroup.available.cache_clear()
    assert cgroup.available() == folder
    assert (folder / "cgroup.subtree_control").read_text() == "+pids"  # the last of two that were asked for


def test_processes_of_others_stay_where_they_are_and_groups_do_without_controllers(delegated: Callable[..., Path]) -> None:
    folder = delegated(os.getpid(), os.getppid())
    assert cgroup.available() == folder
    assert (folder / "cgroup.subtree_control").read_text() == ""
    assert not (folder / "harness.own").exists()
    assert cgroup.sentence() == "Each execution is in a cgroup of its own, and ended by it"


def test_a_harness_in_the_group_made_for_it_has_its_executions_beside_it(delegated: Callable[..., Path]) -> None:
    above = delegated()
    delegated(os.getpid(), name="scope/harness.own")
    (above / "cgroup.subtree_control").write_text(ALL)
    assert cgroup.available() == above
    assert cgroup.sentence() == ("Each execution is in a cgroup of its own, which counts memory and pids, and ended by it")


def test_of_several_campaigns_the_process_that_begins_them_is_the_first_in_the_group(
    delegated: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = delegated(os.getpid())
    monkeypatch.setattr(several, "_say_where_they_stand", lambda *_: None)
    assert several.run_several([], 1, None, None, 80) == []
    assert (folder / "harness.own/cgroup.procs").read_text() == str(os.getpid())


@pytest.mark.parametrize("lacking", ["rights", "group"])
def test_where_no_group_can_be_made_looks_hold_the_limits(
    lacking: str, delegated: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = delegated(os.getpid())
    monkeypatch.setattr(os, "access", lambda *_: lacking != "rights")
    if lacking == "group":
        monkeypatch.setattr(cgroup, "_own", lambda: None)
    assert cgroup.available() is None and cgroup.place("mark") is None
    assert "sampling the processes" in cgroup.sentence()
    assert [each.name for each in folder.iterdir() if each.is_dir()] == []


def broken(workshop: Workshop, group: Group, **limits: int) -> str:
    """The limit that an execution in this group breaks, "" where it breaks none."""
    home = Home(Path(tempfile.mkdtemp(dir=workshop.scratch)))
    home.wanted.touch()
    output = OutputWriter(home.path)
    watched = LimitWatch(workshop.job("true", limits=Limits(time=HANGS, **limits)), home, workshop.scratch, output, None)
    watched.begin(time.monotonic(), group, set)
    output.close()
    found = watched.broken()
    return found.ended if found else ""


def test_the_kernel_s_count_of_memory_holds_the_limit_and_pages_of_files_are_not_in_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    group = Group(tmp_path / "group")
    (tmp_path / "group/memory.stat").write_text("anon 3000\nfile 23000000000\nshmem 500\nfile_mapped 7\n")
    assert group.memory == 3500
    (tmp_path / "group/memory.swap.current").write_text("100\n")
    (tmp_path / "group/hugetlb.2MB.current").write_text("2097152\n")
    assert group.memory == 3600 + 2097152
    assert broken(workshop, group, memory=10**9) == ""
    assert broken(workshop, group, memory=10**6) == "out_of_memory"


def test_more_processes_than_the_kernel_lets_start_are_too_many(workshop: Workshop, tmp_path: Path) -> None:
    group = Group(tmp_path / "group")
    for said, ended in (("max 0\n", ""), ("max 3\n", "too_many_processes")):
        (tmp_path / "group/pids.events").write_text(said)
        assert broken(workshop, group, processes=20) == ended


def test_a_group_lets_an_execution_start_its_processes_and_their_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Path.mkdir

    def with_controller(folder: Path, *arguments: object, **named: object) -> None:
        made(folder)
        (folder / "pids.max").write_text("max")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", with_controller)
        assert Group(tmp_path / "group", 20)
    assert (tmp_path / "group/pids.max").read_text() == "80"
