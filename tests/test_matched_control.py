"""A matched control makes a comparison fair; what a run merely says of itself cannot choose one that is easily beaten."""

from __future__ import annotations

from harness.campaign.contract import Contract
from harness.campaign.record import ControlRecord, MetricRecord, Record, SettingRecord, VerdictRecord
from harness.results.reading import Results
from harness.results.values import Value
from harness.statistics.judge import Judge
from harness.statistics.references import MeasuredRun

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
    assert "steps is what the run says, and beside the baseline as it was executed it is not improved" in found.caveats
    assert judged(0.1, "reported").kind == "improved"  # beside both
    assert judged(0.31, "artifact").kind == "improved"
