"""What a campaign came to, in sentences that records carry: no adjective without a number behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..conclusion import conclude, cost
from ..contract import Metric
from ..judging import Judging
from ..standing import Standing
from ..table import number
from ..text import line
from .account import Account
from .estimates import Estimates, answering

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
    """`headline` is the best run and the verdict on it in a sentence; `facts` are sentences that belong to it."""

    headline: str
    tone: Tone
    facts: tuple[str, ...]


def summarize(account: Account, estimates: Estimates) -> Summary:
    """The conclusion as far as the campaign has come: the best run beside what answers for it and the verdict on it, then
    the harness's own conclusion."""
    tried = account.runs[1:]
    primary, best, baseline = account.primary, account.best, account.baseline
    if baseline is None:
        if account.no_baseline:
            return Summary(f"The baseline failed: {account.no_baseline}", "bad", ())
        return Summary("No run is recorded yet, not even the baseline.", "plain", ())
    if not tried:
        has_value = primary is not None and primary.name in baseline.record.metrics
        at = f": {line(primary.name)} {estimates.mean(baseline, primary.name)}" if primary and has_value else ""
        return Summary(f"Only the baseline is recorded so far{at}.", "plain", ())
    on_idea, *others = _concluded(account, estimates.judging)
    facts = (on_idea, *target_in_words(account), *others)
    if primary is None:
        return Summary("No run can be called better: the contract names no primary metric.", "plain", facts)
    if best is None:
        return Summary("No run is evidence.", "bad", facts)
    name, run, kind = line(primary.name), best.record.run, best.record.verdict.kind
    found, reference = estimates.beside(best, primary.name), answering(best)
    beside = f"{estimates.mean(best, primary.name)} against {estimates.reference(best, primary.name)} of {reference}"
    reason = _sentence(best.record.verdict.why)
    improved = [each.record.run for each in tried if each.record.verdict.kind == "improved"]
    tone = TONES.get(kind, "plain")
    if improved:
        which = (
            f"run {run}" if len(improved) == 1 else f"runs {', '.join(map(str, improved))}; best is run {run}, which"
        )
        headline = f"Improved: {which} has {name} {beside}."
    elif found is None or not is_better(primary, found.value, found.reference):
        others_answer = any(answering(each) != "the baseline" for each in tried)
        than = "what answers for it" if others_answer else "the baseline"
        tone = "plain"
        headline = (
            f"No run that is evidence has a {primary.better} {name} than {than}. Nearest is run {run}, {beside}; the "
            f"verdict on it is: {in_words(kind)}."
        )
    else:
        headline = (
            f"{in_words(kind).capitalize()}: run {run} is best in {name} of the runs that are evidence, {beside}."
        )
    return Summary(headline, tone, (on_idea, *reason, *target_in_words(account), *others))


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


def _concluded(account: Account, judging: Judging) -> list[str]:
    """The paragraphs that the notes of a campaign close with."""
    standing = account.standing
    records = [run.record for run in account.runs]
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
