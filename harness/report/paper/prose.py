"""What a model writes between the tables of a write-up: asked without edits; its numbers and verdicts are references.

A sentence in which it typed a number or a verdict is sent back, twice at most, and then left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ...agents.aider import AiderAgent
from ...campaign.errors import CannotGoOn
from ...campaign.protocols import AgentConfig
from ...campaign.text import clip, line, template
from ...claims.prose import Sentence
from ..campaign_data import CampaignData
from ..estimates import Estimates
from ..number_references import REFERENCE, NumberReferences, typed_numbers
from .document import Document
from .render_md import render_md
from .writeup import SLOTS, Prose

RETRIES = 2

_SYSTEM = """You write up experiments for researchers who will check every word. Plain, precise sentences; no praise, no \
adjective without a number, no claim beyond the verdicts. What did not work is as interesting as what did."""
_HEADING = re.compile(rf"#{{1,6}}[ \t]*(?:\d+\.?[ \t]*)?({'|'.join(SLOTS)})\b[^\n]{{0,40}}", re.IGNORECASE)
_LONGEST = 20_000  # characters of one section
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z{\"'“(])")
_ANSWER = re.compile(r"[ \t]*(\d{1,3})[ \t]*[.:)][ \t]*([^\n]*)")
_VERDICT = re.compile(
    r"\b(?:better|worse|best|worst|improv\w*|outperform\w*|beat\w*|surpass\w*|superior|inferior|signifi\w*|insignifi\w*|confirm\w*"
    r"|support\w*|trade-?offs?|inconclusive|noise)\b",
    re.IGNORECASE,
)
"""Words of a verdict, whatever they are said of."""
_DIRECTION = re.compile(
    r"\b(?:higher|lower\w*|less|more|fewer|larger|smaller|greater|reduc\w*|increas\w*|decreas\w*|ris(?:e|es|en|ing)|rose|f[ae]ll\w*"
    r"|drop\w*|declin\w*|degrad\w*|deteriorat\w*|gain\w*|lost|loses?|unchanged|identical|equal\w*|same|exceed\w*|reach\w*"
    r"|preserv\w*|maintain\w*|cheap\w*|cost\w*|sav(?:e|es|ed)|twice|half|halv\w*|doubl\w*|tripl\w*|percent|two|three|four|five"
    r"|six|seven|eight|nine|ten)\b",
    re.IGNORECASE,
)
"""Words that say of a metric or a run which way it went, or how far."""
_RUN = re.compile(r"\b(?:runs?\b|run_\d|baseline\b)", re.IGNORECASE)
_POSSIBLE = re.compile(
    r"\b(?:could|may|might|would|should|whether|if|hypothesi[sz]\w*|idea is|aim\w*|meant to)\b", re.IGNORECASE
)


def write(campaign: CampaignData, document: Document, model: str, say: Callable[[str], None]) -> Prose:
    """Ask `model` for the text of SLOTS, given the document without it. `say` is told what takes long.

    Raises CannotGoOn where it gives no text, or none that can be kept.
    """
    references = NumberReferences(campaign, Estimates(campaign))
    agent = AiderAgent(AgentConfig(model=model, on_output=say))
    try:
        agent.check()
        text = render_md(replace(document, appendices=()), "figures")
        asked = template("writeup/prose.j2").render(slots=SLOTS, document=text, references=references.listed())
        reply = agent.complete(model, _SYSTEM, asked)
        if reply.failure is not None:
            raise CannotGoOn(f"--prose {model}: {reply.failure} Nothing was written.")
        sections = {title: list(map(_sentences, paragraphs)) for title, paragraphs in read(reply.text).items()}
        if not sections:
            said = clip(line(reply.text), 200) or "nothing"
            wanted = ", ".join(f"## {title}" for title in SLOTS)
            raise CannotGoOn(f"--prose {model}: its answer has none of the headings {wanted}. It said: {said}")
        usage = reply.usage
        for _ in range(RETRIES):
            wrong = list(_refused(sections, references))
            if not wrong:
                break
            reply = agent.complete(model, _SYSTEM, _request(wrong, references))
            usage = usage + reply.usage
            _replace(wrong, reply.text)
    finally:
        agent.close()
    dropped = []
    for paragraph, place, why in _refused(sections, references):
        dropped.append(f"{paragraph[place]} ({why})")
        paragraph[place] = ""
    filled = {
        title: [references.fill(" ".join(filter(None, each)), f"--prose {model}") for each in paragraphs if any(each)]
        for title, paragraphs in sections.items()
    }
    if not any(filled.values()):
        listed = "\n".join(f"  {each}" for each in dropped)
        raise CannotGoOn(
            f"--prose {model}: no sentence of it can be kept, so nothing was written:\n{listed}\nAsk again, or leave out "
            "--prose: the write-up is complete without it."
        )
    return Prose(model, {title: texts for title, texts in filled.items() if texts}, usage, tuple(dropped))


def refusal(sentence: str, references: NumberReferences) -> str:
    """Why a sentence cannot stand in the paper; empty where it can."""
    problem = next(references.problems(sentence), "")
    if problem:
        return problem
    text = REFERENCE.sub(" ", sentence)
    if typed := typed_numbers(text):
        return f"the number {typed[0]} is typed: write a reference"
    runs = len(_RUN.findall(text))
    if _POSSIBLE.search(text) and not runs:
        return ""
    compares = runs > 1 or re.search(r"\bthan\b", text) or references.names.mentions(Sentence(text, 0, len(text)).tokens())
    found = _VERDICT.search(text) or (_DIRECTION.search(text) if compares else None)
    return f"“{found[0]}” is a verdict that is typed: a reference to a difference gives the word" if found else ""


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


def _sentences(paragraph: str) -> list[str]:
    return _END.split(paragraph)


def _refused(
    sections: Mapping[str, Sequence[list[str]]], references: NumberReferences
) -> Iterator[tuple[list[str], int, str]]:
    """Paragraph, place and reason of each sentence that cannot stand."""
    for paragraph in (paragraph for paragraphs in sections.values() for paragraph in paragraphs):
        for place, sentence in enumerate(paragraph):
            why = next(filter(None, (refusal(each, references) for each in _sentences(sentence))), "")
            if why:
                yield paragraph, place, why


def _request(wrong: Sequence[tuple[list[str], int, str]], references: NumberReferences) -> str:
    sentences = [(paragraph[place], why) for paragraph, place, why in wrong]
    return template("writeup/prose_again.j2").render(sentences=sentences, references=references.listed())


def _replace(wrong: Sequence[tuple[list[str], int, str]], answer: str) -> None:
    """The refused sentences by those that the model wrote in their place; one that it left out is gone."""
    answers = {int(match[1]): line(match[2]) for row in answer.split("\n") if (match := _ANSWER.fullmatch(row.rstrip()))}
    for number, (paragraph, place, _) in enumerate(wrong, 1):
        if number in answers:
            paragraph[place] = answers[number]
