"""Words that are checked: each number and each direction in prose is held against the records of the campaign.

A claim matches, contradicts a record, or has no source; in doubt it has none. No model reads anything here: the same
words and records always give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..campaign.contract import Contract
from ..campaign.record import Record
from ..campaign.text import clip, item, line
from .claims import claims
from .matching import Matching, Verdict
from .names import Names
from .prose import LIMIT
from .quantities import Quantity

_LONGEST = 400  # characters of a reason; a verdict's may be long


@dataclass(frozen=True)
class Finding:
    """A claim and what the records say of it."""

    sentence: str
    span: tuple[int, int]
    """Where the sentence stands in the text."""
    claim: str
    verdict: Verdict
    why: str
    """Run, metric or setting, value and file, in one line; for `no_source` what is missing."""


def check(
    text: str, records: Sequence[Record], contract: Contract, *, about: int | None, forecast: bool = False
) -> list[Finding]:
    """Every claim in `text`, in its order. `about`: the run that it speaks of where it names none.

    Of a `forecast` only the numbers that it says to be those of a run. Looks at the first `prose.LIMIT` characters; where
    there are more, the last finding says so.
    """
    matching = Matching(records, contract, about)
    names = Names(contract, records)
    found: list[Finding] = []
    for sentence, claim in claims(text, names, about):
        if forecast and not (isinstance(claim, Quantity) and claim.of_run):
            continue
        answer = matching.judge(claim)
        if answer is not None:
            verdict, why = answer
            span = (sentence.start, sentence.end)
            found.append(Finding(sentence.text, span, claim.text, verdict, clip(line(why), _LONGEST)))
    if len(text) > LIMIT:
        rest = f"not looked at: what follows the first {LIMIT:,} characters"
        found.append(Finding("", (LIMIT, len(text)), "", "no_source", rest))
    return found


def contradictions(findings: Iterable[Finding]) -> list[Finding]:
    """Those that a record contradicts."""
    return [finding for finding in findings if finding.verdict == "contradicts"]


def marked(text: str, findings: Iterable[Finding]) -> str:
    """`text` with ` [contradicts run_2: absorption is 0.26]` behind each sentence that does."""
    marks: dict[int, list[str]] = {}
    for finding in contradictions(findings):
        marks.setdefault(finding.span[1], []).append(finding.why)
    parts: list[str] = []
    place = 0
    for end, reasons in sorted(marks.items()):
        parts += [text[place:end], f" [contradicts {'; '.join(dict.fromkeys(reasons))}]"]
        place = end
    return "".join([*parts, text[place:]])


def words_on(record: Record, records: Sequence[Record], contract: Contract) -> dict[str, list[Finding]]:
    """What the agent says with a run, by the names of the record's fields. Plan and hypothesis are older than the run."""
    before, known = records[: record.run], records[: record.run + 1]
    return {
        "plan": check(record.plan, before, contract, about=record.run, forecast=True),
        "hypothesis": check(record.hypothesis, before, contract, about=record.run, forecast=True),
        "description": check(record.description, known, contract, about=record.run),
        "interpretation": check(record.interpretation, known, contract, about=record.run),
    }


def checked(records: Sequence[Record], contract: Contract) -> list[Record]:
    """The records with the agent's words marked where they contradict what was measured."""
    return [
        record.model_copy(
            update={name: marked(getattr(record, name), f) for name, f in words_on(record, records, contract).items()}
        )
        for record in records
    ]


def contradicted(records: Sequence[Record], contract: Contract) -> list[str]:
    """What the agent wrote last that the records contradict: of the last run before it, and of the results before that."""
    last = [(records[-1], ("plan", "hypothesis", "description")), *((each, ("interpretation",)) for each in records[-2:-1])]
    return [
        f"Your words on run {record.run} contradict the record: {each.claim}: {each.why}"
        for record, names in last
        for name, found in words_on(record, records, contract).items()
        if name in names
        for each in contradictions(found)
    ]


def render(findings: Sequence[Finding]) -> str:
    """For a person: contradictions with their sentences, numbers without a source, and how many match."""
    wrong = contradictions(findings)
    unknown = [finding for finding in findings if finding.verdict == "no_source"]
    rows: list[str] = []
    for sentence in dict.fromkeys((finding.span, finding.sentence) for finding in wrong):
        rows.append(item(sentence[1], "  contradicted: ", "    "))
        rows += [item(f"{f.claim}: {f.why}", "    - ", "      ") for f in wrong if (f.span, f.sentence) == sentence]
    rows += [item(f"{f.claim}: {f.why}" if f.claim else f.why, "  no source: ", "    ") for f in unknown]
    matching = len(findings) - len(wrong) - len(unknown)
    rows.append(f"  {matching} of {len(findings)} claims match, {len(wrong)} contradicted, {len(unknown)} without a source")
    return "\n".join(rows)
