"""Campaigns of an earlier schema: every command that reads shows them, none continues them.

`data/campaign_schema_1.tar.xz` was made by the version before records had a number: six runs of the small experiment with
five baseline seeds, among them an improved one, a trade-off, an invalid one, two without effect, a rejected attempt and one
whose smoke test failed.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.campaign.campaign import Campaign
from harness.campaign.errors import CannotGoOn
from harness.campaign.journal import read_events
from harness.campaign.layout import Layout
from harness.campaign.schema import SCHEMA, current_events, current_facts, current_record
from harness.cli.main import cli
from harness.report.campaign_data import read_campaign_data

ARCHIVE = Path(__file__).parent / "data" / "campaign_schema_1.tar.xz"
VERDICTS = ["baseline", "improved", "invalid", "no_effect", "trade_off", "no_effect", "not_significant"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schema_1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder / "runs", filter="data")
    return folder


@pytest.fixture
def old(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")  # no sentence is broken
    return Layout(folder / "runs" / "old")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def contents(layout: Layout) -> dict[str, bytes]:
    # Whoever looks at a campaign may have the folder `.harness` made, which is of this machine alone.
    return {
        str(path): path.read_bytes() for path in layout.root.rglob("*") if path.is_file() and ".harness" not in path.parts
    }


def test_its_records_say_what_they_said(old: Layout) -> None:
    records = Campaign(old.root).read_records()
    assert [record.verdict.kind for record in records] == VERDICTS
    fourth = records[4]
    assert fourth.verdict.guard_violations and fourth.verdict.error_share == pytest.approx(0.15)
    assert fourth.verdict.against_baseline is not None and fourth.verdict.against_baseline.p_adjusted is not None
    assert [attempt.status for attempt in records[1].attempts] == ["rejected", "completed"]
    assert [attempt.status for attempt in records[6].attempts] == ["smoke_test_failed", "rejected", "completed"]
    assert all(record.environment["python"] == "3.11.7" for record in records)


def test_its_journal_has_the_steps_of_today(old: Layout) -> None:
    events = read_events(old.journal)
    steps = {event["step"] for event in events if "step" in event}
    assert {"environment", "run_1/attempt_1/pre_check", "run_6/attempt_1/smoke_test"} <= steps
    assert not any(step.endswith(("/gate", "/smoke")) or step == "fingerprint" for step in steps)
    results = {event["step"]: event["result"] for event in events if event["event"] == "done"}
    assert "did not change" in results["run_1/attempt_1/pre_check"]["rejected"]
    assert results["run_6/attempt_1/smoke_test"]["failure"]["status"] == "smoke_test_failed"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("status old", ("6 completed, of 6", "run 1: loss 0.822 ± 0.012, baseline 1.013 ± 0.010", "not continued")),
        ("status --json old", ('"state": "ended"',)),
        ("log old", ("trade-off", "invalid", "not significant", "rejected", "smoke test failed", "no effect")),
        ("log old --json", ('"verdict": "trade_off"', '"status": "rejected"')),
        ("log old --csv", (",trade_off,", ",not_significant")),
        ("show old 0", ("0, 1, 2, 3, 4", "Environment")),
        ("show old 1", ("improved", "rejected")),
        ("show old 2", ("invalid",)),
        ("show old 4", ("trade-off", "speed")),
        ("show old 4 --json", ('"guard_violations"', '"p_adjusted"')),
        ("show old 6", ("smoke test failed",)),
        ("diff old 1", ("+loss, speed = 0.8",)),
        ("notes old", ("The campaign",)),
        ("compare old", ("trade-off", "improved")),
        ("check old", ("0 contradictions",)),
        ("writeup old --format md --out paper.md", ("paper.md",)),
        ("report old --out report.html", ("report.html",)),
    ],
)
def test_every_command_that_reads_shows_it(old: Layout, command: str, shown: tuple[str, ...]) -> None:
    before = contents(old)
    result = call(*command.split())
    assert result.exit_code == 0, result.output
    assert not [text for text in shown if text not in result.output]
    assert contents(old) == before


def test_report_and_paper_hold_its_verdicts(old: Layout) -> None:
    call("report", "old", "--out", "all.html")
    call("writeup", "old", "--format", "md", "--out", "all.md")
    for page in ("all.html", "all.md"):
        text = Path(page).read_text()
        assert "trade-off" in text and "rejected" in text and "traded_off" not in text


@pytest.mark.parametrize(
    "command", ["resume old --max-runs 8", "confirm old 4 --seeds 5", "tell old word", "score old 1 --evals core"]
)
def test_none_continues_it(old: Layout, command: str) -> None:
    before = contents(old)
    result = call(*command.split())
    assert result.exit_code == CannotGoOn.exit_code
    assert "earlier version" in result.output and "harness run" in result.output
    assert contents(old) == before


def test_its_git_history_is_untouched(old: Layout) -> None:
    call("report", "old", "--out", "again.html")
    status = subprocess.run(["git", "-C", old.root, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_names_that_an_experiment_chose_are_never_renamed() -> None:
    chosen = {"share": {"value": 1.0, "values": [1.0]}, "falls": {"value": 2.0}}
    record = current_record({"run": 1, "metrics": chosen, "settings": {"told": {}}, "verdict": {"kind": "unhealthy"}}, "x")
    assert (record["metrics"], record["settings"], record["verdict"]["kind"]) == (chosen, {"told": {}}, "invalid")
    facts = current_facts({"contract": {"health": [], "profiles": {"health": {}}}}, "x")
    assert facts["contract"] == {"sanity": [], "profiles": {"health": {"final_seeds": 0}}} and facts["schema"] == 1


def test_what_is_written_today_carries_its_schema(make_campaign: Any) -> None:
    campaign = make_campaign({"run 1, attempt 1": {"text": "ALL_COMPLETED"}})
    assert json.loads(campaign.options_file.read_text())["schema"] == SCHEMA
    assert call("resume", str(campaign.root)).exit_code == 0
    assert json.loads(campaign.record_file(0).read_text())["schema"] == SCHEMA
    assert read_events(campaign.journal)[0]["schema"] == SCHEMA
    assert read_campaign_data(campaign).status.schema == SCHEMA


@pytest.mark.parametrize("found", [SCHEMA + 1, "2", None, True])
def test_a_later_schema_is_refused_with_what_to_do(found: Any) -> None:
    for read in (current_facts, current_record):
        with pytest.raises(CannotGoOn, match="Install a later version"):
            read({"schema": found}, "record.json")
    with pytest.raises(CannotGoOn, match=f"reads up to {SCHEMA}"):
        current_events([{"event": "opened", "schema": found}], "journal.jsonl")
