"""Nothing of an execution outlives it, an execution outlives the harness, and it writes nowhere but in its folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from harness.campaign.protocols import Limits
from harness.execution.executors import local, process_tree
from harness.execution.executors.home import EXECUTION_MARK, SUPERVISOR_MARK
from harness.execution.executors.local import LocalExecution, LocalExecutor
from harness.execution.executors.process_tree import marked
from harness.execution.executors.sandbox.landlock import landlock_abi

from .executing import Workshop, begun, command_line, runs, supervisor_of, wait
from .waiting import HANGS, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers, which Linux has")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open('pids', 'a') as f: f.write(f'{os.getpid()}\\n')
while True: time.sleep(1)
"""

GRANDCHILD = f"""
import subprocess, sys
subprocess.run([sys.executable, '-c', "import subprocess, sys; subprocess.run([sys.executable, '-c', " + {STUBBORN!r}.__repr__() + "])"])
"""

DAEMON = f"""
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        devnull = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2): os.dup2(devnull, descriptor)
        os.execve(sys.executable, [sys.executable, '-c', {STUBBORN!r}], {{}} if 'bare' in sys.argv else os.environ)
    os._exit(0)
os.wait()
"""
WAIT_FOR_IT = """
import pathlib, time
while not (pathlib.Path('pids').exists() and pathlib.Path('pids').read_text().endswith('\\n')): time.sleep(0.01)
"""
FOREVER = "import time\nwhile True: time.sleep(1)\n"


# The whole tree


def test_a_time_out_ends_a_grandchild_that_ignores_the_request(workshop):
    outcome = workshop.run_python(GRANDCHILD, limits=Limits(time=4))  # in which all three begin
    assert outcome.ended == "timed_out"
    assert not workshop.running()


@linux
@pytest.mark.parametrize("environment", ["marked", "bare"])
def test_a_process_that_left_session_and_parents_is_ended_too(workshop, environment, sandboxed):
    execution = workshop.submit(sys.executable, "-c", DAEMON + WAIT_FOR_IT + FOREVER, environment)
    begun(workshop)
    (pid,) = workshop.pids()
    assert supervisor_of(workshop) in psutil.Process(pid).parents()
    assert execution.wait(lambda line: None, lambda: True).ended == "stopped"
    assert not workshop.running()


def test_what_is_left_behind_by_a_good_end_is_ended_and_a_bystander_is_not(workshop):
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    outcome = workshop.run("bash", "-c", "sleep 600 & echo $! > pids")
    assert outcome.ended == "ok"
    assert not workshop.running()
    assert runs(bystander.pid)
    bystander.kill()
    bystander.wait()


def test_processes_that_go_on_forking_are_ended(workshop):
    code = "import os, time\nwhile True:\n    if os.fork(): os._exit(0)\n    time.sleep(0.001)\n"
    outcome = workshop.run("bash", "-c", f'{sys.executable} -c "$0"; sleep 0.3', code)
    assert (outcome.ended, outcome.why) == ("ok", "exit code 0")
    assert not [p for p in psutil.process_iter() if code in command_line(p)]


@linux
def test_a_process_whose_first_thread_has_ended_is_ended_too(workshop, monkeypatch):
    monkeypatch.setenv(
        "HARNESS_SANDBOX", "landlock"
    )  # a pid namespace ends as a whole, and this is about what is found without
    code = "import ctypes, os, threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    code += "open('pids', 'w').write(f'{os.getpid()}\\n')\n"
    code += "ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n"
    outcome = workshop.run("bash", "-c", f'{sys.executable} -c "$0" & until [ -s pids ]; do sleep 0.01; done', code)
    assert outcome.ended == "ok"
    assert not psutil.pid_exists(int((workshop.folder / "pids").read_text()))


@linux
def test_to_find_what_is_left_each_process_is_looked_at_once(monkeypatch):
    mark = {"HARNESS_TEST_MARK": "x"}
    family = subprocess.Popen(
        ["bash", "-c", "sleep 600 & sleep 600 & sleep 600 & echo; wait"], env=os.environ | mark, stdout=-1
    )
    assert family.stdout is not None
    family.stdout.readline()
    name, value = mark.popitem()
    until(lambda: len(marked(name, value)) == 4)  # what is about to execute something has no environment for a moment
    looks: list[int] = []
    seen = process_tree._seen
    monkeypatch.setattr(process_tree, "_seen", lambda pid: looks.append(pid) or seen(pid))
    found = marked(name, value)
    assert len(found) == 4
    assert len(looks) == len(set(looks))
    for process in found:
        process.signal(signal.SIGKILL)
    family.wait()


