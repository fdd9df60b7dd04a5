"""Experiments that other people wrote go through whole campaigns as they are: small ones in the shapes of AI-Scientist's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.loop import Ending, go_on

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
