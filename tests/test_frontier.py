"""Runs at another L0 are compared on a frontier of the baseline's code, or not at all."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.campaign.campaign import Campaign
from harness.campaign.contract import Contract
from harness.campaign.protocols import Silent
from harness.campaign.record import ControlRecord, MetricRecord, Record, SettingRecord, VerdictRecord
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.results.reading import Results
from harness.results.values import Value
from harness.statistics.comparison import Comparison
from harness.statistics.frontier import FrontierPosition, Point, position_on_frontier
from harness.statistics.judge import Judge
from harness.statistics.ledger import Judgement, Ledger
from harness.statistics.references import MeasuredRun

# --- where a run stands -----------------------------------------------------------------------------------------------

POINTS = (Point("run_0", 5.0), Point("control k=3", 3.0), Point("control k=8", 8.0))


def on(at: float, points: tuple[Point, ...] = POINTS) -> FrontierPosition:
    found = position_on_frontier("l0", at, 0.0, points)
    assert isinstance(found, FrontierPosition)
    return found


def test_a_run_stands_between_its_neighbours() -> None:
    line = on(6.5).between
    assert (line.first.name, line.second.name, line.share) == ("run_0", "control k=8", 0.5)
    assert on(6.5).name == "frontier at l0 6.5, between run_0 and control k=8"
    assert on(3.0).between.share == 0.0 and on(8.0).between.share == 1.0


def test_the_other_line_is_prolonged_from_the_nearest_points_outside() -> None:
    line = on(4.0).prolonged  # from 8 through 5
    assert (line.first.at, line.second.at) == (8.0, 5.0)
    assert line.share == pytest.approx(4 / 3)
    line = on(7.5, (*POINTS, Point("control k=9", 9.0))).prolonged  # through 8 and 9, not from 3 through 5
    assert {line.first.at, line.second.at} == {8.0, 9.0}
    line = on(5.5, (*POINTS, Point("control k=9", 9.0))).prolonged
    assert {line.first.at, line.second.at} == {3.0, 5.0}


@pytest.mark.parametrize("at", [2.99, 8.01])
def test_nothing_is_said_beyond_the_outermost_points(at: float) -> None:
    assert position_on_frontier("l0", at, 0.0, POINTS) == "the frontier goes from 3 to 8 and is not extrapolated"


def test_a_frontier_needs_three_points_that_are_apart() -> None:
    assert position_on_frontier("l0", 4.0, 0.0, POINTS[:2]) == "a frontier needs 3 points, and there are 2"
    near = Point("control k=3, again", 3.2)
    assert position_on_frontier("l0", 4.0, 0.0, (*POINTS[:2], near)) == "a frontier needs 3 points, and there are 2"
    assert on(4.0, (*POINTS, near)).points == on(4.0).points


# --- the comparison ---------------------------------------------------------------------------------------------------


def measured(values: dict[str, list[float]], better: Any = "lower", runs: int = 5) -> Ledger:
    ledger = Ledger(better, runs, stages=(1, 3))
    for name, seeds in values.items():
        ledger.measure(name, dict(enumerate(seeds)))
    return ledger


def test_the_reference_is_on_the_line_with_the_noise_of_both_points() -> None:
    seeds = {"run_0": [1.0, 1.2, 0.8, 1.0], "control k=3": [1.9, 2.1], "control k=8": [0.5, 0.7]}
    found = measured(seeds).judge("run_1", dict(enumerate([0.4, 0.6, 0.5])), parent=on(4.0), baseline="run_0").against_parent
    assert isinstance(found, Comparison)
    sd = found.noise.sd
    assert found.reference == pytest.approx(1.5)
    assert found.n_reference == 6
    assert found.reference_error == pytest.approx(sd * math.sqrt(0.25 / 4 + 0.25 / 2))
    other = found.others[0]
    assert other.reference == pytest.approx(1.0 + 0.4 / 3)
    assert other.reference_error == pytest.approx(sd * math.sqrt((4 / 3) ** 2 / 4 + (1 / 3) ** 2 / 2))
    assert found.p == max(found.p, other.p)
    low, high = found.interval
    assert low < replace(found, others=()).interval[1] < high  # as wide as both lines ask


def test_a_place_that_is_not_known_exactly_is_less_sure() -> None:
    seeds = {"run_0": [1.0, 1.2, 0.8, 1.0], "control k=3": [1.9, 2.1], "control k=8": [0.5, 0.7]}
    sure, unsure = (
        measured(seeds).judge("run_1", dict(enumerate([0.9, 1.1, 1.0])), parent=at, baseline=at).against_parent
        for at in (on(4.0), replace(on(4.0), variance=0.04))
    )
    assert isinstance(sure, Comparison) and isinstance(unsure, Comparison)
    assert unsure.error**2 - sure.error**2 == pytest.approx(0.5**2 * 0.04)  # the slope between 3 and 5 is -1/2


SHAPES: dict[str, Callable[[float], float]] = {
    "hyperbola": lambda x: 60 / x,
    "exponential": lambda x: 30 * math.exp(-x / 3),
    "bent at one place": lambda x: 20 - 4 * (min(x, 4) - 3),
    "flat": lambda x: 5.0,
    "straight": lambda x: 20 - 2 * x,
    "concave": lambda x: 20 - 0.3 * x * x,
}
CAMPAIGNS = 300


def simulate(shape: Callable[[float], float], better: Any, gain: float = 0.0) -> tuple[float, float, float]:
    """Campaigns of five runs on the frontier, each `gain` better than it, in standard deviations: the shares in which any
    is called improved, here and beside the straight line alone; and how often an interval holds the gain."""
    false = alone = held = 0
    sign = -gain if better == "lower" else gain
    for number in range(CAMPAIGNS):
        rng = random.Random(number)

        def draw(at: float, seeds: int, more: float = 0.0, rng: random.Random = rng) -> list[float]:
            return [shape(at) + more + rng.gauss(0, 1) for _ in range(seeds)]

        ledger = measured({"run_0": draw(5, 10), "control k=3": draw(3, 3), "control k=8": draw(8, 3)}, better)
        judged: list[Judgement] = []
        for run, at in enumerate((4.0, 6.5, 4.4, 3.4, 7.0), 1):
            values = draw(at, 3, sign)
            seeds = ledger.seeds_wanted(f"run_{run}", {0: values[0]}, on(at))
            judged.append(ledger.judge(f"run_{run}", dict(enumerate(values[:seeds])), parent=on(at), baseline=on(at)))
        comparisons = [j.against_parent for j in judged if isinstance(j.against_parent, Comparison)]
        false += any(judgement.kind == "improved" for judgement in judged)
        alone += any(replace(each, others=()).is_better for each in comparisons)
        held += sum(each.interval[0] <= sign <= each.interval[1] for each in comparisons)
    return false / CAMPAIGNS, alone / CAMPAIGNS, held / CAMPAIGNS / 5


@pytest.mark.parametrize("better", ["lower", "higher"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_curved_frontier_makes_no_false_improvements(shape: Callable[[float], float], better: str) -> None:
    false, _, held = simulate(shape, better)
    assert false <= 0.05
    assert held >= 0.95


def test_beside_the_straight_line_alone_a_curved_frontier_does() -> None:
    assert simulate(SHAPES["hyperbola"], "lower")[1] > 0.2


def test_an_improvement_on_the_frontier_is_found() -> None:
    assert simulate(SHAPES["flat"], "lower", gain=5.0)[0] > 0.95


# --- a campaign's records ---------------------------------------------------------------------------------------------

CONTRACT = Contract.model_validate(
    {
        "metric": [
            {"name": "absorption", "better": "lower", "primary": True, "moves_with": "l0"},
            {"name": "ev", "better": "higher", "guard": 0.02},
            {"name": "l0"},
        ],
        "comparable": ["k", "tokens"],
        "profiles": {
            "p": {"settings": {"k": 5, "tokens": 100}, "run_seeds": [1, 3], "final_seeds": 0, "frontier": {"k": [3, 5, 8]}}
        },
    }
)


def results(l0: float, absorption: float, ev: float = 0.8, k: int = 5, tokens: int = 100) -> Results:
    numbers = {"absorption": absorption, "ev": ev, "l0": l0}
    metrics = {name: Value(name, value, "final_info.json", name) for name, value in numbers.items()}
    return Results(metrics, {"k": k, "tokens": tokens}, [], [])


def seeds_of(values: dict[str, list[float]]) -> dict[str, MetricRecord]:
    return {name: MetricRecord(value=sum(each) / len(each), values=each) for name, each in values.items()}


NOISE = (-0.011, 0.004, 0.01, -0.005, 0.002)
BASELINE = Record(
    run=0,
    status="completed",
    verdict=VerdictRecord(kind="baseline"),
    commit="c0ffee",
    seed=0,
    seeds=list(range(5)),
    settings={name: SettingRecord(value=v, baseline=v, source="reported") for name, v in (("k", 5), ("tokens", 100))},
    metrics=seeds_of({"absorption": [0.3 + each for each in NOISE], "ev": [0.8] * 5, "l0": [5.0 + each for each in NOISE]}),
)


def control(k: int, absorption: float, ev: float, tokens: int = 100, why_none: str = "") -> ControlRecord:
    overrides = {"k": k} | ({"tokens": tokens} if tokens != 100 else {})
    return ControlRecord(
        name="control " + ", ".join(f"{name}={value}" for name, value in overrides.items()),
        overrides=overrides,
        run=1,
        seeds=[0, 1, 2],
        settings={"k": k, "tokens": tokens},
        metrics={"absorption": [absorption + each for each in NOISE[:3]], "ev": [ev] * 3, "l0": [float(k)] * 3},
        why_none=why_none,
    )


FRONTIER = (control(3, 0.4, 0.7), control(8, 0.25, 0.9))


def case(l0: float, absorption: float, **facts: Any) -> MeasuredRun:
    ev = facts.pop("ev", 0.8)
    by_seed = {seed: results(l0 + each, absorption + each / 2, ev) for seed, each in enumerate(NOISE[:3])}
    return MeasuredRun(run=facts.pop("run", 1), parent=facts.pop("parent", BASELINE), by_seed=by_seed, **facts)


def judge(which: MeasuredRun, *records: Record, by: Contract = CONTRACT) -> VerdictRecord:
    return Judge(by, "p", 5, [BASELINE, *records]).judge(which)


def test_what_was_executed_for_a_frontier_answers_for_a_run() -> None:
    verdict = judge(case(4.0, 0.2, frontier=FRONTIER))
    assert verdict.kind == "improved"
    assert "(frontier at l0 4, between control k=3 and run 0, 8 seeds; 3 here)" in verdict.why
    found = verdict.against_baseline
    assert found is not None and found.frontier is not None
    assert found.reference_mean == pytest.approx(0.35, abs=0.005)
    assert [(point.name, point.at, point.seeds) for point in found.frontier.points] == [
        ("control k=3", 3.0, 3),
        ("run_0", 5.0, 5),
        ("control k=8", 8.0, 3),
    ]
    assert found.reference_sd is not None
    assert found.low is not None and found.high is not None and found.low < -0.15 < found.high


def test_a_run_that_is_only_sparser_is_no_improvement() -> None:
    assert judge(case(4.0, 0.345, frontier=FRONTIER)).kind == "not_significant"
    assert (
        judge(case(4.0, 0.32, frontier=FRONTIER)).kind == "not_significant"
    )  # below the line, not below what a bend allows


def test_within_ten_percent_the_baseline_answers() -> None:
    verdict = judge(case(4.6, 0.2, frontier=FRONTIER))
    assert verdict.against_parent is not None and verdict.against_parent.reference == "run_0"


def test_within_ten_percent_l0_alone_improves_nothing() -> None:
    """Where sparser codes are better for nothing, a run that is only sparser moves along the baseline's frontier."""
    steep = (control(3, 0.1, 0.7), control(8, 0.6, 0.9))
    sparser = case(4.6, 0.26, frontier=steep)  # on the line through 0.1 at 3 and 0.3 at 5
    verdict = judge(sparser)
    assert verdict.kind == "inconclusive"
    said = "l0 4.601 against 5 alone changes it by −0.040 of −0.039, by the baseline's frontier"
    assert said in verdict.why and verdict.caveats
    assert judge(case(4.6, 0.2, frontier=steep)).kind == "improved"
    assert judge(case(5.0, 0.26, frontier=steep)).kind == "improved"  # as many latents
    assert judge(case(5.4, 0.26, frontier=steep)).kind == "improved"  # more of them, where that costs
    unknown = judge(case(4.6, 0.26))
    assert unknown.kind == "improved"
    assert "l0 4.601 against 5: what that alone is worth is not known, for a frontier needs 3 points" in unknown.why


