"""What other campaigns of an experiment tried is told to the next one, by outcome, and never a held-out number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.errors import InputError
from harness.campaign.journal import Journal
from harness.campaign.memory import LINES, Trial, read_memory, remember, told
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.cli.memory import NO_MEMORY
from harness.cli.running import Request, run
from harness.continuation import go_on
from tests.test_earlier_proposals import CODE, proposal

Make = Callable[..., Campaign]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def first(make_campaign: Make) -> Campaign:
    """A campaign that has ended, with a held-out evaluation as one leaves it."""
    campaign = make_campaign({"run 1, attempt 1": proposal("0.1"), "run 2, attempt 1": proposal("1.5")})
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "runs_spent"
    held_out = campaign.holdout_folder(1)
    held_out.mkdir()
    (held_out / "record.json").write_text(json.dumps({"status": "confirmed", "run": 1, "comparison": {"mean": 0.987654}}))
    return campaign


def test_the_next_campaign_is_told_what_was_tried_and_may_try_it_again(first: Campaign, make_campaign: Make) -> None:
    script = {
        "run 1, attempt 1": proposal("0.1", "# as it was\n"),
        "run 1, attempt 2": {"text": "It is where I want to begin."},
        "run 2, attempt 1": {"text": "ALL_COMPLETED"},
    }
    second = make_campaign(script)
    assert remember(second, first.root.parent) == 2
    assert go_on(second, view=Silent(), stop=Stop()).reason == "all_completed"
    brief = (second.attempt_folder(1, 1) / "brief.md").read_text()
    ran = first.read_records()
    loss, baseline = (f"{record.metrics['loss'].value:.4g}" for record in (ran[1], ran[0]))
    assert "## Tried in other campaigns of this experiment\n" in brief
    assert f"inconclusive:\n- small, run 1, loss {loss}, baseline {baseline}: rate 0.1.\ninvalid:\n- small, run 2, " in brief
    assert "987654" not in brief and "987654" not in second.memory_file.read_text()
    rejected = Journal(second.journal).result("run_1/attempt_1/pre_check")["rejected"]
    assert rejected.startswith(f"This is the code of small, run 1: inconclusive, loss {loss}, baseline {baseline}. Test")
    assert [each.status for each in second.read_records()[1].attempts] == ["rejected", "completed"]
    assert second.memory_file.name in second.journal.read_text()  # what is edited in it is noticed


def test_only_campaigns_of_the_same_experiment_are_told_of(first: Campaign, make_campaign: Make, experiment: Path) -> None:
    other = make_campaign({})
    machine = json.loads(other.machine_file.read_text())
    elsewhere = shutil.copytree(first.root.parent, first.root.parent.parent / "elsewhere")
    other.machine_file.write_text(json.dumps(machine | {"experiment": "/somewhere/else"}))
    assert remember(other, elsewhere) == 2  # it begins with the same code
    (other.root / "experiment.py").write_text(CODE + "x = 1\n")
    assert remember(other, elsewhere) == 0
    (elsewhere / "small" / "journal.jsonl").write_text("no journal")
    assert remember(make_campaign({}), elsewhere) == 0


def test_at_another_scale_nothing_is_the_same_code(first: Campaign, make_campaign: Make) -> None:
    assert [each.code != "" for each in _known(make_campaign({}), first)] == [True, True]
    assert [each.code for each in _known(make_campaign({}, overrides={"steps": 30}), first)] == ["", ""]


def _known(campaign: Campaign, first: Campaign) -> list[Trial]:
    remember(campaign, first.root.parent)
    return [each for each in read_memory(campaign) if each.campaign == first.name]


def test_run_tells_an_agent_and_no_search_and_nobody_where_you_say_so(
    first: Campaign, experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idea, script = tmp_path / "small.json", tmp_path / "script.json"
    idea.write_text(json.dumps({"Name": "small", "Title": "A small idea", "Experiment": "Make the loss smaller."}))
    script.write_text(json.dumps({"run 1, attempt 1": {"text": "ALL_COMPLETED"}}))
    with (experiment / "experiment.toml").open("a") as contract:
        contract.write("[search]\nx = { low = 1.0, high = 4.0 }\n")

    def begin(agent: str = "tests.scripted:ScriptedAgent", memory: str | None = None) -> str:
        session = script if agent.startswith("tests") else None
        options: dict[str, Any] = {"max_runs": 1, "width": 4}
        request = Request((idea,), (), experiment, tmp_path / "runs", None, agent, None, session, options, memory=memory)
        assert run(request, 120) == 0
        return capsys.readouterr().out

    nowhere = tmp_path / "nowhere"
    with pytest.raises(InputError, match=f"--memory {nowhere}: no such folder. Name one that holds campaigns"):
        begin(memory=str(nowhere))
    assert len([*first.root.parent.iterdir()]) == 1  # nothing was made
    said = begin()
    assert "Memory: the agent is told of 2 runs of this experiment in " in said
    assert "--width 4: a round has at most the 1 run of the campaign (--max-runs)." in said
    assert "Memory: " not in begin(memory=NO_MEMORY)
    assert f"--memory {experiment}: no run of this experiment there." in begin(memory=str(experiment))
    said = begin(agent="search:random", memory=str(experiment))
    assert "Memory: " not in said and f"--memory {experiment}: search:random asks no model, so nobody is told of it." in said


def many(count: int) -> list[Trial]:
    kinds = ("improved", "not_significant", "worse", "failed", "invalid", "no_effect")
    return [Trial("c" * 40, "gemma-2-2b", i, kinds[i % 6], "absorption", 0.1234, 0.2345, "why " * 99) for i in range(count)]


def test_what_is_told_does_not_grow_with_what_was_tried() -> None:
    lines, more = told(many(60), "synthetic"), told(many(6_000), "synthetic")
    assert len(lines) == len(more) == LINES + 6
    assert lines[0] == "improved (and 7 more):" and more[-1] == "failed (1000):"
    assert lines[1].startswith(f"- {'c' * 40}, run 54, profile gemma-2-2b, absorption 0.1234, baseline 0.2345: why why")
