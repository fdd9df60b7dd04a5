"""A first look at what a loop of somebody else claims: what repeats itself, and what is within the baseline's spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..campaign.contract import Contract
from ..campaign.metric import Metric
from ..campaign.numbers import counted, number
from ..campaign.record import Record
from ..statistics.noise import prediction_interval


@dataclass(frozen=True)
class Spread:
    """Where 95 % of further seeds of the baseline would be, and how many kept changes are there too."""

    baseline_seeds: int
    low: float
    high: float
    kept: int
    within: int


def given(records: Sequence[Record]) -> list[Record]:
    """The runs of the loop that was observed."""
    return [record for record in records if record.observed is not None]


def claimed_best(records: Sequence[Record], primary: Metric | None) -> Record | None:
    """The best by the loop's own numbers, better than its baseline's where that was given. A run that repeats an earlier one
    claims nothing of its own."""
    if primary is None:
        return None
    valued = [record for record in given(records) if primary.name in record.metrics and record.verdict.kind != "invalid"]
    sign = 1 if primary.better == "lower" else -1
    if records[0].given and primary.name in records[0].metrics:
        theirs = sign * records[0].metrics[primary.name].value
        valued = [record for record in valued if sign * record.metrics[primary.name].value < theirs]
    return min(valued, key=lambda record: sign * record.metrics[primary.name].value, default=None)


def spread(records: Sequence[Record], primary: Metric | None) -> Spread | None:
    """None where the baseline was not executed here with several seeds, or these do not scatter."""
    if primary is None or not records or primary.name not in records[0].metrics or records[0].given:
        return None
    values = [*records[0].by_seed(primary.name).values()]
    limits = prediction_interval(values)
    if limits is None:
        return None
    kept = [each.metrics[primary.name].value for each in given(records) if _is_kept(each) and primary.name in each.metrics]
    inside = sum(limits[0] <= value <= limits[1] for value in kept)
    return Spread(len(values), *limits, len(kept), inside)


def first_look(contract: Contract, records: Sequence[Record]) -> list[str]:
    """Sentences; none for a campaign that began with no runs of another loop."""
    runs = given(records)
    if not runs:
        return []
    same = sum(_same_code(each) for each in runs)
    twins = sum(each.observed is not None and each.observed.same_numbers_as is not None for each in runs)
    unknown = sum(each.observed is not None and not each.observed.has_code for each in runs)
    said = [
        f"{counted(len(runs), 'run')} of a loop that was observed, given and not executed here: "
        f"{counted(same, 'no-op')}, {twins} with the numbers of an earlier run, {unknown} whose code is not known."
    ]
    primary, found = contract.primary, spread(records, contract.primary)
    if primary and found and found.kept:
        said.append(
            f"{found.within} of its {counted(found.kept, 'kept change')} are within the spread of {found.baseline_seeds} "
            f"baseline seeds: 95 % of further seeds would have {primary.name} {number(found.low)} to {number(found.high)}."
        )
    return said


def far_from_theirs(records: Sequence[Record], primary: Metric | None, theirs: Mapping[str, float]) -> str:
    """That the baseline which was executed here cannot be the loop's own, whose numbers are `theirs`; empty where it may."""
    if primary is None or not records or records[0].given or primary.name not in {*records[0].metrics} & {*theirs}:
        return ""
    values, own = [*records[0].by_seed(primary.name).values()], theirs[primary.name]
    low, high = prediction_interval(values) or (min(values), max(values))
    if len(values) < 2 or low <= own <= high:
        return ""
    return (
        f"The baseline executed here is not theirs: {primary.name} {number(own)} there, and here 95 % of further seeds "
        f"would have {number(low)} to {number(high)}. Code, settings, data or packages differ; their numbers prove nothing."
    )


def _is_kept(record: Record) -> bool:
    return record.observed is not None and record.observed.kept


def _same_code(record: Record) -> bool:
    return record.observed is not None and record.observed.same_code_as is not None