def test_a_worse_parent_that_is_as_sparse_makes_no_improvement_of_what_l0_alone_gives() -> None:
    steep = (control(3, 0.1, 0.7), control(8, 0.6, 0.9))
    first = case(4.6, 0.3)
    parent = recorded(first, judge(first))
    on_the_line = judge(case(4.6, 0.26, run=2, parent=parent, frontier=steep), parent)
    assert on_the_line.against_parent is not None and on_the_line.against_parent.reference == "run_1"
    assert on_the_line.kind == "inconclusive" and "l0 4.601 against 5 alone changes it by −0.040" in on_the_line.why
    assert judge(case(4.6, 0.2, run=2, parent=parent, frontier=steep), parent).kind == "improved"
    references = Judge(CONTRACT, "p", 5, [BASELINE, parent]).references
    assert references.overrides_of_frontier_nearby(case(4.6, 0.26, run=2, parent=parent)) == [{"k": 3}, {"k": 8}]


def test_a_frontier_is_executed_for_a_run_that_is_near_its_reference_and_not_at_it() -> None:
    references = Judge(CONTRACT, "p", 5, [BASELINE]).references
    assert references.overrides_of_frontier_nearby(case(4.8, 0.2)) == [{"k": 3}, {"k": 8}]
    assert references.overrides_of_frontier_nearby(case(4.8, 0.2, frontier=FRONTIER)) == []
    assert references.overrides_of_frontier_nearby(case(4.96, 0.2)) == []  # as good as at it
    assert references.overrides_of_frontier_nearby(case(4.0, 0.2)) == []  # executed already


