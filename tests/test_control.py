"""A search without a model beside the agent: the same code, as many runs, one line in the conclusion."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.agents.search import optuna_version
from harness.campaign.campaign import Campaign
from harness.campaign.errors import InputError
from harness.campaign.layout import Layout, find_control, find_layout
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.cli.running import Request, run
from harness.continuation import go_on
from harness.report.campaign_data import read_campaign_data
from harness.report.control import control_line
from harness.report.estimates import Estimates
from harness.report.html.report import write_report
from harness.report.paper.document import Paragraph
from harness.report.paper.render_md import render_md
from harness.report.paper.writeup import compose
from harness.report.summary import summarize
from harness.report.terminal.status import read_status
from harness.report.terminal.status_page import next_steps

SCRIPT: dict[str, Any] = {
    "run 1, attempt 1": {"text": "HYPOTHESIS: faster.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.09']]},
    "run 2, attempt 1": {"text": "ALL_COMPLETED"},
}


@pytest.fixture
def asked(experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """For a campaign of three runs with a control, whose agent ends it after one."""
    monkeypatch.chdir(tmp_path)
    contract = experiment / "experiment.toml"
    space = "[search]\nx = { low = 1.0, high = 4.0 }\n"
    contract.write_text(contract.read_text().replace("smoke = true", "smoke = false") + space)
    script, idea = tmp_path / "script.json", tmp_path / "small.json"
    script.write_text(json.dumps(SCRIPT))
    idea.write_text(json.dumps({"Name": "small", "Title": "A small idea", "Experiment": "Make the loss smaller."}))
    options = {"max_runs": 3, "control": "tpe"}
    agent = "tests.scripted:ScriptedAgent"
    return Request((idea,), (), experiment, tmp_path / "runs", None, agent, None, script, options)


def test_a_control_has_as_many_runs_and_one_line_beside_the_agents_best(
    asked: Request, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(asked, 120) == 0
    campaign = Campaign(asked.out / "small")
    found = find_control(campaign)
    assert found is not None and found.name == "small-tpe"
    control = Campaign(found.root)
    ours, theirs = campaign.read_records(), control.read_records()
    assert len(ours) == len(theirs) == 2 and ours[0].metrics["loss"].value == theirs[0].metrics["loss"].value
    seed = control.options().search_seed
    assert theirs[1].agent == f"search:tpe ({optuna_version()}, seed {seed})" and theirs[1].usage.requests == 0
    line = control_line(campaign, campaign.contract, ours)
    assert (
        line.startswith("TPE with as many runs (1, campaign small-tpe): loss ")
        and "(run 1, inconclusive, 1 seed); the agent's best: " in line
    )
    assert f"{theirs[1].metrics['loss'].value:.4g} (run 1" in line and f"{ours[1].metrics['loss'].value:.4g} (run 1" in line
    assert "on the seeds of the runs, of which the best of each campaign was picked" in line
    assert line.endswith("One campaign each: this says nothing of agents in general.")
    assert line in capsys.readouterr().out
    assert line in " ".join(campaign.notes.read_text().split())
    data = read_campaign_data(Layout(campaign.root))
    assert line in summarize(data, Estimates(data)).facts
    write_report([Layout(campaign.root), Layout(control.root)], page := asked.out / "page.html")
    both = page.read_text()
    assert both.count("<code>harness report small small-tpe --open</code>") == 1
    assert '<th scope="row">control of</th><td>small</td>' in both
    assert Paragraph(line) in compose(data, "").walk()
    paper = render_md(compose(read_campaign_data(Layout(control.root)), ""), "figures")
    assert "a search without a model set values" in paper and "a search set values of the contract" in paper
    assert "coding agent" not in paper and "the agent edited" not in paper
    assert control_line(control, control.contract, theirs) == ""
    assert find_layout("latest", asked.out).name == "small"

    def held_out(self: Layout) -> list[dict[str, Any]]:
        comparison = {"mean": 0.2 if self.name == "small" else 0.25, "sd": 0.03, "seeds": 9}
        judged: dict[str, Any] = {"status": "confirmed", "guard_violations": []}
        if self.name != "small":
            judged = {"status": "not_confirmed", "guard_violations": ["distance −0.3 (limit −0.01)"]}
        return [judged | {"run": 1, "pairs": [{}] * 9, "comparison": comparison}]

    monkeypatch.setattr(Layout, "holdouts", held_out)
    line = control_line(campaign, campaign.contract, ours)
    theirs_said = "0.250 ± 0.010 (run 1, not confirmed: distance −0.3 (limit −0.01), 9 held-out executions)"
    assert f"{theirs_said}; the agent's best: 0.200 ± 0.010 (run 1, confirmed, 9 held-out executions)" in line
    assert "difference −0.050 ± 0.014 (the agent's minus the search's), on held-out values" in line
    shutil.rmtree(control.root)
    line = control_line(campaign, campaign.contract, ours)
    assert line == "The control (TPE) is not beside this campaign, so nothing is compared with it."


def test_a_control_that_has_not_ended_is_said_to_have_not(asked: Request) -> None:
    assert asked.session is not None
    script = SCRIPT | {"run 1, attempt 1": SCRIPT["run 1, attempt 1"] | {"interrupt": True}}
    asked.session.write_text(json.dumps(script))
    assert run(asked, 120) == 130
    campaign = Campaign(asked.out / "small")
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    notes = " ".join(campaign.notes.read_text().split())
    assert "The control (TPE, small-tpe) has not ended, so nothing is compared with it yet." in notes


def test_a_search_is_no_control_of_a_search(asked: Request) -> None:
    request = replace(asked, agent="search:random", session=None)
    with pytest.raises(InputError, match="--control tpe: search:random asks no model either"):
        run(request, 120)
    request = replace(asked, options={"search_seed": 3})
    with pytest.raises(InputError, match="--search-seed 3: nothing is searched; --agent search:tpe or --control tpe does"):
        run(request, 120)
    (request.experiment / "experiment.toml").write_text("smoke = false\n")
    with pytest.raises(InputError, match=r"--agent search:tpe: experiment\.toml has no search space"):
        run(asked, 120)


def test_a_campaign_ends_when_no_run_of_the_last_ones_was_accepted(make_campaign: Callable[..., Campaign]) -> None:
    edits = [["experiment.py", "gradient = 2 * x", "gradient = 2.5 * x"], ["experiment.py", "2.5 * x", "3 * x"]]
    script = {
        f"run {number}, attempt 1": {"text": "HYPOTHESIS: h.\nSTART FROM: run_" + str(number), "edits": [edit]}
        for number, edit in enumerate(edits, 1)
    }
    campaign = make_campaign(script, max_runs=5, patience=2)
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert (ending.reason, ending.exit_code) == ("patience_spent", 0)
    assert ending.message == "No run of the last 2 was accepted (--patience 2)."
    assert len(campaign.read_records()) == 3
    assert go_on(campaign, view=Silent(), stop=Stop(), changes={"max_runs": 2}).reason == "runs_spent"  # which comes first
    following = dict(next_steps(read_status(Layout(campaign.root)), "small"))
    assert "harness resume small --max-runs 4 --patience 4" in following  # without patience it would end at once
    assert go_on(campaign, view=Silent(), stop=Stop(), changes={"max_runs": 3, "patience": 4}).reason == "session_over"
