"""The line that puts a campaign's control, a search without a model, beside the best run of its agent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..campaign.contract import Contract
from ..campaign.layout import Layout, find_control
from ..campaign.metric import Metric
from ..campaign.numbers import counted
from ..campaign.record import Record
from ..campaign.text import in_words, line
from ..statistics.noise import with_noise
from .conclusion import best_valid
from .estimates import signed, with_error

NAMES = {"tpe": "TPE", "random": "Random search"}


@dataclass(frozen=True)
class _Best:
    """What a campaign came to: a number with its standard error, and what it rests on."""

    value: float
    error: float | None
    rests_on: str


def control_line(layout: Layout, contract: Contract, records: Sequence[Record]) -> str:
    """`TPE with as many runs (10, campaign tree-tpe): 0.22 ± 0.02 (…); the agent's best: 0.19 ± 0.02 (…); difference …`,
    on held-out values where both campaigns have some; "" where the campaign has no control."""
    control, primary = find_control(layout), contract.primary
    asked = layout.facts()["options"].get("control")
    if not asked or primary is None:
        return ""
    name = NAMES[str(asked)]
    if control is None:
        return f"The control ({name}) is not beside this campaign, so nothing is compared with it."
    runs = len(records) - 1
    theirs = [Record.of(each) for each in control.records()]
    events = [event for event in control.events() if event["event"] == "ended"]
    if len(theirs) - 1 < runs and not (events and events[-1]["reason"] == "all_completed"):
        return f"The control ({name}, {line(control.name)}) has not ended, so nothing is compared with it yet."
    said = f"{name} with as many runs ({runs}, campaign {line(control.name)})"
    held_out = [_held_out(each) for each in (control, layout)]
    found = held_out if all(held_out) else [_selected(contract, primary, each) for each in (theirs, records)]
    where = "held-out values" if all(held_out) else "the seeds of the runs, of which the best of each campaign was picked"
    one, other = found
    if one is None or other is None:
        nobody = f"{said} has no valid run" if one is None else f"{said}: {_said(one)}; the agent has no valid run"
        return f"{nobody} to compare."
    difference, errors = other.value - one.value, (one.error, other.error)
    apart = signed(difference)
    if one.error and other.error:
        apart = with_noise(difference, math.hypot(*filter(None, errors)), "+")
    return (
        f"{said}: {line(primary.name)} {_said(one)}; the agent's best: {_said(other)}; difference {apart} (the "
        f"agent's minus the search's), on {where}. One campaign each: this says nothing of agents in general."
    )


def _said(best: _Best) -> str:
    return f"{with_error(best.value, best.error)} ({best.rests_on})"


def _selected(contract: Contract, primary: Metric, records: Sequence[Record]) -> _Best | None:
    best = best_valid(contract, [record for record in records if record.run > 0])
    if best is None:
        return None
    found = best.verdict.against_baseline
    value = found.mean if found else best.metrics[primary.name].value
    error = found.sd / math.sqrt(found.seeds) if found and found.sd is not None else None
    seeds = counted(best.seed_count, "final seed" if best.stage_seeds else "seed")
    return _Best(value, error, f"run {best.run}, {in_words(best.verdict.kind)}, {seeds}")


def _held_out(layout: Layout) -> _Best | None:
    """The last held-out evaluation that gave numbers."""
    evaluated: list[Mapping[str, Any]] = [each for each in layout.holdouts() if each["status"] != "not_evaluated"]
    found = evaluated[-1]["comparison"] if evaluated else None
    if found is None or not found["seeds"]:
        return None
    error = found["sd"] / math.sqrt(found["seeds"]) if found["sd"] is not None else None
    last = evaluated[-1]
    why = f": {'; '.join(map(line, last['guard_violations']))}" if last["guard_violations"] else ""
    pairs = counted(len(last["pairs"]), "held-out execution")
    return _Best(found["mean"], error, f"run {last['run']}, {in_words(last['status'])}{why}, {pairs}")