def test_stopping_waits_for_a_process_that_tidies_up(workshop):
    code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('tidied'), sys.exit()))\n"
    code += "open('pids', 'w').write('1\\n')\n" + FOREVER
    execution = workshop.submit_python(code)
    begun(workshop)
    assert execution.wait(lambda line: None, lambda: True).ended == "stopped"
    assert workshop.log == b"tidied\n"


# The harness is killed

SUBMIT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from harness.campaign.protocols import AbortRule, Limits
from tests.executing import Workshop
print('ready', flush=True)
sys.stdin.readline()
Workshop(Path(sys.argv[1])).submit_python(
    sys.argv[2], limits=Limits(time=float(sys.argv[3])), abort=(AbortRule('loss', 1),), training_log='log.jsonl')
os.kill(os.getpid(), signal.SIGKILL)
"""


def harness_that_dies(workshop: Workshop, code: str, time_limit: float = HANGS) -> subprocess.Popen[bytes]:
    """A process that is about to submit `code`, and is killed right after."""
    harness = subprocess.Popen(
        [sys.executable, "-c", SUBMIT_AND_DIE, str(workshop.home.parent), code, str(time_limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert harness.stdout is not None
    assert harness.stdout.readline() == b"ready\n"
    return harness


def tell(harness: subprocess.Popen[bytes]) -> None:
    assert harness.stdin is not None
    harness.stdin.write(b"\n")
    harness.stdin.flush()


def attached(workshop: Workshop) -> LocalExecution | None:
    return LocalExecutor().attach(workshop.home)


ONCE = "import time; open('runs', 'a').write('once\\n'); print('working'); time.sleep(0.3); print('done')"


def test_an_execution_goes_on_without_the_harness_and_is_adopted(workshop):
    harness = harness_that_dies(workshop, ONCE)
    tell(harness)
    harness.communicate()
    assert harness.returncode == -signal.SIGKILL
    told: list[str] = []
    outcome = attached(workshop).wait(told.append, lambda: False)
    assert (outcome.ended, outcome.exit_code) == ("ok", 0)
    assert workshop.log == b"working\ndone\n"
    assert (workshop.folder / "runs").read_text() == "once\n"
    assert wait(attached(workshop)) == outcome


@pytest.mark.parametrize("milliseconds", [0, 2, 4, 6, 10, 30])
def test_a_harness_killed_at_any_moment_leaves_one_execution_or_none(workshop, milliseconds):
    harness = harness_that_dies(workshop, ONCE)
    tell(harness)
    time.sleep(milliseconds / 1000)
    harness.kill()
    harness.communicate()
    execution = attached(workshop)
    outcome = wait(execution) if execution else None
    runs_file = workshop.folder / "runs"
    assert (runs_file.read_text() if runs_file.exists() else "") == ("once\n" if outcome else "")
    assert outcome is None or outcome.ended == "ok"


def test_a_harness_killed_while_the_system_is_tried_leaves_no_execution(workshop, monkeypatch):
    children: list[int] = []

    def tries() -> NoReturn:
        if (child := os.fork()) == 0:
            signal.pause()
        children.append(child)
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "available", tries)
    with pytest.raises(KeyboardInterrupt):
        workshop.submit_python(ONCE)
    try:
        assert attached(workshop) is None
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


@pytest.mark.parametrize(
    ("code", "limit", "ended"),
    [(FOREVER, 1, "timed_out"), ("open('run_1/log.jsonl', 'w').write('{\"loss\": NaN}\\n')\n" + FOREVER, HANGS, "aborted")],
    ids=["time", "abort rule"],
)
def test_limits_hold_without_the_harness(workshop, code, limit, ended):
    harness = harness_that_dies(workshop, code, time_limit=limit)
    tell(harness)
    harness.communicate()
    until((workshop.home / "outcome.json").exists)
    assert wait(attached(workshop)).ended == ended


def test_a_terminal_that_ends_the_harness_does_not_end_the_execution(workshop):
    execution = workshop.submit("bash", "-c", "echo $$ > pids; sleep 600")
    begun(workshop)
    assert os.getsid(supervisor_of(workshop).pid) not in (os.getsid(0), os.getsid(workshop.pids()[0]))
    execution.wait(lambda line: None, lambda: True)


def test_an_adopted_execution_can_be_stopped(workshop):
    harness = harness_that_dies(workshop, FOREVER)
    tell(harness)
    harness.communicate()
    assert attached(workshop).wait(lambda line: None, lambda: True).ended == "stopped"


def test_there_is_nothing_to_attach_to_where_nothing_was_submitted(workshop):
    assert attached(workshop) is None


# The supervisor is killed


@linux
def test_the_command_does_not_outlive_its_supervisor(workshop):
    workshop.submit_python(STUBBORN)
    begun(workshop)
    supervisor_of(workshop).kill()
    until(lambda: not workshop.running())


def test_waiting_for_a_killed_supervisor_ends_the_tree_and_says_so(workshop):
    execution = workshop.submit_python("print('begun')\n" + DAEMON + WAIT_FOR_IT + FOREVER)
    begun(workshop)
    supervisor_of(workshop).kill()
    outcome = wait(execution)
    assert (outcome.ended, outcome.exit_code) == ("lost", None)
    assert "supervisor" in outcome.why
    assert not workshop.running()
    assert workshop.log == b"begun\n"
    assert wait(attached(workshop)) == outcome


def test_attaching_after_harness_and_supervisor_were_killed_ends_the_tree(workshop):
    harness = harness_that_dies(workshop, DAEMON + WAIT_FOR_IT + FOREVER)
    tell(harness)
    harness.communicate()
    begun(workshop)
    supervisor_of(workshop).kill()
    until(lambda: attached(workshop) is None)
    assert not workshop.running()


def test_a_child_without_the_mark_is_ended_with_its_marked_parent(workshop):
    family = "env -i sleep 600 & echo $! > pids; wait"
    execution = workshop.submit("bash", "-c", f"setsid bash -c '{family}' & wait")
    begun(workshop)
    supervisor_of(workshop).kill()
    assert wait(execution).ended == "lost"
    assert not workshop.running()


def test_the_output_of_a_killed_supervisor_is_joined(workshop):
    execution = workshop.submit("bash", "-c", "seq -w 1000000; echo LAST; echo 1 > pids; sleep 600")
    begun(workshop)
    until(lambda: any(path.read_bytes().endswith(b"LAST\n") for path in workshop.home.glob("log.txt*")))
    supervisor_of(workshop).kill()
    assert wait(execution).ended == "lost"
    assert workshop.log.startswith(b"0000001\n")
    assert workshop.log.endswith(b"1000000\nLAST\n")
    assert len(list(workshop.home.glob("log.txt*"))) == 1


def test_a_supervisor_that_is_asked_to_end_ends_the_tree_first(workshop):
    execution = workshop.submit_python("open('pids', 'w').write('1\\n')\n" + FOREVER)
    begun(workshop)
    supervisor_of(workshop).terminate()
    outcome = wait(execution)
    assert (outcome.ended, outcome.exit_code) == ("lost", -signal.SIGTERM)
    assert "SIGTERM" in outcome.why


def test_a_supervisor_that_hangs_is_ended_with_its_tree(workshop, monkeypatch):
    monkeypatch.setattr("harness.execution.executors.local._ANSWERS_WITHIN", 0.3)
    execution = workshop.submit_python(STUBBORN)
    begun(workshop)
    supervisor = supervisor_of(workshop)
    supervisor.suspend()
    outcome = execution.wait(lambda line: None, lambda: True)
    assert outcome.ended == "stopped"
    assert not runs(supervisor.pid)
    assert not workshop.running()


@linux
@pytest.mark.parametrize("environment", ["marked", "bare"])
def test_what_a_supervisor_that_hangs_has_inherited_is_ended(workshop, environment, monkeypatch):
    monkeypatch.setattr("harness.execution.executors.local._ANSWERS_WITHIN", 0.3)
    execution = workshop.submit(sys.executable, "-c", DAEMON + WAIT_FOR_IT + FOREVER, environment)
    begun(workshop)
    supervisor_of(workshop).suspend()
    assert execution.wait(lambda line: None, lambda: True).ended == "stopped"
    assert not workshop.running()


def test_what_a_supervisor_that_hangs_watches_may_tidy_up(workshop, monkeypatch):
    monkeypatch.setattr("harness.execution.executors.local._ANSWERS_WITHIN", 0.3)
    tidy = "open('tidied', 'w'), sys.exit()"
    code = f"import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: ({tidy}))\n"
    execution = workshop.submit_python(code + "open('pids', 'w').write('1\\n')\n" + FOREVER)
    begun(workshop)
    supervisor_of(workshop).suspend()
    assert execution.wait(lambda line: None, lambda: True).ended == "stopped"
    assert (workshop.folder / "tidied").exists()


def test_a_supervisor_with_a_fault_says_it(workshop):
    outcome = workshop.run("sleep", "600", training_log="not\0a name")
    assert outcome.ended == "lost"
    assert "ValueError" in outcome.why


def test_nothing_carries_the_marks_of_an_execution_that_has_ended(workshop):
    execution = workshop.submit_python("open('pids', 'w').write('1\\n')\n" + FOREVER)
    begun(workshop)
    mark = supervisor_of(workshop).environ()[SUPERVISOR_MARK]
    assert marked(EXECUTION_MARK, mark)
    execution.wait(lambda line: None, lambda: True)
    assert not marked(EXECUTION_MARK, mark)
    assert not marked(SUPERVISOR_MARK, mark)


# Confinement

NONE_HELD = ("it can read and write whatever you can",)
REFUSED = (b"Permission denied\n", b"No such file or directory\n", b"Read-only file system\n")

ELSEWHERE = """
import errno, os, pathlib
outside = pathlib.Path(os.environ['OUTSIDE'])
def refused(what, *arguments, **named):
    try: what(*arguments, **named)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EXDEV, errno.EROFS): return
    raise SystemExit(f'{what} {arguments} was not refused')
