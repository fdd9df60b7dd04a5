"""An agent's words with each claim that records could confirm or contradict marked by what they say of it."""

from __future__ import annotations

from markupsafe import Markup, escape

from ..check import check
from .account import Account

MARKS = {"matches": "✓", "contradicts": "✗", "no_source": "?"}


def said_html(text: str, account: Account, run: int) -> Markup:
    """`text`, which speaks of `run` where it names none. What a record contradicts is followed by what the record says."""
    known = [each.record for each in account.runs if each.record.run <= run]  # what there was to speak of
    findings = check(text, known, account.contract, about=run)
    html, place = Markup(""), 0
    for finding in findings:
        # Claims come in the order of the text; one that stands inside an earlier one's words has no place of its own.
        start = text.find(finding.claim, max(place, finding.span[0]), finding.span[1]) if finding.claim else -1
        if start < 0:
            continue
        html += escape(text[place:start])
        html += Markup('<span class="checked {}" title="{}">{}<sup>{}</sup></span>').format(
            finding.verdict, finding.why, finding.claim, MARKS[finding.verdict]
        )
        if finding.verdict == "contradicts":
            html += Markup(' <span class="checked contradicts">[contradicts {}]</span>').format(finding.why)
        place = start + len(finding.claim)
    return html + escape(text[place:])
