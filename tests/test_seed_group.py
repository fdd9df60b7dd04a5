"""Every seed of a run, a control and the baseline is checked as the first is: seeds that differ in more are no group."""

from __future__ import annotations

from typing import Any

import pytest

from harness.campaign.contract import Contract, Setting
from harness.campaign.record import MetricRecord, Record, SettingRecord, VerdictRecord
from harness.results.reading import Results
from harness.results.values import Value
from harness.statistics.comparability import seed_changes_nothing
from harness.statistics.judge import Judge
from harness.statistics.references import MeasuredRun
from harness.statistics.seed_group import repeated_seeds, unlike_members

CONTRACT = Contract.model_validate(
    {
        "metric": [{"name": "absorption", "better": "lower", "primary": True, "moves_with": "l0"}, {"name": "l0"}],
        "comparable": ["k"],
        "profiles": {"p": {"settings": {"k": 5}, "run_seeds": [1, 3], "final_seeds": 0}},
    }
)
NOISE = (-0.011, 0.004, 0.013, -0.005, 0.002)


def results(absorption: float, l0: float = 5.0, artifact: dict[str, Setting] | None = None, **settings: Setting) -> Results:
    numbers = {"absorption": absorption, "l0": l0}
    metrics = {name: Value(name, value, "final_info.json", name) for name, value in numbers.items()}
    verified = artifact or {}
    return Results(metrics, {"k": 5} | settings | verified, [], [], dict.fromkeys(verified, "artifact"))


def baseline(**facts: Any) -> Record:
    values = {"absorption": [0.3 + each for each in NOISE], "l0": [5.0] * 5}
    return Record(
        run=0,
        status="completed",
        verdict=VerdictRecord(kind="baseline"),
        commit="c0ffee",
        seed=0,
        seeds=list(range(5)),
        settings={"k": SettingRecord(value=5, baseline=5, source="reported")},
        metrics={name: MetricRecord(value=sum(each) / 5, values=each) for name, each in values.items()},
        **facts,
    )


def verdict(*by_seed: Results, record: Record | None = None) -> VerdictRecord:
    record = record or baseline()
    measured = MeasuredRun(run=1, parent=record, by_seed=dict(enumerate(by_seed)))
    return Judge(CONTRACT, "p", 5, [record]).judge(measured)


@pytest.mark.parametrize(("number", "is_read", "is_ignored"), [(0.7, True, False), (0.7, False, True), (9.0, False, True)])
def test_few_digits_tell_that_a_seed_changes_nothing_where_nothing_reads_it(
    number: float, is_read: bool, is_ignored: bool
) -> None:
    accuracy, time = Value("accuracy", number, "", ""), Value("train_time", 1.5, "", "")
    same = Results({"accuracy": accuracy}, {}, [], [])
    assert seed_changes_nothing([same, same], is_read=is_read) == is_ignored
    other = Results({"accuracy": accuracy._replace(value=number + 0.1)}, {}, [], [])
    assert not seed_changes_nothing([same, other], is_read=is_read)
    times = Results({"train_time": time}, {}, [], [])
    assert not seed_changes_nothing([times, times], is_read=is_read)


@pytest.mark.parametrize(
    "cost", ["train_time", "d.avg_inference_tokens_per_second_mean", "_runtime", "fps", "peak_memory_gb"]
)
def test_what_an_execution_took_tells_nothing_of_its_seed(cost: str) -> None:
    loss = Value("loss", 0.123456789, "", "")
    by_seed = [Results({"loss": loss, cost: Value(cost, seconds, "", "")}, {}, [], []) for seconds in (1.5, 2.5)]
    assert seed_changes_nothing(by_seed)


def test_three_seeds_of_one_experiment_are_a_group() -> None:
    assert verdict(*(results(0.1 + each) for each in NOISE[:3])).kind == "improved"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"k": 14}, "k is 14 at seed 1 and 5 at seed 0"),
        ({"artifact": {"width": 96}}, "width is 96 at seed 1 and not reported at seed 0"),
        ({"l0": 13.1}, "l0 is 5 at seed 0, and 13.1 is the median"),
        ({"temperature": 2.0}, "temperature is 2 at seed 1 and not reported at seed 0"),
    ],
)
def test_seeds_that_are_another_experiment_make_a_run_invalid(other: dict[str, Any], why: str) -> None:
    found = verdict(results(0.28), *(results(0.1 + each, **other) for each in NOISE[:2]))
    assert (found.kind, found.why) == ("invalid", f"its seeds are not one experiment: {why}")


def test_what_differs_between_the_baselines_seeds_may_differ_between_a_runs() -> None:
    by_seed = [results(0.1 + each, folder=f"/tmp/{each}", data_order=seed) for seed, each in enumerate(NOISE[:3])]
    assert verdict(*by_seed).kind == "invalid"
    assert verdict(*by_seed, record=baseline(varying_settings=["folder"])).kind == "improved"


def test_an_l0_that_scatters_in_the_baseline_may_scatter_in_a_run() -> None:
    by_seed = [results(0.1 + each, l0=5.0 + 80 * each) for each in NOISE[:3]]
    assert verdict(*by_seed).kind == "invalid"
    wide = baseline()
    wide.metrics["l0"] = MetricRecord(value=5.0, values=[5.0 + 80 * each for each in NOISE])
    assert verdict(*by_seed, record=wide).kind == "improved"


def test_the_baselines_own_seeds_have_one_scale() -> None:
    by_seed = {0: results(0.3, folder="a"), 1: results(0.31, k=14, folder="b")}
    assert unlike_members(CONTRACT, by_seed, None) == ["k is 14 at seed 1 and 5 at seed 0"]


def test_two_seeds_with_the_same_numbers_leave_no_improvement() -> None:
    lucky = [results(value) for value in (0.1012345678, 0.1112345678, 0.1012345678)]
    found = verdict(*lucky)
    assert found.kind == "inconclusive"
    assert "seeds 0 and 2 gave the same numbers: the code does not use the seed that it is given" in found.why
    assert repeated_seeds(dict(enumerate([results(0.1012345678)] * 3))) == []


def test_seeds_that_meet_in_the_untouched_code_too_may_meet_in_a_run() -> None:
    """An accuracy over 97 samples is one of 98 numbers, each with 17 digits."""
    few = baseline()
    few.metrics["absorption"] = MetricRecord(value=0.3, values=[each / 97 for each in (29, 31, 29, 28, 30)])
    by_seed = [results(each / 97) for each in (9, 11, 9)]
    assert verdict(*by_seed, record=few).kind == "improved"
    assert "seeds 0 and 2 gave the same numbers" in verdict(*by_seed).why
    met = repeated_seeds({seed: results(each / 97) for seed, each in enumerate((9, 11, 9, 11, 9))})
    assert met == [
        "seeds 0 and 2 gave the same numbers, and so did 3 other pairs: the code does not use the seed that it is given"
    ]
