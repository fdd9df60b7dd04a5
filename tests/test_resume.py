"""A campaign survives being killed anywhere, and its records are those of an undisturbed one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.errors import CannotGoOn
from harness.campaign.git import Git
from harness.campaign.journal import read_events
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.executors import warm
from harness.execution.executors.home import SUPERVISOR_MARK, Home
from harness.execution.executors.process_tree import marked
from tests.waiting import HANGS, until

ROOT = Path(__file__).parent.parent

SCRIPT = {
    "run 1, attempt 1": {"text": "PLAN:\n1. a larger rate\nHYPOTHESIS: the loss falls.\nNOTES: none."},
    "run 1, attempt 2": {
        "text": "HYPOTHESIS: the loss falls.\nNOTES: the rate is larger.",
        "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']],
        "files": {"extra.txt": "not mine to write"},
    },
    "run 2, attempt 1": {
        "text": "INTERPRETATION: it fell.\nHYPOTHESIS: a steeper gradient helps.",
        "edits": [["experiment.py", "gradient = 2 * x", "gradient = 2 * x / (1 - 1)"]],
    },
    "run 2, attempt 2": {
        "text": "HYPOTHESIS: a steeper gradient helps.",
        "edits": [["experiment.py", "gradient = 2 * x / (1 - 1)", "gradient = 3 * x"]],
    },
    "run 3, attempt 1": {"text": "INTERPRETATION: it fell again.\nALL_COMPLETED"},
}


def drive(campaign: Campaign, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.drive", str(campaign.root), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)


def start(campaign: Campaign) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.drive", str(campaign.root)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def facts(campaign: Campaign) -> list[dict[str, Any]]:
    """The records without times, usage, commits and what depends on the machine."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = {"usage", "seconds", "started", "commit", "environment", "processor_seconds", "peak_memory"}
            return {key: strip(each) for key, each in value.items() if key not in left_out}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return [strip(record.model_dump()) for record in campaign.read_records()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("undisturbed")
    campaign = _make(folder, SCRIPT, max_runs=5)
    done = drive(campaign)
    assert done.returncode == 0, done.stderr
    assert [record.status for record in campaign.read_records()] == ["completed"] * 3
    return campaign


def _make(folder: Path, script: dict[str, Any], **options: Any) -> Campaign:
    from harness.campaign.campaign import Options, create_campaign
    from harness.campaign.idea import Idea

    folder.mkdir(exist_ok=True)
    session = folder / "script.json"
    session.write_text(json.dumps(script))
    idea = Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller.")
    chosen = Options(agent="tests.scripted:ScriptedAgent", **options)
    return create_campaign(folder / "runs", idea, ROOT / "tests" / "small", chosen, python=sys.executable, session=session)


def _until_it_ends(campaign: Campaign, seen: Path, where: str) -> int:
    """Take the campaign up again as often as it is killed. Returns how often it was."""
    done = drive(campaign, str(seen), where)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1])


class Disturbed(NamedTuple):
    """A campaign that was killed at each point of a kind, and which turns its agent was asked for."""

    campaign: Campaign
    killed: int
    asked: list[str]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Disturbed]:
    @cache
    def at_each(where: str) -> Disturbed:
        folder = tmp_path_factory.mktemp(where)
        campaign = _make(folder, SCRIPT | {"log": str(folder / "asked")}, max_runs=5)
        killed = _until_it_ends(campaign, folder / "seen", where)
        return Disturbed(campaign, killed, (folder / "asked").read_text().splitlines())

    return at_each


@pytest.mark.parametrize("where", ["journal", "turn"])
def test_killed_at_every_point_the_records_are_the_same(
    disturbed: Callable[[str], Disturbed], undisturbed: Campaign, where: str
) -> None:
    campaign, killed, _ = disturbed(where)
    assert killed >= (30 if where == "journal" else 5)
    assert facts(campaign) == facts(undisturbed)
    assert _code(campaign) == _code(undisturbed)
    assert _subjects(campaign) == _subjects(undisturbed)


