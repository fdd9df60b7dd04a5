"""The verdict of one seed: what is no evidence, no change or no fair comparison is said, and nothing is called better."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.campaign.contract import Contract
from harness.campaign.record import ControlRecord, Record, VerdictRecord
from harness.execution.measurements import seconds_of_all
from harness.results.reading import Results
from harness.statistics.comparability import compare_metrics, compare_settings
from harness.statistics.judge import Judge
from harness.statistics.references import MeasuredRun

from .recorded import K40, K320, RELU, RUN_1, RUN_2, ZERO_STEPS, contract, left, recorded

CONTRACT = Contract.model_validate(
    {
        "metric": [
            {"name": "absorption", "better": "lower", "primary": True, "required": False},
            {"name": "mse", "better": "lower"},
        ],
        "comparable": ["k", "steps"],
    }
)
METRICS = {"absorption": 0.1429159, "mse": 2.484375, "l0": 40}
SETTINGS = {"k": 40, "steps": 2441}


def record(results: Results, run: int = 0, baseline: Record | None = None, **facts) -> Record:
    return Record(
        run=run,
        status="completed",
        verdict=VerdictRecord(kind="baseline" if run == 0 else "inconclusive"),
        commit="c0ffee",
        settings=compare_settings(results, baseline),
        metrics=compare_metrics([results], baseline),
        **facts,
    )


def results(folder: Path, settings: dict | None = None, **metrics: float) -> Results:
    return left(folder, {"settings": SETTINGS if settings is None else settings, "metrics": METRICS | metrics})


def judge(by: Contract, profile: str, run: Results, baseline: Record, earlier, *, seed: int) -> VerdictRecord:
    records = [baseline, *(each for each in earlier if each is not baseline)]
    case = MeasuredRun(run=len(records), parent=baseline, by_seed={seed: run})
    return Judge(by, profile, 5, records).judge(case)


def verdict(run: Results, baseline: Record, *earlier: Record, by: Contract = CONTRACT, seed: int = 0) -> VerdictRecord:
    return judge(by, "", run, baseline, earlier, seed=seed)


# --- the recorded campaign --------------------------------------------------------------------------------------------


def test_the_recorded_run_that_changed_nothing_is_no_effect(tmp_path):
    baseline = record(recorded(tmp_path / "0", K40))
    run_1, run_2 = recorded(tmp_path / "1", RUN_1), recorded(tmp_path / "2", RUN_2)
    earlier = [baseline, record(run_1, 1, baseline)]
    found = judge(contract(), "core", run_2, baseline, earlier, seed=42)
    assert found == VerdictRecord(
        kind="no_effect", why="metrics identical to run 0: the change was not executed, or no metric depends on it"
    )
    assert "absorption.mean_absorption_score" in baseline.metrics and "absorption.mean_absorption_score" not in run_2.metrics


def test_the_recorded_run_of_fewer_steps_is_not_comparable(tmp_path):
    found = judge(contract(), "core", recorded(tmp_path / "1", RUN_1), record(recorded(tmp_path / "0", K40)), [], seed=42)
    assert found == VerdictRecord(kind="not_comparable", why="steps 488 against 2441 (run 0)")


def test_the_recorded_k_40_is_not_comparable_with_k_320(tmp_path):
    baseline = record(recorded(tmp_path / "0", K320), given=True)
    found = judge(contract(), "core", recorded(tmp_path / "1", RUN_2), baseline, [], seed=42)
    assert found == VerdictRecord(kind="not_comparable", why="k 40 against 320 (run 0, given with the experiment)")


@pytest.mark.parametrize("name", [RELU, ZERO_STEPS])
def test_recorded_results_that_are_broken_are_invalid_before_anything_else(tmp_path, name):
    baseline = record(recorded(tmp_path / "0", name))
    found = judge(contract(), "core", recorded(tmp_path / "1", name), baseline, [], seed=42)
    assert found.kind == "invalid" and found.why


# --- no effect --------------------------------------------------------------------------------------------------------


def test_equal_numbers_name_the_earlier_run(tmp_path):
    baseline = record(results(tmp_path / "0"))
    first = record(results(tmp_path / "1", mse=2.1234567), 1, baseline)
    found = verdict(results(tmp_path / "2", mse=2.1234567), baseline, baseline, first)
    assert found == VerdictRecord(
        kind="no_effect", why="metrics identical to run 1: the change was not executed, or no metric depends on it"
    )


def test_equal_numbers_of_a_given_baseline_say_that_it_was_given(tmp_path):
    found = verdict(results(tmp_path / "1"), record(results(tmp_path / "0"), given=True))
    assert found.why.startswith("metrics identical to run 0, given with the experiment:")


def test_no_effect_comes_before_not_comparable(tmp_path):
    baseline = record(results(tmp_path / "0", {"k": 320, "steps": 2441}))
    assert verdict(results(tmp_path / "1"), baseline).kind == "no_effect"


def test_one_different_digit_is_an_effect(tmp_path):
    assert verdict(results(tmp_path / "1", mse=2.4843751), record(results(tmp_path / "0"))).kind == "inconclusive"


def test_a_difference_in_a_metric_that_nobody_judges_is_an_effect(tmp_path):
    assert verdict(results(tmp_path / "1", dead=0.25), record(results(tmp_path / "0", dead=0.5))).kind == "inconclusive"


@pytest.mark.parametrize(
    "name", ["seconds", "training.train_time", "peak_gpu_memory_mb", "tokens_per_second", "text8.total_train_time_mean"]
)
def test_time_and_memory_do_not_hide_equal_numbers(tmp_path, name):
    baseline = record(results(tmp_path / "0", **{name: 10.125}))
    assert verdict(results(tmp_path / "1", **{name: 11.25}), baseline).kind == "no_effect"
    assert verdict(results(tmp_path / "2", **{name: 11.25}), baseline, by=Contract()).kind == "no_effect"


@pytest.mark.parametrize("name", ["lifetime_density", "timeless", "ms_marco.ndcg", "memorized"])
def test_only_whole_words_are_time_and_memory(tmp_path, name):
    baseline = record(results(tmp_path / "0", **{name: 10.125}))
    assert verdict(results(tmp_path / "1", **{name: 11.25}), baseline).kind == "inconclusive"


def test_equal_time_alone_is_not_the_same_run(tmp_path):
    baseline = record(left(tmp_path / "0", {"total_seconds": 10.123456789}))
    assert verdict(left(tmp_path / "1", {"total_seconds": 10.123456789}), baseline, by=Contract()).kind == "inconclusive"


def test_equal_numbers_at_another_seed_are_not_asked(tmp_path):
    baseline = record(results(tmp_path / "0"), seed=1)
    assert verdict(results(tmp_path / "1"), baseline, seed=2).kind == "inconclusive"
    assert verdict(results(tmp_path / "1"), baseline, seed=1).kind == "no_effect"


def test_the_seed_of_a_given_baseline_is_the_one_it_reports(tmp_path):
    baseline = record(results(tmp_path / "0", SETTINGS | {"seed": 42}), given=True)
    assert verdict(results(tmp_path / "1"), baseline, seed=42).kind == "no_effect"
    assert verdict(results(tmp_path / "1"), baseline, seed=43).kind == "inconclusive"


@pytest.mark.parametrize("metrics", [{"accuracy": 0.93, "loss": 0.25}, {"hits": 40, "steps_done": 2441, "tokens": 4096000}])
def test_few_or_whole_numbers_may_agree_by_chance(tmp_path, metrics):
    baseline = record(left(tmp_path / "0", metrics))
    assert verdict(left(tmp_path / "1", metrics), baseline, by=Contract()).kind == "inconclusive"


def test_one_long_number_does_not_agree_by_chance(tmp_path):
    baseline = record(left(tmp_path / "0", {"loss": 0.34782910234}))
    assert verdict(left(tmp_path / "1", {"loss": 0.34782910234}), baseline, by=Contract()).kind == "no_effect"


def test_numbers_that_nobody_judges_do_not_make_two_runs_the_same(tmp_path):
    constants = {"llm_loss": 2.9375123, "llm_accuracy": 0.65251875}
    by = Contract.model_validate({"metric": [{"name": "mse", "better": "lower", "required": False}]})
    baseline = record(left(tmp_path / "0", constants | {"mse": 2.484375}))
    assert verdict(left(tmp_path / "1", constants), baseline, by=by).kind == "inconclusive"


def test_a_failed_run_has_no_numbers_to_be_equal_to(tmp_path):
    baseline = record(results(tmp_path / "0"))
    failed = Record(run=1, status="failed", verdict=VerdictRecord(kind="failed"), commit="c0ffee")
    assert verdict(results(tmp_path / "2", mse=2.5), baseline, baseline, failed).kind == "inconclusive"


# --- not comparable ---------------------------------------------------------------------------------------------------


def test_each_setting_of_scale_that_differs_is_named(tmp_path):
    baseline = record(results(tmp_path / "0", {"k": 320, "steps": 4882}))
    assert verdict(results(tmp_path / "1", mse=2.0), baseline).why == "k 40 against 320, steps 2441 against 4882 (run 0)"


@pytest.mark.parametrize(("name", "other"), [("version", 2), ("world", "8e7426f4aaaa1ece"), ("sae-bench", None)])
def test_what_was_scored_otherwise_is_not_comparable_whatever_the_contract_says(tmp_path, name, other):
    mine = {**SETTINGS, "scorer.version": 1, "scorer.world": "09d7d9dcccb639aa", "scorer.sae-bench": "0.6.0"}
    theirs = mine | {f"scorer.{name}": other}
    found = verdict(results(tmp_path / "1", mine, mse=2.0), record(results(tmp_path / "0", theirs)))
    assert found.kind == "not_comparable"
    said = {2: "scorer.version 1 against 2", None: "scorer.sae-bench 0.6.0 against not reported"}
    assert found.why == f"{said.get(other, f'scorer.world 09d7d9dcccb639aa against {other}')} (run 0)"


def test_a_setting_of_scale_that_only_one_reports_is_a_difference(tmp_path):
    silent = {"steps": 2441}
    baseline = record(results(tmp_path / "0"))
    assert verdict(results(tmp_path / "1", silent, mse=2.0), baseline).why == "k not reported against 40 (run 0)"
    without = record(results(tmp_path / "2", silent))
    assert verdict(results(tmp_path / "3", mse=2.0), without).why == "k 40 against not reported (run 0)"


def test_settings_that_do_not_decide_scale_may_differ(tmp_path):
    baseline = record(results(tmp_path / "0", SETTINGS | {"lr": 0.1}))
    assert verdict(results(tmp_path / "1", SETTINGS | {"lr": 0.2}, mse=2.0), baseline).kind == "inconclusive"


# --- inconclusive --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "shown"), [(0.112, "0.112"), (0.2, "0.2"), (0.14291, "0.14291")])
def test_a_single_seed_decides_nothing(tmp_path, value, shown):
    found = verdict(results(tmp_path / "1", absorption=value, mse=2.0), record(results(tmp_path / "0")))
    assert found.kind == "inconclusive"
    assert found.why.startswith(f"absorption {shown}") and "(baseline, 1 seed; 1 here)" in found.why
    assert found.why.endswith("one seed each, so the noise is unknown")


def test_a_given_baseline_is_said_to_be_given(tmp_path):
    found = verdict(results(tmp_path / "1", mse=2.0), record(results(tmp_path / "0"), given=True))
    assert found.why.endswith("the baseline was given with the experiment, not executed here")


def test_a_primary_metric_that_one_side_lacks_is_said(tmp_path):
    without = {key: value for key, value in METRICS.items() if key != "absorption"} | {"mse": 2.0}
    silent = left(tmp_path / "1", {"settings": SETTINGS, "metrics": without})
    assert verdict(silent, record(results(tmp_path / "0"))).why == "this run has no absorption"
    assert verdict(results(tmp_path / "2"), record(silent)).why == "run 0 has no absorption"


def test_a_contract_that_decides_nothing_is_said(tmp_path):
    found = verdict(results(tmp_path / "1", mse=2.0), record(results(tmp_path / "0")), by=Contract())
    assert found.why == "no primary metric is named"


def test_an_unknown_scale_is_said(tmp_path):
    found = verdict(results(tmp_path / "1", {}, mse=2.0), record(results(tmp_path / "0", {})))
    assert found.kind == "inconclusive" and "it does not report k or steps, so the scale may differ" in found.why


# --- the record -------------------------------------------------------------------------------------------------------


def test_metrics_stand_beside_the_baselines(tmp_path):
    baseline = record(results(tmp_path / "0"))
    metrics = compare_metrics([results(tmp_path / "1", mse=2.0, mcc=0.5)], baseline)
    assert (metrics["mse"].value, metrics["mse"].baseline, metrics["mse"].difference) == (2.0, 2.484375, -0.484375)
    assert (metrics["mcc"].value, metrics["mcc"].baseline, metrics["mcc"].difference) == (0.5, None, None)
    assert (metrics["mse"].file, metrics["mse"].key) == ("final_info.json", "metrics.mse")
    assert baseline.metrics["mse"].baseline is None


def test_settings_stand_beside_the_baselines(tmp_path):
    baseline = record(results(tmp_path / "0"))
    settings = compare_settings(results(tmp_path / "1", {"k": 320, "tau": 0.5}), baseline)
    assert {name: (known.value, known.baseline) for name, known in settings.items()} == {
        "k": (320, 40),
        "tau": (0.5, None),
        "steps": (None, 2441),
    }
    assert all(known.differs and known.source == "reported" for known in settings.values())
    assert not any(known.differs for known in baseline.settings.values())


def test_settings_of_an_evaluation_that_the_run_did_not_have_are_no_difference(tmp_path):
    scored = {"core.batch": 8, "core.context": 128, "sparse.k": 1}
    baseline = record(results(tmp_path / "0", SETTINGS | scored))
    settings = compare_settings(results(tmp_path / "1", SETTINGS | {"core.batch": 8, "scorer.version": 2}), baseline)
    differing = {name: (known.value, known.baseline) for name, known in settings.items() if known.differs}
    assert differing == {"core.context": (None, 128), "scorer.version": (2, None)} and "sparse.k" not in settings


def test_a_record_of_recorded_results_survives_the_disk(tmp_path):
    made = record(recorded(tmp_path, K40))
    made.write(tmp_path)
    assert Record.read(tmp_path) == made


# --- what is left out ---------------------------------------------------------------------------------------------------

GUARDED = Contract.model_validate(
    {
        "metric": [
            {"name": "absorption", "better": "lower", "primary": True},
            {"name": "mse", "better": "lower", "guard": 0.5, "required": False},
        ],
        "profiles": {"p": {"baseline_seeds": 10, "run_seeds": [1, 3], "final_seeds": 8}},
    }
)
FINAL = range(1_001, 1_009)


def at_seed(folder: Path, seed: int, absorption: float, **others: float) -> Results:
    chance = (seed * 2654435761) % 9_973 / 1e6  # below 0.01, another at each seed
    return left(folder / str(seed), {"absorption": absorption + chance + 1.234e-7, **others})


def final_verdict(
    folder: Path,
    *,
    final: dict[int, Results] | None = None,
    beside: Sequence[int] = FINAL,
    failed: str = "",
    seconds: tuple[float, ...] = (),
    seconds_beside: Sequence[float] = (),
    kind: str = "processor_seconds",
    kind_beside: str = "processor_seconds",
) -> VerdictRecord:
    """The verdict on a run that is much better at its final seeds than the baseline there."""
    untouched = {seed: at_seed(folder / "0", seed, 0.2, mse=2.0) for seed in (*range(10), *beside)}
    first = [untouched[seed] for seed in range(10)]
    baseline = record(first[0]).model_copy(update={"metrics": compare_metrics(first, None), "seeds": list(range(10))})
    values = compare_metrics([untouched[seed] for seed in beside], None)
    reference = ControlRecord(
        name="run_0",
        overrides={},
        run=1,
        seeds=list(beside),
        metrics={name: each.values for name, each in values.items()},
        **{kind_beside: list(seconds_beside)},
    )
    case = MeasuredRun(
        run=1,
        parent=baseline,
        by_seed={seed: at_seed(folder / "1", seed, 0.1, mse=2.0) for seed in range(3)},
        failed_seeds=(failed,) if failed else (),
        final=final or {seed: at_seed(folder / "1", seed, 0.1, mse=2.0) for seed in FINAL},
        final_references=(reference,),
        **{kind: seconds},
    )
    return Judge(GUARDED, "p", 3, [baseline]).judge(case)


def test_who_leaves_nothing_out_improves(tmp_path):
    assert final_verdict(tmp_path).kind == "improved"


def test_final_seeds_that_crash_leave_no_improvement(tmp_path):
    """Otherwise a run could crash where it does badly, and would rest on the others."""
    final = {seed: at_seed(tmp_path / "1", seed, 0.1, mse=2.0) for seed in FINAL[:7]}
    found = final_verdict(tmp_path, final=final, failed="seed 1008: crashed")
    assert (found.kind, found.caveats) == ("inconclusive", ["seed 1008: crashed"])


def test_a_reference_that_crashed_at_final_seeds_leaves_no_improvement(tmp_path):
    """A parent, an agent's code too, could crash where it does well."""
    found = final_verdict(tmp_path, beside=FINAL[:6])
    assert (found.kind, found.caveats) == ("inconclusive", ["run 0 failed at seed 1007, 1008"])


