"""The commands of the report: executed as they are shown, they give the numbers that are on record."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal
from harness.campaign.layout import Layout
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import Silent
from harness.campaign.record import ControlRecord, Record
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.report.campaign_data import read_campaign_data
from harness.report.html.report import render
from harness.report.paper.writeup import compose
from harness.report.reproduction import commands
from harness.results.run_results import read_run
from tests.test_laboratory import EXPERIMENT, PREPARED, SCORER, campaign, end, lab

__all__ = ["lab"]  # a fixture

HASHED = " + hash('seed of hashes') % 1000 / 1e6"


def shown(made: Campaign, run: int) -> str:
    """The commands as the page has them."""
    page = render([read_campaign_data(Layout(made.root))])
    code = re.search(rf'aria-label="Commands that reproduce run {run}"><code>(.*?)</code>', page, re.DOTALL)
    assert code is not None
    return html.unescape(code[1])


def perform(made: Campaign, script: str, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS")} | variables
    environment["PYTHONHASHSEED"] = "123"
    done = subprocess.run(["bash", "-ec", script], cwd=made.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_and_its_control_are_reproduced_by_their_commands(make_campaign: Callable[..., Campaign]) -> None:
    change: dict[str, Any] = {
        "text": "HYPOTHESIS: longer.",
        "edits": [["experiment.py", '"steps": 40, "rate": 0.05', '"steps": 80, "rate": 0.1']],
    }
    made = make_campaign({"run 1, attempt 1": change}, max_runs=1)
    go_on(made, view=Silent(), stop=Stop())
    record = Record.read(made.run_folder(1))
    assert record.control is not None
    elsewhere = ControlRecord(name="control rate=0.1", overrides={"rate": 0.1}, run=1, seeds=[0])
    opened = OpenCampaign.begin(made, Journal(made.journal), Silent(), Stop())
    opened.write_record(record.model_copy(update={"frontier": [elsewhere]}))
    perform(made, shown(made, 1))

    def loss(name: str) -> Any:
        return json.loads((made.root.parent / name / "run_1" / "final_info.json").read_text())["metrics"]["loss"]

    assert loss("small-run-1-seed-0") == record.metrics["loss"].value
    assert loss("small-control-steps=80-seed-0") == record.control.metrics["loss"][0] != record.metrics["loss"].value
    assert loss("small-control-rate=0.1-seed-0") not in (record.metrics["loss"].value, record.metrics["loss"].baseline)


def test_scored_numbers_of_every_seed_are_reproduced_by_the_commands(lab: Path, tmp_path: Path) -> None:
    (lab / "experiment.py").write_text(EXPERIMENT.replace("aim + 0.5", f"aim + 0.5{HASHED}"))
    (lab / "toylab" / "score.py").write_text(SCORER.replace("abs(model[0] - aim)", f"abs(model[0] - aim){HASHED}"))
    contract = lab / "experiment.toml"
    contract.write_text(PREPARED + contract.read_text() + "baseline_seeds = 2\nrun_seeds = [2]\n")
    made = campaign(lab, [("aim + 0.5", "aim + 0.25"), ('"effort": 1.0', '"effort": 2.0')])
    assert end(made).reason == "runs_spent"
    record = Record.read(made.run_folder(1))
    assert record.seeds == [0, 1] and len(set(record.metrics["error"].values)) == 2
    perform(made, shown(made, 1), HARNESS_LAB_CACHE=str(tmp_path / "another lab"))
    again = [read_run(made.root.parent / f"toy-run-1-seed-{seed}" / "run_1", made.contract) for seed in record.seeds]
    assert [results.metrics["error"].value for results in again] == record.metrics["error"].values
    assert [results.metrics["effort"].value for results in again] == record.metrics["effort"].values


def test_the_write_up_has_the_same_commands(lab: Path) -> None:
    made = campaign(lab, [("aim + 0.5", "aim + 0.25")])
    end(made)
    data = read_campaign_data(Layout(made.root))
    code = commands(data, data.runs[1].record)
    assert code in [getattr(block, "text", None) for block in compose(data, "").walk()]


AROUND = """import argparse, json, os
p = argparse.ArgumentParser()
p.add_argument("--out_dir")
out = p.parse_args().out_dir
rate = 1
root = "../../data" if out == "run_0" else "../../../data"  # as AI-Scientist's nanoGPT has it
size = len(open(os.path.join(root, "train.bin"), "rb").read()) + len(open("large/big data.bin", "rb").read())
os.listdir("empty")
os.makedirs(out)
json.dump({"loss": rate * size * (1 + int(os.environ["HARNESS_SEED"]))}, open(out + "/final_info.json", "w"))
"""


@pytest.mark.parametrize("moved", [False, True])
def test_what_lies_outside_the_folder_is_there_for_the_commands_too(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    monkeypatch.setattr("harness.campaign.experiment_folder.MAX_FILE", 100)
    theirs = tmp_path / "a project" / "templates" / "it's"
    for folder in (theirs / "large", theirs / "empty", theirs.parents[1] / "data"):
        folder.mkdir(parents=True)
    (theirs / "experiment.py").write_text(AROUND)
    (theirs / "large" / "big data.bin").write_bytes(bytes(1000))
    (theirs.parents[1] / "data" / "train.bin").write_bytes(bytes(7))
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"run 1, attempt 1": {"text": "", "edits": [["experiment.py", "rate = 1", "rate = 2"]]}}))
    options = Options(agent="tests.scripted:ScriptedAgent", max_runs=1)
    made = create_campaign(
        tmp_path / "runs",
        Idea(Name="small", Title="A", Experiment="B"),
        theirs,
        options,
        python=sys.executable,
        session=script,
    )
    assert go_on(made, view=Silent(), stop=Stop()).reason == "runs_spent"
    if moved:
        made.machine_file.unlink()
        assert "# Its code leads out of its folder: give the folder that is made next" in shown(made, 1)
        return
    for number, loss in enumerate((1007, 2014)):
        perform(made, shown(made, number).replace("python ", f"{sys.executable} "))
        found = list(made.root.parent.glob(f"small-run-{number}-seed-0/**/run_{number}/final_info.json"))
        assert [json.loads(each.read_text()) for each in found] == [{"loss": loss}]
        assert Record.read(made.run_folder(number)).metrics["loss"].value == loss
    assert str(tmp_path) not in shown(made, 1)


@pytest.mark.parametrize("name", ["a b", "x;y $(z) 'q'"])
def test_a_name_is_no_command(make_campaign: Callable[..., Campaign], name: str) -> None:
    made = make_campaign({}, max_runs=1)
    go_on(made, view=Silent(), stop=Stop())
    moved = Campaign(made.root.rename(made.root.parent / name))
    perform(moved, shown(moved, 0))
    assert (made.root.parent / f"{name}-run-0-seed-0" / "run_0" / "final_info.json").exists()
