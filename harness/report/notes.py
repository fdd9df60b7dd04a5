"""The notes of a campaign, `notes.txt`: rendered from the records after each run, for a person in a pager.

Numbers come from records alone. Generated lines are headings that start with `=== ` or are indented, and every line of
the agent's or reviewer's words stands behind a bar, so that nothing from outside can look like the harness's own. What
else stands in the file is the person's: `campaign/notes_text.py` finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from ..agents.brief import idea_in_words
from ..campaign.contract import Contract
from ..campaign.idea import Idea
from ..campaign.metric_names import telling
from ..campaign.notes_text import BEGIN, END, NOTES_PARTS, TITLE
from ..campaign.numbers import MISSING, aligned, setting
from ..campaign.record import Record
from ..campaign.text import WIDTH, duration, in_words, template
from ..campaign.usage import Usage
from .estimates import compared, difference_in_words, mean_in_words, reference_in_numbers
from .terminal.difference import PLUS_MINUS, Difference
from .terminal.record_page import REPORTED_ERRORS, SOURCES, differences, reported_errors
from .terminal.status import baseline_verdict, parent_verdict
from .terminal.status_page import cost_of

_TOGETHER = 50
"""Runs in a file of their own once as many have come after them."""


@dataclass(frozen=True)
class RunNotes:
    """What the notes say of a run, which the next run changes nothing of."""

    record: Record
    names: tuple[str, ...]
    """Metrics of the overview."""
    section: str
    row: list[str]
    """Of the overview."""


def render_notes(
    idea: Idea,
    contract: Contract,
    profile: str,
    records: Sequence[Record],
    *,
    used: Usage,
    person: str,
    closing: str = "",
    known: MutableMapping[int, RunNotes] | None = None,
) -> str:
    """The whole file. `used` is what all turns and reviews took so far, `person` the person's section as
    `person_section` gave it, `closing` how the campaign ended. `known` remembers what is said of runs for the next time."""
    shown = [*records[:1], *records[first_told(records) :]]
    found, overview = _told(contract, records[0], shown, known) if records else ([], "")
    return template("notes.txt.j2").render(
        title=_heading(f"{TITLE}{idea.Name} "),
        begin=_heading(BEGIN),
        end=_heading(END),
        person=person,
        heading=_heading,
        sections=found,
        idea=idea_in_words(idea),
        contract=contract,
        profile=profile,
        plus_minus=PLUS_MINUS,
        overview=overview,
        earlier=f"Runs 1 to {first_told(records) - 1} are in the folder {NOTES_PARTS}." if first_told(records) > 1 else "",
        usage=_usage,
        total=used,
        observed=any(record.observed for record in records),
        closing=closing,
    )


def first_told(records: Sequence[Record]) -> int:
    """The first run that the notes themselves tell of: what they say does not become longer with each."""
    return max(1, (len(records) - 2) // _TOGETHER * _TOGETHER + 1 - _TOGETHER)


def parts_before(records: Sequence[Record]) -> range:
    """The first run of each file that tells of those before them."""
    return range(1, first_told(records), _TOGETHER)


def part_with(run: int) -> str:
    """The file that tells of a run when the notes do so no longer."""
    first = (run - 1) // _TOGETHER * _TOGETHER + 1
    return f"{NOTES_PARTS}/{first:04}-{first + _TOGETHER - 1:04}.txt"


def render_part(
    contract: Contract, records: Sequence[Record], first: int, known: MutableMapping[int, RunNotes] | None = None
) -> str:
    """What such a file holds that begins with the run `first`."""
    told = records[first : first + _TOGETHER]
    sections, overview = _told(contract, records[0], told, known)
    heading = _heading(f"=== Runs {first} to {told[-1].run} ")
    return "\n".join([heading, "", overview, "", *([f"  {PLUS_MINUS}", ""] if "±" in overview else []), *sections, ""])


def _told(
    contract: Contract, baseline: Record, records: Sequence[Record], known: MutableMapping[int, RunNotes] | None = None
) -> tuple[list[str], str]:
    """What is said of each of these runs, and the table of them."""
    known = {} if known is None else known
    primary = contract.primary
    names = (primary.name,) if primary else tuple(telling([record.metrics for record in records]))
    for record in records:
        before = known.get(record.run)
        if before is None or before.record is not record or before.names != names:
            known[record.run] = _notes_of(contract, baseline, record, names)
    rows = [known[each.run].row for each in records]
    return [known[each.run].section for each in records], _overview(names, primary is not None, rows)


def _notes_of(contract: Contract, baseline: Record, record: Record, names: tuple[str, ...]) -> RunNotes:
    found, primary = _beside(contract, baseline, record), contract.primary
    verdict = record.verdict.model_dump()
    values = [mean_in_words(record.metrics[name], found.get(name)) if name in record.metrics else MISSING for name in names]
    row = [
        f"{record.run}",
        record.status,
        *(values or [MISSING]),
        *([reference_in_numbers(beside) if (beside := found.get(primary.name)) else MISSING] if primary else []),
        in_words(baseline_verdict(verdict, primary.better if primary else None)),
        f"{record.parent}" if record.parent is not None else "-",
        f"{record.round or '-'}",
        in_words(parent_verdict(verdict)) or "-",
        record.commit[:10] or "-",
    ]
    return RunNotes(record, names, _section(contract, found, record), row)


def _section(contract: Contract, found: Mapping[str, Difference | None], record: Record) -> str:
    errors = reported_errors(record.model_dump(include={"metrics"}))
    text = template("notes_run.txt.j2").render(
        record=record,
        heading=_heading,
        usage=_usage,
        verdicts=lambda record: _verdicts(contract, record),
        metrics=lambda record: _metrics(contract, found, record),
        settings=_settings,
        errors=f"{REPORTED_ERRORS}: {', '.join(errors)}" if errors else "",
    )
    return text.removesuffix("\n")


def _heading(text: str) -> str:
    return text.ljust(WIDTH, "=")


def _verdicts(contract: Contract, record: Record) -> list[str]:
    """The verdict against the baseline, and the one against another parent, each with the numbers that it rests on."""
    verdict, primary = record.verdict, contract.primary
    why = f". {verdict.why}" if verdict.why else ""
    if not parent_verdict(verdict.model_dump()) or primary is None:
        return [f"Verdict: {in_words(verdict.kind)}{why}"]
    difference, limits, p = compared(verdict.against_baseline)
    kind = in_words(baseline_verdict(verdict.model_dump(), primary.better))
    return [
        f"Verdict against the baseline: {kind}. {primary.name}: difference {difference}, {limits}, adjusted p {p}",
        f"Verdict against run {record.parent}: {in_words(verdict.kind)}{why}",
    ]


def _usage(usage: Usage) -> str:
    if usage.is_unknown:
        return "tokens and cost unknown"
    told = f"{usage.counted(f'{usage.sent:,}')} tokens sent, {usage.counted(f'{usage.received:,}')} received"
    told = "tokens unknown" if usage.has_unknown_tokens else told
    return f"{told}, cost {cost_of(usage)}, {duration(usage.seconds)}"


def _overview(names: Sequence[str], judged: bool, rows: Sequence[Sequence[str]]) -> str:
    numbers = [*(names or ["no number"]), *(["reference"] if judged else [])]
    header = ["run", "status", *numbers, "verdict", "from run", "round", "against it", "code"]
    # Not every campaign has a run that failed, rounds, or one that did not start from the baseline.
    usual = {1: "completed", -3: "-", -2: "-"} | ({1 + len(numbers): MISSING} if judged else {})
    empty = {range(len(header))[place] for place, cell in usual.items() if all(row[place] == cell for row in rows)}
    shown = [place for place in range(len(header)) if place not in empty]
    return aligned([header[place] for place in shown], [[row[place] for place in shown] for row in rows], "    ")


def _metrics(contract: Contract, found: Mapping[str, Difference | None], record: Record) -> str:
    """The run's metrics beside those of its reference, those of the contract first."""
    known = {metric.name: metric for metric in contract.metric}
    names = sorted(record.metrics, key=lambda name: list(known).index(name) if name in known else len(known))
    if not names:
        return ""
    beside = any(found.values())
    header = ["metric", f"run {record.run}", *(["reference", "difference"] if beside else []), "direction"]
    rows = []
    for name in names:
        metric, other = known.get(name), found.get(name)
        better = (metric.better or MISSING) + (" (primary)" if metric.primary else "") if metric else MISSING
        numbers = [reference_in_numbers(other), difference_in_words(other)] if other else [MISSING, MISSING]
        rows.append([name, mean_in_words(record.metrics[name], other), *(numbers if beside else []), better])
    return aligned(header, rows, "    ")


def _beside(contract: Contract, baseline: Record, record: Record) -> dict[str, Difference | None]:
    return differences(record.model_dump(), baseline.model_dump(), contract.model_dump()) if record.run else {}


def _settings(record: Record) -> tuple[str, str]:
    """The settings that differ from the baseline's, and the others."""
    differing = ", ".join(
        f"{name} = {setting(each.value)} (baseline {setting(each.baseline)}; {SOURCES[each.source]})"
        for name, each in record.settings.items()
        if each.differs
    )
    same = ", ".join(f"{name} = {setting(each.value)}" for name, each in record.settings.items() if not each.differs)
    return differing, same
