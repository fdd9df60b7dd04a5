"""Trackers are told of each run once, and their failure hurts no campaign."""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.errors import InputError
from harness.campaign.protocols import Silent, Tracked
from harness.campaign.stop import Stop
from harness.continuation import go_on, next_brief
from harness.trackers.tracking import find_tracker
from harness.trackers.wandb import WandbTracker

pytestmark = pytest.mark.usefixtures("quick")

Make = Callable[..., Campaign]
FASTER = {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}
DONE = {"text": "ALL_COMPLETED"}
HERE = "tests.test_tracking:"


class ListTracker:
    told: ClassVar[list[Tracked]] = []
    closed: ClassVar[list[bool]] = []

    def check(self) -> None: ...

    def log(self, run: Tracked) -> None:
        self.told.append(run)

    def close(self) -> None:
        self.closed.append(True)


class BrokenTracker(ListTracker):
    def log(self, run: Tracked) -> None:
        raise TimeoutError("no server answers")

    def close(self) -> None:
        raise OSError("nor now")


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def nothing_told() -> Iterator[None]:
    ListTracker.told.clear()
    ListTracker.closed.clear()
    yield


def test_each_run_is_told_once_with_its_curve_and_again_only_with_more_seeds(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE}, track=HERE + "ListTracker")
    go_on(campaign, view=Silent(), stop=Stop())
    go_on(campaign, view=Silent(), stop=Stop())
    baseline, first = ListTracker.told
    assert [run.record.run for run in ListTracker.told] == [0, 1]
    assert ListTracker.closed == [True]  # the second time it was not needed
    assert baseline.id != first.id and baseline.campaign == first.campaign == campaign.name
    assert first.record.verdict == campaign.read_records()[1].verdict
    assert len(first.curves["loss"].values) == 40
    go_on(campaign, view=Silent(), stop=Stop(), confirm=(1, 2))
    again = ListTracker.told[-1]
    assert (first.id, len(first.record.seeds), len(again.record.seeds)) == (again.id, 1, 2)
    assert (len(ListTracker.told), again.curves) == (3, {})


def test_a_tracker_that_fails_is_said_once_and_tried_again(make_campaign: Make) -> None:
    script = {"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE}
    campaign = make_campaign(script, track=HERE + "BrokenTracker")
    view = Listening()
    assert go_on(campaign, view=view, stop=Stop()).exit_code == 0
    said = [text for text in view.said if "no server answers" in text]
    assert said == [f"--track {HERE}BrokenTracker: TimeoutError: no server answers. The campaign goes on."]
    assert [record.status for record in campaign.read_records()] == ["completed", "completed"]
    with pytest.raises(Exception, match="has ended"):
        next_brief(campaign)  # what is not told yet is no step that the campaign waits for
    go_on(campaign, view=Silent(), stop=Stop(), changes={"track": HERE + "ListTracker"})
    assert [run.record.run for run in ListTracker.told] == [0, 1]


def test_nothing_of_a_tracker_is_imported_otherwise() -> None:
    code = "import sys, harness.continuation, harness.cli.running; print([name for name in sys.modules if 'wandb' in name or 'torch' in name])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["mlflow", "tests.nowhere:Tracker", HERE + "NoTracker"])
def test_an_unknown_tracker_is_said_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="wandb" if ":" not in name else "cannot import"):
        find_tracker(name)


# --- Weights & Biases itself, offline ---------------------------------------------------------------------------------

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="the package wandb is not installed")


def parts(data: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format: blocks of 32 KB, behind a header of 7 bytes."""
    place, part = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield part
            part = b""


def kept(file: Path) -> dict[str, Any]:
    """What W&B's own file of an offline run holds: the run, its history, its summary."""
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, Any] = {"history": [], "summary": {}}
    for data in parts(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            found["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            found["history"].append(
                {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
        elif kind == "summary":
            names = ((item.key or ".".join(item.nested_key), item.value_json) for item in record.summary.update)
            found["summary"] |= {name: json.loads(value) for name, value in names}
    return found


@needs_wandb
def test_wandb_offline_holds_settings_metrics_verdict_and_curve(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    WandbTracker().check()
    campaign = make_campaign({"run 1, attempt 1": FASTER}, track="wandb", max_runs=1)
    view = Listening()
    assert go_on(campaign, view=view, stop=Stop()).exit_code == 0
    assert [text for text in view.said if "track" in text] == []
    files = sorted(campaign.local.glob("track/wandb/offline-run-*/*.wandb"))
    (_, first) = sorted((kept(file) for file in files), key=lambda run: run["run"].display_name)
    record = campaign.read_records()[1]
    assert (first["run"].project, first["run"].run_group, first["run"].job_type) == ("harness", campaign.name, "run")
    assert first["run"].display_name == f"{campaign.name} run_1"
    assert list(first["run"].tags) == ["inconclusive"] and first["run"].notes == "the loss falls."
    assert (first["config"]["rate"], first["config"]["steps"]) == (0.1, 40)
    assert first["config"]["harness"]["commit"] == record.commit
    assert first["summary"]["loss"] == record.metrics["loss"].value
    assert first["summary"]["difference/loss"] == record.metrics["loss"].difference
    assert first["summary"]["verdict"] == "inconclusive"
    lines = [json.loads(line) for line in (campaign.run_folder(1) / "train_log.jsonl").read_text().splitlines()]
    history = [(row["train/step"], row["train/loss"]) for row in first["history"] if "train/loss" in row]
    assert history == [(line["step"], line["loss"]) for line in lines]


@needs_wandb
def test_wandb_without_a_key_says_what_to_do_and_asks_nobody(tmp_path: Path) -> None:
    code = "from harness.trackers.wandb import WandbTracker\nWandbTracker().check()\n"
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "WANDB_MODE": "online"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert "--track wandb: no key. `wandb login` keeps one; WANDB_MODE=offline needs none." in done.stderr


def test_wandb_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install wandb"):
        WandbTracker().check()
