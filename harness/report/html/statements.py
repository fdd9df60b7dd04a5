"""An agent's words in which each number that is certainly a record's is marked by what the record says."""

from __future__ import annotations

from markupsafe import Markup

from ...campaign.record import Record
from ...claims.check import check_field
from ..campaign_data import CampaignData
from ..inline import html as with_spans

MARKS = {"matches": "✓", "contradicts": "✗"}


def statement_html(text: str, campaign: CampaignData, record: Record, name: str) -> Markup:
    """`text`, which `record` has as `name`, perhaps cut. What a record contradicts is followed by what the record says."""
    records = [each.record for each in campaign.runs]
    html, place = Markup(""), 0
    for finding in check_field(name, text, record.run, records, campaign.contract):
        start, end = finding.span
        html += with_spans(text[place:start]) + Markup('<span class="checked {}" title="{}">{}<sup>{}</sup></span>').format(
            finding.verdict, finding.why, text[start:end], MARKS[finding.verdict]
        )
        if finding.verdict == "contradicts":
            html += Markup(' <span class="checked contradicts">[contradicts {}]</span>').format(finding.why)
        place = end
    return html + with_spans(text[place:])
