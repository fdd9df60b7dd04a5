"""Campaigns for tests: a small experiment of the standard library and a scripted agent; everything else is real.

And the house rules of the whole suite: which threads it may start, and that it leaves nothing on the machine.
"""

from __future__ import annotations

import compileall
import gc
import getpass
import json
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from harness.campaign import git
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.files import remove
from harness.campaign.idea import Idea
from harness.execution.executors import EXECUTORS
from harness.execution.executors.sandbox import available
from tests.in_memory import put_in_memory, take_out_of_memory
from tests.quick_executor import QUICK

SMALL = Path(__file__).parent / "small"

# Each worker has one core at best. Threads beyond that only wait for each other, and libraries have them wait busily.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Images of containers often forbid Python to keep what it compiles: each of the suite's thousands of processes would compile
# this project again. It is compiled once; tests are while they are collected. What tests write and import is not kept:
# two sources of one size and second would be taken for each other.
COMPILED = not sys.dont_write_bytecode
sys.dont_write_bytecode = False

# Tests that run at the same time do not wait for each other; those of slots say how many there are.
os.environ.setdefault("HARNESS_CORES", "0")

# What makes temporary files makes them in a folder of this run of the suite, so that what is left there is the suite's.
# pytest's own folders stay where they are looked for. Workers find both in their environment.
if "TESTS_RUN" not in os.environ:
    for _name in ("harness", "saelab"):
        compileall.compile_dir(Path(__file__).parents[1] / _name, quiet=2)
    os.environ["TESTS_RUN"] = uuid.uuid4().hex
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="harness-tests-")
    tempfile.tempdir = None
    put_in_memory(Path(os.environ["TMPDIR"]))
TEMPORARY = Path(os.environ["TMPDIR"])
LABORATORY = TEMPORARY / "lab"
"""The laboratory's cache, for tests that name none: worlds of known features are made once for all of them."""
os.environ.setdefault("HARNESS_LAB_CACHE", str(LABORATORY))
SHARED_MEMORY = Path("/dev/shm")
OURS = f"harness-tests-{os.environ['TESTS_RUN']}"
"""How names begin of what tests put where nobody's folder is: others may use such places at the same time."""
OF_LIBRARIES = (".ses", f"torchinductor_{getpass.getuser()}", "*wandb-media", "*wandb-artifacts")
"""What importing onnxruntime, torch and wandb (SAEBench does) leaves: a mark of its telemetry's session, an empty cache, and two
folders, the latter until the process ends."""

# As a terminal leaves them: nohup and a shell's background ignore some, and what is started here would inherit that.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def left_behind() -> list[Path]:
    """What this run of the suite has left on the machine, outside pytest's own folders."""
    made = [path for path in TEMPORARY.iterdir() if path != LABORATORY]
    found = [path for path in made if not any(fnmatch(path.name, known) for known in OF_LIBRARIES)]
    return sorted(found) + sorted(SHARED_MEMORY.glob(f"{OURS}*"))


FAILED = pytest.StashKey[bool]()
"""Whether a test, or what came before or after it, failed."""
REMOVAL = ThreadPoolExecutor(2)


