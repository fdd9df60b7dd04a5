"""Diffs and outputs as HTML: escaped, bounded, with syntax colours, and with every character that hides made visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup, escape

from ..campaign.text import clean, clip
from .terminal.diff import blocks, coloured_sides, visible

MAX_COLUMNS = 300
"""A longer line is cut, with a note."""


_CLASSES = {"+": "i", "-": "d", "@": "h", "h": "h", "\\": "h"}


@dataclass(frozen=True)
class Rendered:
    """HTML and what it leaves out."""

    html: Markup
    added: int = 0
    removed: int = 0
    left_out: int = 0
    """Lines."""


def diff_html(text: str, lines: int, room: int) -> Rendered:
    """A unified diff: the first `lines` lines of it, or as many as give `room` bytes of HTML."""
    parts: list[Markup] = []
    size = shown = added = removed = total = 0
    for path, whole in blocks(text):
        block = [row for row in whole if row[0] != "h" or not row[1].startswith("index ")]  # ids that nobody reads
        added += sum(mark == "+" for mark, _ in block)
        removed += sum(mark == "-" for mark, _ in block)
        total += len(block)
        if shown >= lines or size >= room:
            continue
        for html in _block(path, _that_may_fit(block[: lines - shown], room - size)):
            if size >= room:
                break
            parts.append(html)
            size += len(html.encode())
            shown += 1
    return Rendered(Markup("").join(parts), added, removed, total - shown)


def _that_may_fit(block: Sequence[tuple[str, str]], room: int) -> Sequence[tuple[str, str]]:
    """The lines of which some part may have room, as if a letter took one byte: those after them need not be coloured."""
    sizes = accumulate(min(len(text), MAX_COLUMNS) for _, text in block)
    return block[: 1 + sum(size < room for size in sizes)]


def output_html(text: str, lines: int) -> Rendered:
    """The last `lines` lines of an output, as a terminal would have left them."""
    every = clean(text).expandtabs(4).rstrip("\n").split("\n")
    shown = every[-lines:]
    html = "\n".join(clip(line, MAX_COLUMNS) for line in shown)
    return Rendered(escape(html), left_out=len(every) - len(shown))


def _block(path: str, block: Sequence[tuple[str, str]]) -> list[Markup]:
    """Each line of a header or a hunk."""
    whole = [(mark, visible(text)) for mark, text in block]
    cut = [(mark, text[:MAX_COLUMNS]) for mark, text in whole]
    html = []
    for (mark, _), (_, text), parts in zip(cut, whole, coloured_sides(path, cut), strict=True):
        code = Markup("").join(
            Markup('<i class="{}">{}</i>').format(kind, piece) if kind else escape(piece) for kind, piece in parts
        )
        note = f" [cut: {len(text) - MAX_COLUMNS:,} characters more]" if len(text) > MAX_COLUMNS else ""
        html.append(
            Markup('<span class="{}">{}{}{}\n</span>').format(
                _CLASSES.get(mark, "x"), mark if mark in "+- " else "", code, note
            )
        )
    return html
