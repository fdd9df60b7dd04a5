"""What a person sees while a campaign runs, with hostile text and narrow terminals."""

import io
import json
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click import unstyle
from rich.cells import cell_len
from rich.console import Console

from harness.campaign.layout import Layout
from harness.campaign.record import AttemptRecord, MetricRecord, Record, SettingRecord, VerdictRecord
from harness.campaign.usage import Usage
from harness.report.terminal import status_page as show
from harness.report.terminal.columns import Cell, Column, cut, table, wrap
from harness.report.terminal.diff import in_colours
from harness.report.terminal.live_view import LiveView
from harness.report.terminal.plain_view import PlainView
from harness.report.terminal.record_page import differences
from harness.report.terminal.record_page import record as record_page
from harness.report.terminal.run_table import log, run_table, table_and_rest, two_verdicts
from harness.report.terminal.status import Primary, Row
from tests.waiting import until

LOSS = Primary("loss", "a [red]loss[/red] with a long title", "lower")
CONTRACT = {"metric": [{"name": "loss", "better": "lower", "primary": True}]}
HOSTILE = "[bold]no[/bold] [/] \x1b[2J\x1b]0;title\x07\u202egnp 学习率更大 " + "x" * 300


def record(run: int, **facts) -> Record:
    verdict = VerdictRecord(kind="baseline" if run == 0 else "inconclusive", why="one seed")
    metric = MetricRecord(value=0.25, baseline=0.5 if run else None, difference=-0.25 if run else None)
    defaults = {"run": run, "status": "completed", "verdict": verdict, "commit": "c" * 40, "metrics": {"loss": metric}}
    return Record(**defaults | facts)


def screen(width: int, height: int = 24) -> tuple[LiveView, Console]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    return LiveView(LOSS, [], console), console


def drawn(view: LiveView, console: Console) -> list[str]:
    with console.capture() as capture:
        console.print(view._render())
    return unstyle(capture.get()).split("\n")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_the_live_view_is_never_wider_than_the_terminal_nor_obeys_what_it_shows(width):
    view, console = screen(width)
    view.begin(2, 10, 1, "agent")
    view.begin(2, 10, 1, "execute", expected=12.0)
    view.tick(HOSTILE)
    view.recorded(record(0))
    view.recorded(record(1, hypothesis=HOSTILE))
    view.notice(HOSTILE)
    lines = drawn(view, console)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text)
    if width >= 60:
        assert "[bold]no[/bold]" in text
        assert "run 2 of 10, attempt 1" in text


def test_the_phases_of_the_attempt_in_hand_have_marks_and_times():
    view, console = screen(80)
    view.begin(2, 10, 1, "agent")
    view.begin(2, 10, 1, "smoke_test")
    view.begin(2, 10, 2, "agent")
    view.begin(2, 10, 2, "execute", expected=90.0)
    text = "\n".join(drawn(view, console))
    assert "attempt 2" in text
    assert "smoke test" not in text
    assert re.search(r"✓ agent +0 s", text)
    assert re.search(r"> execution +0 s of about 90 s", text)


def test_a_long_table_leaves_the_run_in_hand_on_the_screen():
    view, console = screen(80, height=20)
    for number in range(50):
        view.recorded(record(number))
    view.begin(50, 60, 1, "execute")
    view.tick("the last line")
    lines = drawn(view, console)
    assert len(lines) <= 20
    assert any("the last line" in line for line in lines)
    assert any(line.startswith("0  ") for line in lines), "the baseline stays in sight"
    assert any(line.startswith("49 ") for line in lines)


def test_what_is_said_stays_above_the_live_view_with_its_place():
    view, console = screen(80)
    with view:
        view.begin(1, 5, 1, "agent")
        view.say("rejected: [bold]no change[/bold]")
    assert "run 1 of 5, attempt 1: rejected: [bold]no change[/bold]" in console.file.getvalue()


def test_an_earlier_run_is_in_the_table_of_a_resumed_campaign():
    console = Console(file=io.StringIO(), width=80, height=24)
    view = LiveView(LOSS, [Row(0, None, "completed", "baseline", 0.5)], console)
    assert any(line.startswith("0 ") for line in drawn(view, console))


