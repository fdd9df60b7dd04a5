"""Rounds: several proposals from one parent, judged by what was known when the round began."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.campaign.campaign import Campaign
from harness.campaign.journal import Journal
from harness.campaign.layout import Layout
from harness.campaign.protocols import Silent
from harness.campaign.record import Record
from harness.campaign.stop import Stop
from harness.cli.main import cli
from harness.continuation import go_on
from harness.loop import Ending
from harness.report.html.report import write_report
from harness.report.terminal.status import read_status
from harness.report.terminal.status_page import next_steps
from tests.test_resume import NOISE, facts

Make = Callable[..., Campaign]


def rate(old: str, new: str, **more: Any) -> dict[str, Any]:
    return {"text": f"HYPOTHESIS: rate {new}.", "edits": [["experiment.py", f'"rate": {old}', f'"rate": {new}']]} | more


def run(campaign: Campaign, **how: Any) -> Ending:
    return go_on(campaign, view=Silent(), stop=Stop(), **how)


def brief_of(campaign: Campaign, run: int) -> str:
    return (campaign.attempt_folder(run, 1) / "brief.md").read_text()


def test_the_runs_of_a_round_start_from_one_parent_and_the_next_round_from_the_best(
    make_campaign: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    script = {"1": rate("0.05", "0.06"), "2": rate("0.05", "0.07"), "3": rate("0.07", "0.08"), "4": rate("0.07", "0.09")}
    script = {f"run {number}, attempt 1": turn for number, turn in script.items()}
    campaign = make_campaign(script, max_runs=4, width=2)
    assert run(campaign).reason == "runs_spent"
    runs = campaign.read_records()[1:]
    assert [(each.parent, each.round, each.siblings) for each in runs] == [
        (0, 1, [2]),
        (0, 1, [1]),
        (2, 2, [4]),
        (2, 2, [3]),
    ]
    first, second, third = (brief_of(campaign, number) for number in (1, 2, 3))
    assert "up to 2 proposals from this code" in first and "Proposed beside" not in first
    assert "- run 1: rate 0.06." in second and "run_1" not in second  # its hypothesis, and no result
    assert "run_1" in third and "run_2" in third and "The code is that of run 2" in third
    shown = CliRunner().invoke(cli, ["log", str(campaign.root)]).output.splitlines()
    tree = [
        line.split()[0] if line[0].isdigit() else line for line in shown[1:] if line[:1].isdigit() or line[:5] == "round"
    ]
    assert tree == ["0", "round 1, from run 0", "1", "2", "round 2, from run 2", "3", "4"]
    assert "beside run 4" in CliRunner().invoke(cli, ["show", str(campaign.root), "3"]).output
    write_report([Layout(campaign.root)], tmp_path / "report.html")
    assert "2, from run 2" in (tmp_path / "report.html").read_text()


def test_one_proposal_at_a_time_has_no_round(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": rate("0.05", "0.1"), "run 2, attempt 1": rate("0.1", "0.2")})
    assert run(campaign).reason == "runs_spent"
    assert [(each.parent, each.round, each.siblings) for each in campaign.read_records()[1:]] == [
        (0, None, []),
        (1, None, []),
    ]
    assert "round" not in CliRunner().invoke(cli, ["log", str(campaign.root)]).output


@pytest.fixture
def measured(
    make_campaign: Make, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Record]]:
    """Executes a round of two runs that shift the losses of all seeds, with final seeds."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    noise = NOISE.replace('{}[int(os.environ["HARNESS_SEED"])]', "1 + rng.gauss(0, 0.1)").format()
    with (experiment / "experiment.py").open("a") as code:
        code.write(noise)
    with (experiment / "experiment.toml").open("a") as contract:
        contract.write("baseline_seeds = 4\nrun_seeds = [1, 2]\nfinal_seeds = 3\n")

    def execute(*shifts: str, jobs: int = 1) -> Campaign:
        turns = enumerate(shifts, 1)
        script = {
            f"run {i}, attempt 1": {
                "text": f"HYPOTHESIS: {by}.",
                "edits": [["experiment.py", "loss = 1 +", f"loss = {by} +"]],
            }
            for i, by in turns
        }
        campaign = make_campaign(script, max_runs=len(shifts), width=2)
        assert run(campaign, jobs=jobs).reason == "runs_spent"
        return campaign

    return execute


