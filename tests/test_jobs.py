"""Several executions of a campaign at once."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.budget import Budget
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.errors import BudgetSpent
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal, read_events
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.measurements import FINAL, FINAL_BASELINE
from tests.test_resume import ROOT, drive, facts

NOISE = """
loss = {}[int(os.environ["HARNESS_SEED"]) % 3] + int(os.environ["HARNESS_SEED"]) / 1e9
metrics = {{"loss": loss, "distance": 1.0}}
{}
(out / "final_info.json").write_text(json.dumps({{"settings": settings | {{"steps": steps}}, "metrics": metrics}}))
"""
BASELINE, LUCKY, BETTER = [1.0, 1.03, 0.97], [0.9, 1.1, 0.95], [0.5, 0.52, 0.49]
MEET = """
import time
if not os.environ.get("HARNESS_SMOKE"):
    with open(os.environ["COUNTER"], "a") as file:
        file.write(os.environ["HARNESS_SEED"] + " ")
    while int(os.environ["HARNESS_SEED"]) and len(set(open(os.environ["COUNTER"]).read().split())) < 3:
        time.sleep(0.02)
"""
"""All seeds but the first wait until three have begun."""


def make(folder: Path, *, seeds: str = "", script: dict[str, Any] | None = None, more: str = "") -> Campaign:
    """A campaign of the small experiment with noise, in `folder`."""
    shutil.copytree(ROOT / "tests" / "small", folder / "experiment", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "experiment" / "experiment.py").open("a") as code:
        code.write(NOISE.format(BASELINE, more))
    contract = folder / "experiment" / "experiment.toml"
    contract.write_text('environment = ["COUNTER"]\n' + contract.read_text() + seeds)
    session = folder / "script.json"
    session.write_text(json.dumps(script or {"run 1, attempt 1": {"text": "ALL_COMPLETED"}}))
    return create_campaign(
        folder / "runs",
        Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
        folder / "experiment",
        Options(agent="tests.scripted:ScriptedAgent", max_runs=2),
        python=sys.executable,
        session=session,
    )


def edit(old: object, new: object) -> dict[str, Any]:
    return {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", str(old), str(new)]]}


@pytest.fixture(scope="module")
def one_after_another(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign with all kinds of executions: seeds of baseline and runs, a control, final seeds."""
    with pytest.MonkeyPatch.context() as patch:
        return run_all(tmp_path_factory.mktemp("one"), patch, jobs="1")


def all_kinds(folder: Path) -> Campaign:
    script = {"run 1, attempt 1": edit(BASELINE, BETTER), "run 2, attempt 1": edit("steps = 0\n", "steps = 2\n")}
    return make(folder, seeds="baseline_seeds = 3\nrun_seeds = [1, 3]\nfinal_seeds = 2\n", script=script)


def run_all(folder: Path, patch: pytest.MonkeyPatch, jobs: str, *arguments: str) -> Campaign:
    patch.setenv("HARNESS_CACHE", str(folder / "cache"))
    patch.setenv("JOBS", jobs)
    campaign = all_kinds(folder)
    done = drive(campaign, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return campaign


def steps(campaign: Campaign, event: str = "done") -> list[str]:
    return [each["step"] for each in read_events(campaign.journal) if each["event"] == event]


def test_records_do_not_depend_on_how_many_executions_ran_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_after_another: Campaign
) -> None:
    campaign = run_all(tmp_path, monkeypatch, "4")
    done = steps(one_after_another)
    for kind in ("run_0/seed_", "run_1/seed_", "control_", f"{FINAL}_", f"{FINAL_BASELINE}_"):
        assert any(kind in step for step in done), kind
    assert sorted(steps(campaign)) == sorted(done)
    assert facts(campaign) == facts(one_after_another)


@pytest.mark.slow
def test_killed_after_every_event_with_several_in_hand_the_records_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_after_another: Campaign
) -> None:
    campaign = run_all(tmp_path, monkeypatch, "4", str(tmp_path / "seen"), "journal")
    assert sorted(steps(campaign)) == sorted(steps(one_after_another))
    assert facts(campaign) == facts(one_after_another)
    assert not list((campaign.local / "executions").iterdir())


def test_seeds_are_executed_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counter: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNTER", str(counter))
    campaign = make(tmp_path, seeds="baseline_seeds = 3\n", more=MEET)
    assert go_on(campaign, view=Silent(), stop=Stop(), jobs=2).exit_code == 0
    assert campaign.read_records()[0].seeds == [0, 1, 2]


class StopsAtSeed(Silent):
    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def begin(self, run: int, runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        self.stop.soon |= phase == "seed 2"


def test_who_stops_has_those_in_hand_end_and_no_further_one_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counter: Path
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNTER", str(counter))
    campaign, stop = make(tmp_path, seeds="baseline_seeds = 5\n", more=MEET), Stop()
    assert go_on(campaign, view=StopsAtSeed(stop), stop=stop, jobs=2).reason == "interrupted"
    assert steps(campaign, "started").count("run_0/seed_3") == 0
    assert {"run_0/seed_1", "run_0/seed_2"} < set(steps(campaign))
    assert go_on(campaign, view=Silent(), stop=Stop(), jobs=2).exit_code == 0
    assert campaign.read_records()[0].seeds == [0, 1, 2, 3, 4]


def test_a_budget_counts_what_is_in_hand(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    budget = Budget(Options(max_hours=10 / 3600), journal)
    budget.check_execution(4.0, beside=1)
    with pytest.raises(BudgetSpent, match="2 s are left and the next execution is expected to take 4 s"):
        budget.check_execution(4.0, beside=2)