def test_the_plain_view_writes_lines_with_times():
    lines = []
    with PlainView(LOSS, lines.append) as view:
        view.begin(0, 5, 0, "agent")
        view.begin(0, 5, 0, "execute")
        view.recorded(record(0))
        view.begin(1, 5, 2, "smoke_test", expected=3.0)
        view.say("rejected:\nno change")
        view.recorded(record(1))
        view.recorded(record(2, status="failed", verdict=VerdictRecord(kind="failed", why="it crashed"), metrics={}))
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    title = LOSS.name
    assert [line[9:] for line in lines] == [
        "the agent is prepared",
        "run 0, the baseline: execution",
        f"run 0: completed, baseline; {title} 0.25",
        "run 1 of 5, attempt 2: smoke test (about 3 s)",
        "  rejected:",
        "  no change",
        f"run 1: completed, inconclusive; {title} 0.25 (baseline 0.5)",
        "run 2: failed; it crashed",
    ]


def test_ticks_are_not_repeated_and_a_long_phase_has_a_heartbeat():
    lines = []
    with PlainView(None, lines.append, heartbeat=1.0) as view:
        view.begin(1, 5, 1, "execute")
        number = 0
        while len(lines) < 4:
            number += 1
            view.tick(f"step {number} {HOSTILE}")
            time.sleep(0.001)
    assert number > 30
    assert all(re.search(r"execution for .*: step \d+ \[bold\]no", line) for line in lines[1:])
    assert not any("\x1b" in line for line in lines)


def test_the_first_words_of_an_agent_that_is_being_installed_are_shown_at_once():
    lines = []
    with PlainView(None, lines.append) as view:
        view.begin(1, 5, 1, "agent")
        view.tick("")
        view.tick("making an environment")
        view.tick("making an environment")
        view.tick("Collecting x")
    assert [line[9:] for line in lines[1:]] == ["  making an environment"]


def test_a_reader_that_went_away_does_not_stop_the_campaign():
    calls = []

    def broken(line: str) -> None:
        calls.append(line)
        raise BrokenPipeError

    with PlainView(None, broken) as view:
        view.say("one")
        view.say("two")
    assert len(calls) == 1


ROWS = [
    Row(0, None, "completed", "baseline", 0.5),
    Row(1, 1, "rejected", description=HOSTILE, usage=Usage(1000, 200, 0.01)),
    Row(1, None, "completed", "inconclusive", 0.25, 0.5, Usage(1_234_567, 20, None), 61.0, HOSTILE),
]


@pytest.mark.parametrize("width", [10, 30, 60, 80, 100, 200])
def test_the_table_fits_and_an_unknown_cost_is_unknown(width):
    lines = [unstyle(line) for line in run_table(ROWS, LOSS, width)]
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 4
    if width >= 100:
        assert "unknown" in lines[3]
        assert "$0.00" in lines[1]
        assert "1.23M" in lines[3]
    if width >= 60:
        assert "0.25" in lines[3]
        assert "inconclusive" in lines[3]


def test_a_narrow_table_keeps_the_verdict_against_the_parent_and_what_has_no_room_is_said():
    compared = {"difference": -0.25, "difference_error": 0.02, "parent": 1, "seeds": 10, "description": "A smaller rate."}
    rows = [*ROWS, Row(2, None, "completed", "improved", 0.25, 0.5, parent_verdict="not_significant", **compared)]
    for width in (80, 70):
        assert "1: not significant" in unstyle(run_table(rows, LOSS, width)[-1])
    assert "Accepted is a run that improved on both" in two_verdicts(rows) and two_verdicts(ROWS) == ""
    said = "The terminal is too narrow for tokens, time, hypothesis: `harness log mine --csv` has every column."
    assert table_and_rest(rows, LOSS, 80, "mine")[1] == said
    assert "vs parent" in table_and_rest(rows, LOSS, 40, "mine")[1] and table_and_rest(rows, LOSS, 200, "mine")[1] == ""


