"""The commands of the report: executed as they are shown, they give the numbers that are on record."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.journal import Journal
from harness.campaign.layout import Layout
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import Silent
from harness.campaign.record import ControlRecord, Record
from harness.campaign.stop import Stop
from harness.loop import go_on
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
    html = render([read_campaign_data(Layout(made.root))])
    code = re.search(rf'aria-label="Commands that reproduce run {run}"><code>(.*?)</code>', html, re.DOTALL)
    assert code is not None
    return code[1].replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&")


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


@pytest.mark.parametrize("name", ["a b", "x;y $(z) 'q'"])
def test_a_name_is_no_command(make_campaign: Callable[..., Campaign], name: str) -> None:
    made = make_campaign({}, max_runs=1)
    go_on(made, view=Silent(), stop=Stop())
    moved = Campaign(made.root.rename(made.root.parent / name))
    perform(moved, shown(moved, 0))
    assert (made.root.parent / f"{name}-run-0-seed-0" / "run_0" / "final_info.json").exists()
