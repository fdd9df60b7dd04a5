"""A search without a model: where it may look, what it proposes, and that its runs are judged like any other's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.agents.search import EXHAUSTED, Search, check_search
from harness.agents.search_study import Tried, propose, study_of
from harness.agents.search_values import SearchSpace
from harness.campaign.campaign import Campaign, Options
from harness.campaign.contract import Contract
from harness.campaign.errors import InputError
from harness.campaign.journal import Journal
from harness.campaign.layout import Layout
from harness.campaign.protocols import Silent
from harness.campaign.record import Record
from harness.campaign.search_space import SearchSpec
from harness.campaign.stop import Stop
from harness.cli.doctor import Doctor
from harness.cli.main import cli
from harness.cli.model_choice import choose
from harness.cli.running import resume
from harness.continuation import NothingToTell, go_on, next_brief
from harness.report.html.report import write_report
from harness.report.terminal.run_table import log_columns, log_facts, log_records
from harness.report.terminal.status import read_status
from harness.report.terminal.status_page import next_steps

SPACE = """
[search]
rate = { low = 0.01, high = 0.4, log = true }
x = { low = 1.0, high = 5.0 }
"""


@pytest.fixture
def searched(experiment: Path, make_campaign: Callable[..., Campaign]) -> Callable[..., Campaign]:
    """Makes a campaign of the small experiment, whose rate (a setting) and x (a constant) are searched."""

    def make(space: str = SPACE, **options: Any) -> Campaign:
        contract = experiment / "experiment.toml"
        contract.write_text(contract.read_text().replace("smoke = true", "smoke = false") + space)
        return make_campaign({}, **{"agent": "search:tpe"} | options)

    return make


class StopsOften(Silent):
    """Interrupts when a run is recorded, and when one is about to be executed for the second time."""

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        if phase == "execute" and run == 2:
            raise KeyboardInterrupt

    def recorded(self, record: Record) -> None:
        raise KeyboardInterrupt


def run(campaign: Campaign) -> str:
    return go_on(campaign, view=Silent(), stop=Stop()).reason


def proposals(campaign: Campaign) -> list[tuple[str, dict[str, Any]]]:
    turns = [e["result"] for e in Journal(campaign.journal).of("done") if e["step"].endswith("/turn")]
    return [(turn["hypothesis"], turn["overrides"]) for turn in turns]


def space(specs: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> SearchSpace:
    return SearchSpace({name: SearchSpec.model_validate(spec) for name, spec in specs.items()}, settings or {})


def test_a_search_of_constants_and_settings_is_a_campaign_like_any_other(searched: Callable[..., Campaign]) -> None:
    campaign = searched()
    assert run(campaign) == "runs_spent"
    baseline, *runs = campaign.read_records()
    assert [record.verdict.kind for record in runs] == ["inconclusive", "inconclusive"]
    for record in runs:
        (rate,) = record.overrides.values()
        assert record.settings["rate"].value == rate != baseline.settings["rate"].value
        assert f"rate = {rate:.4g}" in record.hypothesis and "x = " in record.hypothesis
        changed = subprocess.run(
            ["git", "-C", str(campaign.root), "diff", "-U0", baseline.commit, record.commit, "--", "experiment.py"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert [each[:5] for each in changed if each[:1] in "+-" and each[1:2] not in "+-"] == ["-x = ", "+x = "]
        assert record.agent.startswith("search:tpe (Optuna ") and record.usage.cost == 0
    assert campaign.session.exists() and "search:tpe" in campaign.notes.read_text()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("width", [1, 2])
def test_a_resumed_campaign_proposes_what_an_undisturbed_one_does(
    searched: Callable[..., Campaign], tmp_path: Path, width: int
) -> None:
    undisturbed = searched(max_runs=3, width=width)
    copy = Campaign(shutil.copytree(undisturbed.root, tmp_path / "copy" / "interrupted"))
    assert run(undisturbed) == "runs_spent"
    with pytest.raises(NothingToTell, match="has ended: there is no next turn"):
        next_brief(undisturbed)
    begun = next_brief(copy)
    assert go_on(copy, view=StopsOften(), stop=Stop()).reason == "interrupted"  # the baseline is recorded
    known = next_brief(copy)
    assert "The next one: when the baseline is measured." in begun
    ends = [go_on(copy, view=StopsOften(), stop=Stop()).reason for _ in range(3)]
    in_hand = next_brief(copy)
    assert "The next one: when what is in hand is measured." in in_hand and in_hand.endswith(": not measured yet")
    assert ends == ["interrupted"] * 3 and len(proposals(copy)) == 2
    assert run(copy) == "runs_spent"
    assert proposals(copy) == proposals(undisturbed)
    assert len({str(each) for each in proposals(undisturbed)}) == 3
    assert known.startswith("No agent is asked: search:tpe (Optuna ") and "\n- run 0: rate = 0.05, x = 5: loss " in known
    assert proposals(undisturbed)[0][0] in known
    assert [" by TPE from 3 results" in said for said, _ in proposals(undisturbed)] == [False, False, True]


def test_a_seed_proposes_the_same_again_and_another_something_else(searched: Callable[..., Campaign]) -> None:
    first = searched(search_seed=7)
    assert go_on(first, view=StopsOften(), stop=Stop()).reason == "interrupted"
    copy = Campaign(shutil.copytree(first.root, first.root.parent / "copy"))

    def proposed(seed: int) -> str:
        Journal(copy.journal).append("options", changes={"search_seed": seed})
        return str(Search(copy, "tpe").proposal(1, 1))

    assert proposed(8) != str(Search(first, "tpe").proposal(1, 1)) == proposed(7)


def test_what_failed_is_told_as_failed_and_another_value_is_tried(searched: Callable[..., Campaign]) -> None:
    """Far above this rate the loss grows without end, which is invalid; the third choice does not run at all."""
    campaign = searched('\n[search]\nrate = { choices = [0.05, 1.5, "fast"] }\n', agent="search:random", max_runs=5)
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert (ending.reason, ending.message) == ("all_completed", EXHAUSTED)
    completed = [each for each in campaign.read_records()[1:] if each.status == "completed"]
    assert [(each.overrides, each.verdict.kind) for each in completed] == [({"rate": 1.5}, "invalid")]
    tried = Search(campaign, "random").tried(6, 1)
    assert {(str(each.values["rate"]), each.outcome is None) for each in tried} >= {
        ("0.05", False),
        ("1.5", True),
        ("fast", True),
    }
    layout = Layout(campaign.root)
    status = read_status(layout)
    assert not any("harness tell" in command for command, _ in next_steps(status, "small"))
    by_row = {(row["run"], row["attempt"]): row["searched"] for row in log_facts(status)}
    assert (completed[0].run, None) in by_row and (completed[0].run, len(completed[0].attempts)) not in by_row
    assert len(log_records(status)) == len(by_row)
    failed = next(each for each in campaign.read_records() if each.attempts and each.attempts[0].status == "crashed")
    assert by_row[(0, None)] == {"rate": 0.05} and by_row[(failed.run, 1)] == {"rate": "fast"}
    assert [header for header in log_columns(status) if header.startswith("searched.")] == ["searched.rate"]
    write_report([layout], report := campaign.root / "report.html")
    page = report.read_text()
    assert '<th scope="col" class="number">rate</th>' in page and f'data-value="1.5">{1.5}</td>' in page
    assert "<p>Proposed: rate fast.</p>" in page
    assert sorted({str(row[-1]) for row in log_records(status)} - {"None"}) == ["0.05", "1.5", "fast"]


@pytest.mark.usefixtures("quick")
def test_a_run_of_which_all_values_failed_says_what_failed(searched: Callable[..., Campaign]) -> None:
    campaign = searched('\n[search]\nrate = { choices = ["fast", "faster"] }\n', max_runs=1, max_attempts=3)
    ending = go_on(campaign, view=Silent(), stop=Stop())
    record = campaign.read_records()[1]
    assert [each.status for each in record.attempts] == ["crashed", "crashed", "no_answer"]
    assert record.verdict.why.startswith("none of 2 attempts completed; the last: crashed: exit code 1: ")
    assert record.verdict.why.endswith(f"'float'; after that: {EXHAUSTED}") and ending.message == EXHAUSTED


def test_overrides_alone_are_a_proposal_and_go_with_every_execution_of_the_run(
    searched: Callable[..., Campaign], experiment: Path
) -> None:
    contract = experiment / "experiment.toml"
    settings = "settings = { steps = 40, rate = 0.05 }"
    noise = "noise = { loss = { sd = 1e-9, seeds = 60 } }"
    contract.write_text(contract.read_text().replace(settings, f"{settings}\nrun_seeds = [1, 2]\nfinal_seeds = 2\n{noise}"))
    campaign = searched("\n[search]\nrate = { choices = [0.05, 0.09] }\n", max_runs=1)
    run(campaign)
    baseline, record = campaign.read_records()
    assert record.overrides == {"rate": 0.09} and len(record.stage_seeds) == 2 and len(record.seeds) == 2
    steps = [e["step"] for e in Journal(campaign.journal).of("done") if "/final_" in e["step"] or "/baseline_" in e["step"]]
    assert len(steps) == 4
    for step in steps:
        seed = step.rpartition("_")[2]
        own = "/final_" in step
        folder = campaign.seed_folder(1, int(seed)) if own else campaign.final_folder(1, "baseline", int(seed))
        used = json.loads((folder / "final_info.json").read_text())["settings"]["rate"]
        assert used == (0.09 if own else 0.05)
    assert baseline.overrides == {}


def test_every_kind_of_constant_is_found_and_replaced_where_it_stands() -> None:
    source = (
        b"# \xc3\xa9\r\nRATE = -1e-3  # slow\r\nclass Config:\r\n    weight: float = 1 / 32\r\n"
        b'options = {"depth": 2, "inner": {"on": True}} | other\r\nadam = Adam(betas=(0.9, 0.999), eps=1e-8)\r\n'
    )
    there = space(
        {
            "RATE": {"low": -1.0, "high": 0.0},
            "Config.weight": {"low": 0.001, "high": 1.0, "log": True},
            "options.depth": {"low": 1, "high": 4},
            "options.inner.on": {"choices": [True, False]},
            "adam.eps": {"low": 1e-9, "high": 1e-6},
        }
    )
    files = {"experiment.py": source}
    values = there.values(files, {})
    assert values == {"RATE": -1e-3, "Config.weight": 1 / 32, "options.depth": 2, "options.inner.on": True, "adam.eps": 1e-8}
    assert there.applied(files, values) == files
    new = {"RATE": -0.5, "Config.weight": 0.25, "options.depth": 3, "options.inner.on": False, "adam.eps": 1e-7}
    changed = there.applied(files, new)
    expected = source.replace(b"-1e-3", b"-0.5").replace(b"1 / 32", b"0.25").replace(b": 2,", b": 3,")
    assert changed["experiment.py"] == expected.replace(b"True", b"False").replace(b"1e-8", b"1e-07")
    assert there.values(changed, {}) == new


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rate = 1\nrate = 2\n", "assigned more than once"),
        ("rate = compute()\n", "is `compute\\(\\)` and no literal"),
        ("def f():\n    rate = 1\n", "neither a setting of the profile nor a constant that experiment.py .* There is none"),
        ("class Config:\n    rate = 1\n", 'Did you mean "Config.rate"'),
        ("rte = 1\ny = 2\n", r"Did you mean rte\?"),
        ("y = 2\n", "There are y."),
        ("rate =\n", "does not parse"),
    ],
)
def test_a_constant_that_cannot_be_searched_is_refused_with_its_reason(source: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        space({"rate": {"low": 0.0, "high": 1.0}}).values({"experiment.py": source.encode()}, {})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"low": 1, "high": 0}, "not below"),
        ({"low": 0.0, "high": 1.0, "log": True}, "above 0"),
        ({"choices": [1]}, "two values"),
        ({"choices": [1, 2], "low": 1}, "stand alone"),
        ({"low": 0.1}, "expected low and high"),
        ({"low": 1, "high": 9, "step": 0.5}, "no step"),
    ],
)
def test_a_space_that_is_none_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SearchSpec.model_validate(spec)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("x = 5", "search.x: found 5, expected low and high, such as .*, or choices"),
        ("x = [1, 2]", r"search.x: found \[1, 2\], expected low and high"),
        ("x = {}", "search.x: found an empty table, expected low and high"),
        ('x = { low = "1.0", high = 4.0 }', 'search.x.low: found "1.0", expected a whole number or a number'),
        ("x = { low = 1.0, high = inf }", "search.x.high: found Infinity, expected a whole number or a finite number"),
        ("x = { low = 0.0, high = true }", "search.x.high: found true, expected a whole number or a number"),
        ("x = { low = { least = 1 }, high = 4 }", "search.x.low: found .*, expected a whole number or a number"),
        ("x = { low = 1.0, high = 4.0, step = true }", "search.x.step: found true, expected a whole number or a number"),
        ("x = { low = 1.0, high = 4.0, step = 9.0 }", "search.x: step 9.0 .*: expected a number above 0 and at most 3"),
        (
            "x = { low = 0.0, high = 1.0, step = 0.3 }",
            "search.x: steps of 0.3 from low 0.0 end at 0.9, .*: expected high = 0.9",
        ),
        ("x = { low = 1, high = 8, step = 3 }", "search.x: steps of 3 from low 1 end at 7, .*: expected high = 7"),
        ('x = { low = 1.0, high = 4.0, log = "yes" }', 'search.x.log: found "yes", expected true or false'),
        ("x = { low = 1.0, hihg = 4.0 }", "search.x.hihg: unknown key. Known here: low, high, log, step, choices"),
        ("x = { choices = [] }", r"search.x: found choices = \[\], expected low and high"),
        ("x = { choices = [[1], [2]] }", r"search.x.choices.0: found \[1\], expected .* a number or a text"),
        ("x = { choices = [2, 3, 2.0] }", "search.x: found 2.0 more than once among choices"),
        ("x = { choices = [1, true] }", "search.x: found true more than once among choices"),
        ("x = { choices = 5 }", "search.x.choices: found 5, expected a list"),
    ],
)
@pytest.mark.parametrize("table", ["search", "profiles.small.search"])
def test_a_mistake_in_a_space_is_told_by_its_key_what_was_found_and_what_is_wanted(
    experiment: Path, table: str, written: str, said: str
) -> None:
    contract = experiment / "experiment.toml"
    contract.write_text(f"{contract.read_text()}\n[{table}]\n{written}\n")
    with pytest.raises(InputError, match=rf"experiment\.toml: {said.replace('search', table, 1)}[^\n]*\.$"):
        check_search(experiment, Options(), "search:tpe")


def test_a_setting_that_decides_comparability_cannot_be_searched() -> None:
    with pytest.raises(ValueError, match=r"search: k is in comparable: runs that differ in it are not compared"):
        Contract.model_validate({"comparable": ["k"], "search": {"k": {"low": 1, "high": 9}}})
    Contract.model_validate({"comparable": ["k"], "varies": ["k"], "search": {"k": {"low": 1, "high": 9}}})


def test_what_is_missing_for_a_search_is_said_before_a_campaign_is_made(experiment: Path) -> None:
    with pytest.raises(InputError, match=r"experiment\.toml has no search space"):
        check_search(experiment, Options(), "search:tpe")
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text() + SPACE)
    assert check_search(experiment, Options(), "search:tpe") == "rate (0.01 to 0.4 (log); now 0.05), x (1.0 to 5.0; now 5)"
    contract.write_text(contract.read_text().replace("primary = true\n", ""))
    with pytest.raises(InputError, match="no primary metric"):
        check_search(experiment, Options(), "search:tpe")


def test_numbers_for_what_is_none_are_refused_before_a_campaign_is_made(experiment: Path) -> None:
    source = experiment / "experiment.py"
    source.write_text(source.read_text() + 'KIND = "sgd"\n')
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text() + "\n[search]\nKIND = { low = 1, high = 3 }\n")
    with pytest.raises(
        InputError, match=r"\[search\] KIND: low and high are numbers, and KIND is sgd. Name `choices` for it."
    ):
        check_search(experiment, Options(), "search:tpe")


@pytest.mark.parametrize(
    ("value", "spec", "said"),
    [
        (
            "4",
            "{ low = 1.5, high = 8 }",
            "it is the whole number 4, .* lie fractions. Write two whole numbers, such as low = 2, or",
        ),
        ("4", "{ low = 1.0, high = 8.0 }", "such as low = 1, or 4.0 where DEPTH stands"),
        ("0.5", "{ low = 0, high = 1 }", r"it is 0.5, .* only whole numbers are proposed. Write low = 0.0, high = 1.0\."),
    ],
)
def test_limits_of_another_kind_than_the_value_are_refused(experiment: Path, value: str, spec: str, said: str) -> None:
    source = experiment / "experiment.py"
    source.write_text(source.read_text() + f"DEPTH = {value}\n")
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text() + f"\n[search]\nDEPTH = {spec}\n")
    with pytest.raises(InputError, match=said):
        check_search(experiment, Options(), "search:tpe")


@pytest.mark.parametrize("where", ["search", "profiles.small.search"])
def test_a_name_with_a_dot_outside_quotes_is_told_how_it_is_written(where: str) -> None:
    space: dict[str, Any] = {"Cfg": {"adam": {"decay": {"low": 0.0, "high": 1.0}}}}
    data = {"search": space} if where == "search" else {"profiles": {"small": {"search": space}}}
    with pytest.raises(ValueError, match=rf'{where}\n.*stands in quotes in TOML: "Cfg.adam.decay" = {{ ... }}'):
        Contract.model_validate(data)


def test_a_baseline_whose_value_is_no_choice_lies_outside_like_one_beyond_a_range() -> None:
    specs = {"kind": SearchSpec(choices=["adam", "lion"])}
    for outside in ("sgd", 3):
        tried = [Tried({"kind": outside}, 1.0), Tried({"kind": "adam"}, 0.5)]
        assert len(study_of(specs, tried, "tpe", 2, 0, True).trials) == 1


def test_tpe_goes_by_results_and_random_does_not() -> None:
    specs = {"rate": SearchSpec(low=0.0, high=1.0)}
    tried = [Tried({"rate": i / 20}, abs(i / 20 - 0.7)) for i in range(20)]
    near = [float(propose(specs, tried, "tpe", 2, seed, True)["rate"]) for seed in range(20)]
    assert sum(abs(value - 0.7) < 0.15 for value in near) > 14
    spread = [propose(specs, tried, "random", 2, seed, True) for seed in range(20)]
    assert spread == [propose(specs, [], "random", 2, seed, True) for seed in range(20)]


def test_what_breaks_a_guard_is_never_the_best_and_no_place_to_go() -> None:
    specs = {"rate": SearchSpec(low=0.0, high=1.0)}
    tried = [Tried({"rate": i / 20}, i / 20, broken=int(i < 10)) for i in range(20)]
    assert study_of(specs, tried, "tpe", 2, 0, True).best_params == {"rate": 0.5}
    near = [float(propose(specs, tried, "tpe", 2, seed, True)["rate"]) for seed in range(20)]
    assert sum(value > 0.4 for value in near) > 14


def test_a_run_that_breaks_a_guard_is_told_to_the_search_as_one(searched: Callable[..., Campaign], experiment: Path) -> None:
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text().replace('name = "distance"\n', 'name = "distance"\nguard = 1e-9\n'))
    campaign = searched("\n[search]\nrate = { choices = [0.05, 0.01] }\n", agent="search:random", max_runs=1)
    run(campaign)
    assert campaign.read_records()[1].verdict.guard_violations
    assert [(each.values["rate"], each.broken) for each in Search(campaign, "random").tried(2, 1)] == [(0.05, 0), (0.01, 1)]


def test_where_it_failed_tpe_does_not_go_on() -> None:
    specs = {"depth": SearchSpec(low=1, high=8)}
    tried = [Tried({"depth": depth}, 1.0 / depth) for depth in (1, 2, 3, 4, 5)]
    tried += [Tried({"depth": depth}, None) for depth in (7, 8, 8, 7)]
    found = [propose(specs, tried, "tpe", 2, seed, True)["depth"] for seed in range(30)]
    assert sum(depth in (7, 8) for depth in found) < 6, found


def test_what_is_executed_now_is_no_gap_for_the_next_proposal() -> None:
    specs = {"rate": SearchSpec(low=0.0, high=1.0)}
    known = [Tried({"rate": i / 10}, abs(i / 10 - 0.7)) for i in range(11)]
    running = [*known, *(Tried({"rate": 0.7 + i / 1000}, None, is_running=True) for i in range(4))]

    def distance(tried: list[Tried]) -> float:
        return sum(abs(float(propose(specs, tried, "tpe", 2, seed, True)["rate"]) - 0.7) for seed in range(20))

    assert distance(running) > distance(known)


def test_whole_numbers_and_steps_stay_what_they_are() -> None:
    specs = {"depth": SearchSpec(low=1, high=8), "share": SearchSpec(low=0.0, high=0.5, step=0.1)}
    for seed in range(10):
        values = propose(specs, [], "random", 2, seed, True)
        assert isinstance(values["depth"], int) and 1 <= values["depth"] <= 8
        assert round(float(values["share"]) * 10, 9) == round(float(values["share"]) * 10)


def test_a_model_makes_no_sense_with_a_search_and_is_refused_before_anything_is_made_or_changed(
    searched: Callable[..., Campaign], experiment: Path
) -> None:
    with pytest.raises(InputError, match="--model sonnet: search:random asks no model; leave it out"):
        choose("small", Path("small.json"), {}, agent="search:random", model="sonnet")
    campaign = searched()
    with pytest.raises(InputError, match="--model sonnet: search:tpe asks no model"):
        resume(campaign, {"model": "sonnet"}, False, 120)
    doctor = Doctor(experiment, None, "sonnet", None, None, "search:tpe", sys.executable, campaign.root.parent, Options())
    assert [name for name, _ in doctor.checks if name in ("answer", "model")] == []
    with pytest.raises(InputError, match="--model sonnet: search:tpe asks no model"):
        doctor.search()
    assert campaign.options().model is None and not campaign.journal.exists()


def test_words_for_a_search_are_refused_since_nobody_reads_them(searched: Callable[..., Campaign]) -> None:
    campaign = searched()
    said = CliRunner().invoke(cli, ["tell", str(campaign.root), "Try 3."])
    assert said.exit_code == 2 and "search:tpe goes by results alone" in said.output
    assert not campaign.inbox.exists()


def test_a_constant_behind_a_byte_order_mark_is_replaced_where_it_stands() -> None:
    for before in ("", "\ufeff", "NAME = 'é'; ", "\ufeffNAME = 'é'; "):
        files = {"e.py": f"{before}RATE = 0.1  # é\n".encode()}
        changed = space({"RATE": {"low": 0.01, "high": 0.9}}).applied(files, {"RATE": 0.25})
        assert changed["e.py"].decode() == f"{before}RATE = 0.25  # é\n"


def test_a_constant_that_nothing_reads_is_told_where_that_is_certain(experiment: Path) -> None:
    contract, source, other = experiment / "experiment.toml", experiment / "experiment.py", experiment / "other.py"
    contract.write_text(contract.read_text() + "\n[search]\nRATE = { low = 0.01, high = 0.3 }\n")
    begun = source.read_text() + "RATE = 0.1  # RATE of what\nparser.eval = vars(parser).get\nparser.eval('x')\n"
    doctor = Doctor(experiment, None, None, None, None, "search:tpe", sys.executable, experiment.parent, Options())
    for read in ("", "print(RATE)\n", "print(globals())\n", "import experiment\nprint(experiment.RATE)\n"):
        source.write_text(begun + ("" if "import" in read else read))
        other.write_text(read if "import" in read else "")
        check = doctor.search()
        assert ("[search] RATE: nothing in the experiment reads it" in check.detail) == (not read)
        assert check.state == ("ok" if read else "warning")
