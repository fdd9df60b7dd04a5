"""Prose cut into sentences and tokens: what an agent writes, of any size and shape, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LIMIT = 60_000
"""Characters of a text that are looked at."""

_PIECE = re.compile(r".{1,4000}(?=\s|$)|.{1,4000}", re.DOTALL)  # a longer sentence is cut at a blank
_WRAPPED = 60  # characters; a line that goes on below is no shorter
_FENCE = re.compile(r" {0,3}(?:`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]{0,12}(?:[-*+•](?!\*)|\d{1,3}[.)])[ \t]+|[ \t]{0,12}>[ \t]?|[ \t]{0,12}#{1,6}[ \t]+")
_TITLE = re.compile(r" {0,12}(?:#{1,6}[ \t]|(?:- )?\*\*[^*\n]{0,40}\b[Rr]uns?[ _]\d[^*\n]{0,99}\*\*|[^\n]{1,80}:[ \t]*$)")
_END = re.compile(r"[.!?][\"')\]*_]{0,3}\s+(?=[\"'(\[*_`{]{0,3}(?:[A-Z]|\w+_\w))")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|vs|approx|al|fig|eq|cf|resp|ca|sec|no)|\b[A-Z])\.$", re.IGNORECASE)
_TOKEN = re.compile(
    r"""(?P<number>(?<![\w.^])(?:(?<![\w)])[-+−])?(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:\.\d{1,18})?
            (?:[eE][-+−]?\d{1,3})?(?=[x×](?!\w)|(?![\w^]|\.\d)))
      | (?P<word>[^\W\d](?:\w|(?:(?<=\w)[.-](?=\w))){0,200})
      | (?P<code>\d(?:[\w.,^]{0,200}\w)?)
      | (?P<mark>->|[^\s\w`*"“”'’])""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of a sentence; `kind`: number, word, code or mark. `start` and `end` are places in the whole text."""

    kind: str
    text: str
    start: int
    end: int


class Sentence(NamedTuple):
    """A sentence and where it stands; `level` is that of a heading, from 1 on, and 0 where it is none."""

    text: str
    start: int
    end: int
    level: int = 0

    def tokens(self) -> list[Token]:
        """Numbers, words, pieces of code and punctuation; quotes and emphasis are left out."""
        return [
            Token(match.lastgroup or "mark", match[0], self.start + match.start(), self.start + match.end())
            for match in _TOKEN.finditer(self.text)
        ]


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of the first LIMIT characters of `text`, outside code and tables, without the marks of lists."""
    for start, end, level in _blocks(text[:LIMIT]):
        for first, last in [(start, end)] if 0 < level < 7 else _cut(text, start, end):
            if text[first:last].strip() and not text[first:last].lstrip().startswith("|"):
                yield Sentence(text[first:last], first, last, level)


def _blocks(text: str) -> Iterator[tuple[int, int, int]]:
    """Paragraphs, list items, headings and rows of tables; a line goes on with the line before it otherwise."""
    begin = end = -1
    place = 0
    fenced = False
    before = ""
    for row in text.split("\n"):
        item, title = _ITEM.match(row), _TITLE.match(row)
        fence = bool(_FENCE.match(row))
        fenced ^= fence
        filled = bool(row.strip()) and not fenced and not fence
        alone = bool(title) or row.lstrip().startswith(("|", "{"))
        # A short line is not one that goes on below, nor is a copied result.
        ends = before.endswith("}") or (len(before) < _WRAPPED and row.lstrip()[:1].isupper())
        if begin >= 0 and (not filled or item or alone or ends):
            yield begin, end, 0
            begin = -1
        if filled:
            if begin < 0:
                begin = place + (item.end() if item else 0)
            end = place + len(row)
            if alone:
                marks = len(row.lstrip()) - len(row.lstrip().lstrip("#"))
                yield begin, end, (marks or 7) if title else 0
                begin = -1
        place += len(row) + 1
        before = row.rstrip()
    if begin >= 0:
        yield begin, end, 0


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    first = start
    for match in _END.finditer(text, start, end):
        if match[0][0] == "." and _ABBREVIATION.search(text, max(first, match.start() - 8), match.start() + 1):
            continue
        yield from (piece.span() for piece in _PIECE.finditer(text, first, match.start() + len(match[0].rstrip())))
        first = match.end()
    yield from (piece.span() for piece in _PIECE.finditer(text, first, end))
