"""Numbers in prose held against the records: each matches or contradicts one, where it is certain which is meant.

No model reads anything here: the same words and records always give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..campaign.contract import Contract
from ..campaign.numbers import number
from ..campaign.record import MetricRecord, Record
from ..campaign.text import clip, line
from .names import Names
from .statements import Statement, statements

_LONGEST = 400  # characters of a reason
_TELLING = 3
"""Significant digits from which on a number that equals another run's is taken to be that."""
_FORECASTS = ("plan", "hypothesis")
_BEFORE_THE_RUN = (*_FORECASTS, "description")


@dataclass(frozen=True)
class Finding:
    """A number that was typed, and what the record says of it."""

    sentence: str
    span: tuple[int, int]
    """Where the number stands in the text."""
    claim: str
    verdict: Literal["matches", "contradicts"]
    why: str
    """Run, metric, value and file, in one line."""
    run: int
    name: str


def check(
    text: str, records: Sequence[Record], contract: Contract, *, about: int | None = None, before: int | None = None
) -> list[Finding]:
    """The numbers in `text` of which metric and run are certain, in its order. `about`: the run that it speaks of where
    neither sentence nor heading names one. `before`: the run that it was written before, of which it states nothing."""
    known = {record.run: record for record in records if record.status == "completed"}
    found = []
    for each in statements(text, Names(contract, records), about, None if before is not None else about):
        record = known.get(each.run) if each.run != before else None
        metric = record.metrics.get(each.name) if record else None
        verdict = _judged(each, metric, known, before) if metric else None
        if metric and verdict:
            why = f"run_{each.run}: {each.name} is {number(metric.value, 5)} (run_{each.run}/{metric.file or 'record.json'})"
            place = (line(each.sentence.text), (each.number.start, each.number.end))
            found.append(Finding(*place, each.number.text, verdict, clip(line(why), _LONGEST), each.run, each.name))
    return found


def contradictions(findings: Iterable[Finding]) -> list[Finding]:
    """Those that a record contradicts."""
    return [finding for finding in findings if finding.verdict == "contradicts"]


def words_on(record: Record, records: Sequence[Record], contract: Contract) -> dict[str, list[Finding]]:
    """What the agent says with a run, by the names of the record's fields."""
    names = (*_BEFORE_THE_RUN, "interpretation")
    return {name: check_field(name, getattr(record, name), record.run, records, contract) for name in names}


def check_field(name: str, text: str, run: int, records: Sequence[Record], contract: Contract) -> list[Finding]:
    """The numbers in `text`, a field of a run's record. What was written before the run can match the run before it, and
    only what it says of a run that it names is contradicted; what a given run's loop says was written after it."""
    before = name in _BEFORE_THE_RUN and not records[run].given
    about = None if name in _FORECASTS else max(run - before, 0)
    return check(text, records[: run + 1], contract, about=about, before=run if before else None)


def _judged(
    claim: Statement, metric: MetricRecord, known: Mapping[int, Record], before: int | None
) -> Literal["matches", "contradicts"] | None:
    """What the record says; None where another reading is possible."""
    if _fits(claim, metric.value):
        return "matches"
    digits = len(claim.number.text.translate({ord(","): None, ord("."): None}).lstrip("+-−0"))
    others = {run: record.metrics[claim.name].value for run, record in known.items() if claim.name in record.metrics}
    seeds_or_cut_off = any(_fits(claim, value) for value in metric.values) or _fits(claim, metric.value, units=1.0)
    difference = claim.number.text[0] in "-−" and metric.value >= 0
    count = abs(metric.value) <= 1 and claim.number.text.isdecimal() and not claim.percent  # and the record has a share
    # "Fell from 0.339 to 0.189", written with the run that then had 0.189: whose it is, that one's or the one before's?
    whose = before is not None and (not claim.named or (before in others and _fits(claim, others[before])))
    another = not claim.named and digits >= _TELLING and any(_fits(claim, value) for value in others.values())
    return None if seeds_or_cut_off or difference or count or whose or another else "contradicts"


def _fits(claim: Statement, actual: float, units: float = 0.5) -> bool:
    """Whether the number as written is `actual`, rounded to its last digit: a share also as a percentage."""
    text = claim.number.text.replace(",", "").replace("−", "-")
    value = float(text)
    mantissa, _, power = text.lower().partition("e")
    step = 10.0 ** (max(-300, min(300, int(power or 0))) - len(mantissa.partition(".")[2]))
    if text.isdecimal() and not actual.is_integer():
        step *= 10 ** min(len(text) - len(text.rstrip("0")), max(len(text) - 2, 0))  # 4,400 for 4,357.6
    shares = abs(actual) <= 1 < abs(value) <= 100
    readings = [actual * 100] if claim.percent and abs(actual) <= 1 else [actual, actual * 100] if shares else [actual]
    return any(abs(value - each) <= step * units * (1 + 1e-9) for each in readings)
