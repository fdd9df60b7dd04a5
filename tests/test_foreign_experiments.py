"""Experiments that other people wrote go through whole campaigns as they are: small ones in the shapes of AI-Scientist's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click import unstyle

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.errors import CannotGoOn
from harness.campaign.idea import Idea
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.loop import Ending, go_on
from harness.report.campaign_data import read_campaign_data
from harness.report.paper.writeup import compose
from harness.report.terminal.record_page import record as page

Foreign = Callable[..., Campaign]

HEAD = """import argparse, json, os, random
p = argparse.ArgumentParser()
p.add_argument("--out_dir", type=str, default="run_0")
out = p.parse_args().out_dir
os.makedirs(out, exist_ok=True)
rate = 0.1
"""
WRITES = HEAD + "numbers = {{'d': {{'means': {{'loss': 1 - rate + 0.01234567}}}}}}\njson.dump(numbers, open({place}, 'w'))\n"


def edit(old: str, new: str) -> dict[str, Any]:
    return {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", old, new]]}


FASTER = {"run 1, attempt 1": edit("rate = 0.1", "rate = 0.2")}


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    """Makes a campaign of an experiment of these files."""

    def make(files: Mapping[str, str], script: dict[str, Any] = FASTER, **options: Any) -> Campaign:
        folder = tmp_path / "theirs"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        session = tmp_path / "script.json"
        session.write_text(json.dumps(script))
        return create_campaign(
            tmp_path / "runs",
            Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
            folder,
            Options(agent="tests.scripted:ScriptedAgent", **{"max_runs": 1} | options),
            python=sys.executable,
            session=session,
        )

    return make


def run(campaign: Campaign) -> tuple[Ending, list[str]]:
    view = Listening()
    return go_on(campaign, view=view, stop=Stop()), view.said


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("'final_info.json'", "final_info.json: written there and not into --out_dir"),
        ("os.path.join(os.makedirs('mine') or 'mine', 'final_info.json')", "mine/final_info.json: written there and not"),
        ("os.path.join(out, 'results.json')", ""),
    ],
)
def test_a_summary_that_was_left_one_folder_off_is_the_runs(foreign: Foreign, place: str, says: str) -> None:
    campaign = foreign({"experiment.py": WRITES.format(place=place), "final_info.json": '{"loss": 7}'})
    ending, _ = run(campaign)
    baseline, first = campaign.read_records()
    assert ending.reason == "runs_spent", ending.message
    assert (baseline.metrics["d.loss"].value, first.metrics["d.loss"].value) == (0.91234567, 0.81234567)
    assert any(says in text for text in baseline.warnings) or not says


def test_a_summary_of_the_experiments_folder_is_not_taken_for_a_runs(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": HEAD, "final_info.json": '{"loss": 7}'})
    ending, _ = run(campaign)
    assert ending.message.startswith(
        "the baseline left no result: it ended well, but no number was read: final_info.json: missing: the experiment did "
        "not write it; final_info.json in --out_dir should hold"
    )


# In the shape of AI-Scientist's grokking: several data sets, each trained with seeds of the experiment's own.
OWN_SEEDS = HEAD + (
    "{reads}\n"
    "infos = {{}}\n"
    "for place, name in enumerate(['x_div_y', 'permutation']):\n"
    "    runs = []\n"
    "    for own in range(3):\n"
    "        noise = random.Random(f'{{name}}{{own}}{{seed}}').random()\n"
    "        runs.append({{'final_val_acc': 0.4 + rate + 0.01 * noise, 'step_val_acc_99': 4000 + own}})\n"
    "    lists = {{key: [each[key] for each in runs] for key in runs[0]}}\n"
    "    infos[name] = {{\n"
    "        'means': {{f'{{key}}_mean': sum(values) / 3 for key, values in lists.items()}},\n"
    "        'stderrs': {{f'{{key}}_stderr': (max(values) - min(values)) / 3 for key, values in lists.items()}},\n"
    "        'final_info_dict': lists,\n"
    "    }}\n"
    "json.dump(infos, open(os.path.join(out, 'final_info.json'), 'w'))\n"
)
IGNORES = OWN_SEEDS.format(reads="seed = 0")
READS = OWN_SEEDS.format(reads="seed = int(os.environ['HARNESS_SEED'])")
DECIDES = (
    'editable = ["experiment.py"]\nsmoke = false\n'
    '[[metric]]\nname = "acc"\nsources = ["*.final_val_acc_mean"]\nbetter = "higher"\nprimary = true\n'
    "[profiles.p]\nbaseline_seeds = 3\nrun_seeds = [1, 3]\n"
)
BETTER = {"run 1, attempt 1": edit("rate = 0.1", "rate = 0.2")}


def executions(campaign: Campaign) -> list[str]:
    events = (json.loads(line) for line in campaign.journal.read_text().splitlines())
    steps = (event["step"] for event in events if event["event"] == "done")
    return [step for step in steps if step.rpartition("/")[2].startswith(("execute", "seed", "control"))]


def test_the_seeds_of_an_experiment_that_reads_no_seed_are_its_own(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": IGNORES})
    run(campaign)
    baseline, first = campaign.read_records()
    metric = first.metrics["x_div_y.final_val_acc_mean"]
    assert (len(metric.values), metric.self_reported, first.seed_count, first.seeds) == (3, True, 3, [0])
    assert baseline.own_seeds == 3 and not baseline.ignores_seed
    notes = campaign.notes.read_text()
    assert "Seeds: 3 of the experiment's own (self-reported)" in notes
    text = str(compose(read_campaign_data(campaign), ""))
    assert "has one seed" not in text and "With one seed" not in text
    assert "are the experiment’s own: how many there were and what each gave is self-reported" in text


def test_the_experiments_own_seeds_are_judged_and_marked(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": IGNORES, "experiment.toml": DECIDES}, BETTER)
    ending, said = run(campaign)
    baseline, first = campaign.read_records()
    assert first.verdict.kind == "improved", ending.message + first.verdict.why
    assert "the seeds are the experiment's own, self-reported" in first.verdict.why
    assert first.verdict.against_baseline.seeds == first.verdict.against_baseline.reference_seeds == 3
    assert baseline.ignores_seed and any("HARNESS_SEED is not read" in text for text in said)
    assert executions(campaign) == ["run_0/execute", "run_0/seed_1", "run_0/seed_2", "run_1/attempt_1/execute"]


def test_where_the_seed_is_read_a_list_is_one_value_a_seed(foreign: Foreign) -> None:
    campaign = foreign({"experiment.py": READS, "experiment.toml": DECIDES}, BETTER)
    run(campaign)
    baseline, first = campaign.read_records()
    metric = first.metrics["acc"]
    assert (len(metric.values), metric.self_reported, first.seeds, baseline.seeds) == (3, False, [0, 1, 2], [0, 1, 2])
    assert len(set(metric.values)) == 3 and not baseline.ignores_seed
    assert first.verdict.kind == "improved" and "self-reported" not in first.verdict.why


def test_a_seed_that_changes_nothing_is_found_in_the_baseline_and_costs_no_further_execution(foreign: Foreign) -> None:
    toml = DECIDES.replace("acc", "loss").replace("*.final_val_loss_mean", "d.loss").replace("higher", "lower")
    timed = WRITES.format(place="out + '/final_info.json'").replace("'loss':", "'train_time': random.random(), 'loss':")
    campaign = foreign({"experiment.py": timed, "experiment.toml": toml})
    ending, said = run(campaign)
    baseline, first = campaign.read_records()
    assert ending.reason == "runs_spent", ending.message
    assert baseline.ignores_seed and first.metrics["loss"].value < baseline.metrics["loss"].value
    assert len(executions(campaign)) == 4 and first.seeds == [0]
    (sentence,) = [text for text in said if "HARNESS_SEED" in text]
    assert sentence in baseline.warnings and sentence.startswith("all 3 seeds of the baseline gave the same numbers")
    with pytest.raises(CannotGoOn, match="HARNESS_SEED changes nothing"):
        raise CannotGoOn(go_on(campaign, view=Silent(), stop=Stop(), confirm=(1, 5)).message)


def test_a_standard_error_without_a_number_of_seeds_is_shown_and_never_used(foreign: Foreign) -> None:
    source = HEAD + (
        "d = {'means': {'loss': 1 - rate + 0.01234567}, 'stderrs': {'loss_stderr': 0.25}}\n"
        "json.dump({'d': d}, open(os.path.join(out, 'final_info.json'), 'w'))\n"
    )
    campaign = foreign({"experiment.py": source})
    run(campaign)
    metric = campaign.read_records()[1].metrics["d.loss"]
    assert (metric.values, metric.reported_error, metric.self_reported) == ([0.81234567], 0.25, False)
    first, baseline = campaign.record(1), campaign.record(0)
    assert "d.loss ± 0.25" in unstyle(page(first, baseline, campaign.facts()["contract"], 100))