@pytest.mark.parametrize(
    ("l0", "frontier", "why"),
    [
        (
            4.0,
            (),
            "l0 4.001 against 5 (run 0): more than 10 % apart, and absorption moves with it; a frontier needs 3 points",
        ),
        (2.5, FRONTIER, "the frontier goes from 3 to 8 and is not extrapolated"),
        (9.0, FRONTIER, "is not extrapolated"),
        (4.0, (FRONTIER[0], control(8, 0.2, 0.9, why_none="ev is missing")), "a frontier needs 3 points, and there are 2"),
        (4.0, (FRONTIER[0], control(8, 0.2, 0.9, tokens=900)), "a frontier needs 3 points, and there are 2"),
    ],
    ids=["no points", "sparser than all", "denser than all", "an invalid point", "a point at another scale"],
)
def test_without_a_frontier_around_it_a_run_is_not_comparable(
    l0: float, frontier: tuple[ControlRecord, ...], why: str
) -> None:
    verdict = judge(case(l0, 0.1, frontier=frontier))
    assert verdict.kind == "not_comparable"
    assert why in verdict.why


def test_guards_are_held_against_the_frontier_too() -> None:
    assert judge(case(4.0, 0.2, ev=0.74, frontier=FRONTIER)).kind == "improved"  # 0.75 on the line
    traded = judge(case(4.0, 0.2, ev=0.72, frontier=FRONTIER))
    assert (traded.kind, traded.guard_violations) == ("trade_off", ["ev −0.03 (limit −0.02)"])


