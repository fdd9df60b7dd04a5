"""`harness writeup`: a campaign as a paper, every sentence of it rendered from records.

A person's own section of notes.txt goes along, marked as theirs. A model may write what connects the tables (`prose`); it
never touches them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ... import __version__
from ...agents.listing import is_search
from ...campaign.bibliography import Work
from ...campaign.errors import CannotGoOn
from ...campaign.layout import Layout
from ...campaign.not_confined import NOT_CONFINED
from ...campaign.notes_text import person_section
from ...campaign.numbers import counted
from ...campaign.record import Record
from ...campaign.text import clip, decoded, duration, in_words, line
from ...campaign.usage import Usage
from ..campaign_data import CampaignData, change_between
from ..conclusion import learnt
from ..estimates import NONE, Estimates
from ..first_look import first_look
from ..reproduction import commands
from ..summary import state_in_words, summarize, target_in_words, when
from ..terminal.status_page import cost_of
from . import method, outcome
from .caveats import threats
from .citations import cited
from .document import Block, Code, Column, Document, Paragraph, Quote, Section, Table, Written

_LONGEST_TITLE = 300
_LONGEST_PERSON = 40_000  # characters
_MOST_LINES = 1500
"""Of the diff in the appendix."""

SLOTS = {
    "Introduction": "what the idea is, why it could work, and what was to be found out",
    "Results": "what the table of runs and the figures show of the primary metric, and of what it costs elsewhere",
    "Every run": "what was learnt from run to run, the failures and rejected changes included",
    "Conclusion": "what follows, what stays open, and what to do next",
}
"""The places of a model's text, as the document calls them, and what each is for."""


@dataclass(frozen=True)
class Prose:
    """What a model wrote: paragraphs by slot. `dropped` are sentences that were left out, with the reasons."""

    model: str
    paragraphs: Mapping[str, Sequence[str]]
    usage: Usage
    dropped: Sequence[str] = ()


def read_person(layout: Layout) -> str:
    """What a person wrote into the notes; empty where there are none. Raises CannotGoOn where they cannot be read."""
    try:
        return person_section(decoded(layout.content(layout.notes), "replace"))
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CannotGoOn(f"{layout.notes}: cannot be read: {error.strerror}.") from error


def compose(
    campaign: CampaignData, person: str, prose: Prose | None = None, works: Mapping[str, Work] | None = None
) -> Document:
    """The whole document. `works` can be cited in it."""
    estimates = Estimates(campaign)
    introduction = Section("Introduction", _written(prose, "Introduction"))
    conclusion = Section("Conclusion", _written(prose, "Conclusion"))  # the abstract has the headline
    theirs = Section("Notes of the user", (Quote(clip(person, _LONGEST_PERSON), "The user’s section of the notes"),))
    document = Document(
        title=clip(line(str(campaign.idea.get("Title", ""))), _LONGEST_TITLE) or campaign.name,
        about=(
            f"Campaign {campaign.name}, begun {when(campaign.created)}. {state_in_words(campaign.status)} Rendered from its "
            f"records by harness {__version__}."
        ),
        made=campaign.status.since,
        abstract=_abstract(campaign, estimates, prose),
        sections=tuple(
            section
            for section in (
                introduction if introduction.blocks else None,
                method.idea(campaign),
                method.method(campaign),
                _with(outcome.results(campaign, estimates), _written(prose, "Results")),
                _with(outcome.every_run(campaign), _written(prose, "Every run")),
                threats(campaign),
                conclusion if conclusion.blocks else None,
                theirs if person.strip() else None,
            )
            if section is not None
        ),
        appendices=tuple(
            section
            for section in (
                method.details(campaign),
                outcome.each_run(campaign),
                _change(campaign),
                outcome.all_numbers(campaign, estimates),
                _spending(campaign, prose),
                _reproduction(campaign),
            )
            if section is not None
        ),
    )
    return cited(document, works or {})


def _abstract(campaign: CampaignData, estimates: Estimates, prose: Prose | None) -> tuple[Block, ...]:
    records = [run.record for run in campaign.runs[1:]]
    sentences = [summarize(campaign, estimates).headline]
    if records:
        sentences = [
            *first_look(campaign.contract, [run.record for run in campaign.runs]),
            *_tried(campaign, [record for record in records if record.observed is None]),
            *sentences,
            *target_in_words(campaign),
            learnt(campaign.contract, records),
        ]
    reading = (
        "Every sentence and number outside the marked quotations comes from the campaign’s records. Quotations are words of "
        "the idea, of the agent or of a user, and are unverified."
    )
    if prose:
        reading += (
            f" Paragraphs marked with its name in the sections {_listed(list(prose.paragraphs))} were "
            f"written by {line(prose.model)}; it typed no number of a result: these are filled in from the records."
        )
    return Paragraph(" ".join(sentences)), Paragraph(reading)


def _tried(campaign: CampaignData, executed: Sequence[Record]) -> list[str]:
    """Idea and test, in a sentence; none where nothing was executed here but the baseline."""
    if not executed:
        return []
    driven = all(record.agent_sandbox == NOT_CONFINED for record in executed)
    editor = "the code was edited from outside" if driven else "a coding agent edited the code"
    if is_search(campaign.status.options.get("agent")):
        editor = "a search without a model set values"
    tried, primary = counted(len(executed), "run"), campaign.primary
    test = f" The test: is {line(primary.name)} {primary.better} than in the unmodified baseline?" if primary else ""
    title = clip(line(str(campaign.idea.get("Title", ""))), _LONGEST_TITLE)
    return [
        f"The idea “{title}” was taken through {tried} of an experiment; in each, {editor}, and the harness executed and "
        f"measured it.{test}"
    ]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _written(prose: Prose | None, slot: str) -> tuple[Block, ...]:
    return tuple(Written(line(text), line(prose.model)) for text in prose.paragraphs.get(slot, ())) if prose else ()


