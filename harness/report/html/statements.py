"""An agent's words with each claim that records could confirm or contradict marked by what they say of it."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from ...claims.check import Finding, check
from ..campaign_data import CampaignData

MARKS = {"matches": "✓", "contradicts": "✗", "no_source": "?"}
FORECASTS = ("hypothesis", "plan")
"""Fields of a record that are older than its run."""


def said_html(text: str, campaign: CampaignData, run: int, name: str) -> Markup:
    """`text`, which the record of `run` has as `name`. What a record contradicts is followed by what the record says."""
    forecast = name in FORECASTS
    known = [each.record for each in campaign.runs if each.record.run < run + (not forecast)]  # what there was to speak of
    html, place = Markup(""), 0
    earlier: tuple[int, int, str] = (0, 0, "")
    for finding in check(text, known, campaign.contract, about=run, forecast=forecast):
        if not finding.claim:
            continue
        # Claims come in the order of the text, and one may stand inside the words of another.
        start, end = _place(text, finding, earlier[1] if finding.claim == earlier[2] else earlier[0])
        earlier = (start, end, finding.claim)
        if start < place:  # inside the words of an earlier claim, behind which there is room for what a record says
            start = end = place
        html += escape(text[place:start])
        if start < end:
            html += Markup('<span class="checked {}" title="{}">{}<sup>{}</sup></span>').format(
                finding.verdict, finding.why, text[start:end], MARKS[finding.verdict]
            )
        if finding.verdict == "contradicts":
            html += Markup(' <span class="checked contradicts">[contradicts {}]</span>').format(finding.why)
        place = end
    return html + escape(text[place:])


def _place(text: str, finding: Finding, after: int) -> tuple[int, int]:
    """Where the claim stands in its sentence, as a word of its own; behind the sentence where it does not stand so."""
    first, last = finding.span
    words = re.compile(rf"(?<![\w.]){re.escape(finding.claim)}(?!\w|\.\d)")
    found = words.search(text, max(first, after), last) or words.search(text, first, last)
    return found.span() if found else (last, last)