def test_a_guard_that_is_missing_at_one_seed_is_not_passed(tmp_path):
    final = {seed: at_seed(tmp_path / "1", seed, 0.1, **({"mse": 9.0} if seed > 1_001 else {})) for seed in FINAL}
    found = final_verdict(tmp_path, final=final)
    assert (found.kind, found.caveats) == ("inconclusive", ["mse, a guard, is missing"])


def test_compute_that_was_measured_for_the_reference_alone_is_not_passed(tmp_path):
    """A run could open an accelerator that it does not need, at the seeds at which it trains for longer."""
    found = final_verdict(tmp_path, seconds_beside=[10.0] * 8)
    assert (found.kind, found.caveats) == ("inconclusive", ["compute, a guard, was not measured at each of its seeds"])
    assert final_verdict(tmp_path, seconds=(10.0,) * 8, seconds_beside=[10.0] * 8).kind == "improved"
    assert final_verdict(tmp_path, seconds=(10.0,) * 8).kind == "improved"
    outcomes = [{"processor_seconds": 3.0}, {"processor_seconds": None}]
    found = [seconds_of_all(each, "processor_seconds") for each in (outcomes, outcomes[:1])]
    assert found == [[], [3.0]]


def test_seconds_on_a_gpu_of_its_own_are_compute_too(tmp_path):
    outcomes = [{"processor_seconds": None, "device_seconds": 20.0}] * 8
    spent = {kind: seconds_of_all(outcomes, kind) for kind in ("processor_seconds", "device_seconds")}
    assert spent == {"processor_seconds": [], "device_seconds": [20.0] * 8}
    both = {"seconds_beside": [10.0] * 8, "kind_beside": "device_seconds"}
    found = final_verdict(tmp_path, seconds=(20.0,) * 8, kind="device_seconds", **both)
    assert found.kind == "trade_off"
    assert found.guard_violations == ["at 2.0x compute (20 s of time on a GPU of its own against 10 s; limit 1.5x)"]
    assert final_verdict(tmp_path, seconds=(9.0,) * 8, kind="device_seconds", **both).kind == "improved"
    assert final_verdict(tmp_path, seconds=(9.0,) * 8, **both).kind == "inconclusive"  # elsewhere than its reference