@pytest.hookimpl(trylast=True)  # after the plugin that makes that folder
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        put_in_memory(config._tmp_path_factory.getbasetemp())
    # pytest has a link for each test beside its folder, and each working copy of an experiment would have one for each link.
    pytest.MonkeyPatch().setattr("_pytest.tmpdir._force_symlink", lambda root, target, link_to: None, raising=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """After the last worker has ended, the suite fails where something of it is left."""
    REMOVAL.shutdown()
    yield
    if hasattr(session.config, "workerinput"):
        return
    left = left_behind()
    for path in left:
        print(f"\nleft behind by a test: {path}", file=sys.stderr)
        if path.parent == SHARED_MEMORY:
            path.unlink()
    take_out_of_memory(session.config._tmp_path_factory.getbasetemp())
    take_out_of_memory(TEMPORARY)
    shutil.rmtree(TEMPORARY, ignore_errors=True)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


LANGUAGE_MODELS = (
    *("saebench", "prepare", "local_models", "sealed_language_model"),
    *("models", "references", "synthsae", "tiny_lm"),
)
"""Files for which transformers, sae_lens and SAEBench are imported, which takes half a minute: by one worker."""
LONGEST_FIRST = (
    *LANGUAGE_MODELS,
    *("report_browser", "make_run", "aider", "resume", "seeds", "laboratory"),
    *("writeup", "report", "loop", "served_code", "command_agents", "outside", "harvest", "foreign_experiments", "replay"),
    *("doctor", "planted_faults", "slurm", "scorer", "real_agents", "executor", "with_aider", "frontier"),
)
"""Files that take longest. A worker that begins one of these last has the others wait for it."""


def pytest_collection_finish() -> None:
    """What is there for all tests is not looked through again for each of them."""
    sys.dont_write_bytecode = not COMPILED
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: three a core, since a test waits for processes, disks and clocks too, as far as memory goes. Each worker more
    imports all test files once more."""
    needed = 2_000_000_000  # a worker with what its tests start, at its largest
    return max(1, min(3 * (os.cpu_count() or 1), psutil.virtual_memory().available // needed))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, and all files with language models are one."""
    from xdist.scheduler import LoadFileScheduling  # here, because who runs one file may have no xdist

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "language models" if Path(file).stem.removeprefix("test_") in LANGUAGE_MODELS else file

    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def tmp_path(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """pytest's, which what passed leaves empty: removed meanwhile, since a disk may have each of the hundreds of files of a
    campaign waited for."""
    yield tmp_path
    if not request.node.stash[FAILED]:
        removed = tmp_path.parent / "removed"
        removed.mkdir(exist_ok=True)
        left = Path(tempfile.mkdtemp(dir=removed))
        for path in tmp_path.iterdir():
            path.rename(left / path.name)
        REMOVAL.submit(remove, left)


@pytest.fixture(autouse=True)
def unflushed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test writes need not outlive a power cut, which is the subject of one file: half the time of a campaign in
    milliseconds is waiting for the disk, on which the other workers write too."""
    if "disk" not in request.fixturenames:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        monkeypatch.setattr("harness.campaign.files._flush", lambda descriptor: None)
        monkeypatch.setitem(git._SETTINGS, "core.fsync", "none")


@pytest.fixture(autouse=True)
def same_final_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn at random, one campaign in twenty would show what the test of a run lets pass."""
    monkeypatch.setattr("harness.execution.fresh_seeds.SystemRandom", lambda: Random(1))


@pytest.fixture(params=["bubblewrap", "landlock"])
def sandboxed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a mechanism that holds executions to their folders; for each that this system has."""
    name = str(request.param)
    if not available(name).confined:
        pytest.skip(f"{name}: {available(name).why}")
    monkeypatch.setenv("HARNESS_SANDBOX", name)
    return name


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that an experiment can write though the system confines it, and the test can read: in shared memory, which
    under Landlock it has no own of."""
    monkeypatch.setenv("HARNESS_SANDBOX", "landlock")
    file = (SHARED_MEMORY if SHARED_MEMORY.is_dir() else tmp_path) / f"{OURS}-{uuid.uuid4().hex}"
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Executions cost little (see tests/quick_executor.py)."""
    monkeypatch.setitem(EXECUTORS, "local", QUICK)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a figure there is its title and an empty picture: to draw them takes most of a page's time."""
    from harness.report import drawing, figures  # here, because a worker may have no test of pages

    empty = drawing.tried("", "", lambda: (drawing.new_figure()[0], "", ""))
    monkeypatch.setattr(figures, "tried", lambda name, title, draw: replace(empty, name=name, title=title))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder with the small experiment."""
    return Path(shutil.copytree(SMALL, tmp_path / "experiment", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def make_campaign(tmp_path: Path, experiment: Path) -> Callable[..., Campaign]:
    """Makes a campaign of the small experiment whose agent follows a script (see tests/scripted.py)."""

    def make(script: dict[str, Any], **options: Any) -> Campaign:
        session = tmp_path / "script.json"
        session.write_text(json.dumps(script))
        return create_campaign(
            tmp_path / "runs",
            Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
            experiment,
            Options(**{"agent": "tests.scripted:ScriptedAgent", "max_runs": 2} | options),
            python=sys.executable,
            session=session,
        )

    return make
