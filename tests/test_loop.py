"""Whole campaigns: the real loop, git, gate and processes; the agent follows a script."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.agents import patience
from harness.agents.aider import AiderAgent
from harness.agents.dialogue import Dialogue
from harness.campaign.budget import spent
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.errors import CannotGoOn, HarnessError, InputError
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal, read_events
from harness.campaign.layout import Layout
from harness.campaign.protocols import Reply, Silent
from harness.campaign.record import Record
from harness.campaign.stop import Stop
from harness.campaign.text import of_hours
from harness.cli.running import resume
from harness.continuation import go_on, next_brief
from harness.execution.executors import EXECUTORS
from harness.execution.executors.sandbox import available
from harness.loop import Ending
from harness.report.terminal.status import read_status
from harness.report.terminal.status_page import spent as spent_in_words
from tests.scripted import ScriptedAgent
from tests.unprivileged import unprivileged

pytestmark = pytest.mark.usefixtures("quick")

Make = Callable[..., Campaign]

FASTER = {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}
STEEPER = {"text": "HYPOTHESIS: steeper.", "edits": [["experiment.py", "gradient = 2 * x", "gradient = 3 * x"]]}
DONE = {"text": "ALL_COMPLETED"}


def edit(old: str, new: str, text: str = "HYPOTHESIS: the loss falls.") -> dict[str, Any]:
    return {"text": text, "edits": [["experiment.py", old, new]]}


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def run(campaign: Campaign, **options: Any) -> Ending:
    return go_on(campaign, view=Silent(), stop=Stop(), **options)


def brief_of(campaign: Campaign, run: int, attempt: int) -> str:
    return (campaign.attempt_folder(run, attempt) / "brief.md").read_text()


def git(campaign: Campaign, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=campaign.root, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_campaign_ends_when_its_runs_are_spent(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": STEEPER})
    ending = run(campaign)
    assert (ending.reason, ending.exit_code) == ("runs_spent", 0)
    baseline, first, second = campaign.read_records()
    assert baseline.verdict.kind == "baseline"
    assert first.metrics["loss"].value < baseline.metrics["loss"].value
    assert first.settings["rate"].value == 0.1
    assert (first.parent, second.parent) == (0, 1)
    assert first.verdict.kind == second.verdict.kind == "inconclusive"


def test_each_step_is_a_commit_and_each_run_a_tag(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE})
    run(campaign)
    assert git(campaign, "tag").split() == ["run_0", "run_1"]
    assert git(campaign, "log", "--format=%s", "--reverse").splitlines() == [
        "Start: A small idea",
        "Run 0: completed, baseline",
        "Run 1, attempt 1: change by the agent",
        "Run 1: completed, inconclusive",
        "Where the campaign stands",
    ]
    assert '"rate": 0.1' in git(campaign, "show", "run_1:experiment.py")
    assert git(campaign, "status", "--short") == ""


def test_unchanged_code_costs_no_run(make_campaign: Make) -> None:
    plan_only = {"text": "PLAN:\n1. think\nHYPOTHESIS: thinking helps."}
    campaign = make_campaign({"run 1, attempt 1": plan_only, "run 1, attempt 2": FASTER, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "all_completed"
    record = campaign.read_records()[1]
    assert [attempt.status for attempt in record.attempts] == ["rejected", "completed"]
    assert record.run == 1
    assert "did not change" in brief_of(campaign, 1, 2)


def test_four_rejected_attempts_fail_the_run_and_the_campaign_goes_on(make_campaign: Make) -> None:
    nothing = {"text": "I thought about it."}
    script = {f"run 1, attempt {n}": nothing for n in range(1, 5)}
    campaign = make_campaign(script | {"run 2, attempt 1": FASTER})
    assert run(campaign).reason == "runs_spent"
    failed, good = campaign.read_records()[1:]
    assert (failed.status, failed.verdict.kind, failed.metrics) == ("failed", "failed", {})
    assert (good.status, good.parent) == ("completed", 0)


def test_a_failed_run_leaves_no_broken_code_behind(make_campaign: Make) -> None:
    crash = edit("gradient = 2 * x", "gradient = 2 * x / (1 - 1)")
    script = {"run 1, attempt 1": crash} | {f"run 1, attempt {n}": {"text": "?"} for n in (2, 3, 4)}
    campaign = make_campaign(script | {"run 2, attempt 1": FASTER})
    run(campaign)
    assert campaign.read_records()[1].attempts[0].status == "smoke_test_failed"
    assert "(1 - 1)" not in (campaign.root / "experiment.py").read_text()
    assert campaign.read_records()[2].status == "completed"
    assert "(1 - 1)" in git(campaign, "log", "-p", "--", "experiment.py")  # the evidence stays


def test_a_crash_in_the_full_run_goes_back_with_its_output(make_campaign: Make) -> None:
    late = edit("print(", 'if settings["steps"] > 2:\n    raise RuntimeError("late trouble")\nprint(')
    repair = edit('raise RuntimeError("late trouble")', "x = x / 2")
    campaign = make_campaign({"run 1, attempt 1": late, "run 1, attempt 2": repair, "run 2, attempt 1": DONE})
    run(campaign)
    record = campaign.read_records()[1]
    assert [attempt.status for attempt in record.attempts] == ["crashed", "completed"]
    assert "late trouble" in brief_of(campaign, 1, 2)
    assert "late trouble" in (campaign.attempt_folder(1, 1) / "log.txt").read_text()
    assert (campaign.attempt_folder(1, 1) / "out" / "train_log.jsonl").exists()


def test_forbidden_edits_are_put_back_and_the_good_one_is_kept(make_campaign: Make) -> None:
    cheat = FASTER | {"files": {"experiment.toml": "", "run_1/final_info.json": '{"metrics": {"loss": 0}}'}}
    campaign = make_campaign({"run 1, attempt 1": cheat, "run 2, attempt 1": DONE})
    contract = (campaign.root / "experiment.toml").read_text()
    run(campaign)
    record = campaign.read_records()[1]
    assert record.metrics["loss"].value > 0
    assert any("experiment.toml" in sentence for sentence in record.attempts[0].restored)
    assert any("run_1/final_info.json" in sentence for sentence in record.attempts[0].restored)
    assert (campaign.root / "experiment.toml").read_text() == contract
    assert "experiment.toml" in brief_of(campaign, 2, 1)


def test_what_the_agent_writes_into_the_notes_is_kept_as_its_words(make_campaign: Make) -> None:
    words = FASTER | {"files": {"notes.txt": "My loss is 0.0 and I improved it.\n"}}
    campaign = make_campaign({"run 1, attempt 1": words, "run 2, attempt 1": DONE})
    run(campaign)
    assert "My loss is 0.0" in campaign.read_records()[1].description
    assert "| My loss is 0.0" in campaign.notes.read_text()


def test_code_that_is_never_called_has_no_effect(make_campaign: Make) -> None:
    idle = edit("x = 5.0", "def never() -> None:\n    print('never')\n\n\nx = 5.0")
    campaign = make_campaign({"run 1, attempt 1": idle, "run 2, attempt 1": STEEPER})
    run(campaign)
    first, second = campaign.read_records()[1:]
    assert first.verdict.kind == "no_effect"
    assert "run 0" in first.verdict.why
    assert second.parent == 0


def test_a_run_at_another_scale_is_not_comparable_and_not_built_upon(make_campaign: Make) -> None:
    more = edit('"steps": 40', '"steps": 80')
    campaign = make_campaign({"run 1, attempt 1": more, "run 2, attempt 1": STEEPER}, controls=False)
    run(campaign)
    first, second = campaign.read_records()[1:]
    assert first.verdict.kind == "not_comparable"
    assert "steps 80 against 40" in first.verdict.why
    assert "controls are switched off" in first.verdict.why
    assert second.parent == 0


def test_a_control_answers_for_a_run_at_another_scale_and_is_executed_once(make_campaign: Make) -> None:
    more = edit('"steps": 40', '"steps": 80')
    again = edit("gradient = 2 * x", "gradient = 3 * x", "HYPOTHESIS: steeper.\nSTART FROM: run 1")
    campaign = make_campaign(
        {"run 1, attempt 1": more | {"text": "HYPOTHESIS: longer.\nSTART FROM: run 1"}, "run 2, attempt 1": again}
    )
    run(campaign)
    baseline, first, second = campaign.read_records()
    assert first.control is not None
    assert first.control.settings["steps"] == 80
    assert first.control.metrics["loss"] == first.metrics["loss"].values  # the change was nothing but more steps
    assert first.control.metrics["loss"] != baseline.metrics["loss"].values
    assert second.parent == 1
    assert second.control == first.control
    done = [str(event.get("step")) for event in read_events(campaign.journal) if event["event"] == "done"]
    assert len([step for step in done if "control" in step and "decide" not in step]) == 1


def test_controls_that_are_switched_on_later_answer_for_the_runs_that_come_then(make_campaign: Make) -> None:
    more = edit('"steps": 40', '"steps": 80', "HYPOTHESIS: longer.\nSTART FROM: run 1")
    steeper = edit("gradient = 2 * x", "gradient = 3 * x", "HYPOTHESIS: steeper.\nSTART FROM: run 1")
    campaign = make_campaign({"run 1, attempt 1": more, "run 2, attempt 1": steeper}, controls=False, max_runs=1)
    run(campaign)
    assert campaign.read_records()[1].verdict.kind == "not_comparable"
    go_on(campaign, view=Silent(), stop=Stop(), changes={"controls": True, "max_runs": 2})
    _, first, second = campaign.read_records()
    assert first.control is not None
    assert not first.control.seeds
    assert second.control is not None
    assert second.control.metrics["loss"]
    assert second.verdict.kind != "not_comparable"


def test_a_diverged_run_is_invalid(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": edit('"rate": 0.05', '"rate": 1.1'), "run 2, attempt 1": DONE})
    run(campaign)
    assert campaign.read_records()[1].verdict.kind == "invalid"
    assert "did not get nearer" in campaign.read_records()[1].verdict.why


def test_a_metric_renamed_is_found_in_the_smoke_test(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": edit('"loss": x * x,', '"lost": x * x,'), "run 1, attempt 2": DONE})
    run(campaign)
    record = campaign.read_records()[1]
    assert record.attempts[0].status == "smoke_test_failed"
    assert "loss" in record.attempts[0].why


def test_results_of_another_run_are_out_of_reach(make_campaign: Make) -> None:
    copy = edit(
        'print("done"',
        'import shutil\nfor old in Path("..").rglob("run_0/final_info.json"):\n    shutil.copy(old, out)\nprint("done"',
    )
    campaign = make_campaign({"run 1, attempt 1": copy, "run 2, attempt 1": DONE})
    run(campaign)
    assert not any((campaign.local / "executions").glob("*")), "working copies are removed"
    assert campaign.read_records()[1].verdict.kind == "no_effect"


def test_the_experiment_gets_no_key(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("HF_TOKEN", "hf-very-secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tell = edit('print("done"', 'print(dict(os.environ))\nx = x / 2\nprint("done"')
    campaign = make_campaign({"run 1, attempt 1": tell, "run 2, attempt 1": DONE})
    run(campaign)
    output = (campaign.run_folder(1) / "log.txt").read_text()
    assert "very-secret" not in output
    assert "'OMP_NUM_THREADS': '1'" in output
    assert "'HARNESS_SEED': '0'" in output


def test_a_checkpoint_stays_out_of_git(make_campaign: Make) -> None:
    big = edit('print("done"', '(out / "model.bin").write_bytes(b"x" * 2_000_000)\nx = x / 2\nprint("done"')
    campaign = make_campaign({"run 1, attempt 1": big, "run 2, attempt 1": DONE})
    run(campaign)
    assert (campaign.run_folder(1) / "model.bin").stat().st_size == 2_000_000
    assert "run_1/final_info.json" in git(campaign, "ls-files").splitlines()
    assert "run_1/model.bin" not in git(campaign, "ls-files").splitlines()


def test_names_that_belong_to_the_harness_cannot_be_forged(make_campaign: Make) -> None:
    forge = edit('print("done"', '(out / "record.json").write_text("{}")\nx = x / 2\nprint("done"')
    campaign = make_campaign({"run 1, attempt 1": forge, "run 2, attempt 1": DONE})
    run(campaign)
    record = campaign.read_records()[1]
    assert record.status == "completed"
    assert any("record.json" in warning for warning in record.warnings)


def test_what_an_agent_typed_of_numbers_goes_neither_into_the_notes_nor_back_to_it(make_campaign: Make) -> None:
    boast = FASTER | {"text": "HYPOTHESIS: less.\nNOTES: The baseline's loss was 0.9."}
    script = {"run 1, attempt 1": boast, "run 2, attempt 1": DONE}
    campaign = make_campaign(script, max_runs=2)
    run(campaign)
    assert "contradict" not in campaign.notes.read_text()
    assert "contradict" not in brief_of(campaign, 2, 1)
    assert campaign.read_records()[1].description == "The baseline's loss was 0.9."


# Budgets


def test_a_token_budget_ends_the_campaign_and_resume_goes_on(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": STEEPER}, max_tokens=10)
    ending = run(campaign)
    assert (ending.reason, ending.exit_code) == ("budget", 3)
    assert "--max-tokens 10" in ending.message
    assert len(campaign.read_records()) == 2
    assert run(campaign, changes={"max_tokens": 10**6}).reason == "runs_spent"
    assert len(campaign.read_records()) == 3


def test_a_cost_budget_counts_turns_without_an_answer(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.01, 0.01))
    failing = FASTER | {"fail": ["rate"]}
    campaign = make_campaign({"run 1, attempt 1": failing, "run 2, attempt 1": STEEPER}, max_cost=0.02)
    ending = run(campaign)
    assert ending.reason == "budget"
    assert "$0.02 is spent" in ending.message


def test_a_question_without_an_answer_costs_no_more_than_the_dearest(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.01, 0.01))
    script = {"run 1, attempt 1": FASTER | {"fail": ["timeout"]}, "run 2, attempt 1": STEEPER}
    campaign = make_campaign(script, max_cost=0.015)
    ending = run(campaign)
    assert ending.reason == "budget"
    assert "$0.01 is spent and an unknown sum by 1 question without an answer" in ending.message
    assert run(campaign, changes={"max_cost": 0.025}).reason == "runs_spent"
    assert spent(read_events(campaign.journal)).usage.cost is None  # unknown is shown as unknown


def test_a_try_that_a_person_interrupts_is_counted(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER | {"interrupt": True}, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "interrupted"
    used = spent(read_events(campaign.journal))
    assert (used.lost, used.usage.cost) == (1, None)
    assert run(campaign).reason == "all_completed"


def test_budgets_hold_between_the_tries_of_a_turn(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.01, 0.01))
    campaign = make_campaign({"run 1, attempt 1": FASTER | {"fail": ["server"] * 3}}, max_tokens=10)
    assert run(campaign).reason == "budget"
    failed = [event for event in read_events(campaign.journal) if event["event"] == "turn_failed"]
    assert len(failed) == 1  # and the next try was not begun
    hours = make_campaign({"run 1, attempt 1": FASTER | {"fail": ["server"] * 3}}, max_hours=1e-9)
    assert run(hours).reason == "budget"
    status = read_status(Layout(hours.root))
    said = of_hours(status.seconds, 1e-9)  # the same figure in both
    assert status.message == f"--max-hours 1e-09 is reached: {said} are spent." and said in spent_in_words(status)


def test_the_notes_name_one_total_of_tokens(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "all_completed"
    notes = " ".join(campaign.notes.read_text().split())
    used = spent(read_events(campaign.journal)).usage
    assert f"Used so far: {used.sent:,} tokens sent, {used.received:,} received" in notes
    assert f"{used.sent + used.received:,} tokens, cost" in notes


def test_a_model_without_a_price_cannot_be_held_to_a_cost(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER | {"cost": None}, "run 2, attempt 1": STEEPER}, max_cost=5)
    ending = run(campaign)
    assert ending.reason == "budget"
    assert "the price of this model is unknown" in ending.message


# Providers that fail


def test_what_an_agent_had_edited_when_its_time_was_over_is_tried(make_campaign: Make) -> None:
    cut_off = FASTER | {"fail": ["timeout"], "edits_first": True}
    campaign = make_campaign({"run 1, attempt 1": cut_off, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "all_completed"
    assert campaign.read_records()[1].settings["rate"].value == 0.1
    assert "what you had edited by then is the change that is tried" in brief_of(campaign, 2, 1)


def test_a_turn_that_was_ended_without_an_edit_costs_an_attempt_and_twice_in_a_row_ends_the_campaign(
    make_campaign: Make,
) -> None:
    cut = {"fail": ["cut"]}
    campaign = make_campaign({"run 1, attempt 1": cut, "run 1, attempt 2": FASTER, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "all_completed"
    assert [attempt.status for attempt in campaign.read_records()[1].attempts] == ["no_answer", "completed"]
    assert "Title: A small idea" in brief_of(campaign, 1, 2)  # a new conversation is told everything
    again = make_campaign({"run 1, attempt 1": cut, "run 1, attempt 2": cut})
    assert run(again).reason == "cannot_go_on"


def test_a_context_that_is_too_small_begins_a_new_conversation_with_a_shorter_brief(make_campaign: Make) -> None:
    script = {
        "run 1, attempt 1": FASTER,
        "run 2, attempt 1": edit("nothing", "nothing", "Only words.") | {"edits": []},
        "run 2, attempt 2": STEEPER | {"fail": ["context", "context"]},
    }
    campaign = make_campaign(script)
    assert run(campaign).reason == "runs_spent"
    assert [attempt.status for attempt in campaign.read_records()[2].attempts] == ["rejected", "completed"]
    whole, shorter = brief_of(campaign, 2, 1), brief_of(campaign, 2, 2)
    assert "Title: A small idea" in shorter
    assert len(campaign.read_records()) == 3 and whole


def test_a_context_that_is_too_small_for_any_brief_ends_the_campaign_and_a_larger_one_goes_on(make_campaign: Make) -> None:
    script = {"run 1, attempt 1": FASTER | {"fail": ["context"]}, "run 2, attempt 1": DONE}
    campaign = make_campaign(script)
    ending = run(campaign)
    assert ending.reason == "cannot_go_on" and "larger context" in ending.message
    assert run(campaign).reason == "all_completed"


def test_the_end_of_a_limit_is_named_and_waited_for_where_that_is_asked(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = FASTER | {"fail": ["rate", "rate"], "limit": 3 * 3600}
    script = {"run 1, attempt 1": limited, "run 2, attempt 1": DONE}
    campaign = make_campaign(script)
    ending = run(campaign)
    assert ending.reason == "cannot_go_on"
    assert "The limit ends at " in ending.message and "--wait-for-limits waits for it" in ending.message
    slept: list[float] = []
    monkeypatch.setattr(Dialogue, "_sleep", lambda self, seconds, waits: slept.append(seconds))
    assert run(campaign, changes={"wait_for_limits": True}).reason == "all_completed"
    assert len(slept) == 1 and 3 * 3600 - 60 < slept[0] < 3 * 3600 + 60


def test_a_crash_after_a_turn_and_before_its_step_leaves_the_memory_of_the_turn_before(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = {"run 1, attempt 1": {"text": "Only words."}, "run 1, attempt 2": FASTER, "run 2, attempt 1": DONE}
    campaign = make_campaign(script)

    def crash(self: Dialogue, run: int, attempt: int, *rest: Any) -> Any:
        if attempt == 2:
            raise KeyboardInterrupt
        return turn(self, run, attempt, *rest)

    turn = Dialogue._turn
    with monkeypatch.context() as patch:
        patch.setattr(Dialogue, "_turn", crash)
        assert run(campaign).reason == "interrupted"
    assert json.loads(campaign.history.read_text())["run_1"]["turn"] == "run_1/attempt_2"
    assert run(campaign).reason == "all_completed"
    told = json.loads(campaign.history.read_text())
    assert told["run_2"]["turn"] == "run_2/attempt_1"


def test_a_passing_failure_is_tried_again(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.01, 0.01))
    campaign = make_campaign({"run 1, attempt 1": FASTER | {"fail": ["rate", "server"]}, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "all_completed"
    assert [event["kind"] for event in read_events(campaign.journal) if event["event"] == "turn_failed"] == [
        "rate",
        "server",
    ]


@pytest.mark.parametrize("kind", ["auth", "quota", "setup"])
def test_what_no_further_turn_could_mend_ends_the_campaign(make_campaign: Make, kind: str) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER | {"fail": [kind] * 9}})
    ending = run(campaign)
    assert (ending.reason, ending.exit_code) == ("cannot_go_on", 4)
    assert "the script says so" in ending.message
    assert len(campaign.read_records()) == 1


def test_a_session_that_is_over_ends_the_campaign_well(make_campaign: Make) -> None:
    ending = run(make_campaign({"run 1, attempt 1": FASTER}))
    assert (ending.reason, ending.exit_code) == ("session_over", 0)


# People


def test_a_persons_word_goes_into_the_next_brief_once(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": STEEPER})
    campaign.inbox.mkdir()
    (campaign.inbox / "1.txt").write_text("Mind the learning rate.")
    assert "Mind the learning rate." not in next_brief_or_empty(campaign)  # no baseline yet, so no brief
    run(campaign)
    assert "Mind the learning rate." in brief_of(campaign, 1, 1)
    assert "Mind the learning rate." not in brief_of(campaign, 2, 1)
    assert campaign.read_records()[1].messages == ["Mind the learning rate."]


def test_a_persons_word_calls_the_agent_back_after_all_completed(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": DONE, "run 1, attempt 2": FASTER, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "all_completed"
    assert len(campaign.read_records()) == 1
    campaign.inbox.mkdir()
    (campaign.inbox / "1.txt").write_text("Try a larger rate first.")
    assert "Try a larger rate first." in next_brief(campaign)
    assert run(campaign).reason == "all_completed"
    assert campaign.read_records()[1].settings["rate"].value == 0.1
    assert "Try a larger rate first." in brief_of(campaign, 1, 2)


def test_who_is_called_back_may_say_again_that_all_is_completed(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": DONE, "run 1, attempt 2": DONE})
    assert run(campaign).reason == "all_completed"
    campaign.inbox.mkdir()
    (campaign.inbox / "1.txt").write_text("Are you sure?")
    assert run(campaign).reason == "all_completed"
    assert "Are you sure?" in brief_of(campaign, 1, 2)
    asked = [e["step"] for e in read_events(campaign.journal) if str(e.get("step")).endswith("/pre_check")]
    assert asked == [], "an answer without a change that says so is no refused change"
    recorded = campaign.read_records()[1]
    assert (recorded.status, [each.why for each in recorded.attempts]) == ("failed", ["the agent said ALL_COMPLETED"] * 2)


@pytest.mark.parametrize(
    "first",
    [
        {"run 1, attempt 1": {"text": "I thought about it."}, "run 1, attempt 2": DONE},
        {"run 1, attempt 1": FASTER | {"text": "HYPOTHESIS: less.\nALL_COMPLETED"}},
    ],
    ids=["after a refused attempt", "beside edits"],
)
def test_a_persons_word_after_all_completed_is_heard_in_the_next_run(make_campaign: Make, first: dict[str, Any]) -> None:
    campaign = make_campaign(first | {"run 2, attempt 1": STEEPER, "run 3, attempt 1": DONE}, max_runs=3)
    assert run(campaign).reason == "all_completed"
    assert len(campaign.read_records()) == 2
    assert run(campaign).reason == "all_completed"  # nobody said anything
    campaign.inbox.mkdir()
    (campaign.inbox / "1.txt").write_text("Try a steeper one.")
    assert run(campaign).reason == "all_completed"
    second = campaign.read_records()[2]
    assert (second.status, second.messages) == ("completed", ["Try a steeper one."])
    assert len([e for e in read_events(campaign.journal) if str(e.get("step")).endswith("/turn")]) / 2 == len(first) + 2


def test_a_persons_edit_of_a_paused_campaign_is_recorded_as_theirs(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": STEEPER}, max_runs=1)
    run(campaign)
    code = campaign.root / "experiment.py"
    code.write_text(code.read_text().replace("x = 5.0", "x = 4.0"))
    run(campaign, changes={"max_runs": 2})
    second = campaign.read_records()[2]
    assert second.attempts[0].by_person
    assert "+x = 4.0" in brief_of(campaign, 2, 1)
    assert "Your change" in git(campaign, "log", "--format=%s")
    code_at_run = git(campaign, "show", f"{second.commit}:experiment.py")
    assert "x = 4.0" in code_at_run
    assert "gradient = 3 * x" in code_at_run


@pytest.mark.parametrize("agent", [STEEPER, {"text": "HYPOTHESIS: as the person did."}], ids=["edits", "edits nothing"])
def test_a_change_that_a_person_committed_is_theirs(make_campaign: Make, agent: dict[str, Any]) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": agent}, max_runs=1)
    run(campaign)
    code = campaign.root / "experiment.py"
    code.write_text(code.read_text().replace("x = 5.0", "x = 4.0"))
    (campaign.root / "notes.txt").open("a").write("I start nearer.\n")
    git(campaign, "-c", "user.name=Me", "-c", "user.email=me@here", "commit", "-aqm", "Nearer")
    run(campaign, changes={"max_runs": 2})
    second = campaign.read_records()[2]
    assert (second.status, second.attempts[0].by_person) == ("completed", True)
    assert "+x = 4.0" in brief_of(campaign, 2, 1)
    assert "x = 4.0" in git(campaign, "show", f"{second.commit}:experiment.py")
    assert "Nearer" in git(campaign, "log", "--format=%s")
    assert "I start nearer." in campaign.notes.read_text()


def test_a_change_that_a_person_committed_during_a_run_is_theirs_in_the_next(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": {"text": "HYPOTHESIS: theirs."}})
    stop = Stop()

    class Pausing(Silent):
        def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
            stop.soon = phase == "smoke_test"

    assert go_on(campaign, view=Pausing(), stop=stop).reason == "interrupted"
    code = campaign.root / "experiment.py"
    code.write_text(code.read_text().replace("x = 5.0", "x = 4.0"))
    git(campaign, "-c", "user.name=Me", "-c", "user.email=me@here", "commit", "-aqm", "Nearer")
    assert run(campaign).reason == "runs_spent"
    first, second = campaign.read_records()[1:]
    assert "x = 5.0" in git(campaign, "show", f"{first.commit}:experiment.py")
    assert "x = 4.0" in git(campaign, "show", f"{second.commit}:experiment.py")
    assert (first.attempts[0].by_person, second.attempts[0].by_person) == (False, True)
    assert "+x = 4.0" in brief_of(campaign, 2, 1)


def test_a_person_forces_a_rejected_change_through(make_campaign: Make) -> None:
    refused = {f"run 1, attempt {n}": edit("x = 5.0", f"# {n}\nx = 5.0") for n in range(1, 2)}
    campaign = make_campaign(refused, max_runs=2)
    assert run(campaign).reason == "session_over"
    assert run(campaign, force=True).reason == "session_over"
    record = campaign.read_records()[1]
    assert [attempt.status for attempt in record.attempts] == ["rejected", "completed"]
    assert record.attempts[1].forced
    assert record.verdict.kind == "no_effect"  # forced through the pre-check, not through the verdict


def test_the_change_that_is_forced_is_the_last_refused_one_of_the_run_in_hand(make_campaign: Make) -> None:
    comment = edit("x = 5.0", "# nothing\nx = 5.0")
    script = {"run 1, attempt 1": comment, "run 1, attempt 2": FASTER, "run 2, attempt 1": {"text": "I thought."}}
    campaign = make_campaign(script)
    assert run(campaign).reason == "session_over"
    with pytest.raises(InputError, match="--force: run 2, the one in hand, has no rejected change"):
        run(campaign, force=True)
    script |= {"run 2, attempt 2": edit("x = 5.0", "# once more\nx = 5.0"), "run 2, attempt 3": {"text": "I thought."}}
    campaign.replayed.write_text(json.dumps(script))
    assert run(campaign).reason == "session_over"
    view = Listening()
    go_on(campaign, view=view, stop=Stop(), force=True)
    assert any("forced: the change of run 2, attempt 2, which was rejected: Only comments" in line for line in view.said)
    last = campaign.read_records()[2].attempts[-1]
    assert (last.status, last.forced, last.number) == ("completed", True, 4)
    assert "# once more" in git(campaign, "show", f"{last.commit}:experiment.py")


def test_the_next_brief_is_the_one_that_is_sent(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": STEEPER}, max_runs=1)
    run(campaign)
    before = sorted(path.name for path in campaign.root.rglob("*"))
    journal = campaign.journal.read_bytes()
    campaign_of_two = Campaign(campaign.root)
    with campaign.journal.open("ab") as file:
        file.write(json.dumps({"event": "options", "time": "", "changes": {"max_runs": 2}}).encode() + b"\n")
    told = next_brief(campaign_of_two)
    campaign.journal.write_bytes(journal)
    assert sorted(path.name for path in campaign.root.rglob("*")) == before
    run(campaign, changes={"max_runs": 2})
    assert told == brief_of(campaign, 2, 1)


def test_looking_at_the_next_brief_starts_no_agent(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER}, reviewer="openai/expert")
    stop = Stop()

    class Pausing(Silent):
        def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
            stop.soon = True

    monkeypatch.setattr(AiderAgent, "check", lambda agent: "ready")
    assert go_on(campaign, view=Pausing(), stop=stop).reason == "interrupted"
    for agent in (ScriptedAgent, AiderAgent):
        monkeypatch.setattr(agent, "check", lambda agent: pytest.fail("it was started"))
    with pytest.raises(HarnessError, match="No brief yet: run 0, execution, comes first"):
        next_brief(campaign)


# Reviewers


def test_a_reviewer_that_cannot_work_is_found_before_anything_is_spent(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_key(agent: AiderAgent) -> str:
        raise InputError(f"--model {agent.config.model}: no key")

    monkeypatch.setattr(AiderAgent, "check", no_key)
    campaign = make_campaign({"run 1, attempt 1": FASTER}, reviewer="openai/expert")
    ending = run(campaign)
    assert (ending.exit_code, ending.message) == (2, "--model openai/expert: no key")
    assert not (campaign.run_folder(0)).exists()


def test_a_reviewer_that_cannot_be_started_any_more_is_a_warning(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(agent: AiderAgent, model: str, system: str, user: str) -> Reply:
        raise CannotGoOn("aider does not start")

    monkeypatch.setattr(AiderAgent, "check", lambda agent: "ready")
    monkeypatch.setattr(AiderAgent, "complete", gone)
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE}, reviewer="openai/expert")
    assert run(campaign).reason == "all_completed"
    assert "The reviewer gave no advice: aider does not start." in campaign.read_records()[1].warnings


# Foreign experiments and bad ones


def _foreign(
    tmp_path: Path, files: dict[str, str], script: dict[str, Any], python: str = sys.executable, **options: Any
) -> Campaign:
    folder = tmp_path / "their folder ü"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    session = tmp_path / "script.json"
    session.write_text(json.dumps(script))
    return create_campaign(
        tmp_path / "runs of ü",
        Idea(Name="theirs", Title="Their idea", Experiment="Do it."),
        folder,
        Options(agent="tests.scripted:ScriptedAgent", **{"max_runs": 1} | options),
        python=python,
        session=session,
    )


THEIRS = """
import argparse, json, os
p = argparse.ArgumentParser()
p.add_argument("--out_dir", default="run_0")
a = p.parse_args()
os.makedirs(a.out_dir, exist_ok=True)
score = len(open("data.txt").read()) * 1.125 + 0.25
with open(os.path.join(a.out_dir, "final_info.json"), "w") as f:
    json.dump({"shakespeare": {"means": {"score_mean": score, "loss_mean": score / 7}, "stderrs": {"score_stderr": 0.5}}}, f)
