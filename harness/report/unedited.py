"""A text about a campaign held against it: which lines are the harness's own, as it renders them, and what others say."""

from __future__ import annotations

import re
from pathlib import Path

from ..campaign.bibliography import read_works
from ..campaign.layout import Layout
from ..claims.check import Finding, check
from .campaign_data import CampaignData, read_campaign_data
from .estimates import Estimates
from .html.report import render
from .number_references import REFERENCE, NumberReferences, typed_numbers
from .paper.document import Document
from .paper.render_html import render_html
from .paper.render_md import render_md
from .paper.render_tex import render_tex
from .paper.writeup import compose, read_person

_VARIES = re.compile(r"\d{1,2} \w{3} \d{4}, \d\d:\d\d UTC|[\w./-]*-figures/|<[^>]*>")
"""When and under which name it was made, and the markup of a page."""


def held(text: str, layout: Layout, name: str) -> tuple[list[Finding], list[tuple[int, list[str]]]]:
    """What the records say of a text whose file has this name, its references filled in; and line by line, from 1 on, the
    numbers in it that nothing verifies: somebody typed them, and it is not certain of what they are."""
    campaign = read_campaign_data(layout)
    filled = NumberReferences(campaign, Estimates(campaign)).fill(text, name)
    found = check(filled, [run.record for run in campaign.runs], campaign.contract)
    certain = {(filled.count("\n", 0, each.span[0]), each.claim) for each in found}
    document = compose(campaign, read_person(layout), works=read_works(*layout.bibliographies))
    own = {_stripped(line) for line in _rendered(campaign, document, Path(name).suffix).split("\n")}
    theirs, unverified = set(), []
    for place, line in enumerate(text.split("\n")):
        shown = _stripped(line)
        if shown in own:  # the harness's words, or somebody's that it quotes as unverified
            continue
        theirs.add(place)
        if rest := [each for each in typed_numbers(REFERENCE.sub(" ", shown)) if (place, each) not in certain]:
            unverified.append((place + 1, rest))
    return [each for each in found if filled.count("\n", 0, each.span[0]) in theirs], unverified


def _rendered(campaign: CampaignData, document: Document, kind: str) -> str:
    """Paper and report in the format of a file."""
    match kind:
        case ".tex":
            return render_tex(document, "paper-figures")
        case ".html":
            return "\n".join((render_html(document), render([campaign])))
    return render_md(document, "paper-figures")


def _stripped(line: str) -> str:
    return " ".join(_VARIES.sub(" ", line).split())
