"""Several ideas at once: a process each, one word to all of them, and none that is in the way of another."""

import json
import signal
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from harness.campaign.layout import Layout
from harness.cli import several
from harness.report.terminal.campaigns_view import CampaignTable
from tests.test_cli import IDEA, SCRIPTED, Desk, ask
from tests.waiting import HANGS, until

TURN = "run 1, attempt 1"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A folder with three ideas, whose agents write down that they were asked and wait for the file `go`."""
    desk = Desk(tmp_path / "desk")
    monkeypatch.chdir(desk.folder)
    for name in ("one", "two", "three"):
        desk.write(f"{name}.json", IDEA | {"Name": name})
    turn = {"text": "HYPOTHESIS: none", "until": str(desk.folder / "go")}
    desk.write("script.json", {"log": str(desk.folder / "asked"), TURN: turn})
    return desk


def begin(desk: Desk, *ideas: str) -> subprocess.Popen:
    """A process with two campaigns at once. What it says goes into the file `said`."""
    command = ["run", *(f"{idea}.json" for idea in ideas), *SCRIPTED, "--jobs", "2", "--max-runs", "1", "--set", "steps=5"]
    with (desk.folder / "said").open("wb") as said:
        return desk.start(*command, stdout=said, stderr=said, environment={"HARNESS_CORES": "0"})


def said(desk: Desk) -> str:
    return (desk.folder / "said").read_text()


def asked(desk: Desk) -> int:
    """How many agents were asked."""
    log = desk.folder / "asked"
    return log.read_text().count(TURN) if log.exists() else 0


def facts(name: str) -> dict:
    return json.loads(ask("status", name, "--json").stdout)


def test_several_ideas_are_taken_on_at_once_and_one_that_fails_stops_no_other(desk):
    experiment = desk.folder / "experiment" / "experiment.py"
    experiment.write_text("import os, sys\nif 'two' in os.getcwd(): sys.exit(7)\n" + experiment.read_text())
    process = begin(desk, "one", "two", "three")
    until(lambda: asked(desk) == 2)  # neither agent has been answered: they are in hand at once
    assert {facts(name)["state"] for name in ("one", "three")} == {"running"}
    (desk.folder / "go").touch()
    assert process.wait(HANGS) == 4
    text = said(desk)
    assert "two: the baseline crashed: exit code 7" in text
    assert "one: " in text and "three: " in text
    assert [facts(name)["reason"] for name in ("one", "two", "three")] == ["session_over", "baseline_failed", "session_over"]
    listed = ask("status").stdout.splitlines()
    assert [line.split()[0] for line in listed[:4]] == ["campaign", "one", "three", "two"]
    assert listed[5].startswith("three  A small idea")  # the latest, below the list


def test_ctrl_c_lets_each_end_its_step_and_each_goes_on(desk):
    process = begin(desk, "one", "two", "three")
    until(lambda: asked(desk) == 2)
    process.send_signal(signal.SIGINT)
    until(lambda: all(f"{name}: " in said(desk) and _is_stopping(desk, name) for name in ("one", "two")))
    (desk.folder / "go").touch()
    assert process.wait(HANGS) == 130
    assert "harness resume one " in said(desk) and "harness resume two " in said(desk)
    for name in ("one", "two"):
        assert facts(name)["state"] == "interrupted"
        assert '"done", "step": "run_1/attempt_1/turn"' in (desk.folder / "runs" / name / "journal.jsonl").read_text()
    assert facts("three")["state"] == "new"
    for name in ("two", "three"):
        assert desk.type("resume", name, environment={"HARNESS_CORES": "0"}).returncode == 0
        assert facts(name)["reason"] == "session_over"


def _is_stopping(desk: Desk, name: str) -> bool:
    lines = [line for line in said(desk).splitlines() if line.startswith(f"{name}: ")]
    return any("Ctrl-C again stops at once" in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_they_end_with_who_began_them(desk, number):
    process = begin(desk, "one", "two")
    until(lambda: asked(desk) == 2)
    own = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert process.wait(HANGS) == (130 if number == signal.SIGTERM else -number)
    until(lambda: all(map(_has_ended, own)))  # and has removed what it had made
    assert {facts(name)["state"] for name in ("one", "two")} == {"interrupted"}


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("ideas", "jobs", "shares"), [(5, 8, [1, 1, 2, 2, 2]), (2, 8, [4, 4]), (4, 2, [1, 1, 1, 1]), (2, None, [None] * 2)]
)
def test_as_many_executions_as_asked_for_are_shared_among_the_campaigns(monkeypatch, tmp_path, ideas, jobs, shares):
    given = []

    class Ended:
        def __init__(self, campaign: Layout, jobs: int | None, tell: object, view: object) -> None:
            self.layout, self.jobs = campaign, jobs or 0
            given.append(jobs)

        def ended(self) -> int:
            return 0

    monkeypatch.setattr(several, "_Process", Ended)
    campaigns: Any = [Layout(tmp_path / str(number)) for number in range(ideas)]
    assert several.run_several(campaigns, jobs or 8, jobs, None, 80) == [0] * ideas
    assert given == shares


def test_on_a_terminal_each_has_a_line_with_where_it_is_and_what_it_said_last(make_campaign):
    campaign = make_campaign({})

    class Running(Layout):
        def is_running(self) -> bool:
            return True

    campaign.journal.write_text('{"event": "started", "step": "run_1/attempt_1/turn", "time": "2026-01-01T00:00:00Z"}\n')
    out = StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    table = CampaignTable(lambda: [Running(campaign.root), Layout(campaign.root)], console)
    table.said("small", "12:00:00 run 1 of 2", False)
    table.said("small", "harness: something is wrong", True)
    table.notice("Stopping after the step in hand")
    console.print(table._render())
    lines = out.getvalue().splitlines()
    assert lines[0] == "small: harness: something is wrong"
    assert [line.split("  ")[0] for line in lines[1:4]] == ["campaign", "small", "small"]
    assert "run 1 of 2, attempt 1: agent" in lines[2] and "crashed" in lines[3]
    assert lines[4:6] == ["small: 12:00:00 run 1 of 2", "Stopping after the step in hand"]