def test_a_difference_from_what_no_other_row_has_stands_beside_its_reference():
    """Of a run with final seeds the baseline executed once more at these, which is another number than run 0's."""
    here = {"difference": -0.02, "difference_error": 0.01, "reference": "run_0", "baseline_error": 0.01, "seeds": 10}
    rows = [ROWS[0], Row(1, None, "completed", "not_significant", 0.48, 0.5, **here)]
    assert "reference" not in run_table(rows, LOSS, 200)[0], "the baseline's row has it"
    rows.append(Row(2, None, "completed", "not_significant", 0.53, 0.55, **here))
    assert "reference" in run_table([rows[0], rows[2]], LOSS, 200)[0]
    lines = [unstyle(line) for line in run_table(rows, LOSS, 200)]
    assert re.search(r"0\.530? +0\.550 ± 0\.010 +−0\.020 ± 0\.010", lines[3]) and "0.500 ± 0.010" in lines[2]
    status = SimpleNamespace(name="mine", rows=rows, primary=LOSS, held_out=None, remedies=())
    said = "Verdict and difference: from the baseline, as executed at each run's final seeds."
    assert said in " ".join(unstyle(log(status, 80)).split()), "where a narrow table has no room for it, too"


def test_costs_and_tokens_are_rounded_for_reading():
    assert [show.cost(x) for x in (None, 0, 0.000123, 0.02, 1.234)] == ["unknown", "$0.00", "$0.00012", "$0.02", "$1.23"]
    assert [show.tokens(x) for x in (0, 999, 12_345, 999_600, 4_560_000)] == ["0", "999", "12.3k", "1M", "4.56M"]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_record_of_a_run_is_shown_whole_and_within_the_width(width):
    seeds = [100_000 + 7 * place for place in range(30)]
    full = record(
        2,
        seeds=seeds,
        agent_sandbox="bubblewrap 0.8.0: " + ", ".join(["mount", "user", "pid", "ipc", "uts", "net", "syscalls", "sockets"]),
        parent=1,
        hypothesis="HYPO " + HOSTILE,
        plan="PLAN",
        description="DESCRIPTION",
        interpretation="INTERPRETATION",
        settings={"rate": SettingRecord(value=0.1, baseline=0.05, source="reported")},
        attempts=[
            AttemptRecord(
                number=1, status="crashed", why="WHY", commit="d" * 40, restored=["saelab/x.py"], usage=Usage(cost=None)
            ),
            AttemptRecord(number=2, status="completed", forced=True),
        ],
        warnings=["WARNING"],
        messages=["TOLD"],
        environment={"python": "3.11"},
        review={"model": "m", "text": "ADVICE"},
    )
    text = unstyle(record_page(json.loads(full.model_dump_json()), json.loads(record(0).model_dump_json()), CONTRACT, width))
    assert max(map(cell_len, text.split("\n"))) <= width
    assert "…" not in text and all(str(seed) in text for seed in seeds)
    for expected in (
        "Run 2: completed, inconclusive",
        "sockets",
        "self-reported",
        "HYPO",
        "PLAN",
        "DESCRIPTION",
        "INTERPRETATION",
        "rate",
        "crashed",
        "WHY",
        "not kept: saelab/x.py",
        "unknown",
        "unknown",
        "forced",
        "WARNING",
        "TOLD",
        "ADVICE",
        "python: 3.11",
    ):
        assert expected in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text)


def test_a_diff_cannot_move_the_cursor():
    hunk = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-c\n"
    assert unstyle(in_colours(f"{hunk}+a\x1b[2Jb\n")) == f"{hunk}+a\\x1b[2Jb"


def test_a_campaign_is_named_so_that_it_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    assert show.typed(Layout(Path("runs/x"))) == "x"
    assert show.typed(Layout(Path("/else where/x"))) == "'/else where/x'"


def in_threads(*calls):
    """Each call in a thread of its own; all live until each was made."""
    made = threading.Barrier(len(calls) + 1)

    def one(call):
        call()
        made.wait()
        made.wait()

    threads = [threading.Thread(target=one, args=(call,)) for call in calls]
    for each in threads:
        each.start()
    made.wait()
    return lambda: (made.wait(), [each.join() for each in threads])


def test_each_of_several_executions_in_hand_has_its_line():
    view, console = screen(80)

    def seed(number):
        view.begin(2, 10, 1, f"seed {number}", expected=9.0)
        view.tick(f"step {number}00")

    view.begin(2, 10, 1, "execute")
    view.end()
    over = in_threads(lambda: seed(1), lambda: seed(2))
    text = "\n".join(drawn(view, console))
    over()
    assert re.search(r"✓ execution", text)
    for number in (1, 2):
        assert re.search(rf"> seed {number} +0 s of about 9 s: step {number}00\n", text)


