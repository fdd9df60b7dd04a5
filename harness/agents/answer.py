"""What the agent answers: the parts of its reply that are words, found in whatever shape a model writes them.

Never what it edited: git says that. A reply is untrusted text of any size; everything here is one pass over its lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from ..campaign.text import clean, clip

COMPLETED = "ALL_COMPLETED"
"""Alone on a line: no experiment is worth a further run."""
LIMIT = 20_000
"""Characters kept of one part; the reply itself is kept with the session."""

Part = Literal["plan", "hypothesis", "description", "interpretation", "edits"]

_PARTS: dict[str, Part] = {
    "plan": "plan",
    "hypothesis": "hypothesis",
    "hypotheses": "hypothesis",
    "notes": "description",
    "description": "description",
    "interpretation": "interpretation",
    "interpretations": "interpretation",
    "edits": "edits",
    "edit": "edits",
    "changes": "edits",
    "code": "edits",
}
_LONGEST_HEADING = 240
_HEADING = re.compile(
    r"""[ ]{0,3}
    (?P<level>\#{0,6})[ ]{0,3}
    (?P<strong>[*_]{0,3})
    (?P<number>\d{1,2}[.)][ ]{1,3})?[*_]{0,3}
    (?:(?:my|the|our|new|updated|revised|current|experimental|experiment|research|code)[ ]{1,3}){0,3}
    (?P<part>"""
    + "|".join(_PARTS)
    + r""")
    (?:[ ]{1,3}(?:for|of|on|about|to)[ ][^:*#]{1,60}?)?
    (?:[ ]{0,3}\([^():]{0,40}\))?
    [*_]{0,3}[ ]{0,3}
    (?P<end>:|[-\u2013\u2014][ ]|$)
    [*_]{0,3}[ ]{0,3}""",
    re.VERBOSE | re.IGNORECASE,
)
_ANY_HEADING = re.compile(r" {0,3}(#{1,6}) ")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SEARCH = re.compile(r"<{5,9} SEARCH>?\s*")
_REPLACE = re.compile(r">{5,9} REPLACE\s*")
_FILE_NAME = re.compile(r"[`*#\s]{0,8}[\w./\\-]{1,200}\.\w{1,8}[`*:\s]{0,8}")
_ALL_COMPLETED = re.compile(r" {0,3}(?:#{1,6} )?[*_]{0,3}" + COMPLETED + r"[*_]{0,3}[.!]?[*_]{0,3}\s*")
_START_FROM = re.compile(
    r" {0,3}[*_#\- ]{0,4}START FROM:[*_ ]{0,4}(baseline|best|run[_ ]?\d{1,4})[*_. ]{0,4}", re.IGNORECASE
)
_VARIES = re.compile(r" {0,3}[*_#\- ]{0,4}VARIES:[*_ ]{0,4}([\w, ]{1,120}?)[*_. ]{0,4}", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """The agent's words. `description` is its notes for the write-up or, where it wrote none, the rest of its prose."""

    plan: str = ""
    hypothesis: str = ""
    description: str = ""
    interpretation: str = ""
    all_completed: bool = False
    start_from: str = ""
    """Where the next run shall start: `baseline`, `best` or `run_N`."""
    varies: tuple[str, ...] = ()
    """Settings that decide scale and that this change is meant to vary."""
    noted: bool = False
    """The description is notes for the write-up."""


def parse_all(replies: Sequence[str]) -> Answer:
    """The parts of a turn of several replies, the later ones corrections: a model that is asked to mend a block says all of
    it again, so of each part the last one counts. Where it wrote no notes, the prose of the first reply explains the change
    and that of the others the correction."""
    all_of = Answer()
    for answer in map(parse, replies):
        said = {name: value for name, value in asdict(answer).items() if value}
        if all_of.description and not answer.noted:
            said.pop("description", None)
        all_of = replace(all_of, **said)
    return all_of


def parse(text: str) -> Answer:
    """The parts of a reply. Every text is an answer: what has no headings is all description."""
    found: dict[Part, list[str]] = {part: [] for part in _PARTS.values()}
    rest: list[str] = []
    into = rest
    depth = 0
    completed = False
    start_from, varies = "", ()
    for row in _prose(text):
        if row is None:
            # Prose after an edit explains the edit; a plan or a hypothesis does not go on behind it.
            into, depth = rest, 0
        elif heading := _heading(row):
            into, depth = found[_PARTS[heading["part"].lower()]], len(heading["level"])
            into += ["", row[heading.end() :]]
        elif _ALL_COMPLETED.fullmatch(row):
            completed = True
        elif wish := _START_FROM.fullmatch(row[:_LONGEST_HEADING]):
            start_from = "_".join(wish[1].lower().replace("_", " ").split())
        elif named := _VARIES.fullmatch(row[:_LONGEST_HEADING]):
            varies = tuple(re.findall(r"\w+", named[1]))
        else:
            other = _ANY_HEADING.match(row)
            if other and depth and len(other[1]) <= depth:
                into, depth = rest, 0
            into.append(row)
    notes = _joined(found["description"])
    return Answer(
        plan=_joined(found["plan"]),
        hypothesis=_joined(found["hypothesis"]),
        description=notes or _joined([*rest, *found["edits"]]),
        interpretation=_joined(found["interpretation"]),
        all_completed=completed,
        start_from=start_from,
        varies=varies,
        noted=bool(notes),
    )


def composed(hypothesis: str, notes: str, start_from: str, varies: Sequence[str]) -> str:
    """The answer that has these parts, whatever lines they hold."""
    lines = [f"START FROM: {start_from.replace('_', ' ')}"] if start_from else []
    lines += [f"VARIES: {', '.join(varies)}"] if varies else []
    for part, words in (("HYPOTHESIS", hypothesis), ("NOTES", notes)):
        first, *others = clean(words).strip().split("\n")
        # As a quotation a line is no heading, no fence and no edit.
        lines += [f"{part}: {first}", *(f"> {each}" if _means(each) else each for each in others)] if words.strip() else []
    return "\n".join(lines)


def _means(row: str) -> bool:
    """Whether a line is read as more than words."""
    found = (_ALL_COMPLETED, _START_FROM, _VARIES, _SEARCH, _REPLACE)
    is_mark = any(pattern.fullmatch(row[:_LONGEST_HEADING]) for pattern in found)
    return bool(is_mark or _heading(row) or _ANY_HEADING.match(row) or _FENCE.match(row))


def _heading(row: str) -> re.Match[str] | None:
    match = _HEADING.match(row[:_LONGEST_HEADING])
    if match is None:
        return None
    marked = bool(match["level"] or match["strong"])
    if match["number"] and not marked:
        return None  # an item of a list
    alone = row.strip() == match["part"] and row.strip()[0].isupper()
    return match if marked or match["end"] or alone else None


def _joined(lines: list[str]) -> str:
    kept: list[str] = []
    for each in lines:
        if each.strip() or (kept and kept[-1]):
            kept.append(each.rstrip())
    return clip("\n".join(kept).strip(), LIMIT)


def _prose(text: str) -> list[str | None]:
    """The lines of a reply outside code, None where an edit was. What an unclosed fence holds is code."""
    rows = clean(text).split("\n")
    last_replace = max((i for i, row in enumerate(rows) if _REPLACE.fullmatch(row)), default=-1)
    prose: list[str | None] = []
    closing = ""  # the fence that would end the code in hand
    i = 0
    while i < len(rows):
        row = rows[i]
        mark = _FENCE.match(row)
        if i < last_replace and _SEARCH.fullmatch(row):
            while not _REPLACE.fullmatch(rows[i]):
                i += 1
            _end_with_edit(prose)
            if closing and not _goes_on_in_fence(rows[i + 1 : i + 7], closing):
                closing = ""
        elif closing:
            if _closes(row, closing):
                closing = ""
        elif mark and "`" not in row[mark.end() :]:
            closing = mark[1]
            if prose and _names_a_file(prose[-1]):
                _end_with_edit(prose)
        else:
            prose.append(row)
        i += 1
    return prose


def _closes(row: str, closing: str) -> bool:
    return row.strip().startswith(closing) and not row.strip(" \t`~")


def _names_a_file(row: str | None) -> bool:
    return row is not None and len(row) < _LONGEST_HEADING and bool(_FILE_NAME.fullmatch(row))


def _end_with_edit(prose: list[str | None]) -> None:
    """Put an edit at the end, in place of the line before it that just names the file."""
    if prose and _names_a_file(prose[-1]):
        prose.pop()
    prose.append(None)


def _goes_on_in_fence(following: list[str], closing: str) -> bool:
    """Whether the fence around an edit is closed, or holds another edit, right after it: models forget to close it."""
    filled = [row for row in following if row.strip()][:2]
    return bool(filled) and (_closes(filled[0], closing) or any(_SEARCH.fullmatch(row) for row in filled))
