"""Campaigns that begin with recorded baselines: context for the agent, and no evidence."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click import BadParameter

from harness.agents.situation import recorded_columns
from harness.campaign import recorded_baselines as baselines
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.contract_file import load_contract
from harness.campaign.errors import InputError
from harness.campaign.idea import Idea
from harness.campaign.journal import read_events
from harness.campaign.numbers import number
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.cli.options import Duration
from harness.continuation import go_on
from harness.execution.attempts import Attempts

pytestmark = pytest.mark.usefixtures("quick")

ROOT = Path(__file__).parents[1]
GEMMA = ROOT / "baselines" / "gemma-2-2b"
Make = Callable[..., Campaign]


def test_what_the_readme_says_of_the_recorded_results_is_in_their_files() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (GEMMA / "README.md").read_text(), re.MULTILINE)
    said = {name: [float(cell.replace(",", "")) for cell in cells.split(" | ")[1:]] for name, cells in rows}
    names = ("l0", "absorption", "cosine", "mse", "sparse_probing_8_sets", "unlearning")
    columns = recorded_columns([GEMMA / name for name in said], load_contract(ROOT))
    for column in columns:
        values = [column.metrics[name] for name in names]
        assert said[column.label] == pytest.approx(values, rel=5e-3, abs=6e-4)
    assert list(said) == ["run_0", "topk_k320", "relu_l1"]

    recorded = json.loads((GEMMA / "relu_l1" / "eval_results" / "recorded.json").read_text())
    training, core = (recorded[name] for name in ("training results for layer 12", "core evaluation results"))
    config, metrics = training["config"], core["metrics"]
    assert (config["lr"], config["warmup_steps"]) == (3e-4, 1000)
    squared = config["activation_dim"] * metrics["reconstruction_quality"]["mse"]
    penalty = config["l1_penalty"] * metrics["sparsity"]["l1"]
    assert (round(squared + penalty), round(training["final_info"]["final_loss"])) == (709, 701)
    assert squared**0.5 + penalty < 519


def test_a_profile_says_how_many_runs_and_time_limits_each_execution(tmp_path: Path) -> None:
    idea = Idea(Name="gemma", Title="Less absorption", Experiment="Make absorption smaller.")

    def made(**options: object) -> Campaign:
        chosen = Options(profile="gemma-2-2b", baseline="given", **options)
        return create_campaign(tmp_path / "runs", idea, ROOT, chosen, python=sys.executable)

    usual, asked = made(), made(max_runs=7, time=1800.0)
    assert (usual.options().max_runs, usual.planned_runs) == (3, 3)
    assert (asked.options().max_runs, asked.planned_runs) == (7, 7)
    assert usual.contract.limits_of("gemma-2-2b").time == 6 * 3600
    limits = asked.contract.limits_of("gemma-2-2b")
    assert (limits.time, limits.scoring_time) == (1800, 12 * 3600)


@pytest.mark.parametrize(("given", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_a_time_is_given_with_its_unit(given: str, seconds: float) -> None:
    assert Duration().convert(given, None, None) == seconds


@pytest.mark.parametrize("given", ["30", "0m", "-1m", "30 m", "m"])
def test_a_time_without_a_unit_or_of_nothing_is_refused(given: str) -> None:
    with pytest.raises(BadParameter, match="expected a time such as 90s, 30m or 2h"):
        Duration().convert(given, None, None)


def test_the_gemma_campaign_begins_without_a_gpu_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attempts, "try_baseline", lambda self: None)  # the smoke test, which needs a GPU
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"run 1, attempt 1": {"text": "ALL_COMPLETED"}}))
    options = Options(agent="tests.scripted:ScriptedAgent", profile="gemma-2-2b", baseline="given", max_runs=1)
    idea = Idea(Name="gemma", Title="Less absorption", Experiment="Make absorption smaller.")
    campaign = create_campaign(tmp_path / "runs", idea, ROOT, options, python=sys.executable, session=script)
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    (baseline,) = campaign.read_records()
    (warning,) = baseline.warnings
    assert (baseline.given, baseline.seconds) == (True, 0.0)
    assert warning == "lr: 0.0002, beside learning_rate 0.0003: which one was used is not certain"
    assert baseline.metrics["absorption"].value == 0.1429159584016188
    assert not [e for e in read_events(campaign.journal) if "execute" in e.get("step", "") or "prepare" in e.get("step", "")]
    told = (campaign.attempt_folder(1, 1) / "brief.md").read_text()
    (header,) = re.findall(r"^metric.*$", told, re.MULTILINE)
    assert header.split("|") == ["metric", "relu_l1", "topk_k320", "run_0"]
    (row,) = re.findall(r"^absorption\|.*$", told, re.MULTILINE)
    assert row.split("|")[1:] == [number(value) for value in (0.016138604243358595, 0.02959233779334607, 0.1429159584016188)]
    assert "relu_l1: recorded elsewhere, context only; l0 is 8896, more than 0.25 x dict_size (4096)" in told
    assert "run_0: given, not executed here" in told
    assert "llm_test_accuracy" not in told and "trainer_class" not in told  # of the code that it was recorded with
    assert "k=40*" in told and "lr=0.0002" in told  # the profile's settings, not those of the other code


CONTRACT = """
comparable = ["steps", "rate"]
[[metric]]
name = "loss"
better = "lower"
primary = true
[[sanity]]
value = "loss"
present = true
at_most = 25
[[sanity]]
value = "steps"
present = true
[profiles.small]
settings = { steps = 40, rate = 0.05 }
baselines = "recorded"
baseline_seeds = 2
noise.loss = { sd = 1e-4, seeds = 20 }
[profiles.other]
settings = { steps = 40, rate = 0.05 }
"""


@pytest.fixture
def recorded(experiment: Path) -> Path:
    (experiment / "experiment.toml").write_text(CONTRACT)
    for name, loss, steps in (("run_0", 0.5, 40), ("wider", 0.4, 40), ("broken", 90.0, 2)):
        (experiment / "recorded" / name).mkdir(parents=True)
        results = {"settings": {"steps": steps}, "metrics": {"loss": loss, "odd": 1.0}}
        (experiment / "recorded" / name / "final_info.json").write_text(json.dumps(results))
    (experiment / "recorded" / "notes").mkdir()
    return experiment


def change(old: str, new: str) -> dict[str, Any]:
    return {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", old, new]]}


def test_no_run_is_called_improved_by_a_given_baseline(recorded: Path, make_campaign: Make) -> None:
    script = {
        "run 1, attempt 1": change('"rate": 0.05', '"rate": 0.1'),
        "run 2, attempt 1": change('"steps": 40', '"steps": 80'),
    }
    campaign = make_campaign(script, baseline="given")
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    _, better, longer = campaign.read_records()
    assert better.metrics["loss"].value < 0.01
    assert better.verdict.kind == "inconclusive"
    assert better.verdict.against_baseline is not None and better.verdict.against_baseline.p is not None
    assert better.verdict.against_baseline.p < 1e-6  # by the numbers alone it would be
    assert "the baseline was given with the experiment, not executed here, and its rate is not known" in better.verdict.why
    assert longer.verdict.kind == "not_comparable"
    assert (
        "steps 80 against 40 (run 0, given with the experiment); no control is executed beside it, since"
        in longer.verdict.why
    )
    assert longer.control is None
    steps = [e["step"] for e in read_events(campaign.journal) if e["event"] == "done"]
    assert not [step for step in steps if step.startswith("run_0/") and step not in ("run_0/smoke_test", "run_0/record")]
    notes = campaign.notes.read_text()
    assert "Supported" not in notes.split("=== The end ")[1]


def test_recorded_baselines_are_context_in_each_brief(recorded: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": {"text": "ALL_COMPLETED"}}, baseline="given")
    go_on(campaign, view=Silent(), stop=Stop())
    told = (campaign.attempt_folder(1, 1) / "brief.md").read_text()
    assert re.search(r"^metric\|broken\|wider\|run_0$", told, re.MULTILINE)
    assert "broken: recorded elsewhere, context only; loss is 90, more than 25" in told
    assert "wider: recorded elsewhere, context only\n" in told
    assert campaign.given.is_dir() and not (campaign.given / "notes").exists()


def test_a_recorded_baseline_that_breaks_a_rule_is_none(recorded: Path, make_campaign: Make) -> None:
    (recorded / "recorded" / "run_0" / "final_info.json").write_text('{"settings": {}, "metrics": {"loss": 90.0}}')
    ending = go_on(make_campaign({}, baseline="given"), view=Silent(), stop=Stop())
    assert ending.exit_code == 4
    assert "loss is 90, more than 25" in ending.message


def test_without_being_asked_a_contracts_experiment_executes_its_own_baseline(recorded: Path, make_campaign: Make) -> None:
    assert not make_campaign({}).run_folder(0).exists()
    assert not make_campaign({}, baseline="own").run_folder(0).exists()


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ("other", "--baseline given: profile other names no recorded baselines. These profiles do: small."),
        ("small", "recorded/run_0: no recorded results there"),
    ],
)
def test_baselines_that_are_not_there_are_said_with_what_to_do(
    recorded: Path, make_campaign: Make, profile: str, says: str
) -> None:
    if profile == "small":
        (recorded / "recorded" / "run_0").rename(recorded / "recorded" / "run_zero")
    with pytest.raises(InputError) as error:
        make_campaign({}, profile=profile, baseline="given")
    assert says in str(error.value)
    assert "without --baseline the unmodified experiment is executed" in str(error.value)
    assert not list((recorded.parent / "runs").glob("*"))


def test_an_experiment_without_a_contract_takes_its_run_0_unless_told_otherwise(recorded: Path) -> None:
    (recorded / "experiment.toml").unlink()
    for name in ("run_0", "run_1"):
        (recorded / "recorded" / "run_0").rename(recorded / name) if name == "run_0" else (recorded / name).mkdir()
    (recorded / "run_1" / "final_info.json").write_text("{}")
    contract = load_contract(recorded)
    assert baselines.find(recorded, contract, "", None) == recorded
    assert baselines.find(recorded, contract, "", "own") is None
    assert baselines.context(recorded) == []  # runs of another campaign
