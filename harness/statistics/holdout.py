"""The held-out evaluation: what selects is not what is reported.

Of the runs of a campaign one is selected, by numbers that it was therefore lucky in. It and its reference are executed once
more, pair by pair, where neither the agent nor the selection has been, and one test decides. Nothing is corrected for: it is
the only test, and what it tests was chosen before its numbers were there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..campaign.contract import Contract, Profile
from ..campaign.holdout_record import HoldoutMetric, HoldoutRecord
from ..campaign.metric import Metric
from ..campaign.record import Record
from ..campaign.text import in_words
from ..results.reading import Results
from ..results.sanity import check_sanity
from .comparability import differences_of_scale
from .comparison import Comparison, compare_paired, guard_violation
from .compute import compute_excess
from .frontier import near
from .noise import mean
from .wording import as_record, is_better

LEVEL = 0.05
"""One-sided."""
_NAMED = 3
_VALID = ("improved", "trade_off", "not_significant", "worse", "inconclusive")


@dataclass(frozen=True)
class Pair:
    """The run and its reference under the same conditions: what each left, or why it left nothing."""

    seed: int
    run: Results | str
    reference: Results | str
    run_seconds: float | None = None
    """Of the processor, or of a GPU of its own, as its reference was measured; None where they were not."""
    reference_seconds: float | None = None
    kind: str = "processor_seconds"
    """How they were measured."""


def selected(records: Sequence[Record], primary: Metric, *, best_valid: bool) -> Record | None:
    """The last run that was accepted; without one the best valid one, where that is asked for."""
    runs = [record for record in records if record.run > 0 and record.status == "completed"]
    accepted = [run for run in runs if is_accepted(run)]
    if accepted or not best_valid:
        return accepted[-1] if accepted else None
    valid = [run for run in runs if run.verdict.kind in _VALID and primary.name in run.metrics]
    sign = 1 if primary.better == "lower" else -1
    return min(valid, key=lambda run: sign * _difference(run, primary.name), default=None)


def is_accepted(run: Record) -> bool:
    """It improved on the run that it started from, and not on a worse one than the baseline."""
    found = run.verdict.against_baseline
    return run.verdict.kind == "improved" and (found is None or is_better(found))


def why_none_accepted(runs: Sequence[Record]) -> str:
    """`: run 4 is better than the baseline, but not significant against run 2, from which it started`: of runs none of which
    was accepted, those that look as if; "" where there are none."""
    better = [run for run in runs if (found := run.verdict.against_baseline) and is_better(found)]
    said = []
    for run in better[:_NAMED]:
        parent = f" against run {run.parent}, from which it started" if run.parent else ""
        said.append(f"run {run.run} is better than the baseline, but {in_words(run.verdict.kind)}{parent}")
    more = [f"so are {len(better) - _NAMED} more"] if len(better) > _NAMED else []
    return f": {'; '.join([*said, *more])}" if said else ""


def evaluate(
    contract: Contract, profile: str, pairs: Sequence[Pair], varied: Sequence[str], record: HoldoutRecord
) -> HoldoutRecord:
    """`record`, a plan, with what came of it. A pair that the run spoils confirms nothing, whatever the others show: who may
    leave out where it does badly, chooses."""
    primary = contract.primary
    assert primary is not None and primary.better is not None
    spoiled = [why for pair in pairs if (why := _problem(contract, profile, pair.reference))]
    if spoiled:
        return _ended(record, "not_evaluated", f"its reference failed in {len(spoiled)} of {len(pairs)} pairs: {spoiled[0]}")
    spoiled = [why for pair in pairs if (why := _problem(contract, profile, pair.run))]
    if spoiled:
        return _ended(record, "not_confirmed", f"the run failed in {len(spoiled)} of {len(pairs)} pairs: {spoiled[0]}")
    results = [(pair.run, pair.reference) for pair in pairs]
    good = [(mine, theirs) for mine, theirs in results if isinstance(mine, Results) and isinstance(theirs, Results)]
    for mine, theirs in good:
        if differing := differences_of_scale(contract, mine.settings, theirs.settings, varied):
            return _ended(record, "not_evaluated", f"not comparable: {', '.join(differing.values())}")
    names = [name for name in good[0][0].metrics if all(name in results.metrics for both in good for results in both)]
    metrics = {
        name: HoldoutMetric(
            run=[mine.metrics[name].value for mine, _ in good], reference=[theirs.metrics[name].value for _, theirs in good]
        )
        for name in names
    }
    record = record.model_copy(update={"metrics": metrics})
    needed = [primary.name, *(m.name for m in contract.metric if m.guard is not None)]
    missing = [name for name in needed if name not in metrics and all(name in theirs.metrics for _, theirs in good)]
    if missing:
        return _ended(record, "not_confirmed", f"{', '.join(missing)} is missing in a pair")
    if primary.name not in metrics:
        return _ended(record, "not_evaluated", f"its reference has no {primary.name}")
    if moved := _moved(primary, metrics):
        return _ended(record, "not_evaluated", f"not comparable: {moved}")
    # An execution knows where it is, by its seed: who keeps to the compute of its reference elsewhere keeps to it here.
    spent = [pair.run_seconds for pair in pairs if pair.run_seconds is not None]
    beside = [pair.reference_seconds for pair in pairs if pair.reference_seconds is not None]
    if len(spent) < len(pairs) == len(beside):
        return _ended(record, "not_confirmed", "its compute was not measured in each pair")
    tolerance = contract.profiles.get(profile, Profile()).most_compute
    excess = compute_excess(spent, beside, tolerance, pairs[0].kind) if len(beside) == len(pairs) else None
    return _tested(contract, primary, record, [str(excess)] if excess else [])


def _tested(contract: Contract, primary: Metric, record: HoldoutRecord, excess: list[str]) -> HoldoutRecord:
    numbers = record.metrics[primary.name]
    assert primary.better is not None
    found = compare_paired(numbers.run, numbers.reference, better=primary.better, level=LEVEL, alpha=LEVEL)
    reference = record.comparison.reference if record.comparison else "run_0"
    compared = as_record(found, reference)
    if not isinstance(found, Comparison):
        return _ended(record.model_copy(update={"comparison": compared}), "not_evaluated", found.why)
    # It was picked for other numbers than these, so nothing is shrunk.
    compared = compared.model_copy(update={"estimate": found.difference})
    guards = _guard_violations(contract, record.metrics) + excess
    status = "confirmed" if found.p <= LEVEL and not guards else "not_confirmed"
    why = "; ".join(guards) if found.p <= LEVEL else ""
    return record.model_copy(update={"comparison": compared, "guard_violations": guards, "status": status, "why": why})


def _guard_violations(contract: Contract, metrics: Mapping[str, HoldoutMetric]) -> list[str]:
    found = []
    for metric in contract.metric:
        if metric.guard is not None and (both := metrics.get(metric.name)):
            found.append(guard_violation(metric.name, both.run, both.reference, metric.guard, better=metric.better))
    return [str(violation) for violation in found if violation]


def _ended(record: HoldoutRecord, status: str, why: str) -> HoldoutRecord:
    return record.model_copy(update={"status": status, "why": why})


def _problem(contract: Contract, profile: str, results: Results | str) -> str:
    """Why the results of an execution are no evidence."""
    return results if isinstance(results, str) else "; ".join(check_sanity(contract, profile, results))


def _moved(primary: Metric, metrics: Mapping[str, HoldoutMetric]) -> str:
    """How far run and reference are apart in what moves the primary metric (L0), "" where they are near."""
    found = metrics.get(primary.moves_with or "")
    if found is None or near(mean(found.run), mean(found.reference)):
        return ""
    return f"{primary.moves_with} {mean(found.run):.4g} against {mean(found.reference):.4g}"


def _difference(run: Record, metric: str) -> float:
    found = run.verdict.against_baseline
    return found.mean - found.reference_mean if found else run.metrics[metric].difference or run.metrics[metric].value
