"""What `harness confirm` says before it executes anything, and whom it asks."""

import json

import pytest
from click.testing import CliRunner, Result

from harness.campaign.campaign import Campaign
from harness.campaign.journal import Event, Journal
from harness.cli.forecast import Forecast, forecast
from harness.cli.main import cli
from tests.pseudo_terminal import MAIN, at_terminal
from tests.synthetic import fill

RECORD = {"run": 2, "seed": 0, "seeds": [0], "environment": {"gpu": "none"}}


def done(step: str, seconds: float, **more: object) -> Event:
    return {
        "event": "done",
        "step": step,
        "seconds": seconds,
        "result": {"failure": None, "outcome": {"seconds": seconds}} | more,
    }


@pytest.fixture
def campaign(make_campaign, monkeypatch) -> Campaign:
    """One whose run took 400 s on a GPU."""
    campaign = make_campaign({})
    fill(campaign, 1)
    Journal(campaign.journal).append(**done("run_1/attempt_2/execute", 400.0))
    file = campaign.run_folder(1) / "record.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"environment": {"gpu": "NVIDIA H200, 550.54; NVIDIA H200, 550.54"}}))
    monkeypatch.setattr("harness.cli.running.go_on", lambda *_, **__: pytest.fail("it was executed"))
    return campaign


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def test_the_cost_rests_on_the_runs_own_executions_scoring_included():
    events = [
        done("run_2/attempt_1/execute", 10.0, failure={"status": "crashed"}),
        done("run_2/attempt_2/execute", 20.0, scoring={"seconds": 4.0}),
        done("run_2/attempt_2/smoke_test", 1.0),
        done("run_2/seed_1", 28.0, scoring={"seconds": 4.0}),
        done("run_2/control_1", 900.0),
        done("run_22/seed_1", 900.0),
        {"event": "started", "step": "run_2/seed_2"},
    ]
    assert forecast(events, RECORD, [0, 1, 2, 3]) == Forecast(2, 28.0)
    assert str(forecast(events, RECORD, [0, 1, 2, 3])) == "2 more executions of about 28 s each, about 56 s in all"
    assert str(forecast(events, RECORD, [0, 1])) == "nothing is left to execute"


def test_kept_results_took_no_time_and_tell_none():
    events = [done("run_2/seed_1", 0.0, from_cache=True)]
    assert str(forecast(events, RECORD, [0, 1, 2])) == "1 more execution; how long they take is not known"


def test_gpu_hours_are_said_where_the_record_has_a_gpu(campaign):
    said = ask("confirm", campaign.root, 9).output
    assert "no record of it" in said
    events = [done("run_2/attempt_1/execute", 7200.0)]
    on_gpu = RECORD | {"environment": {"gpu": "NVIDIA H200, 550.54"}}
    assert str(forecast(events, on_gpu, [0, 1, 2])) == (
        "2 more executions of about 2 h each, about 4 h in all; 4 GPU hours (one NVIDIA H200)"
    )


def answered(campaign: Campaign, answer: str, *more: str) -> tuple[int, str]:
    """`harness confirm` at a terminal, where nothing is executed: exit code and what was said."""
    instead = f"import harness.cli.running, sys\nharness.cli.running.go_on = lambda *a, **k: sys.exit(77)\n{MAIN}"
    return at_terminal("confirm", campaign.root, 1, "--seeds", 3, *more, answer=answer, code=instead, COLUMNS="200")


def test_a_person_at_a_terminal_is_asked_above_ten_minutes(campaign):
    before = campaign.journal.read_text()
    code, said = answered(campaign, "n")
    assert "2 more executions of about 6.67 min each, about 13.3 min in all; 0.22 GPU hours (one NVIDIA H200)" in said
    assert "Go on?" in said
    assert code == 130
    assert campaign.journal.read_text() == before
    assert answered(campaign, "y")[0] == 77
    code, said = answered(campaign, "n", "--yes")
    assert (code, "Go on?" in said) == (77, False)


def test_without_a_terminal_nobody_is_asked(campaign, monkeypatch):
    begun = []

    def go_on(*_: object, **named: object) -> None:
        begun.append(named["confirm"])
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.running.go_on", go_on)
    assert ask("confirm", campaign.root, "run_1", "--seeds", 3).exit_code == 130
    assert begun == [(1, 3)]