def recorded(which: MeasuredRun, verdict: VerdictRecord) -> Record:
    names = ("absorption", "ev", "l0")
    return BASELINE.model_copy(
        update={
            "run": which.run,
            "parent": which.parent.run,
            "verdict": verdict,
            "seeds": list(which.by_seed),
            "metrics": seeds_of({name: which.values(name) for name in names}),
            "frontier": list(which.frontier),
        }
    )


def test_the_points_of_one_run_answer_for_the_next_and_nothing_is_forgotten() -> None:
    first = case(4.0, 0.345, frontier=FRONTIER)
    record = Record.model_validate_json(recorded(first, judge(first)).model_dump_json())
    assert judge(case(6.5, 0.1, ev=0.86, run=2), record).kind == "improved"
    assert Judge(CONTRACT, "p", 5, [BASELINE, record]).references.overrides_of_frontier(case(6.5, 0.1, run=2)) == []
    assert record.verdict.against_baseline is not None
    assert [record.verdict.against_baseline.reference] == ["frontier at l0 4, between control k=3 and run_0"]


def test_a_parent_at_another_l0_is_not_compared_with() -> None:
    first = case(4.0, 0.2, frontier=FRONTIER)
    parent = recorded(first, judge(first))
    assert judge(case(4.2, 0.2, run=2, parent=parent), parent).against_parent.reference == "run_1"  # type: ignore[union-attr]
    verdict = judge(case(5.0, 0.2, run=2, parent=parent), parent)
    assert verdict.kind == "not_comparable"
    assert "l0 5.001 against 4.001 (run 1, from which it started): more than 10 % apart" in verdict.why


