"""What a campaign came to, in sentences that records carry: no adjective without a number behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..campaign.layout import Layout
from ..campaign.metric import Metric
from ..campaign.numbers import number
from ..campaign.text import in_words, line
from .campaign_data import CampaignData
from .conclusion import conclude
from .control import control_line
from .estimates import Estimates
from .terminal.status import CampaignStatus

Tone = Literal["good", "bad", "open", "plain"]

TONES: dict[str, Tone] = {
    "improved": "good",
    "trade_off": "open",
    "inconclusive": "open",
    "not_comparable": "open",
    "no_effect": "open",
    "given": "open",
    "worse": "bad",
    "invalid": "bad",
    "failed": "bad",
}
"""Of verdicts; the others are plain. A tone never stands without its word."""

_TONES: dict[str, Tone] = {
    "Supported": "good",
    "Trade-off": "open",
    "Inconclusive": "open",
    "Improved, not evaluated on held-out data": "open",
}
"""Of conclusions; the others are plain."""


@dataclass(frozen=True)
class Summary:
    """`headline` is the conclusion in a sentence, result first; `facts` are sentences that belong to it."""

    headline: str
    tone: Tone
    facts: tuple[str, ...]


def summarize(campaign: CampaignData, estimates: Estimates) -> Summary:
    """The conclusion as far as the campaign has come."""
    tried = campaign.runs[1:]
    primary, baseline = campaign.primary, campaign.baseline
    if baseline is None:
        if campaign.no_baseline:
            return Summary(f"The baseline failed: {campaign.no_baseline}", "bad", ())
        return Summary("No run is recorded yet, not even the baseline.", "plain", ())
    if not tried:
        has_value = primary is not None and primary.name in baseline.record.metrics
        at = f": {line(primary.name)} {estimates.mean(baseline, primary.name)}" if primary and has_value else ""
        return Summary(f"Only the baseline is recorded so far{at}.", "plain", ())
    on_idea, *others = _concluded(campaign)
    if primary is None:
        how = on_idea.removeprefix("Inconclusive: no primary metric is named.").strip()  # the headline has said that
        return Summary("No run can be called better: no primary metric is named.", "plain", (*filter(None, [how]), *others))
    return Summary(on_idea, _TONES.get(on_idea.partition(":")[0], "plain"), (*target_in_words(campaign), *others))


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
        return f"Not running on this machine and not ended; last seen {at}, {when(status.since)}."
    word = "Interrupted" if status.state == "interrupted" else "Ended"
    return f"{word} {when(status.since)}. {status.message or f'{in_words(status.reason)}.'.capitalize()}"


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


def _concluded(campaign: CampaignData) -> list[str]:
    """The paragraphs that the notes of a campaign close with, but for what it used, which has a place of its own."""
    status = campaign.status
    records = [run.record for run in campaign.runs]
    beside = control_line(Layout(status.folder), campaign.contract, records)
    return conclude(campaign.contract, records, "", status.held_out, beside).split("\n\n")


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
