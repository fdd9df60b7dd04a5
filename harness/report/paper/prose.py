"""What a model writes between the tables of a write-up: asked once, without edits, and held against the records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...agents.aider import AiderAgent
from ...campaign.errors import CannotGoOn
from ...campaign.protocols import AgentConfig
from ...campaign.text import clip, line, template
from ...claims.check import Finding, check
from ..campaign_data import CampaignData
from .document import Document
from .render_md import render_md
from .writeup import SLOTS, Prose

_SYSTEM = """You write up experiments for researchers who will check every word. Plain, precise sentences; no praise, no \
adjective without a number, no claim beyond the verdicts. What did not work is as interesting as what did."""
_HEADING = re.compile(rf"#{{1,6}}[ \t]*(?:\d+\.?[ \t]*)?({'|'.join(SLOTS)})\b[^\n]{{0,40}}", re.IGNORECASE)
_LONGEST = 20_000  # characters of one section


def write(campaign: CampaignData, document: Document, model: str, say: Callable[[str], None]) -> Prose:
    """Ask `model` for the text of SLOTS, given the document without it. `say` is told what takes long.

    Raises CannotGoOn where it gives none, and where a sentence of it contradicts a record: then with that sentence marked.
    """
    agent = AiderAgent(AgentConfig(model=model, on_output=say))
    try:
        agent.check()
        text = render_md(replace(document, appendices=()), "figures")
        reply = agent.complete(model, _SYSTEM, template("writeup/prose.j2").render(slots=SLOTS, document=text))
    finally:
        agent.close()
    if reply.failure is not None:
        raise CannotGoOn(f"--prose {model}: {reply.failure} Nothing was written.")
    paragraphs = read(reply.text)
    if not paragraphs:
        said = clip(line(reply.text), 200) or "nothing"
        wanted = ", ".join(f"## {title}" for title in SLOTS)
        raise CannotGoOn(f"--prose {model}: its answer has none of the headings {wanted}. It said: {said}")
    findings = {title: _check(campaign, text) for title, text in paragraphs.items()}
    wrong = [
        f"  {title}: {line(sentence)} [contradicts {'; '.join(reasons)}]"
        for title, found in findings.items()
        for sentence, reasons in _contradicted(found).items()
    ]
    if wrong:
        sentences = "\n".join(wrong)
        raise CannotGoOn(
            f"--prose {model}: its text contradicts the records, so nothing was written:\n{sentences}\nAsk again, or leave "
            "out --prose: the write-up is complete without it."
        )
    unsourced = [
        f"{title}: {each.claim or line(each.sentence)}: {each.why}"
        for title, found in findings.items()
        for each in found
        if each.verdict == "no_source"
    ]
    return Prose(model, paragraphs, reply.usage, tuple(unsourced))


def read(answer: str) -> dict[str, Sequence[str]]:
    """The paragraphs under each heading of SLOTS in a model's answer; what stands before the first one is left out."""
    titles = {title.lower(): title for title in SLOTS}
    found: dict[str, list[str]] = {}
    here: list[str] = []
    for row in clip(answer, _LONGEST * len(SLOTS)).split("\n"):
        heading = _HEADING.fullmatch(row.strip())
        if heading:
            here = found.setdefault(titles[heading[1].lower()], [])
        here.append("" if heading else row)
    sections = {title: _paragraphs("\n".join(found[title])) for title in SLOTS if title in found}
    return {title: paragraphs for title, paragraphs in sections.items() if paragraphs}


def _paragraphs(text: str) -> list[str]:
    return [line(paragraph) for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def _check(campaign: CampaignData, paragraphs: Sequence[str]) -> list[Finding]:
    records = [run.record for run in campaign.runs]
    return check("\n\n".join(paragraphs), records, campaign.contract, about=None)


def _contradicted(findings: Sequence[Finding]) -> dict[str, list[str]]:
    """The sentences that records contradict, with what these say."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == "contradicts" and finding.why not in found.setdefault(finding.sentence, []):
            found[finding.sentence].append(finding.why)
    return found
