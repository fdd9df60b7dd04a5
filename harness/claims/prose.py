"""Prose cut into sentences and tokens: what an agent writes, of any size and shape, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LIMIT = 60_000
"""Characters of a text that are looked at."""
LONGEST = 1_000
"""Characters of a sentence; what is longer is cut at a blank."""

_FENCE = re.compile(r" {0,3}(?:`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]{0,12}(?:[-*+•]|#{1,6}|\d{1,3}[.)])[ \t]+|[ \t]{0,12}>[ \t]?")
_END = re.compile(r"[.!?][\"')\]*_]{0,3}\s+(?=[\"'(\[*_`]{0,3}(?:[A-Z]|\w+_\w))")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|vs|approx|al|fig|eq|cf|resp|ca|sec|no)|\b[A-Z])\.$", re.IGNORECASE)
_TOKEN = re.compile(
    r"""(?P<number>(?<![\w.^])(?:(?<![\w)])[-+−])?(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:\.\d{1,15})?
            (?:[eE][-+−]?\d{1,3})?(?:[kKM](?!\w))?(?=[x×](?!\w)|(?![\w^]|\.\d)))
      | (?P<word>[^\W\d](?:\w|(?:(?<=\w)[.-](?=\w))){0,200}(?:['’](?:s|t|re|ve|ll|d|m)(?!\w))?)
      | (?P<code>\d(?:[\w.,^]{0,200}\w)?)
      | (?P<mark>->|[^\s\w`*"“”])""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of a sentence; `kind`: number, word, code or mark. `start` and `end` are places in the whole text."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def low(self) -> str:
        return self.text.lower().removesuffix("'s").removesuffix("’s")


class Sentence(NamedTuple):
    """A sentence and where it stands; `new` begins a paragraph or an item, `table` is a row of one."""

    text: str
    start: int
    end: int
    new: bool
    table: bool


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of the first LIMIT characters of `text`, outside fenced code, without the marks of lists."""
    for start, end in _blocks(text[:LIMIT]):
        new = True
        table = text[start:end].lstrip().startswith("|")
        for first, last in _cut(text, start, end):
            if text[first:last].strip():
                yield Sentence(text[first:last], first, last, new, table)
                new = False


def tokens(sentence: Sentence) -> list[Token]:
    """Numbers, words, pieces of code and punctuation; quotes and emphasis are left out."""
    return [
        Token(match.lastgroup or "mark", match[0], sentence.start + match.start(), sentence.start + match.end())
        for match in _TOKEN.finditer(sentence.text)
    ]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Paragraphs, list items, headings and rows of tables; a line goes on with the line before it otherwise."""
    begin = end = -1
    place = 0
    fenced = False
    for row in text.split("\n"):
        item = _ITEM.match(row)
        fence = bool(_FENCE.match(row))
        fenced ^= fence
        filled = bool(row.strip()) and not fenced and not fence
        if begin >= 0 and (not filled or item or row.lstrip().startswith("|")):
            yield begin, end
            begin = -1
        if filled:
            if begin < 0:
                begin = place + (item.end() if item else 0)
            end = place + len(row)
            if row.lstrip().startswith(("|", "#")):
                yield begin, end
                begin = -1
        place += len(row) + 1
    if begin >= 0:
        yield begin, end


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    first = start
    for match in _END.finditer(text, start, end):
        if match[0][0] == "." and _ABBREVIATION.search(text, max(first, match.start() - 8), match.start() + 1):
            continue
        last = match.start() + len(match[0].rstrip())
        yield from _short(text, first, last)
        first = match.end()
    yield from _short(text, first, end)


def _short(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    while last - first > LONGEST:
        blank = text.rfind(" ", first + 1, first + LONGEST)
        stop = blank if blank > first else first + LONGEST
        yield first, stop
        first = stop
    if first < last:
        yield first, last
