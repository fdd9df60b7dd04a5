"""What a campaign came to, in sentences that records carry: no adjective without a number behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..conclusion import conclude, cost
from ..contract import Metric
from ..judging import Judging
from ..standing import Standing
from ..table import number, row
from .account import Account

Tone = Literal["good", "bad", "open", "plain"]

TONES: dict[str, Tone] = {
    "improved": "good",
    "traded_off": "open",
    "undecided": "open",
    "not_comparable": "open",
    "no_effect": "open",
    "worse": "bad",
    "unhealthy": "bad",
    "failed": "bad",
}
"""Of verdicts; the others are plain. A tone never stands without its word."""


@dataclass(frozen=True)
class Summary:
    """`headline` is the verdict on the best run in a sentence; `facts` are sentences that belong to it."""

    headline: str
    tone: Tone
    facts: tuple[str, ...]


def summarize(account: Account) -> Summary:
    """The conclusion as far as the campaign has come: the verdict on the best run, then the harness's own conclusion."""
    tried = account.runs[1:]
    primary, best, baseline = account.primary, account.best, account.baseline
    if baseline is None:
        return Summary("No run is recorded yet, not even the baseline.", "plain", ())
    if not tried:
        value = baseline.value(primary.name) if primary else None
        at = f": {primary.name} {number(value)}" if primary and value is not None else ""
        return Summary(f"Only the baseline is recorded so far{at}.", "plain", ())
    on_idea, *others = _concluded(account)
    facts = (on_idea, *target_in_words(account), *others)
    if primary is None:
        return Summary("No run can be called better: the contract names no primary metric.", "plain", facts)
    if best is None:
        return Summary("No run is evidence.", "bad", facts)
    there = baseline.value(primary.name)
    mine, theirs = row([best.value(primary.name), there], 4)
    if there is None or not is_better(primary, best.value(primary.name), there):
        return Summary(
            f"No run that is evidence has a {primary.better} {primary.name} than the baseline ({theirs}).",
            "plain",
            (f"The nearest is run {best.record.run} with {mine}.", *facts),
        )
    kind = best.record.verdict.kind
    has = primary.name if kind == "improved" else f"the {_most(primary)} {primary.name} of the runs that are evidence"
    headline = (
        f"{in_words(kind).capitalize()}: run {best.record.run} has {has}, {mine} against {theirs} of the baseline."
    )
    reason = _sentence(best.record.verdict.why)
    return Summary(headline, TONES.get(kind, "plain"), (on_idea, *reason, *target_in_words(account), *others))


def state_in_words(standing: Standing) -> str:
    """Where the campaign stands, in a sentence."""
    step = standing.step
    at = "between two steps"
    if step is not None:
        tried = f", attempt {step.attempt}" if step.attempt else ""
        at = (
            f"at {step.phase}" if step.run is None else f"at run {step.run} of {standing.max_runs}{tried}: {step.phase}"
        )
    if standing.state == "running":
        return f"Running, {at}, since {when(standing.since)}."
    if standing.state == "new":
        return "Not begun."
    if standing.state == "crashed":
        return f"Neither running here nor ended; it was {at}, {when(standing.since)}."
    word = "Interrupted" if standing.state == "interrupted" else f"Ended: {in_words(standing.reason)}"
    return f"{word}. {standing.message} {when(standing.since)}."


def is_better(metric: Metric, value: float | None, other: float | None) -> bool:
    """Whether `value` lies on the good side of `other`; nothing about whether that means anything."""
    if value is None or other is None or metric.better is None:
        return False
    return value < other if metric.better == "lower" else value > other


def when(time: str) -> str:
    """`2026-11-20T18:58:41Z` as `20 Nov 2026, 18:58 UTC`; what is no such time, as it is."""
    try:
        at = datetime.fromisoformat(time)
    except ValueError:
        return time
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def in_words(name: str) -> str:
    return name.replace("_", " ")


def _concluded(account: Account) -> list[str]:
    """The paragraphs that the notes of a campaign close with."""
    standing = account.standing
    records = [run.record for run in account.runs]
    profile = str(standing.options.get("profile", ""))
    judging = Judging(account.contract, profile, account.planned, records)
    usage = standing.usage
    spent = cost(records, usage.sent + usage.received, usage.cost, standing.seconds)
    return conclude(account.contract, judging, records, spent).split("\n\n")


def target_in_words(account: Account) -> list[str]:
    """Which runs reach the target of the primary metric; nothing where there is none."""
    primary = account.primary
    if primary is None or primary.target is None:
        return []
    wanted = f"The target, {primary.name} {'below' if primary.better == 'lower' else 'above'} {number(primary.target)}"
    reached = [
        run.record.run
        for run in account.runs[1:]
        if run.is_evidence and is_better(primary, run.value(primary.name), primary.target)
    ]
    if not reached:
        return [f"{wanted}, is reached by no run."]
    return [f"{wanted}, is reached by run{'s' if len(reached) > 1 else ''} {', '.join(map(str, reached))}."]


def _sentence(text: str) -> list[str]:
    return [text[:1].upper() + text[1:].rstrip(".") + "."] if text else []


def _most(metric: Metric) -> str:
    return "lowest" if metric.better == "lower" else "highest"
