"""What the harness says of a run: unhealthy, no effect, not comparable, or undecided.

One seed a run says nothing about noise, so nothing here calls a run better or worse than its baseline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from .contract import Contract, Metric, Setting
from .health import check_health
from .record import MetricRecord, Record, SettingRecord, VerdictRecord
from .results import Results
from .table import row, setting

ENOUGH_DIGITS = 9
"""Significant digits in which two runs must agree, over all metrics, to count as the same: three numbers of three digits.
Whole numbers (counts, an L0 that is fixed) agree without meaning it and add none."""

_COST = frozenset(
    [
        *("time", "timestamp", "seconds", "second", "secs", "sec", "ms", "minutes", "hours", "duration", "elapsed"),
        *("latency", "throughput", "speed", "speedup", "overhead", "cost"),
        *("memory", "mem", "vram", "ram", "bytes", "mb", "mib", "gb", "gib"),
    ]
)


def judge(
    contract: Contract, profile: str, results: Results, baseline: Record, earlier: Sequence[Record], *, seed: int | None
) -> VerdictRecord:
    """The verdict on a completed run with `seed`, and why.

    `earlier`: the campaign's runs before it, with or without the baseline; one with another seed is not asked whether it has
    the same numbers, one whose seed is unknown is.
    """
    problems = check_health(contract, profile, results)
    if problems:
        return VerdictRecord(kind="unhealthy", why="; ".join(problems))
    others = {record.run: record for record in (baseline, *earlier)}
    twin = next((other for other in others.values() if _same_numbers(contract, results, other, seed)), None)
    if twin is not None:
        return VerdictRecord(
            kind="no_effect", why=f"same numbers as {_name(twin)}: your change is not on the execution path"
        )
    differences = _differences_of_scale(contract, results, baseline)
    if differences:
        return VerdictRecord(kind="not_comparable", why=f"{', '.join(differences)} ({_name(baseline)})")
    return VerdictRecord(kind="undecided", why=_undecided(contract, results, baseline))


def compare_metrics(results: Results, baseline: Record | None) -> dict[str, MetricRecord]:
    """The run's metrics beside the baseline's; `baseline` is None for the baseline itself."""
    records = {}
    for name, metric in results.metrics.items():
        other = baseline.metrics.get(name) if baseline else None
        records[name] = MetricRecord(
            value=metric.value,
            baseline=other.value if other else None,
            difference=metric.value - other.value if other else None,
            file=metric.file,
            key=metric.key,
        )
    return records


def compare_settings(results: Results, baseline: Record | None) -> dict[str, SettingRecord]:
    """The settings that the run reported beside the baseline's; None stands for one that only the other has."""
    mine = results.settings
    theirs = {name: known.value for name, known in baseline.settings.items()} if baseline else mine
    return {
        name: SettingRecord(value=mine.get(name), baseline=theirs.get(name), source="reported")
        for name in dict.fromkeys([*mine, *theirs])
    }


def _name(record: Record) -> str:
    return f"run_{record.run}, given with the experiment" if record.given else f"run_{record.run}"


def _same_numbers(contract: Contract, results: Results, other: Record, seed: int | None) -> bool:
    """Whether all numbers that both have are equal, cost aside, and are enough of them to rule out chance."""
    known = other.seed if other.seed is not None else _setting(other, "seed")
    if None not in (known, seed) and known != seed:
        return False
    shared = [name for name in results.metrics if name in other.metrics and not _is_cost(name)]
    judged = {metric.name for metric in contract.metric if metric.better is not None and not _is_cost(metric.name)}
    if judged and judged.isdisjoint(shared):
        return False  # what an SAE has no part in, such as the language model's own loss, is always the same
    if any(results.metrics[name].value != other.metrics[name].value for name in shared):
        return False
    return sum(_digits(results.metrics[name].value) for name in shared) >= ENOUGH_DIGITS


def _is_cost(name: str) -> bool:
    """Time, memory and money, which differ between two executions of the same code."""
    return not _COST.isdisjoint(re.split(r"[^a-z]+", name.rpartition(".")[2].lower()))


def _digits(value: float) -> int:
    return 0 if value.is_integer() else len(Decimal(repr(value)).normalize().as_tuple().digits)


def _setting(record: Record, name: str) -> Setting:
    return record.settings[name].value if name in record.settings else None


def _differences_of_scale(contract: Contract, results: Results, baseline: Record) -> list[str]:
    pairs = [(name, results.settings.get(name), _setting(baseline, name)) for name in contract.comparable]
    return [f"{name} {_shown(mine)} against {_shown(theirs)}" for name, mine, theirs in pairs if mine != theirs]


def _shown(value: Setting) -> str:
    return "not reported" if value is None else setting(value)


def _undecided(contract: Contract, results: Results, baseline: Record) -> str:
    primary = contract.primary
    parts = [_compared(primary, results, baseline) if primary else "the contract names no primary metric"]
    known = {*(name for name, value in results.settings.items() if value is not None)}
    if contract.comparable and known.isdisjoint(contract.comparable):
        parts.append(f"neither reports {' or '.join(contract.comparable)}, so the scale may differ")
    parts.append("one seed each, so the noise is unknown")
    return "; ".join(parts)


def _compared(metric: Metric, results: Results, baseline: Record) -> str:
    mine, theirs = results.metrics.get(metric.name), baseline.metrics.get(metric.name)
    if mine is None or theirs is None:
        return f"{'this run' if mine is None else _name(baseline)} has no {metric.title}"
    shown = row([mine.value, theirs.value], 3)
    return f"{metric.title} {shown[0]} against {shown[1]} ({_name(baseline)}), {metric.better} is better"