ROUND = {
    "run 1, attempt 1": {"text": "Only words."},
    "run 1, attempt 2": {"text": "HYPOTHESIS: faster.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]},
    "run 2, attempt 1": {  # fails after the smoke test, when its sibling has been executed
        "text": "HYPOTHESIS: slower.",
        "edits": [
            ["experiment.py", '"rate": 0.05', '"rate": 0.04'],
            ["experiment.py", "steps = 0", "steps = 1 // (steps_ < 9)"],
        ],
    },
    "run 2, attempt 2": {"text": "HYPOTHESIS: slower.", "edits": [["experiment.py", "1 // (steps_ < 9)", "0"]]},
    "run 3, attempt 1": {
        "text": "INTERPRETATION: faster is better.\nHYPOTHESIS: faster still.",
        "edits": [["experiment.py", '"rate": 0.1', '"rate": 0.15']],
    },
}
"""Two runs of a round, of which each is repaired once, and one that starts from the better of them."""


@pytest.mark.parametrize("where", [pytest.param("journal", marks=pytest.mark.slow), "turn"])
def test_killed_at_every_point_of_a_round_nothing_of_it_is_repeated(tmp_path: Path, where: str) -> None:
    script = json.loads(json.dumps(ROUND).replace("steps_", 'settings[\\"steps\\"]'))
    plain = _make(tmp_path / "plain", script, max_runs=3, width=2)
    assert drive(plain).returncode == 0
    runs = plain.read_records()[1:]
    assert [(each.parent, each.round, each.siblings) for each in runs] == [(0, 1, [2]), (0, 1, [1]), (1, 2, [])]
    assert [[each.status for each in record.attempts] for record in runs[:2]] == [
        ["rejected", "completed"],
        ["crashed", "completed"],
    ]
    campaign = _make(tmp_path / "hit", script | {"log": str(tmp_path / "asked")}, max_runs=3, width=2)
    assert _until_it_ends(campaign, tmp_path / "seen", where) >= (40 if where == "journal" else 5)
    assert facts(campaign) == facts(plain)
    assert _code(campaign) == _code(plain)
    assert _subjects(campaign) == _subjects(plain)
    if where == "turn":
        assert sorted((tmp_path / "asked").read_text().splitlines()) == sorted([*script, *script])


@pytest.mark.slow
def test_killed_inside_every_commit_nothing_is_lost_or_doubled(tmp_path: Path, undisturbed: Campaign) -> None:
    script = {"run 1, attempt 1": SCRIPT["run 1, attempt 2"], "run 2, attempt 1": SCRIPT["run 3, attempt 1"]}
    plain = _make(tmp_path / "plain", script, max_runs=5)
    assert drive(plain).returncode == 0
    campaign = _make(tmp_path / "hit", script, max_runs=5)
    killed = _until_it_ends(campaign, tmp_path / "seen", "git")
    assert killed >= 30
    assert facts(campaign) == facts(plain)
    assert _code(campaign) == _code(plain)
    assert _subjects(campaign) == _subjects(plain)


def test_at_most_one_turn_is_paid_again(disturbed: Callable[[str], Disturbed]) -> None:
    asked = disturbed("turn").asked
    labels = [label for label in SCRIPT if label.startswith("run")]
    assert {label: asked.count(label) for label in labels} == dict.fromkeys(labels, 2)  # each was killed once


NOISE = """
loss = {}[int(os.environ["HARNESS_SEED"])]
metrics = {{"loss": loss, "distance": x}}
(out / "final_info.json").write_text(json.dumps({{"settings": settings | {{"steps": steps}}, "metrics": metrics}}))
"""
BASELINE = {0: 1.0, 1: 1.03, 2: 0.97}
LUCKY = {0: 0.9, 1: 1.1, 2: 0.95}
"""Losses by seed: those of a run that looks better with one seed and not with two."""
LARGE = {0: 1.0, 1: 1.03, 2: 0.97, 3: 1.01, 4: 0.98}
BETTER = {0: 0.8, 1: 0.81, 2: 0.79, 3: 1.2, 4: 1.3}
"""Those of a run that looks better with three and not with five."""


class StopsAt(Silent):
    """Wants the campaign to stop when a phase of a run begins."""

    def __init__(self, stop: Stop, run: int, phase: str) -> None:
        self.stop, self.at = stop, (run, phase)

    def begin(self, run: int, runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        self.stop.soon |= (run, phase) == self.at


@pytest.mark.parametrize(
    ("stages", "stopped", "baseline", "run"), [([1, 3], 1, BASELINE, LUCKY), ([1, 3, 5], 3, LARGE, BETTER)]
)
def test_an_interruption_between_two_seeds_changes_nothing(
    tmp_path: Path,
    make_campaign: Callable[..., Campaign],
    experiment: Path,
    monkeypatch: pytest.MonkeyPatch,
    stages: list[int],
    stopped: int,
    baseline: dict[int, float],
    run: dict[int, float],
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    with (experiment / "experiment.py").open("a") as code:
        code.write(NOISE.format(baseline))
    with (experiment / "experiment.toml").open("a") as contract:
        contract.write(f"baseline_seeds = {stages[-1]}\nrun_seeds = {stages}\nfinal_seeds = 1\n")
    lucky = {"text": "HYPOTHESIS: less.", "edits": [["experiment.py", str(baseline), str(run)]]}
    campaign = make_campaign({"run 1, attempt 1": lucky}, max_runs=1)
    stop = Stop()
    assert go_on(campaign, view=StopsAt(stop, 1, f"seed {stopped}"), stop=stop).reason == "interrupted"
    assert not campaign.seed_folder(1, stopped + 1).exists()
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    assert campaign.read_records()[1].seeds == list(range(stages[-1]))
    assert not list((campaign.local / "executions").iterdir())


@pytest.mark.parametrize("also_at_the_end", [False, True])
def test_a_commit_that_git_could_not_end_is_nobody_elses(
    make_campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch, also_at_the_end: bool
) -> None:
    campaign = make_campaign({"run 1, attempt 1": SCRIPT["run 1, attempt 2"]}, max_runs=1)
    run, asked = Git.output, []

    def fails(self: Git, *arguments: str, **named: Any) -> bytes:
        moves = not asked and arguments[0] == "update-ref" and b"/turn" in run(self, "cat-file", "commit", _moved_to(named))
        if moves:
            run(self, *arguments, **named)
        if moves or (asked and also_at_the_end):
            asked.append(arguments[0])
            raise CannotGoOn("git failed: no luck")
        return run(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Git, "output", fails)
        assert "no luck" in go_on(campaign, view=Silent(), stop=Stop()).message
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    (attempt,) = campaign.read_records()[1].attempts
    assert attempt.status == "completed" and attempt.commit and not attempt.by_person
    assert "Your change" not in _subjects(campaign)


def _moved_to(named: dict[str, Any]) -> str:
    return str(named["stdin"]).split()[2] if named.get("stdin") else "HEAD"


SLOW = """
import time
from pathlib import Path
with open(Path(os.environ["COUNTER"]), "a") as counter:
    counter.write(f"{os.getpid()}\\n")
(out / "began").write_text("x")  # after it was counted: who waits for this file reads the count
if not os.environ.get("HARNESS_SMOKE") and str(out).endswith("run_1"):
    while not Path(os.environ["GATE"]).exists():
        time.sleep(0.05)
"""


Slow = tuple[Campaign, Path, Path]


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counter: Path) -> Slow:
    """A campaign whose run 1 waits for a file, and counts how often it is executed."""
    experiment = Path(shutil.copytree(ROOT / "tests" / "small", tmp_path / "experiment"))
    code = (experiment / "experiment.py").read_text()
    gate = tmp_path / "gate"
    (experiment / "experiment.py").write_text(code.replace("\nx = 5.0", SLOW + "\nx = 5.0"))
    contract = (experiment / "experiment.toml").read_text()
    (experiment / "experiment.toml").write_text('environment = ["COUNTER", "GATE"]\n' + contract)
    monkeypatch.setenv("COUNTER", str(counter))
    monkeypatch.setenv("GATE", str(gate))
    script = {
        "run 1, attempt 1": {"text": "HYPOTHESIS: less.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]},
        "run 2, attempt 1": {"text": "ALL_COMPLETED"},
    }
    from harness.campaign.campaign import Options, create_campaign
    from harness.campaign.idea import Idea

    session = tmp_path / "script.json"
    session.write_text(json.dumps(script))
    campaign = create_campaign(
        tmp_path / "runs",
        Idea(Name="slow", Title="A slow idea", Experiment="Wait."),
        experiment,
        Options(agent="tests.scripted:ScriptedAgent", max_runs=2),
        python=sys.executable,
        session=session,
    )
    return campaign, counter, gate


def test_an_experiment_that_outlives_the_harness_is_adopted(slow: Slow) -> None:
    campaign, counter, gate = slow
    harness = start(campaign)
    until(lambda: any(campaign.execution("run_1/attempt_1/execute").glob("copy/**/run_1/began")))
    os.kill(harness.pid, signal.SIGKILL)
    harness.wait()
    gate.write_text("open")
    done = drive(campaign)
    assert done.returncode == 0, done.stderr
    # the baseline, the smoke test and the run, each executed once
    assert len(counter.read_text().splitlines()) == 3
    assert campaign.read_records()[1].status == "completed"


def test_an_execution_whose_supervisor_is_killed_is_repeated_and_charged_to_nobody(slow: Slow) -> None:
    campaign, counter, gate = slow
    harness = start(campaign)
    place = campaign.execution("run_1/attempt_1/execute")
    until(lambda: any(place.glob("copy/**/run_1/began")))
    executed = counter.read_text().splitlines()
    mark = Home(place / "job").read_spec().mark
    for process in marked(SUPERVISOR_MARK, mark):
        process.signal(signal.SIGKILL)
    until(lambda: len(counter.read_text().splitlines()) > len(executed))
    gate.write_text("open")
    assert harness.wait(timeout=HANGS) == 0
    (attempt,) = campaign.read_records()[1].attempts
    assert attempt.status == "completed"
    assert len(counter.read_text().splitlines()) == len(executed) + 1


@pytest.mark.parametrize("always", [False, True])
def test_a_supervisor_that_is_killed_at_birth_is_repeated_once_and_named(
    make_campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    campaign = make_campaign({"run 1, attempt 1": {"text": "ALL_COMPLETED"}}, max_runs=1)
    started: list[bool] = []
    start = warm.WarmProcess.start

    def killed_at_birth(self: warm.WarmProcess, *arguments: Any) -> bool:
        started.append(True)
        if len(started) > 1 and not always:
            return start(self, *arguments)
        self._process.kill()  # from which it would be forked
        self._process.wait()
        return True

    monkeypatch.setattr(warm.WarmProcess, "start", killed_at_birth)
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert len(started) == 2
    if always:
        assert "its supervisor ended without an outcome (it was killed)" in ending.message
    else:
        assert ending.exit_code == 0


def test_a_second_process_is_refused_and_harms_nothing(slow: Slow) -> None:
    campaign, _, gate = slow
    harness = start(campaign)
    until(lambda: any(campaign.execution("run_1/attempt_1/execute").glob("copy/**/run_1/began")))
    second = drive(campaign)
    assert second.returncode != 0
    assert f"pid {harness.pid}" in second.stderr
    gate.write_text("open")
    assert harness.wait(timeout=HANGS) == 0


def test_nothing_of_a_stopped_campaign_runs_on(slow: Slow) -> None:
    campaign, counter, _ = slow
    command = [sys.executable, "-c", "from harness.cli.main import main; main()", "resume", str(campaign.root)]
    harness = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until(lambda: any(campaign.execution("run_1/attempt_1/execute").glob("copy/**/run_1/began")))
    harness.send_signal(signal.SIGINT)
    assert harness.stdout is not None
    assert any(b"Ctrl-C again stops at once" in line for line in harness.stdout)
    assert harness.poll() is None  # the step in hand goes on
    harness.send_signal(signal.SIGINT)
    assert harness.wait(timeout=HANGS) == 130
    last = int(counter.read_text().split()[-1])
    assert not psutil.pid_exists(last)
    assert [event["reason"] for event in read_events(campaign.journal) if event["event"] == "ended"] == ["interrupted"]


def test_a_closed_terminal_stops_a_campaign_like_ctrl_c(slow: Slow) -> None:
    campaign, _, _ = slow
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from harness.cli.main import main; main()", "resume", str(campaign.root)]
    environment = os.environ | {"TERM": "xterm"}

    def with_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    harness = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=with_terminal,
    )
    os.close(theirs)

    def began() -> bool:
        if select.select([ours], [], [], 0)[0]:
            os.read(ours, 4096)
        return any(campaign.execution("run_1/attempt_1/execute").glob("copy/**/run_1/began"))

    until(began)
    os.close(ours)
    assert harness.wait(timeout=HANGS) == 130
    assert [event["reason"] for event in read_events(campaign.journal) if event["event"] == "ended"] == ["interrupted"]


def test_a_full_disk_without_a_file_is_named_by_the_folder_that_is_full(
    make_campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    campaign, temporary = make_campaign({}), tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    space = {temporary: Space(free=0), campaign.root: Space(free=10**6)}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: space[Path(folder)])
    monkeypatch.setattr(Git, "once", _full)
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert ending.message.startswith(f"{temporary}: No space left on device. Fix it, then `harness resume`.")


class Space(NamedTuple):
    free: int


def _full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
def test_whatever_is_killed_at_any_moment_the_end_is_the_same() -> None:
    """The benchmark, small: campaigns with rejected, failed and lucky runs, of which anything is killed."""
    command = [sys.executable, "bench/kills.py", "--kills", "16", "--each", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {"harness", "git", "supervisor", "process group", "seconds"}, done.stdout
    kinds = [found[kind] for kind in found if kind != "seconds"]
    assert all(
        each["kills"] > 0 and not any(each[what] for what in ("lost", "repeated", "differs", "stuck")) for each in kinds
    ), done.stdout


def _code(campaign: Campaign) -> str:
    return (campaign.root / "experiment.py").read_text()


def _subjects(campaign: Campaign) -> list[str]:
    """What was committed, in order, without the commits of how the campaign stands."""
    log = subprocess.run(["git", "log", "--format=%s"], cwd=campaign.root, capture_output=True, text=True, check=True)
    return [line for line in log.stdout.splitlines() if line != "Where the campaign stands"]
