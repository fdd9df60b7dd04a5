"""What can be said of a run without knowing the noise: that it is invalid, has no effect, or is not comparable.

Whether a run is better than another rests on noise, and is the ledger's to say (`judge`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence, Set
from decimal import Decimal

from ..campaign.contract import Contract, Setting
from ..campaign.metric_names import is_cost
from ..campaign.numbers import setting
from ..campaign.protocols import OF_THE_MACHINE, SCORED_WITH
from ..campaign.record import MetricRecord, Record, SettingRecord, VerdictRecord
from ..results.reading import Results
from ..results.sanity import check_sanity

ENOUGH_DIGITS = 9
"""Significant digits in which two runs must agree, over all metrics, to count as the same: three numbers of three digits.
Whole numbers (counts, an L0 that is fixed) agree without meaning it and add none."""


def screen(
    contract: Contract, profile: str, results: Results, earlier: Sequence[Record], *, seed: int | None
) -> VerdictRecord | None:
    """Whether the results of a run with `seed` are evidence at all: invalid, no effect, or None where they are.

    `earlier`: the campaign's runs before it, the baseline among them, as far as they may have the same numbers; one with
    another seed is not asked whether it has, one whose seed is unknown is.
    """
    problems = check_sanity(contract, profile, results)
    if problems:
        return VerdictRecord(kind="invalid", why="; ".join(problems))
    judged = judged_metrics(contract)
    twin = next((other for other in earlier if _same_numbers(judged, results, other, seed)), None)
    if twin is not None:
        return VerdictRecord(
            kind="no_effect",
            why=f"metrics identical to {name_of(twin)}: the change was not executed, or no metric depends on it",
        )
    return None


def judged_metrics(contract: Contract) -> set[str]:
    """The metrics of which more or less is better, cost aside."""
    return {metric.name for metric in contract.metric if metric.better is not None and not is_cost(metric.name)}


def differences_of_scale(
    contract: Contract, mine: Mapping[str, Setting], theirs: Mapping[str, Setting], varied: Collection[str] = ()
) -> dict[str, str]:
    """The settings that decide scale and differ, and how ("k 40 against 320"); `varied` are meant to."""
    over = [metric.over for metric in contract.metric if metric.over is not None]
    chosen = [name for name in [*contract.comparable, *over] if name not in varied and name not in contract.varies]
    return {
        name: f"{name} {_shown(mine.get(name))} against {_shown(theirs.get(name))}"
        for name in [*chosen, *measured_with(mine, theirs)]
        if mine.get(name) != theirs.get(name)
    }


def measured_with(*settings: Mapping[str, Setting]) -> list[str]:
    """The names of what numbers of these runs depend on besides the runs: their scorer, and their GPU where all know it."""
    names = dict.fromkeys(name for each in settings for name in each)
    known = [name for name in names if all(each.get(name) is not None for each in settings)]
    return [name for name in names if name.startswith(SCORED_WITH) or (name in known and name.startswith(OF_THE_MACHINE))]


def compare_metrics(
    by_seed: Sequence[Results],
    baseline: Record | None,
    *,
    own_seeds: bool = False,
    stages: Sequence[Results] = (),
    beside: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, MetricRecord]:
    """The run's metrics, means over its seeds, beside the baseline's; `baseline` is None for the baseline itself.

    A metric counts only where each seed has it. `own_seeds`: HARNESS_SEED changes nothing, so that the seeds of a metric are
    those that the experiment itself ran, where it says what they gave. Where `by_seed` are final seeds, `stages` are those
    before them and `beside` is what the baseline gave there.
    """
    records = {}
    for name, metric in by_seed[0].metrics.items():
        values = [results.metrics[name].value for results in by_seed if name in results.metrics]
        if len(values) < len(by_seed):
            continue
        if is_own := own_seeds and len(metric.seeds) > 1:
            values = list(metric.seeds)
        mean = math.fsum(values) / len(values)
        known = baseline.metrics.get(name) if baseline else None
        theirs = (beside or {}).get(name) or ([known.value] if known else [])
        other = math.fsum(theirs) / len(theirs) if theirs else None
        records[name] = MetricRecord(
            value=mean,
            values=values,
            self_reported=is_own,
            reported_error=metric.error,
            stage_values=[each.metrics[name].value for each in stages if name in each.metrics],
            baseline=other,
            difference=mean - other if other is not None else None,
            file=metric.file,
            key=metric.key,
        )
    return records


def compare_settings(results: Results, baseline: Record | None) -> dict[str, SettingRecord]:
    """The run's settings beside the baseline's, and who says so; None stands for one that only the other has. Those of an
    evaluation that the run did not have (`core.batch_size` where nothing begins with `core.`) are left out."""
    mine = results.settings
    theirs = {name: known.value for name, known in baseline.settings.items()} if baseline else mine
    evaluated = {name.rpartition(".")[0] for name in mine} | {""}
    return {
        name: SettingRecord(value=mine.get(name), baseline=theirs.get(name), source=results.sources.get(name, "reported"))
        for name in dict.fromkeys([*mine, *theirs])
        if name in mine or name.rpartition(".")[0] in evaluated
    }


def seed_changes_nothing(by_seed: Sequence[Results], *, is_read: bool = True) -> bool:
    """Whether all executions of one code gave the same numbers, cost aside, and are enough of them to rule out chance;
    where the code reads no seed, one is enough."""
    first, *others = by_seed
    shared = [name for name in first.metrics if not is_cost(name) and all(name in other.metrics for other in others)]
    if any(first.metrics[name].value != other.metrics[name].value for name in shared for other in others):
        return False
    digits = sum(_digits(first.metrics[name].value) for name in shared) * len(others)
    return digits >= ENOUGH_DIGITS if is_read else bool(shared)


def name_of(record: Record) -> str:
    return f"run {record.run}, given with the experiment" if record.given else f"run {record.run}"


def _same_numbers(judged: Set[str], results: Results, other: Record, seed: int | None) -> bool:
    """Whether all numbers that both have are equal, cost aside, and are enough of them to rule out chance; `judged` are the
    metrics of the contract of which more or less is better."""
    known = other.seed if other.seed is not None else _setting(other, "seed")
    # With another seed the numbers differ even where the change does nothing.
    if None not in (known, seed) and known != seed:
        return False
    shared = []
    for name in results.metrics:
        if name in other.metrics and not is_cost(name):
            if results.metrics[name].value != first_value(other.metrics[name]):
                return False
            shared.append(name)
    if judged and judged.isdisjoint(shared):
        return False  # what an SAE has no part in, such as the language model's own loss, is always the same
    return sum(_digits(results.metrics[name].value) for name in shared) >= ENOUGH_DIGITS


def _digits(value: float) -> int:
    return 0 if value.is_integer() else len(Decimal(repr(value)).normalize().as_tuple().digits)


def _setting(record: Record, name: str) -> Setting:
    return record.settings[name].value if name in record.settings else None


def first_value(metric: MetricRecord) -> float:
    """The value at the run's own seed."""
    if metric.stage_values:
        return metric.stage_values[0]
    return metric.values[0] if metric.values else metric.value


def _shown(value: Setting) -> str:
    return "not reported" if value is None else setting(value)