def _with(section: Section, blocks: tuple[Block, ...]) -> Section:
    return Section(section.title, (*section.blocks, *blocks), section.sections)


def _spending(campaign: CampaignData, prose: Prose | None) -> Section:
    """Tokens, dollars and time: in all, and of each run."""
    usage, status = campaign.status.usage, campaign.status
    total = (
        f"In all: {counted(status.runs, 'run')} besides the baseline, {usage.in_tokens(f'{usage.tokens:,}')}, cost "
        f"{cost_of(usage)}, {duration(status.seconds)} of {'agent and ' if usage.seconds else ''}executions."
    )
    if prose:
        total += (
            f" The text by {line(prose.model)} in this document took {prose.usage.in_tokens(f'{prose.usage.tokens:,}')}, "
            f"cost {cost_of(prose.usage)}."
        )
    records = [run.record for run in campaign.runs]
    each = [sum([record.usage, *([record.review.usage] if record.review else [])], Usage()) for record in records]
    of_runs, executions = sum(each, Usage()), math.fsum(record.seconds for record in records)
    rest, rest_executed = usage - of_runs, max(0.0, status.seconds - usage.seconds - executions)
    rows = [
        _spent(
            "baseline" if record.run == 0 else str(record.run),
            str(len(record.attempts)) if record.run else NONE,
            used,
            record.seconds,
        )
        for record, used in zip(records, each, strict=True)
    ]
    author = records[-1].author.capitalize() if records else "Agent"
    caption = f"What each run used; {author} is the time of {author.lower()} and reviewer."
    if rest.tokens or rest.cost or rest_executed >= 1:
        rows.append(_spent("besides", NONE, rest, rest_executed))
        caption += " Besides: turns that led to no run, such as the last one, and the held-out evaluation."
    rows.append(_spent("all", NONE, usage, executions + rest_executed))
    columns = ("Attempts", "Tokens sent", "Received", "Cost", author, "Executions")
    header = (Column("Run"), *(Column(title, "numbers") for title in columns))
    return Section("Cost", (Paragraph(total), *([Table(caption, header, tuple(rows))] if records else [])))


def _spent(name: str, attempts: str, used: Usage, executed: float) -> tuple[str, ...]:
    """A row of the table of costs; tokens in full, so that they can be added up."""
    sent, received = used.counted(f"{used.sent:,}"), used.counted(f"{used.received:,}")
    return name, attempts, sent, received, cost_of(used), duration(used.seconds), duration(executed)


def _reproduction(campaign: CampaignData) -> Section:
    """Commits and seeds of all runs, and the commands for the baseline and the best one."""
    blocks: list[Block] = [
        Paragraph(
            "Commits are those of the campaign’s own git repository, in its folder. Where the versions are those of the "
            "set-up and the machine is alike, the same commit, command and seed give the same numbers, times excepted."
        )
    ]
    rows = []
    for record in (run.record for run in campaign.runs):
        seeds = record.seeds or ([] if record.seed is None else [record.seed])
        rows.append(
            (
                "baseline" if record.run == 0 else str(record.run),
                record.commit[:12] or NONE,
                record.seeds_in_words if record.own_seeds else _ranges(seeds) or "unknown",
                when(record.started) or "not executed here",
                duration(record.seconds),
            )
        )
    if rows:
        header = (Column("Run"), Column("Commit"), Column("Seeds"), Column("Begun"), Column("Took", "numbers"))
        blocks.append(Table("Where each number comes from.", header, tuple(rows)))
    shown = dict.fromkeys(run.record.run for run in (campaign.baseline, campaign.best) if run is not None)
    for run in (campaign.runs[number] for number in shown):
        if text := commands(campaign, run.record):
            name = "the baseline" if run.record.run == 0 else f"run {run.record.run}"
            blocks.append(
                Code(text, f"Commands that execute {name} again, in the campaign’s folder, each seed in a folder beside it:")
            )
    return Section("Reproduction", tuple(blocks))


def _ranges(seeds: Sequence[int]) -> str:
    """`0–9, 12`."""
    found: list[list[int]] = []
    for seed in seeds:
        if found and seed == found[-1][-1] + 1:
            found[-1].append(seed)
        else:
            found.append([seed])
    return ", ".join(f"{each[0]}–{each[-1]}" if len(each) > 2 else ", ".join(map(str, each)) for each in found)


def _change(campaign: CampaignData) -> Section | None:
    """What the accepted run changed, against the baseline; where none was accepted, that of the best one."""
    baseline, best = campaign.baseline, campaign.best
    if baseline is None or best is None:
        return None
    run = best.record.run
    change = change_between(campaign, baseline.record, best.record)
    if campaign.verdict(best) == "improved":
        title, opening = "The change that improved on the baseline", f"What run {run} changed against the baseline."
    else:
        title = "The change of the best run"
        opening = (
            f"No run improved on the baseline. This is what run {run} changed against it, the best valid run "
            f"({in_words(campaign.verdict(best))})."
        )
    if not change.text:
        return Section(title, (Paragraph(opening), Paragraph(change.missing)))
    rows = change.text.rstrip("\n").split("\n")
    code = Code(
        "\n".join(rows[:_MOST_LINES]),
        f"From the baseline to run {run}:",
        "diff",
        max(0, len(rows) - _MOST_LINES),
        change.command,
    )
    return Section(title, (Paragraph(opening), code))
