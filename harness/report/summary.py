"""What a campaign came to, in sentences that records carry: no adjective without a number behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..campaign.contract import Metric
from ..campaign.numbers import number
from ..campaign.text import in_words, line
from ..statistics.judge import Judge
from .campaign_data import CampaignData
from .conclusion import conclude, cost
from .estimates import Estimates, reference_label
from .terminal.status import CampaignStatus

Tone = Literal["good", "bad", "open", "plain"]

TONES: dict[str, Tone] = {
    "improved": "good",
    "trade_off": "open",
    "inconclusive": "open",
    "not_comparable": "open",
    "no_effect": "open",
    "worse": "bad",
    "invalid": "bad",
    "failed": "bad",
}
"""Of verdicts; the others are plain. A tone never stands without its word."""


@dataclass(frozen=True)
class Summary:
    """`headline` is the best run and the verdict on it in a sentence; `facts` are sentences that belong to it."""

    headline: str
    tone: Tone
    facts: tuple[str, ...]


def summarize(campaign: CampaignData, estimates: Estimates) -> Summary:
    """The conclusion as far as the campaign has come: the best run beside its reference and the verdict on it, then
    the harness's own conclusion."""
    tried = campaign.runs[1:]
    primary, best, baseline = campaign.primary, campaign.best, campaign.baseline
    if baseline is None:
        if campaign.no_baseline:
            return Summary(f"The baseline failed: {campaign.no_baseline}", "bad", ())
        return Summary("No run is recorded yet, not even the baseline.", "plain", ())
    if not tried:
        has_value = primary is not None and primary.name in baseline.record.metrics
        at = f": {line(primary.name)} {estimates.mean(baseline, primary.name)}" if primary and has_value else ""
        return Summary(f"Only the baseline is recorded so far{at}.", "plain", ())
    on_idea, *others = _concluded(campaign, estimates.judge)
    facts = (on_idea, *target_in_words(campaign), *others)
    if primary is None:
        return Summary("No run can be called better: no primary metric is named.", "plain", facts)
    if best is None:
        return Summary("No run is evidence.", "bad", facts)
    name, run, kind = line(primary.name), best.record.run, best.record.verdict.kind
    found, reference = estimates.beside(best, primary.name), reference_label(best)
    beside = f"{estimates.mean(best, primary.name)} against {estimates.reference(best, primary.name)} of {reference}"
    reason = _sentence(best.record.verdict.why)
    improved = [each.record.run for each in tried if each.record.verdict.kind == "improved"]
    tone = TONES.get(kind, "plain")
    if improved:
        which = f"run {run}" if len(improved) == 1 else f"runs {', '.join(map(str, improved))}; best is run {run}, which"
        headline = f"Improved: {which} has {name} {beside}."
    elif found is None or not is_better(primary, found.value, found.reference):
        others_answer = any(reference_label(each) != "the baseline" for each in tried)
        than = "its reference" if others_answer else "the baseline"
        tone = "plain"
        headline = (
            f"No run that is evidence has a {primary.better} {name} than {than}. Nearest is run {run}, {beside}; the "
            f"verdict on it is: {in_words(kind)}."
        )
    else:
        headline = f"{in_words(kind).capitalize()}: run {run} is best in {name} of the runs that are evidence, {beside}."
    return Summary(headline, tone, (on_idea, *reason, *target_in_words(campaign), *others))


def state_in_words(status: CampaignStatus) -> str:
    """Where the campaign stands, in a sentence."""
    step = status.step
    at = "between two steps"
    if step is not None:
        tried = f", attempt {step.attempt}" if step.attempt else ""
        at = f"at {step.phase}" if step.run is None else f"at run {step.run} of {status.max_runs}{tried}: {step.phase}"
    if status.state == "running":
        return f"Running, {at}, since {when(status.since)}."
    if status.state == "new":
        return "Not begun."
    if status.state == "crashed":
        return f"Neither running here nor ended; it was {at}, {when(status.since)}."
    word = "Interrupted" if status.state == "interrupted" else f"Ended: {in_words(status.reason)}"
    return f"{word}. {status.message} {when(status.since)}."


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


def _concluded(campaign: CampaignData, judge: Judge) -> list[str]:
    """The paragraphs that the notes of a campaign close with."""
    status = campaign.status
    records = [run.record for run in campaign.runs]
    usage = status.usage
    spent = cost(records, usage.sent + usage.received, usage.cost, status.seconds)
    return conclude(campaign.contract, judge, records, spent).split("\n\n")


def target_in_words(campaign: CampaignData) -> list[str]:
    """Which runs reach the target of the primary metric; nothing where there is none."""
    primary = campaign.primary
    if primary is None or primary.target is None:
        return []
    wanted = f"The target, {primary.name} {'below' if primary.better == 'lower' else 'above'} {number(primary.target)}"
    reached = [
        run.record.run
        for run in campaign.runs[1:]
        if run.is_evidence and is_better(primary, run.value(primary.name), primary.target)
    ]
    if not reached:
        return [f"{wanted}, is reached by no run."]
    return [f"{wanted}, is reached by run{'s' if len(reached) > 1 else ''} {', '.join(map(str, reached))}."]


def _sentence(text: str) -> list[str]:
    return [text[:1].upper() + text[1:].rstrip(".") + "."] if text else []