"""


def test_a_foreign_experiment_works_unchanged(tmp_path: Path) -> None:
    files = {"experiment.py": THEIRS, "data.txt": "abcdefg", "plot.py": "print('plot')\n"}
    script = {
        "run 1, attempt 1": {"text": "", "files": {"plot.py": "print('a better plot')\n"}},
        "run 1, attempt 2": edit("* 1.125", "* 2.125"),
    }
    campaign = _foreign(tmp_path, files, script)
    assert run(campaign).reason == "runs_spent"
    baseline, first = campaign.read_records()
    assert baseline.metrics["shakespeare.score_mean"].value == 7 * 1.125 + 0.25
    assert first.attempts[0].status == "rejected"
    assert "plot.py" in first.attempts[0].why
    assert first.metrics["shakespeare.score_mean"].value == 7 * 2.125 + 0.25
    assert first.verdict.kind == "inconclusive"
    assert "Not judged" in campaign.notes.read_text()


def test_braces_in_the_command_are_text(tmp_path: Path) -> None:
    contract = """command = ['python', 'experiment.py', '--out_dir={out_dir}', '{"width": 64}', '${HOME} {', '{seed}']\n"""
    code = THEIRS.replace("a = p.parse_args()", "a, more = p.parse_known_args()\nprint(more)")
    campaign = _foreign(
        tmp_path, {"experiment.py": code, "data.txt": "x", "experiment.toml": contract + 'files = ["data.txt"]'}, {}
    )
    assert run(campaign).reason == "session_over"
    assert """['{"width": 64}', '${HOME} {', '{seed}']""" in (campaign.run_folder(0) / "log.txt").read_text()


def test_a_second_campaign_beside_the_first_holds_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "experiment.py").write_text("")
    (tmp_path / "data.txt").write_text("")
    idea = Idea(Name="theirs", Title="Their idea", Experiment="Do it.")
    for out in (tmp_path / "results", tmp_path):
        for _ in range(2):
            campaign = create_campaign(out, idea, tmp_path, Options(), python=sys.executable)
            assert sorted(path.name for path in campaign.root.iterdir()) == [
                ".harness",
                "campaign.json",
                "data.txt",
                "experiment.py",
                "idea.json",
            ]


def test_a_given_baseline_is_taken_and_said_to_be_given(tmp_path: Path) -> None:
    given = json.dumps({"shakespeare": {"means": {"score_mean": 8.0, "loss_mean": 1.5}}})
    files = {"experiment.py": THEIRS, "data.txt": "abcdefg", "run_0/final_info.json": given}
    campaign = _foreign(tmp_path, files, {"run 1, attempt 1": edit("* 1.125", "* 2.125")})
    run(campaign)
    baseline, first = campaign.read_records()
    assert baseline.given
    assert first.metrics["shakespeare.score_mean"].baseline == 8.0
    assert not (campaign.run_folder(0) / "log.txt").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no data here')", "no data here"),
        ("print('I did nothing')", "final_info.json"),
        ("import argparse; argparse.ArgumentParser().parse_args()", "--out_dir"),
    ],
)
def test_a_broken_baseline_ends_the_campaign_with_its_reason(tmp_path: Path, code: str, said: str) -> None:
    campaign = _foreign(tmp_path, {"experiment.py": code}, {})
    ending = run(campaign)
    assert (ending.reason, ending.exit_code) == ("baseline_failed", 4)
    assert said in ending.message


@pytest.mark.parametrize("given", ["", "{}", '{"means": {}}', "[]"])
def test_a_given_baseline_without_a_number_is_refused_with_its_reason(tmp_path: Path, given: str) -> None:
    files = {"experiment.py": THEIRS, "data.txt": "abcdefg", "run_0/final_info.json": given}
    campaign = _foreign(tmp_path, files, {"run 1, attempt 1": edit("* 1.125", "* 2.125")})
    ending = run(campaign)
    assert ending.reason == "baseline_failed"
    assert "given results in run_0" in ending.message and "final_info.json" in ending.message
    (tmp_path / "their folder ü" / "run_0" / "final_info.json").unlink()
    assert run(Campaign(campaign.root)).reason == "runs_spent"
    assert not Campaign(campaign.root).read_records()[0].given


def test_with_a_given_baseline_the_untouched_code_is_tried_before_the_first_turn(tmp_path: Path) -> None:
    given = {"run_0/final_info.json": json.dumps({"shakespeare": {"means": {"score_mean": 8.0}}}), "data.txt": "abc"}
    campaign = _foreign(tmp_path, {"experiment.py": "open('no data')", **given}, {"run 1, attempt 1": DONE})
    ending = run(campaign)
    assert (ending.reason, "'no data'" in ending.message) == ("baseline_failed", True)
    contract = '[limits]\nsmoke_time = "0.5s"\n'
    files = {"experiment.py": "import time\ntime.sleep(1000)", "experiment.toml": contract, **given}
    (tmp_path / "b").mkdir()
    assert run(_foreign(tmp_path / "b", files, {"run 1, attempt 1": DONE}, baseline="given")).reason == "all_completed"


def test_only_results_of_a_given_baseline_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.campaign.recorded_baselines.MAX_FILE", 100)
    files = {"experiment.py": THEIRS, "run_0/final_info.json": json.dumps({"means": {"a": 1}, "long": "x" * 200})}
    campaign = _foreign(tmp_path, {**files, "run_0/ckpt.pt": "x" * 200, "run_0/log/train.csv": "1"}, {})
    found = sorted(str(path.relative_to(campaign.run_folder(0))) for path in campaign.run_folder(0).rglob("*.*"))
    assert found == ["final_info.json", "log/train.csv"]


def test_recorded_results_that_are_not_used_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    (folder / "run_0").mkdir(parents=True)
    for name in ("experiment.py", "experiment.toml", "run_0/final_info.json"):
        (folder / name).write_text("")
    said: list[str] = []
    idea = Idea(Name="theirs", Title="Their idea", Experiment="Do it.")
    create_campaign(tmp_path / "runs", idea, folder, Options(), python=sys.executable, say=said.append)
    assert [line for line in said if line.startswith("run_0 is not used") and "--baseline given" in line] == said != []


def test_a_baseline_that_failed_is_executed_again_with_what_was_mended(tmp_path: Path) -> None:
    """In the experiment's folder, in the campaign's, or elsewhere: code, data and contract."""
    outside = tmp_path / "made later"
    code = THEIRS.replace("score =", f"open({str(outside)!r}); import helper; score =")
    script = {"run 1, attempt 1": edit("* 1.125", "* 2.125")}
    campaign = _foreign(tmp_path, {"experiment.py": code, "data.txt": "abcdefg"}, script)
    assert "made later" in run(campaign).message
    outside.touch()
    assert "helper" in run(Campaign(campaign.root)).message
    folder = tmp_path / "their folder ü"
    (folder / "helper.py").touch()
    (folder / "experiment.toml").write_text('[[metric]]\nname = "no"\nbetter = "lower"\nprimary = true\n')
    assert "a number for no;" in run(Campaign(campaign.root)).message
    contract = '[[metric]]\nname = "shakespeare.score_mean"\nbetter = "higher"\nprimary = true\n'
    (folder / "experiment.toml").write_text(contract)
    (campaign.root / "data.txt").write_text("abc")  # mended in the campaign
    campaign = Campaign(campaign.root)
    assert run(campaign).reason == "runs_spent"
    baseline, first = campaign.read_records()
    assert (baseline.metrics["shakespeare.score_mean"].value, baseline.given) == (3 * 1.125 + 0.25, False)
    assert first.metrics["shakespeare.score_mean"].value == 3 * 2.125 + 0.25
    assert "made later" in (campaign.attempt_folder(0, 1) / "log.txt").read_text()
    assert {path.name for path in (campaign.run_folder(0) / "attempts").iterdir()} == {"1", "2", "3"}


def test_a_package_that_was_missing_and_is_installed_is_found_by_resume(tmp_path: Path) -> None:
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", environment], check=True)
    files = {"experiment.py": f"import their_package\n{THEIRS}", "data.txt": "abc"}
    campaign = _foreign(tmp_path, files, {"run 1, attempt 1": DONE}, str(environment / "bin" / "python"))
    assert "No module named 'their_package'" in run(campaign).message
    (packages,) = environment.glob("lib/*/site-packages")
    (packages / "their_package.py").touch()
    assert resume(Campaign(campaign.root), {}, force=False, width=80) == 0
    assert [record.status for record in campaign.read_records()] == ["completed"]


def test_a_baseline_is_tried_before_an_agent_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_early(self: ScriptedAgent) -> str:
        raise AssertionError("asked for before the baseline")

    monkeypatch.setattr(ScriptedAgent, "check", too_early)
    monkeypatch.setattr(Dialogue, "needs_installation", True)
    assert run(_foreign(tmp_path, {"experiment.py": "raise SystemExit('no data here')"}, {})).reason == "baseline_failed"


def test_a_metric_that_no_result_has_is_found_before_money_is_spent(tmp_path: Path) -> None:
    contract = '[[metric]]\nname = "absorption"\nbetter = "lower"\nprimary = true\n'
    campaign = _foreign(tmp_path, {"experiment.py": THEIRS, "data.txt": "x", "experiment.toml": contract}, {})
    (campaign.root / "data.txt").write_text("x")
    ending = run(campaign)
    assert ending.exit_code == 4


def test_no_hook_and_no_setting_of_the_persons_git_has_a_part(
    make_campaign: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-commit", "commit-msg", "post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\n hooksPath = {hooks}\n autocrlf = true\n[commit]\n gpgsign = true\n[init]\n defaultBranch = odd\n"
        "[user]\n name = Somebody\n email = some@body\n"
    )
    outer = tmp_path / "runs"
    subprocess.run(["git", "init", "-q", str(outer)], check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(outer / ".git" / "index"))
    before = sorted(path.name for path in (outer / ".git").rglob("*"))
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE})
    assert run(campaign).reason == "all_completed"
    for name in ("GIT_DIR", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert not (tmp_path / "hook-ran").exists()
    assert sorted(path.name for path in (outer / ".git").rglob("*")) == before
    assert git(campaign, "log", "-1", "--format=%an %D").strip() == "harness HEAD -> main"


def test_a_damaged_journal_is_said_with_its_line(make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE})
    run(campaign)
    lines = campaign.journal.read_bytes().split(b"\n")
    lines[3] = b"{ damaged"
    campaign.journal.write_bytes(b"\n".join(lines))
    with pytest.raises(Exception, match="line 4 is damaged"):
        run(campaign)


def test_a_full_disk_ends_the_campaign_with_a_message(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE})

    def full(self: Record, run_folder: Path) -> None:
        raise OSError(28, "No space left on device", str(run_folder / "record.json"))

    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", full)
        ending = run(campaign)
    assert ending.exit_code == 4
    assert "No space left on device" in ending.message
    assert "record.json" in ending.message
    assert run(campaign).reason == "all_completed"
    assert len(campaign.read_records()) == 2


def test_an_event_that_could_not_be_written_whole_leaves_no_half_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("opened")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "journal.jsonl").stat().st_size + 20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append("done", step="run_1/record", result=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.append("ended", reason="stopped", message="stopped", exit_code=3)
    assert [event["event"] for event in read_events(tmp_path / "journal.jsonl")] == ["opened", "ended"]
    assert journal.events == read_events(tmp_path / "journal.jsonl")


def test_a_clock_that_goes_back_makes_no_result_stale(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    touch = Path.touch

    def in_an_hour(path: Path, *arguments: Any, **named: Any) -> None:
        touch(path, *arguments, **named)
        if path.name == "begun":
            later = path.stat().st_mtime + 3600
            os.utime(path, (later, later))

    campaign = make_campaign({"run 1, attempt 1": FASTER, "run 2, attempt 1": DONE})
    monkeypatch.setattr(Path, "touch", in_an_hour)
    assert run(campaign).reason == "all_completed"
    assert campaign.read_records()[1].status == "completed"


def test_without_git_the_message_says_so(make_campaign: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    campaign = make_campaign({})
    monkeypatch.setenv("PATH", str(tmp_path))
    ending = run(campaign)
    assert ending.exit_code == 4
    assert "git is not installed" in ending.message


def test_a_folder_that_cannot_be_written_is_said_with_what_to_do(
    make_campaign: Make, tmp_path: Path, experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idea = Idea(Name="x", Title="X", Experiment="x")
    campaign = make_campaign({"run 1, attempt 1": FASTER})
    (tmp_path / "locked").mkdir()
    for folder in (tmp_path / "locked", campaign.local, campaign.root):
        folder.chmod(0o500)

    def refused() -> None:
        with pytest.raises(CannotGoOn, match=r"locked/x: cannot be written: Permission denied\. `--out DIR` names"):
            create_campaign(tmp_path / "locked", idea, experiment, Options(), python=sys.executable)
        assert resume(campaign, {}, force=False, width=80) == 4
        said = capsys.readouterr().err
        assert f"{campaign.journal}: Permission denied. Fix it, then `harness resume" in said

    unprivileged(refused)


def next_brief_or_empty(campaign: Campaign) -> str:
    try:
        return next_brief(campaign)
    except Exception:
        return ""


@pytest.mark.skipif(not available("landlock").confined, reason="the kernel has no Landlock")
def test_an_experiment_cannot_read_what_earlier_runs_left(make_campaign: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXECUTORS, "local", "harness.execution.executors.local:LocalExecutor")
    thief = edit(
        "x = 5.0\n",
        "x = json.loads((out.absolute().parents[8] / 'run_0' / 'final_info.json').read_text())['metrics']['distance']\n",
    )
    campaign = make_campaign({"run 1, attempt 1": thief, "run 1, attempt 2": DONE}, max_runs=1)
    run(campaign)
    assert campaign.read_records()[1].status == "failed"
    assert "run_0/final_info.json" in (told := brief_of(campaign, 1, 2)) and "Error: [Errno" in told


def test_a_run_that_says_its_out_dir_was_there_takes_none_from_the_baseline(make_campaign: Callable[..., Campaign]) -> None:
    """Its control, the baseline's code, would have failed for want of an out_dir."""
    refuses = "if out.is_dir() and not os.environ.get('HARNESS_SMOKE'): raise SystemExit(f'File exists: {out}')\n"
    edits = [["experiment.py", "x = 5.0", f"{refuses}out.mkdir(exist_ok=True)\nx = 5.0"]]
    edits += [["experiment.py", '"steps": 40', '"steps": 50']]
    campaign = make_campaign({"run 1, attempt 1": {"text": "HYPOTHESIS: more.", "edits": edits}}, max_runs=1)
    go_on(campaign, view=Silent(), stop=Stop())
    run = campaign.read_records()[1]
    assert run.status == "completed"
    assert run.control is not None and (run.control.seeds, run.control.why_none) == ([0], "")
