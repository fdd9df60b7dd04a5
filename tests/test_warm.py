"""A job that is forked from a warm process is held to everything that a cold one is, and finds nothing of another job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.campaign.protocols import Job, Limits, Outcome, WarmStart
from harness.execution.executors.home import Home
from harness.execution.executors.local import LocalExecution, LocalExecutor
from tests.executing import READABLE, running, runs
from tests.test_sandbox import KEYS, SWITCHES
from tests.waiting import HANGS, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="warm processes are for Linux")
LARGE = """
import os, sys
with open(os.environ["COUNT"], "a") as file:
    file.write("x")
things = {}
def warm():
    things["warm"] = True
    if "HOME" in os.environ:
        os.makedirs(os.environ["HOME"] + "/.config/large", exist_ok=True)
        open(os.environ["TMPDIR"] + "/large", "w").close()
"""


class Bench:
    """Submits jobs that import the module `large`, each in folders of its own."""

    def __init__(self, root: Path, executor: LocalExecutor) -> None:
        self.root, self.executor = root, executor
        self.count = root / "count"
        (root / "lab").mkdir()
        (root / "lab" / "large.py").write_text(LARGE)

    def job(self, name: str, code: str, *arguments: str, warm: bool = True, **changes: Any) -> Job:
        folder, scratch = self.root / name / "copy", self.root / name / "scratch"
        for each in (folder, scratch):
            each.mkdir(parents=True)
        environment = {"PATH": os.environ["PATH"], "COUNT": str(self.count), "PYTHONHASHSEED": "0", "HARNESS_SEED": name}
        start = WarmStart(self.root / "lab", ("large:warm",), self.root / "warm.txt") if warm else None
        command = (sys.executable, "-s", "-P", "-B", "-c", textwrap.dedent(code), *arguments)
        limits = changes.pop("limits", Limits(time=HANGS))
        return Job(command, folder, folder / "out", scratch, environment, limits, warm=start, readable=READABLE, **changes)

    def submit(self, name: str, code: str, *arguments: str, **changes: Any) -> LocalExecution:
        return self.executor.submit(self.job(name, code, *arguments, **changes), self.root / name / "home")

    def run(self, name: str, code: str, *arguments: str, **changes: Any) -> tuple[Outcome, str]:
        outcome = self.submit(name, code, *arguments, **changes).wait(lambda line: None, lambda: False)
        return outcome, (self.root / name / "home" / outcome.log).read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, LocalExecutor())


def test_what_takes_long_is_imported_once_for_all_jobs(bench: Bench) -> None:
    code = "import sys; print('large' in sys.modules, sys.modules['large'].things)"
    for name in "abc":
        outcome, said = bench.run(name, code)
        assert (outcome.ended, said) == ("ok", "True {'warm': True}\n")
    assert bench.count.read_text() == "x"


def test_the_c_library_knows_a_jobs_own_thread(bench: Bench, sandboxed: str) -> None:
    """Who is forked past it could not pin itself to a core, as libraries do."""
    code = """
        import ctypes, os
        libc = ctypes.CDLL(None)
        libc.pthread_self.restype = ctypes.c_void_p
        core = min(os.sched_getaffinity(0))
        mask = (1 << core).to_bytes(128, "little")
        print(libc.pthread_setaffinity_np(ctypes.c_void_p(libc.pthread_self()), 128, mask), os.sched_getaffinity(0) == {core})
    """
    assert bench.run("pinned", code)[1] == "0 True\n"


def test_what_takes_long_may_be_imported_before_the_first_job_comes(bench: Bench) -> None:
    bench.executor.warm_up(bench.job("before", ""))
    until(bench.count.exists)
    assert bench.run("a", "import sys; print('large' in sys.modules)")[1] == "True\n"
    assert bench.count.read_text() == "x"


def test_what_is_imported_writes_into_no_folder_of_a_job(bench: Bench) -> None:
    """A job's are removed and made anew before it starts, while a warm process may still import."""
    code = """
        import os, tempfile
        print(os.environ["HOME"], tempfile.gettempdir() == os.environ["TMPDIR"], os.listdir(os.environ["HOME"]))
        """
    job = bench.job("a", code)
    home = job.scratch / "home"
    home.mkdir()
    job = replace(job, environment=job.environment | {"HOME": str(home)})
    execution = bench.executor.submit(job, bench.root / "a" / "home")
    assert execution.wait(lambda line: None, lambda: False).ended == "ok"
    assert (bench.root / "a" / "home" / "log.txt").read_text() == f"{home} True []\n"
    assert list(home.iterdir()) == []
    assert (bench.root / "warm.home" / ".config" / "large").is_dir()