refused(open, outside / 'new', 'w')
refused(open, outside / 'file', 'a')
refused(os.truncate, outside / 'file', 0)
refused(os.unlink, outside / 'file')
refused(os.mkdir, outside / 'folder')
refused(os.symlink, 'x', outside / 'link')
refused(os.link, outside / 'file', 'mine')
refused(os.rename, outside / 'file', 'mine')
os.symlink(outside, 'way_out')
refused(open, 'way_out/file', 'w')
assert (outside / 'file').read_text() == 'content'
"""


def test_nothing_outside_is_written_but_everything_is_read(sandboxed, workshop, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("content")
    environment = workshop.job("x").environment | {"OUTSIDE": str(outside)}
    outcome = workshop.run_python(ELSEWHERE, environment=environment, readable=(outside,))
    assert (outcome.ended, outcome.why) == ("ok", "exit code 0")
    assert outcome.confined
    assert [path.name for path in outside.iterdir()] == ["file"]


INSIDE = """
import multiprocessing.shared_memory, os, pathlib, shutil, sys
scratch = pathlib.Path(os.environ['SCRATCH'])
(scratch / 'file').write_text('x')
os.makedirs('run_1/deep/er')
shutil.move(scratch / 'file', 'run_1/deep/er/file')
os.truncate('run_1/deep/er/file', 0)
os.symlink('file', 'run_1/link'); os.link('run_1/deep/er/file', 'hard'); os.mkfifo('fifo')
os.unlink('hard'); os.unlink('run_1/deep/er/file'); os.rmdir('run_1/deep/er')
open('/dev/null', 'w').write('x'); open('/dev/stdout', 'w').write('by name')
memory = multiprocessing.shared_memory.SharedMemory(create=True, size=10)
memory.close(); memory.unlink()
"""


def test_its_own_folders_and_the_devices_are_its_own(sandboxed, workshop):
    environment = workshop.job("x").environment | {"SCRATCH": str(workshop.scratch)}
    outcome = workshop.run_python(INSIDE, environment=environment)
    assert (outcome.ended, outcome.why) == ("ok", "exit code 0")
    assert workshop.log == b"by name"


def test_its_children_are_confined_too_and_it_cannot_touch_its_own_home(sandboxed, workshop):
    code = f"echo x > {workshop.home}/outcome.json"
    assert workshop.run("bash", "-c", f"setsid --wait bash -c '{code}'").ended == "crashed"
    assert workshop.log.endswith(REFUSED)


def test_the_environment_of_the_harness_cannot_be_read(sandboxed, workshop):
    outcome = workshop.run("cat", f"/proc/{os.getpid()}/environ")
    assert outcome.ended == "crashed"
    assert workshop.log.endswith(REFUSED)


def test_the_harness_and_the_supervisor_cannot_be_ended_by_what_they_watch(sandboxed, workshop):
    if sandboxed == "landlock" and landlock_abi() < 6:
        pytest.skip("this kernel's Landlock does not govern signals (Linux 6.12 does)")
    outcome = workshop.run("bash", "-c", f"kill -0 {os.getpid()} 2>&- || echo refused; kill -9 $PPID 2>&-; echo lives")
    assert outcome.ended == "ok"
    assert workshop.log == b"refused\nlives\n"


def test_without_a_sandbox_it_runs_and_is_said_not_to_be_confined(workshop, monkeypatch):
    monkeypatch.setenv("HARNESS_SANDBOX", "none")
    outcome = workshop.run("bash", "-c", "echo x > ../outside")
    assert (outcome.ended, outcome.confined, outcome.not_guaranteed) == ("ok", False, NONE_HELD)