def test_the_plain_view_says_of_each_execution_in_hand_what_it_does():
    lines = []
    with PlainView(LOSS, lines.append, heartbeat=0.01) as view:
        over = in_threads(*(lambda n=n: (view.begin(1, 5, 1, f"seed {n}"), view.tick(f"at {n}")) for n in (1, 2)))
        until(lambda: all(any(re.search(rf"seed {n} for .*: at {n}", line) for line in lines) for n in (1, 2)))
        over()


def test_what_is_cut_is_cut_between_words_and_a_long_name_is_broken_where_its_parts_meet():
    assert [cut("one two three", width) for width in (13, 12, 10, 8, 7)] == [
        *("one two three", "one two…", "one two…", "one two…", "one…")
    ]
    assert cut("a_very_long_name of it", 12) == "a_very_long…" and cut("学习学习 学", 10) == "学习学习…"
    assert wrap("synthsae.bought_by_negligible_codes 0", 24, "", "  ") == ["synthsae.bought_by_", "  negligible_codes 0"]


def test_columns_that_are_left_out_leave_their_room_to_others_that_fit():
    columns = [Column("a", "first"), Column("b", "hypothesis", least=24, drop=1), Column("c", "cost", drop=2)]
    rows = [{"a": Cell("1"), "b": Cell("a long hypothesis " * 5), "c": Cell("$1.00")}]
    assert [unstyle(each).split() for each in table(columns, rows, 20)] == [["first", "cost"], ["1", "$1.00"]]
    assert "hypothesis" in unstyle(table(columns, rows, 40)[0])


def test_the_best_run_has_the_digits_and_the_errors_that_every_other_page_gives_it():
    best = Row(6, None, "completed", "improved", 0.74868, 0.70016, error=0.0062, baseline_error=0.0104, reference="run_0")
    assert show.beside_reference(best) == ["0.749 ± 0.006", "0.700 ± 0.010", "baseline"]
    assert show.beside_reference(Row(0, None, "completed", "baseline", 0.5)) == ["0.5"]
    alone = Row(1, None, "completed", "inconclusive", 0.25, 0.5, reference="control k=80")
    assert show.beside_reference(alone) == ["0.25", "0.5", "control k=80"]


def test_what_is_beside_a_round_does_not_stand_below_its_heading():
    def headings(*rows: Row) -> list[str]:
        lines = [unstyle(line).rstrip() for line in run_table([Row(0, None, "completed", "baseline"), *rows], LOSS, 200)]
        return [line.split("  ")[0] for line in lines[2:]]

    both = [Row(run, None, "completed", "worse", parent=0, round=1) for run in (1, 2)]
    assert headings(*both, Row(3, None, "completed", "worse", parent=2)) == [
        "round 1, from run 0",
        "1",
        "2",
        "from run 2",
        "3",
    ]
    assert headings(*both, Row(3, 1, "in_hand"))[3:] == ["in hand", "3.1"]
    assert headings(*both, Row(3, 1, "in_hand"), Row(4, 1, "rejected"))[3:] == ["round in hand", "3.1", "4.1"]


def test_a_run_with_the_baselines_numbers_at_its_seed_does_not_differ_from_the_mean_over_its_other_seeds():
    several = {"loss": MetricRecord(value=0.5, values=[0.2, 0.8])}
    baseline = json.loads(record(0, metrics=several).model_dump_json())
    same, other = (json.loads(record(1, metrics={"loss": MetricRecord(value=x)}).model_dump_json()) for x in (0.2, 0.3))
    assert differences(same, baseline, CONTRACT) == {"loss": None}
    assert differences(other, baseline, CONTRACT)["loss"].difference == pytest.approx(-0.2)
    alike = json.loads(record(0, metrics={"loss": MetricRecord(value=0.2, values=[0.2, 0.2])}).model_dump_json())
    assert differences(same, alike, CONTRACT)["loss"].difference == 0, "L0 of both is 5 at each seed, which is worth saying"