def test_a_job_finds_nothing_that_another_did(bench: Bench) -> None:
    spoil = "import json, large, os, sys; large.things['a'] = 1; json.dumps = None; os.environ['X'] = '1'; sys.path.insert(0, '/')"
    assert bench.run("a", spoil)[0].ended == "ok"
    look = "import json, large, os, sys; print(large.things, json.dumps is None, os.environ.get('X'), '/' in sys.path)"
    assert bench.run("b", look)[1] == "{'warm': True} False None False\n"


def test_a_job_has_its_own_environment_folder_arguments_and_marks(bench: Bench) -> None:
    code = """
        import os, sys, tempfile
        print(sorted(os.environ))
        print(os.environ["HARNESS_SEED"], sys.argv, os.getcwd() == sys.argv[1], sys.stdin.read() == "")
        mark = os.environ["HARNESS_EXECUTION"]
        shown = open("/proc/self/environ").read()
        print(mark in shown, "HARNESS_SUPERVISOR=" + "0" * 32 in shown, len(os.listdir("/proc/self/fd")) < 9)
        """
    folder = str(bench.root / "a" / "copy")
    _, said = bench.run("a", code, folder, "x")
    names = ["COUNT", "HARNESS_EXECUTION", "HARNESS_SEED", "PATH", "PWD", "PYTHONHASHSEED", "TMPDIR"]
    assert said.splitlines() == [str(names), f"a {['-c', folder, 'x']} True True", "True True True"]


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("secrets", [{}, {"KEY": "1"}])
def test_a_job_has_no_descriptor_but_its_output(bench: Bench, warm: bool, secrets: dict[str, str]) -> None:
    """One that had its supervisor's lock could let go of it, and would be executed again while it still runs."""
    code = """
        import os
        links = {int(each): os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")}
        print({number: link for number, link in links.items() if os.path.lexists(f"/proc/self/fd/{number}") and number > 2})
        """
    assert bench.run("a", code, warm=warm, secrets=secrets)[1] == "{}\n"


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize(
    ("code", "ended", "exit_code", "why"),
    [
        ("print('a')", "ok", 0, "exit code 0"),
        ("import sys; sys.exit(3)", "crashed", 3, "exit code 3, no output"),
        ("import sys; sys.exit('too bad')", "crashed", 1, "exit code 1: too bad"),
        ("raise ValueError('wrong')", "crashed", 1, "exit code 1: ValueError: wrong"),
        ("import os; os.kill(os.getpid(), 9)", "killed", -9, "ended from outside by SIGKILL"),
    ],
)
def test_warm_or_cold_a_job_ends_alike(bench: Bench, warm: bool, code: str, ended: str, exit_code: int, why: str) -> None:
    outcome, _ = bench.run("a", code, warm=warm)
    assert (outcome.ended, outcome.exit_code, outcome.why) == (ended, exit_code, why)


def test_limits_hold_and_the_whole_tree_ends(bench: Bench) -> None:
    code = """
        import os, pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
        """
    outcome, _ = bench.run("a", code, limits=Limits(time=4))
    assert outcome.ended == "timed_out"
    assert (bench.root / "a" / "copy" / "pids").exists()
    assert not running(bench.root / "a" / "copy")
    block = "x = bytearray(400_000_000); x[::4096] = b'x' * len(x[::4096])\nimport time; time.sleep(600)"
    assert bench.run("b", block, limits=Limits(time=HANGS, memory=300_000_000))[0].ended == "out_of_memory"


