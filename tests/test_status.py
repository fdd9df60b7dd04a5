"""Where a campaign stands, from journals and records that are written here through the real classes."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.errors import CannotGoOn, InputError
from harness.campaign.journal import Journal, locked
from harness.campaign.layout import Layout, find_layout
from harness.campaign.record import AttemptRecord, MetricRecord, Record, ReviewRecord, VerdictRecord
from harness.campaign.usage import Usage
from harness.execution.executors.output import HEAD, OutputWriter
from harness.report.terminal import status_page
from harness.report.terminal.record_page import differences
from harness.report.terminal.status import Primary, best, last_line, pending, read_status, rows, seconds_since, step_of
from harness.report.terminal.status_page import next_lines, next_steps, typed

PAID = {"sent": 100, "received": 20, "cost": 0.5, "seconds": 2.0, "requests": 1}
ENDED_WELL = {"failure": None, "outcome": {"seconds": 3.0}, "warnings": []}


def turn(**facts):
    return {"commit": "c", "all_completed": False, "no_answer": "", "hypothesis": "it helps", "usage": PAID} | facts


def record(run: int, loss: float | None, **facts) -> Record:
    kind = "baseline" if run == 0 else "inconclusive"
    metrics = {} if loss is None else {"loss": MetricRecord(value=loss, baseline=None if run == 0 else 1.0)}
    defaults = {"run": run, "status": "completed", "verdict": VerdictRecord(kind=kind), "commit": "c" * 40}
    return Record(**defaults | {"metrics": metrics, "hypothesis": f"idea {run}"} | facts)


@pytest.fixture
def campaign(make_campaign) -> Campaign:
    return make_campaign({})


def test_a_run_that_was_not_tested_has_one_standard_error_on_every_page():
    values = [1.0, 1.1, 1.3]
    numbers = {"loss": MetricRecord(value=sum(values) / 3, values=values)}
    baseline = record(0, 1.0, metrics={"loss": MetricRecord(value=2.0, values=[1.0, 2.0, 3.0])}).model_dump()
    found = record(1, 1.0, metrics=numbers, verdict=VerdictRecord(kind="not_comparable")).model_dump()
    contract = {"metric": [{"name": "loss", "better": "lower", "primary": True}]}
    beside = differences(found, baseline, contract)["loss"]
    [_, shown] = rows([baseline, found], [], Primary("loss", "loss", "lower"))
    assert beside and shown.error == pytest.approx(beside.value_error)


def test_every_place_is_that_of_the_campaign(campaign):
    layout = Layout(campaign.root)
    assert layout.journal == campaign.journal
    assert layout.options_file == campaign.options_file
    assert layout.idea_file == campaign.idea_file
    assert layout.notes == campaign.notes
    assert layout.lock == campaign.lock
    assert (
        layout.output("run_1/attempt_2/smoke_test") == campaign.execution("run_1/attempt_2/smoke_test") / "job" / "log.txt"
    )
    assert layout.record_file(3).parent == campaign.run_folder(3)
    assert layout.name == campaign.name


def test_a_campaign_that_nobody_began_is_new(campaign):
    assert read_status(Layout(campaign.root)).state == "new"


def test_a_held_lock_means_running_and_a_read_leaves_no_trace(campaign):
    layout = Layout(campaign.root)
    before = sorted(campaign.root.rglob("*"))
    assert not layout.is_running()
    assert sorted(campaign.root.rglob("*")) == before
    with locked(campaign.lock):
        assert read_status(layout).state == "running"
    assert read_status(layout).state == "new"


def test_an_ending_is_told_from_a_crash_and_from_a_stop_by_a_person(campaign):
    journal = Journal(campaign.journal)
    journal.append("opened", harness="0")
    assert read_status(Layout(campaign.root)).state == "crashed"
    journal.append("ended", reason="interrupted", message="Stopped.", exit_code=130)
    assert read_status(Layout(campaign.root)).state == "interrupted"
    journal.append("opened", harness="0")
    journal.append("ended", reason="budget", message="spent", exit_code=3)
    status = read_status(Layout(campaign.root))
    assert (status.state, status.reason, status.exit_code) == ("ended", "budget", 3)
    journal.append("ended", reason="cannot_go_on", message="aider asked for one more:\nits question", exit_code=4)
    assert "cannot go on. aider asked for one more. (" in status_page.status(
        read_status(Layout(campaign.root)), "small", 100
    )


def test_the_step_in_hand_is_the_last_one_begun_and_not_done(campaign):
    journal = Journal(campaign.journal)
    journal.append("started", step="run_1/attempt_2/turn")
    journal.append("started", step="person_edit_0")
    assert pending(journal.events)[0] == step_of("person_edit_0")
    journal.append("done", step="person_edit_0", seconds=0, result=None)
    step, since = pending(journal.events)
    assert (step.run, step.attempt, step.phase) == (1, 2, "agent")
    assert since == journal.events[0]["time"]
    journal.append("opened", harness="0")
    assert pending(journal.events)[0] is None
    steps = ("holdout_1/held_out_baseline_512927", "holdout_1/held_out_7", "run_2/frontier0_3", "run_2/control_1")
    phases = ("baseline, held-out evaluation", "held-out evaluation", "baseline at another setting", "matched control")
    assert tuple(step_of(each).phase for each in steps) == phases, "no name of a step reaches a page"


def test_status_shows_output_expected_time_and_what_is_spent(campaign):
    journal = Journal(campaign.journal)
    journal.append("done", step="run_0/execute", seconds=4.5, result=ENDED_WELL)
    journal.append("turn_failed", step="run_1/attempt_1/turn", kind="rate", message="", usage=PAID)
    journal.append("done", step="run_1/attempt_1/turn", seconds=2, result=turn())
    journal.append("started", step="run_1/attempt_1/execute")
    log = Layout(campaign.root).output("run_1/attempt_1/execute")
    log.parent.mkdir(parents=True)
    log.write_bytes(b"epoch 1\n\xff\x1b[31mepoch 2\x1b[0m\r\n\n")
    status = read_status(Layout(campaign.root))
    assert status.last_line == "�epoch 2"
    assert status.expected == 4.5
    assert status.usage.sent == 200
    assert status.usage.cost == 1.0
    assert status.seconds == 7.0


def test_the_last_line_of_a_huge_output_is_found_at_its_end(tmp_path):
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        file.seek(3 * 10**9)
        file.write(b"\nthe end\n")
    assert last_line(tmp_path) == "the end"
    assert last_line(tmp_path / "none") == ""


def test_the_last_line_of_an_output_is_found_while_it_is_written(tmp_path):
    writer = OutputWriter(tmp_path)
    for number in range(2 * HEAD // 1000):
        writer.write(f"epoch {number}\n".encode() + 999 * b" ")
    assert last_line(tmp_path) == f"epoch {number}"
    writer.close()
    assert last_line(tmp_path) == f"epoch {number}"


def test_attempts_come_before_their_run_and_the_run_in_hand_from_the_journal(campaign):
    journal = Journal(campaign.journal)
    record(0, 1.0).write(_folder(campaign, 0))
    attempts = [
        AttemptRecord(number=1, status="rejected", why="no change", usage=Usage(sent=5)),
        AttemptRecord(number=2, status="completed", usage=Usage(sent=7), seconds=3),
    ]
    review = ReviewRecord(model="m", text="", usage=Usage(sent=100, cost=None))
    usage = Usage(sent=12)
    record(1, 0.5, attempts=attempts, usage=usage, seconds=3, review=review).write(_folder(campaign, 1))
    troubles = [("no change", None), (None, {"status": "smoke_test_failed", "why": "boom"}), (None, None)]
    for attempt, (gate, smoke) in enumerate(troubles, 1):
        key = f"run_2/attempt_{attempt}"
        journal.append("done", step=f"{key}/turn", seconds=1, result=turn())
        journal.append("done", step=f"{key}/pre_check", seconds=1, result={"rejected": gate})
        if gate is None:
            journal.append("done", step=f"{key}/smoke_test", seconds=1, result=ENDED_WELL | {"failure": smoke})
    status = read_status(Layout(campaign.root))
    shown = [(row.run, row.attempt, row.status, row.description) for row in status.rows]
    assert shown == [
        (0, None, "completed", "the unmodified experiment"),
        (1, 1, "rejected", "no change"),
        (1, 2, "completed", "idea 1"),
        (1, None, "completed", "idea 1"),
        (2, 1, "rejected", "no change"),
        (2, 2, "smoke_test_failed", "boom"),
        (2, 3, "in_hand", "it helps"),
    ]
    run = status.rows[3]
    assert (run.usage.sent, run.usage.cost, run.value, run.baseline) == (112, None, 0.5, 1.0)
    assert status.runs == 1


def test_an_unfinished_turn_that_said_all_completed_is_not_in_hand():
    events = [{"event": "done", "step": "run_0/attempt_1/turn", "result": turn(all_completed=True)}]
    assert [row.status for row in rows([], events, None)] == ["all_completed"]


def test_the_best_run_is_one_with_evidence_in_the_direction_of_the_metric(campaign):
    for number, (loss, kind) in enumerate(
        [(1.0, "baseline"), (0.5, "inconclusive"), (0.1, "invalid"), (0.2, "no_effect"), (0.7, "inconclusive")]
    ):
        record(number, loss, verdict=VerdictRecord(kind=kind)).write(_folder(campaign, number))
    record(5, None, status="failed", verdict=VerdictRecord(kind="failed")).write(_folder(campaign, 5))
    status = read_status(Layout(campaign.root))
    assert status.best.run == 1
    higher = type(status.primary)("loss", "loss", "higher")
    assert best([row for row in status.rows if row.attempt is None], higher).run == 4
    assert best(status.rows, None) is None


def test_options_are_those_of_the_last_resume(campaign):
    journal = Journal(campaign.journal)
    journal.append("options", changes={"max_runs": 9})
    assert read_status(Layout(campaign.root)).max_runs == 9 == campaign.options().max_runs


def test_a_clock_that_went_backwards_makes_no_negative_time():
    assert seconds_since((datetime.now(UTC) + timedelta(hours=1)).isoformat()) == 0
    assert seconds_since("") == 0


def test_a_damaged_record_is_named(campaign):
    _folder(campaign, 0).joinpath("record.json").write_text("{")
    with pytest.raises(CannotGoOn, match=r"run_0/record\.json"):
        read_status(Layout(campaign.root))


def test_a_campaign_is_found_by_path_by_name_and_as_the_latest(make_campaign):
    first, second = make_campaign({}), make_campaign({})
    runs = first.root.parent
    assert find_layout("small", runs).root == first.root
    assert find_layout(str(first.root), Path("nowhere")).root == first.root
    os.utime(first.options_file, ns=(1, 1))
    assert find_layout("latest", runs).root == second.root
    with pytest.raises(InputError, match="small, small-2"):
        find_layout("smal", runs)
    with pytest.raises(InputError, match="no campaign yet"):
        find_layout("latest", Path("nowhere"))


def test_what_can_be_typed_next_is_a_line_each_and_names_only_what_is_there(campaign, monkeypatch):
    journal = Journal(campaign.journal)
    journal.append("opened")
    record(0, 1.0).write(_folder(campaign, 0))
    journal.append("ended", reason="all_completed", message="", exit_code=0)
    monkeypatch.chdir(campaign.root.parents[1])
    layout = Layout(campaign.root)
    monkeypatch.setattr("harness.report.terminal.status_page.RUNS", Path("elsewhere"))
    name = typed(layout)
    steps = next_steps(read_status(layout), name)
    assert name == "runs/small"
    waiting = replace(read_status(layout), state="waiting", held_out=None)
    assert ("harness end runs/small", "conclusion") in next_steps(waiting, name)
    assert f"harness show {name} 0" in dict(steps) and not any("diff" in command for command, _ in steps)
    for width in (40, 200):
        lines = next_lines(steps, width)
        commands = [line.partition("  #")[0].rstrip() for line in lines if not line.startswith("#")]
        assert commands == [command for command, _ in steps]
        assert width < 100 or len(lines) == len(steps)
    record(1, 0.5).write(_folder(campaign, 1))
    assert f"harness diff {name} 1" in dict(next_steps(read_status(layout), name))
    assert f"harness show {name} 0" in dict(next_steps(read_status(layout), name, about=0))


def test_status_and_log_load_nothing_heavy():
    code = "import sys, harness.cli.main, harness.report.terminal.run_table, harness.report.terminal.status_page, harness.report.terminal.status, harness.campaign.layout; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "pandas", "numpy", "git", "rich", "jinja2", "torch", "psutil", "scipy", "pygments"} & set(loaded)


def _folder(campaign: Campaign, run: int) -> Path:
    folder = campaign.run_folder(run)
    folder.mkdir(exist_ok=True)
    return folder


def test_what_ends_a_budget_is_raised_by_a_command_that_can_be_typed_as_it_stands(campaign: Campaign) -> None:
    status = read_status(Layout(campaign.root))
    for message, options, cost, wanted in (
        ("--max-gpu-hours 2 is reached: 2.1 GPU-hours are spent.", {"max_gpu_hours": 2.0}, 0.1, "--max-gpu-hours 4"),
        ("--max-cost 0.5 is reached: $0.61 is spent.", {"max_cost": 0.5}, 0.61, "--max-cost 1.2"),
        ("--max-hours 1.5: 3 min are left …", {"max_hours": 1.5}, 0.1, "--max-hours 3"),
        (
            "--max-cost cannot be held: the price of this model is unknown.",
            {"max_cost": 1.0},
            None,
            "--max-cost 0 --max-tokens 100000",
        ),
    ):
        spent = replace(
            status,
            state="ended",
            reason="budget",
            message=message,
            options=status.options | options,
            usage=replace(status.usage, cost=cost),
        )
        assert next_steps(spent, "small")[0][0] == f"harness resume small {wanted}"
