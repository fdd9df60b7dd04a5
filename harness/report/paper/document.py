"""A document as its parts, before any format: what a write-up is made of and what each of its renderers is given.

All text is plain. A renderer makes of every character what its format shows as that character, so nothing from outside can
be markup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ...campaign.text import clean, clip
from ..drawing import Plot
from ..terminal.columns import len_of
from ..terminal.diff import blocks, visible

COLUMNS = 112
"""Of code on paper; a longer line goes on below, marked."""
GOES_ON = "    ↪ "
_LONG_WORD = re.compile(r"\S{21,}")
_PIECE = re.compile(r"[^_./=,;:-]{1,20}[_./=,;:-]?|[_./=,;:-]")
_LINE, _WIDE, _GAP = 90, 16, 3  # letters: of a line of a table, of a column that may wrap, between two columns
_FULL = 110  # letters that have room in a line of a table on paper
_SHORT = 25  # lines
_WORDS = 40  # letters of a line of a column that wraps, at least about
_LONGEST_LINE = 4000  # characters of a line of code; a longer one is cut, with a note


@dataclass(frozen=True)
class Paragraph:
    """`lead` are its first words, set off from the others."""

    text: str
    lead: str = ""


@dataclass(frozen=True)
class Items:
    """A list without an order."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Quote:
    """Words of an agent, an idea or a person, line by line; `source` says whose, and of what."""

    text: str
    source: str


@dataclass(frozen=True)
class Written:
    """A paragraph that a model wrote; `model` is its name."""

    text: str
    model: str


@dataclass(frozen=True)
class Column:
    """`words` wrap, `numbers` stand to the right, `label` is as wide as its longest cell."""

    title: str
    kind: Literal["label", "words", "numbers"] = "label"


@dataclass(frozen=True)
class Table:
    """Rows have as many cells as there are columns."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def widths(self) -> list[int]:
        """Letters of the longest cell of each column."""
        titles = [column.title for column in self.columns]
        return [max(map(len, cells)) for cells in zip(titles, *self.rows, strict=True)]

    @property
    def wraps(self) -> list[bool]:
        """Of each column, whether it holds words for which a line has no room beside the others."""
        full = self._letters > _LINE
        return [
            full and column.kind == "words" and width > _WIDE
            for column, width in zip(self.columns, self.widths, strict=True)
        ]

    @property
    def is_dense(self) -> bool:
        """Its columns have no room beside each other, and none of them wraps: smaller letters on paper."""
        return self._letters > _FULL and not any(self.wraps)

    @property
    def _letters(self) -> int:
        return sum(self.widths) + _GAP * len(self.columns)

    @property
    def is_short(self) -> bool:
        """It should stand on one page: few lines."""
        lines = (
            max(math.ceil(len(cell) / _WORDS) if wraps else 1 for cell, wraps in zip(row, self.wraps, strict=True))
            for row in self.rows
        )
        return sum(lines) <= (_SHORT // 2 if any(self.wraps) else _SHORT)


@dataclass(frozen=True)
class Pictures:
    """One figure, or two beside each other, each with its caption and a number of its own."""

    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Code:
    """Lines of code or commands; `about` says in words what they are. `left_out` of its lines are not shown; `whole` is the
    command that shows them all, in the campaign's folder."""

    text: str
    about: str
    language: Literal["diff", "sh"] = "sh"
    left_out: int = 0
    whole: str = ""

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The lines, of a diff with their marks: `+`, `-`, blank, `@` for the head of a hunk and `h` for other heads. Every
        character that hides or reorders is written as an escape."""
        text = self.text.encode("utf-8", "replace").decode("utf-8").rstrip("\n")
        if self.language == "sh":
            return [("", _visible(line)) for line in text.split("\n")]
        return [
            (mark, (mark if mark in "+- " else "") + _visible(line)) for _, block in blocks(text) for mark, line in block
        ]

    @property
    def folded(self) -> list[tuple[str, str]]:
        """The lines, none wider than COLUMNS."""
        return [(mark, piece) for mark, line in self.lines for piece in _fold(line)]

    @property
    def rest(self) -> str:
        """What is to be said of the lines that are left out."""
        where = f"; {self.whole} in the campaign’s folder has them" if self.whole else ""
        return f"{self.left_out:,} more lines are left out here{where}." if self.left_out else ""


Block = Paragraph | Items | Quote | Written | Table | Pictures | Code


@dataclass(frozen=True)
class Section:
    """A heading, what stands below it, and sections of its own."""

    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()

    def walk(self) -> Iterator[Block]:
        """All blocks in order."""
        yield from self.blocks
        for section in self.sections:
            yield from section.walk()


@dataclass(frozen=True)
class Document:
    """`about` says in one line what it is and when its facts are from; `made` is that time, UTC, ISO 8601."""

    title: str
    about: str
    made: str
    abstract: tuple[Block, ...]
    sections: tuple[Section, ...]
    appendices: tuple[Section, ...] = ()

    def walk(self) -> Iterator[Block]:
        """All blocks in order."""
        yield from self.abstract
        for section in (*self.sections, *self.appendices):
            yield from section.walk()

    @property
    def pictures(self) -> list[Plot]:
        return [plot for block in self.walk() if isinstance(block, Pictures) for plot in block.plots]


def quoted_lines(text: str) -> list[str]:
    """Lines of somebody's words, made harmless."""
    return [line.rstrip() for line in clean(text).expandtabs(4).strip("\n").split("\n")]


def pieces(text: str) -> list[str]:
    """`text` cut where a line may break besides at blanks: inside long words, after punctuation or else anywhere."""
    found: list[str] = []
    place = 0
    for word in _LONG_WORD.finditer(text):
        found.append(text[place : word.start()])
        found += _PIECE.findall(word[0])
        place = word.end()
    return [piece for piece in (*found, text[place:]) if piece]


def _visible(line: str) -> str:
    return clip(visible(line), _LONGEST_LINE)


def _fold(line: str) -> list[str]:
    folded, room = [""], COLUMNS
    for character in line:
        room -= len_of(character)
        if room < 0:
            folded.append(GOES_ON)
            room = COLUMNS - len(GOES_ON) - len_of(character)
        folded[-1] += character
    return folded