def test_a_job_is_confined(sandboxed: str, bench: Bench) -> None:
    code = """
        import pathlib, sys
        for place in sys.argv[1:]:
            try:
                (pathlib.Path(place) / "written").write_text("x")
                print("yes")
            except OSError:
                print("no")
        try:
            print(open(f"/proc/{sys.argv[-1]}/environ").read(4))
        except OSError:
            print("no")
        """
    allowed = bench.root / "allowed"
    allowed.mkdir()
    outcome, said = bench.run("a", code, ".", str(allowed), str(bench.root / "lab"), str(os.getpid()), writable=(allowed,))
    assert outcome.confined
    assert said.split() == ["yes", "yes", "no", "no", "no"]


def test_a_job_changes_no_setting_of_the_kernel_and_leaves_no_key(sandboxed: str, bench: Bench) -> None:
    _, said = bench.run("a", SWITCHES + KEYS)
    assert said.split() == ["-1"] * 6


def test_a_person_stops_it(bench: Bench) -> None:
    execution = bench.submit("a", "import pathlib, time; pathlib.Path('pids').write_text('1'); time.sleep(600)")
    until((bench.root / "a" / "copy" / "pids").exists)
    assert execution.wait(lambda line: None, lambda: True).ended == "stopped"


HARNESS = """
import os, sys
from pathlib import Path
from tests.test_warm import Bench
from harness.execution.executors.local import LocalExecutor
root = Path(sys.argv[1])
bench = Bench(root, LocalExecutor())
bench.submit("a", "import pathlib, time\\nwhile not pathlib.Path('gate').exists(): time.sleep(0.02)\\nprint('done')")
print("submitted", flush=True)
sys.stdin.read()
"""


def test_it_outlives_the_harness_and_is_adopted_while_the_warm_process_ends(tmp_path: Path) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert harness.stdout is not None
    assert harness.stdout.readline() == b"submitted\n"
    children = psutil.Process(harness.pid).children()
    home = Home(tmp_path / "a" / "home")
    until(lambda: bool((tmp_path / "a" / "home" / "log.txt").exists() and home.is_alive()))
    os.kill(harness.pid, signal.SIGKILL)
    harness.wait()
    until(lambda: not any(runs(child.pid) for child in children))
    execution = LocalExecutor().attach(tmp_path / "a" / "home")
    assert execution is not None
    (tmp_path / "a" / "copy" / "gate").touch()
    assert execution.wait(lambda line: None, lambda: False).ended == "ok"
    assert (tmp_path / "a" / "home" / "log.txt").read_text() == "done\n"


def test_a_warm_process_that_was_killed_is_done_without(bench: Bench) -> None:
    assert bench.run("a", "pass")[0].ended == "ok"
    (process,) = bench.executor._warm.values()
    process._process.kill()
    process._process.wait()
    assert bench.run("b", "print('cold')")[1] == "cold\n"


def test_imports_that_fail_are_left_to_the_job(bench: Bench) -> None:
    (bench.root / "lab" / "large.py").write_text("raise ImportError('not here')")
    outcome, said = bench.run("a", "import sys; sys.path.insert(0, sys.argv[1]); import large", str(bench.root / "lab"))
    assert outcome.ended == "crashed"
    assert said.splitlines()[-1] == "ImportError: not here"
    assert "not here" in (bench.root / "warm.txt").read_text()


def test_without_its_executor_a_warm_process_ends(bench: Bench) -> None:
    assert bench.run("a", "pass")[0].ended == "ok"
    (process,) = bench.executor._warm.values()
    pid = process._process.pid
    assert runs(pid)
    del bench.executor
    del process
    until(lambda: not runs(pid))
