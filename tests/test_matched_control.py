"""A matched control makes a comparison fair; what a run merely says of itself cannot choose one that is easily beaten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.contract import Contract
from harness.campaign.protocols import Job, Outcome, Silent
from harness.campaign.record import ControlRecord, MetricRecord, Record, SettingRecord, VerdictRecord
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.executors import EXECUTORS
from harness.results.reading import Results
from harness.results.values import Value
from harness.statistics.judge import Judge
from harness.statistics.references import MeasuredRun
from tests.quick_executor import QuickExecutor

NOISE = (-0.011, 0.004, 0.013, -0.005, 0.002)
CONTRACT = Contract.model_validate(
    {
        "metric": [{"name": "error", "better": "lower", "primary": True}],
        "comparable": ["steps"],
        "profiles": {"p": {"settings": {"steps": 40}, "run_seeds": [1, 3], "final_seeds": 0}},
    }
)
BASELINE = Record(
    run=0,
    status="completed",
    verdict=VerdictRecord(kind="baseline"),
    commit="c0ffee",
    seed=0,
    seeds=list(range(5)),
    settings={"steps": SettingRecord(value=40, baseline=40, source="reported")},
    metrics={"error": MetricRecord(value=0.3, values=[0.3 + each for each in NOISE])},
)
WEAK = ControlRecord(
    name="control steps=5",
    overrides={"steps": 5},
    run=1,
    seeds=[0, 1, 2],
    settings={"steps": 5},
    metrics={"error": [0.6 + each for each in NOISE[:3]]},
)


def judged(error: float, source: str, contract: Contract = CONTRACT) -> VerdictRecord:
    """A run that says that it took 5 steps where the harness set 40, beside the baseline's code at 5."""
    seeds = {
        seed: Results({"error": Value("error", error + each, "f", "k")}, {"steps": 5}, [], [], {"steps": source})
        for seed, each in enumerate(NOISE[:3])
    }
    return Judge(contract, "p", 5, [BASELINE]).judge(MeasuredRun(1, BASELINE, seeds, WEAK))


def test_a_control_that_the_runs_own_word_chose_gives_it_nothing() -> None:
    found = judged(0.31, "reported")
    assert (found.kind, found.against_baseline.reference) == ("inconclusive", "control steps=5")
    assert "only the run itself reports steps, and it is not improved against the baseline as executed" in found.caveats
    assert judged(0.1, "reported").kind == "improved"  # beside both
    assert judged(0.31, "artifact").kind == "improved"


# --- as much compute ----------------------------------------------------------------------------------------------------


class Metered(QuickExecutor):
    """Says of an execution that it took as many processor seconds as that wrote down: a stand-in for hours of training."""

    def submit(self, job: Job, home: Path) -> Any:
        return MeteredExecution(super().submit(job, home), job.out_dir / "seconds")


class MeteredExecution:
    def __init__(self, execution: Any, seconds: Path) -> None:
        self._execution, self._seconds = execution, seconds

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        outcome: Outcome = self._execution.wait(tick, stop)
        return replace(outcome, processor_seconds=float(self._seconds.read_text()) if self._seconds.exists() else 1.0)


def test_with_matched_compute_a_run_is_held_against_the_baseline_at_as_much(
    experiment: Path, make_campaign: Callable[..., Campaign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best of several trainings is no better than one training that is as long; what is, is improved and confirmed."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(EXECUTORS, "local", f"{__name__}:Metered")
    code, toml = experiment / "experiment.py", experiment / "experiment.toml"
    spent = 'trainings, worth = 1, 1.0\nall_steps = settings["steps"] * trainings\n(out / "seconds").write_text(str(all_steps))\n'
    loss = "x = (10 / (all_steps * worth) + rng.gauss(0, 0.005)) ** 0.5\nprint('done', x * x)"
    code.write_text(code.read_text().replace('print("done", x * x)', spent + loss))
    more = 'baseline_seeds = 4\nrun_seeds = [1, 3]\nfinal_seeds = 0\nholdout = { number = 5 }\ncompute = "matched"\n'
    toml.write_text(toml.read_text() + more + 'compute_setting = "steps"\n')

    def change(values: str) -> dict[str, Any]:
        return {"text": "HYPOTHESIS: x.", "edits": [["experiment.py", "trainings, worth = 1, 1.0", values]]}

    script = {
        "run 1, attempt 1": change("trainings, worth = 3, 1.0"),
        "run 2, attempt 1": change("trainings, worth = 3, 2.0"),
    }
    campaign = make_campaign(script, max_runs=2)
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    _, several, better = campaign.read_records()
    assert several.control is not None and several.control.overrides == {"steps": 120}
    assert several.metrics["loss"].value < 0.1 and several.verdict.kind == "not_significant"
    assert better.control == several.control  # as much compute: executed once
    assert (better.verdict.kind, better.verdict.against_baseline.reference) == ("improved", "control steps=120")
    assert better.verdict.guard_violations == []
    [held_out] = campaign.holdouts()
    assert (held_out["status"], held_out["comparison"]["reference"]) == ("confirmed", "control steps=120")


def test_matched_compute_names_a_number_that_scales_it() -> None:
    with pytest.raises(ValueError, match="compute_setting belong together"):
        Contract.model_validate({"profiles": {"p": {"compute": "matched", "settings": {"steps": 40}}}})
    with pytest.raises(ValueError, match="compute_setting belong together"):
        Contract.model_validate({"profiles": {"p": {"compute": "matched", "compute_setting": "rate"}}})
