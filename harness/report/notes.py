"""The notes of a campaign, `notes.txt`: rendered from the records after each run, for a person in a pager.

Numbers come from records alone. Generated lines are headings that start with `=== ` or are indented, and every line of
the agent's or reviewer's words stands behind a bar, so that nothing from outside can look like the harness's own. What
else stands in the file is the person's, and `person_section` finds it again.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence

from ..agents.brief import idea_in_words
from ..campaign.contract import Contract
from ..campaign.idea import Idea
from ..campaign.metric_names import telling
from ..campaign.numbers import aligned, number, row, setting
from ..campaign.record import MetricRecord, Record
from ..campaign.text import WIDTH, duration, in_words, template
from ..campaign.usage import Usage
from .estimates import compared
from .terminal.status import baseline_verdict, parent_verdict

_TITLE = "=== Notes of the campaign "
_BEGIN = "=== The person's words: what stands between this line and the next one is kept "
_END = "=== End of the person's words "
_GENERATED = re.compile(r"=== (?:Notes of the campaign |The campaign =|Run \d+ =|The end =)")
_MARKER = re.compile(r"=== (?:The|End of the) person's words\b")


def render_notes(
    idea: Idea,
    contract: Contract,
    profile: str,
    records: Sequence[Record],
    *,
    used: Usage,
    person: str,
    closing: str = "",
    sections: MutableMapping[int, tuple[Record, str]] | None = None,
) -> str:
    """The whole file. `used` is what all turns and reviews took so far, `person` the person's section as
    `person_section` gave it, `closing` how the campaign ended. `sections` remembers those of the runs for the next time."""
    known = {} if sections is None else sections

    def section(record: Record) -> str:
        if known.get(record.run, (None,))[0] is not record:
            known[record.run] = (record, _section(contract, record))
        return known[record.run][1]

    return template("notes.txt.j2").render(
        title=_heading(f"{_TITLE}{idea.Name} "),
        begin=_heading(_BEGIN),
        end=_heading(_END),
        person=person,
        heading=_heading,
        section=section,
        idea=idea_in_words(idea),
        contract=contract,
        profile=profile,
        records=records,
        overview=_overview(contract, records),
        usage=_usage,
        total=used,
        closing=closing,
    )


def _section(contract: Contract, record: Record) -> str:
    text = template("notes_run.txt.j2").render(
        record=record,
        heading=_heading,
        usage=_usage,
        verdicts=lambda record: _verdicts(contract, record),
        metrics=lambda record: _metrics(contract, record),
        settings=_settings,
    )
    return text.removesuffix("\n")


def person_section(text: str) -> str:
    """What a person wrote into the notes: between the markers, and any other line that the harness did not generate.

    Where a marker was damaged or removed, everything from where the section begins to where generated text begins again
    is kept.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    begins = [i for i, each in enumerate(lines) if _is_heading(each, _BEGIN)]
    ends = [i for i, each in enumerate(lines) if _is_heading(each, _END)]
    if begins and ends and begins[0] < ends[-1]:
        first, last = begins[0] + 1, ends[-1]
        section = lines[first:last]
    else:
        first = (begins or [i for i, each in enumerate(lines) if each.startswith(_TITLE)] or [-1])[0] + 1
        later = [i for i in ends if i >= first]
        generated = [i for i, each in enumerate(lines) if i >= first and _GENERATED.match(each)]
        last = (later[-1:] or generated or [len(lines)])[0]
        section = [each for each in lines[first:last] if not _MARKER.match(each)]
    strays = _strays(lines[:first]) + _strays(lines[last:])
    return "\n\n".join(part for part in ["\n".join(section).strip("\n"), "\n".join(strays).strip("\n")] if part.strip())


def _strays(lines: list[str]) -> list[str]:
    """Lines outside the section that are neither headings nor indented, each paragraph of them whole."""
    found: list[str] = []
    theirs = False
    for each in lines:
        if _GENERATED.match(each) or _MARKER.match(each) or not each.strip():
            theirs = False
        elif theirs or not each.startswith(" "):
            if not theirs:
                found.append("")
            theirs = True
            found.append(each)
    return found


def _heading(text: str) -> str:
    return text.ljust(WIDTH, "=")


def _is_heading(text: str, start: str) -> bool:
    return text.startswith(start.rstrip()) and not text.removeprefix(start.rstrip()).strip("= ")


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
    cost = "unknown" if usage.cost is None else f"${usage.cost:.4f}"
    return f"{usage.sent:,} tokens sent, {usage.received:,} received, cost {cost}, {duration(usage.seconds)}"


def _overview(contract: Contract, records: Sequence[Record]) -> str:
    primary = contract.primary
    names = [primary.name] if primary else telling([record.metrics for record in records])
    found = [[record.metrics.get(name) for record in records] for name in names]
    columns = [row([value.value if value else None for value in values], 5) for values in found]
    steps = [parent_verdict(record.verdict.model_dump()) for record in records]
    rows = [
        [
            f"{record.run}",
            record.status,
            *(column[place] for column in columns),
            in_words(baseline_verdict(record.verdict.model_dump(), primary.better if primary else None)),
            f"{record.parent}" if record.parent is not None else "-",
            *([in_words(steps[place]) or "-"] if any(steps) else []),
            record.commit[:10] or "-",
        ]
        for place, record in enumerate(records)
    ]
    against = ["against it"] if any(steps) else []
    return aligned(["run", "status", *(names or ["no number"]), "verdict", "from run", *against, "code"], rows, "    ")


def _metrics(contract: Contract, record: Record) -> str:
    """The run's metrics beside the baseline's, those of the contract first."""
    known = {metric.name: metric for metric in contract.metric}
    names = sorted(record.metrics, key=lambda name: list(known).index(name) if name in known else len(known))
    if not names:
        return ""
    beside = any(record.metrics[name].baseline is not None for name in names)
    header = ["metric", f"run {record.run}", *(["baseline", "difference"] if beside else []), "better"]
    rows = []
    for name in names:
        metric = known.get(name)
        better = (metric.better or "-") + (", decides" if metric.primary else "") if metric else "-"
        rows.append([name, *_numbers(record.metrics[name], beside), better])
    return aligned(header, rows, "    ")


def _numbers(metric: MetricRecord, beside: bool) -> list[str]:
    if not beside:
        return [number(metric.value, 6)]
    difference = number(metric.difference, 4)
    sign = "+" if metric.difference is not None and metric.difference > 0 else ""
    return [*row([metric.value, metric.baseline], 6), f"{sign}{difference}"]


def _settings(record: Record) -> tuple[str, str]:
    """The settings that differ from the baseline's, and the others."""
    differing = ", ".join(
        f"{name} = {setting(each.value)} (baseline {setting(each.baseline)}; {_source(each.source)})"
        for name, each in record.settings.items()
        if each.differs
    )
    same = ", ".join(f"{name} = {setting(each.value)}" for name, each in record.settings.items() if not each.differs)
    return differing, same


def _source(source: str) -> str:
    return "reported by the experiment" if source == "reported" else f"known from the {source}"