def decisions(campaign: Campaign, run: int) -> dict[str, Any]:
    done = [e for e in Journal(campaign.journal).of("done") if e["step"].startswith(f"run_{run}/decide_stage")]
    return {e["step"]: e["result"] for e in done}


def test_what_is_executed_for_a_run_does_not_depend_on_its_siblings(measured: Callable[..., Campaign]) -> None:
    beside_a_good_one, beside_a_bad_one = measured("0.1", "0.2"), measured("1.9", "0.2")
    assert decisions(beside_a_good_one, 2) == decisions(beside_a_bad_one, 2) != {}
    good, second = beside_a_good_one.read_records()[1:]
    assert good.parent == second.parent == 0 and good.verdict.kind == second.verdict.kind == "improved"
    assert second.verdict.against_parent and second.verdict.against_parent.reference == "run_0"
    assert not {*good.seeds} & {*second.seeds} and len(good.seeds) == 3  # seeds that no other run was executed at
    assert good.verdict.error_share > 0 < second.verdict.error_share


def test_records_of_a_round_do_not_depend_on_how_many_are_executed_at_once(measured: Callable[..., Campaign]) -> None:
    assert facts(measured("0.1", "0.2")) == facts(measured("0.1", "0.2", jobs=2))


def test_what_you_say_after_the_agent_ended_a_round_early_begins_the_next(make_campaign: Make) -> None:
    script = {
        "run 1, attempt 1": rate("0.05", "0.1"),
        "run 2, attempt 1": {"text": "ALL_COMPLETED"},
        "run 2, attempt 2": rate("0.1", "0.2"),
    }
    campaign = make_campaign(script, max_runs=2, width=3)
    assert run(campaign).reason == "all_completed" and len(campaign.read_records()) == 2
    campaign.inbox.mkdir(exist_ok=True)
    (campaign.inbox / "1.txt").write_text("Faster.")
    assert run(campaign).reason == "runs_spent"
    assert [(each.parent, each.round) for each in campaign.read_records()[1:]] == [(0, 1), (1, 2)]


def test_patience_counts_a_whole_round(make_campaign: Make) -> None:
    rates = ("0.05", "0.04", "0.03", "0.02", "0.01", "0.009", "0.008")
    script = {f"run {number}, attempt 1": rate("0.05", rates[number]) for number in range(1, 7)}
    campaign = make_campaign(script, max_runs=8, width=3, patience=2)
    assert run(campaign).reason == "patience_spent"
    assert len(campaign.read_records()) == 4
    following = dict(next_steps(read_status(Layout(campaign.root)), "small"))
    assert "harness resume small --patience 5" in following  # with 3 as with 2 it has ended
    assert run(campaign, changes={"patience": 3}).reason == "patience_spent" and len(campaign.read_records()) == 4
    assert run(campaign, changes={"patience": 5}).reason == "patience_spent" and len(campaign.read_records()) == 7


def test_the_session_of_a_round_has_every_turn_and_is_nobodys_edit_in_whatever_order_they_came(make_campaign: Make) -> None:
    """The second attempt at run 1 comes after the first at run 2, and a process that ended in between has not seen it."""
    broken = rate("0.05", "None")
    script = {"run 1, attempt 1": broken, "run 2, attempt 1": rate("0.05", "0.07"), "run 1, attempt 2": rate("None", "0.06")}
    campaign = make_campaign(script, max_runs=2, width=2)
    assert run(campaign).reason == "runs_spent"
    held = campaign.session.read_text()
    found = [held.index(f"# {turn}") for turn in ("run 1, attempt 1", "run 1, attempt 2", "run 2, attempt 1")]
    assert found == sorted(found)

    class Listening(Silent):
        def say(self, text: str) -> None:
            assert "session.md was changed" not in text

    turn = (campaign.attempt_folder(1, 2) / "session.md").read_text()
    campaign.session.write_text(held.replace(turn, ""))
    go_on(campaign, view=Listening(), stop=Stop())
    assert campaign.session.read_text() == held