def test_the_settings_that_a_frontier_needs() -> None:
    references = Judge(CONTRACT, "p", 5, [BASELINE]).references
    assert references.overrides_of_frontier(case(4.0, 0.2)) == [{"k": 3}, {"k": 8}]  # 5 is the baseline's
    assert references.overrides_of_frontier(case(4.8, 0.2)) == []
    tokens = ControlRecord(
        name="control tokens=900", overrides={"tokens": 900}, run=1, seeds=[0], settings={"k": 5, "tokens": 900},
        metrics={"absorption": [0.2], "ev": [0.8], "l0": [5.0]},
    )  # fmt: skip
    longer = case(4.0, 0.2, control=tokens)
    longer = replace(longer, by_seed={0: results(4.0, 0.2, tokens=900)})
    assert references.overrides_of_frontier(longer) == [{"tokens": 900, "k": 3}, {"tokens": 900, "k": 8}]


def test_values_of_a_frontier_are_numbers_and_stay_whole() -> None:
    assert [type(value) for value in CONTRACT.profiles["p"].frontier["k"]] == [int, int, int]
    with pytest.raises(ValidationError, match="frontier"):
        Contract.model_validate({"profiles": {"p": {"settings": {"k": 5}, "frontier": {"k": ["many"]}}}})
    with pytest.raises(ValidationError, match=r"frontier: kk is not one of the settings"):
        Contract.model_validate({"profiles": {"p": {"settings": {"k": 5}, "frontier": {"kk": [3]}}}})


# --- a whole campaign -------------------------------------------------------------------------------------------------

FAULTY = Path(__file__).parent / "faulty"


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_a_campaign_executes_the_frontier_once_and_says_what_it_costs(
    tmp_path: Path, make_campaign: Callable[..., Campaign], experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("experiment.py", "experiment.toml", "lab.py"):
        shutil.copyfile(FAULTY / name, experiment / name)
    text = (
        (experiment / "experiment.toml")
        .read_text()
        .replace("baseline_seeds = 8", "baseline_seeds = 5\nfrontier = { k = [2, 4] }")
    )
    (experiment / "experiment.toml").write_text(text.replace("final_seeds = 0", "final_seeds = 3"))
    sparser = ["experiment.py", "        return codes\n", "        return [code if code > 0.3 else 0.0 for code in codes]\n"]
    better = ["experiment.py", "PULL = 0.6", "PULL = 0.3"]
    sparser_still = [*sparser[:2], sparser[2].replace("0.3", "0.5")]
    script = {
        "run 1, attempt 1": {"text": "HYPOTHESIS: sparser.\nSTART FROM: baseline", "edits": [sparser]},
        "run 2, attempt 1": {"text": "HYPOTHESIS: sparser and better.", "edits": [sparser_still, better]},
    }
    campaign = make_campaign(script, profile="noisy")
    view = Listening()
    assert go_on(campaign, view=view, stop=Stop()).exit_code == 0
    _, first, second = campaign.read_records()
    assert first.verdict.kind == "not_significant"
    assert (first.metrics["lab.l0"].value or 0) < 2.7
    assert [point.overrides for point in first.frontier] == [{"k": 2}, {"k": 4}]
    assert second.verdict.kind == "improved"
    assert second.frontier == []
    assert second.verdict.against_baseline is not None
    assert "frontier at lab.l0" in second.verdict.against_baseline.reference
    said = [each for each in view.said if each.startswith("frontier")]
    assert len(said) == 1 and said[0].startswith("frontier, the baseline at k=2; k=4: 6 more executions, about ")


def test_a_run_that_is_tested_near_its_reference_gets_a_frontier_too(
    tmp_path: Path, make_campaign: Callable[..., Campaign], experiment: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("experiment.py", "experiment.toml", "lab.py"):
        shutil.copyfile(FAULTY / name, experiment / name)
    text = (experiment / "experiment.toml").read_text()
    text = text.replace("baseline_seeds = 8", "baseline_seeds = 5\nfrontier = { k = [2, 4] }")
    (experiment / "experiment.toml").write_text(text.replace("final_seeds = 0", "final_seeds = 3"))
    edits = [
        ["experiment.py", "        return codes\n", "        return [code if code > 0.2 else 0.0 for code in codes]\n"],
        ["experiment.py", "PULL = 0.6", "PULL = 0.3"],
    ]
    campaign = make_campaign(
        {"run 1, attempt 1": {"text": "HYPOTHESIS: better.", "edits": edits}}, profile="noisy", max_runs=1
    )
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    baseline, run = campaign.read_records()
    l0 = [record.metrics["lab.l0"].value or 0 for record in (baseline, run)]
    assert 0.01 < 1 - l0[1] / l0[0] < 0.1
    assert [point.overrides for point in run.frontier] == [{"k": 2}, {"k": 4}]
    assert run.verdict.kind == "improved"
    assert run.verdict.against_parent is not None and run.verdict.against_parent.reference == "run_0"
