"""Text and tables fitted into the columns of a terminal, whatever the width and whatever letters they hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import click

from ...campaign.text import line

GAP = 2
_JOINTS = "./_-"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    title: str
    right: bool = False
    """Aligned to the right: numbers."""
    drop: int = 0
    """Where there is no room columns are left out, the lowest number last; 0 stays."""
    least: int = 0
    """Above 0: it takes the room that the others leave, if that is so many columns; what does not fit is cut, or wrapped."""
    wraps: bool = False


@dataclass(frozen=True)
class Cell:
    """One line of text and its colour. A colour says nothing that the words do not."""

    text: str
    colour: str | None = None
    dim: bool = False


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]], width: int) -> list[str]:
    """A header and a line for each row, more where a cell wraps; none is wider than `width`. A row with one cell that has no
    name is a heading.

    A column without any text is left out, and so are those that do not fit. What is in a cell is made one harmless line.
    """
    return fitted(columns, rows, width)[0]


def fitted(columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]], width: int) -> tuple[list[str], list[str]]:
    """Such a table, and the titles of the columns for which it has no room."""
    texts = [{name: line_of(cell.text) for name, cell in row.items()} for row in rows]
    columns = [each for each in columns if any(text.get(each.name, "").strip() for text in texts)]
    widths = {each.name: max(len_of(each.title), *(len_of(text.get(each.name, "")) for text in texts)) for each in columns}
    shown = _fitting(columns, widths, width)
    rest = next((each for each in shown if each.least), None)
    if rest is not None:
        room = width - sum(widths[each.name] + GAP for each in shown if each is not rest)
        widths[rest.name] = max(1, min(widths[rest.name], room))
    title = {each.name: Cell(each.title) for each in columns}
    head = _lines(shown, title, {name: cell.text for name, cell in title.items()}, widths, width)
    lines = [click.style(each, bold=True) for each in head]
    for row, text in zip(rows, texts, strict=True):
        if "" in row:
            lines.append(click.style(cut(text[""], width), bold=True))
            continue
        lines += _lines(shown, row, text, widths, width)
    return lines, [each.title for each in columns if each not in shown]


def line_of(text: str) -> str:
    """`text` as one harmless line that keeps the blanks with which a number is set in its column."""
    bare = text.strip(" ")
    if bare.isascii() and bare.isprintable() and "  " not in bare:  # as nearly each cell of a thousand runs is
        return text if bare else ""
    kept = line(text)
    if not kept:
        return ""
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return " " * before + kept + " " * after


def len_of(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def cut(text: str, width: int) -> str:
    """The beginning of one line of `text`, at most `width` columns, marked where something is left out: between two words
    where that leaves a third of the line."""
    text = line(text)
    if len_of(text) <= width:
        return text
    if width < 1:
        return ""
    kept = _beginning(text, width - 1)
    whole = kept if text[len(kept)] == " " else kept.rpartition(" ")[0]
    return f"{(whole if 3 * len_of(whole) >= width else kept).rstrip()}…"


def wrap(text: str, width: int, first: str, rest: str) -> list[str]:
    """One line of `text` in lines of at most `width` columns, `first` before it and `rest` before its continuations."""
    lines, current = [], first + text[: len(text) - len(text.lstrip())]
    is_empty = True
    for word in text.split():
        if not is_empty and len_of(current) + 1 + len_of(word) > width:
            lines.append(current)
            current, is_empty = rest, True
        current += word if is_empty else f" {word}"
        is_empty = False
        while len_of(current) > width:  # a word longer than a line: a name is broken where its parts meet
            head = _beginning(current, width)
            joint = max(map(head.rfind, _JOINTS)) + 1
            if joint > (len(head) + len(rest)) // 2:
                head = head[:joint]
            if len(head) <= len(rest):
                break
            lines.append(head)
            current = rest + current[len(head) :]
    return [each.rstrip() for each in (*lines, current)]


def _beginning(text: str, width: int) -> str:
    """The letters of `text` that fit into `width` columns."""
    used = 0
    for place, character in enumerate(text):
        used += _columns(character)
        if used > width:
            return text[:place]
    return text


def _fitting(columns: Sequence[Column], widths: Mapping[str, int], width: int) -> list[Column]:
    """The columns that fit: those that are left out last first, and of the others what there is room for then."""
    shown: list[Column] = []
    room = width + GAP
    for each in sorted(columns, key=lambda each: each.drop):
        needed = GAP + (min(each.least, widths[each.name]) if each.least else widths[each.name])
        if needed <= room or each.drop == 0:
            shown.append(each)
            room -= needed
    return [each for each in columns if each in shown]


def _lines(
    shown: Sequence[Column], row: Mapping[str, Cell], texts: Mapping[str, str], widths: Mapping[str, int], width: int
) -> list[str]:
    """A row, in as many lines as its longest wrapped cell has."""
    pieces = {
        each.name: wrap(texts.get(each.name, ""), widths[each.name], "", "")
        if each.wraps
        else [_cut(texts.get(each.name, ""), widths[each.name])]
        for each in shown
    }
    lines = []
    for number in range(max(map(len, pieces.values()), default=1)):
        line_, used = "", 0
        for each in shown:
            text = pieces[each.name][number] if number < len(pieces[each.name]) else ""
            size = len_of(text)
            blanks = " " * (widths[each.name] - size)
            padded, size = blanks + text if each.right else text + blanks, size + len(blanks)
            if used:
                line_, used = line_ + " " * GAP, used + GAP
            while used + size > width and padded:  # a terminal narrower than any table
                padded = padded[:-1]
                size = len_of(padded)
            used += size
            cell = row.get(each.name)
            line_ += _styled(padded, cell) if cell and (cell.colour or cell.dim) else padded
        lines.append(line_.rstrip())
    return lines


def _cut(text: str, width: int) -> str:
    return text if len_of(text) <= width else cut(text, width)


def _styled(text: str, cell: Cell) -> str:
    """The words in their colour, the blanks around them bare."""
    bare = text.strip()
    if not bare:
        return text
    before, _, after = text.partition(bare)
    return before + click.style(bare, fg=cell.colour, dim=cell.dim or None) + after


@lru_cache(maxsize=1_000)
def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
