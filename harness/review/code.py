"""Diffs and outputs as HTML: escaped, bounded, with syntax colours, and with every character that hides made visible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound

from ..text import clean, clip

MAX_COLUMNS = 300
"""A longer line is cut, with a note."""
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_HIDDEN = re.compile(r"[^\x20-\x7e]")
_CLASSES: tuple[tuple[Any, str], ...] = (
    (Comment, "c"),
    (String, "s"),
    (Number, "m"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Builtin, "b"),
    (Name.Decorator, "b"),
)
"""Kinds of tokens that have a colour; the style sheet has as many in light and in dark."""


@dataclass(frozen=True)
class Rendered:
    """HTML and what it leaves out."""

    html: Markup
    added: int = 0
    removed: int = 0
    left_out: int = 0
    """Lines."""


def diff_html(text: str, lines: int, characters: int) -> Rendered:
    """A unified diff: the first `lines` lines of it, or as many as give `characters` characters of HTML."""
    parts: list[Markup] = []
    size = shown = added = removed = total = 0
    for path, block in _blocks(text.removesuffix("\n").split("\n")):
        added += sum(mark == "+" for mark, _ in block)
        removed += sum(mark == "-" for mark, _ in block)
        total += len(block)
        room = lines - shown
        if room <= 0 or size >= characters:
            continue
        for html in _block(path, block[:room]):
            if size >= characters:
                break
            parts.append(html)
            size += len(html)
            shown += 1
    return Rendered(Markup("").join(parts), added, removed, total - shown)


def output_html(text: str, lines: int) -> Rendered:
    """The last `lines` lines of an output, as a terminal would have left them."""
    every = clean(text).expandtabs(4).rstrip("\n").split("\n")
    shown = every[-lines:]
    html = "\n".join(clip(line, MAX_COLUMNS) for line in shown)
    return Rendered(escape(html), left_out=len(every) - len(shown))


def visible(text: str) -> str:
    """One line of code with control, bidirectional and other invisible characters written as escapes."""
    text = text.expandtabs(4)
    return _HIDDEN.sub(lambda m: m[0] if m[0].isprintable() else m[0].encode("unicode_escape").decode(), text)


def _blocks(lines: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The diff's headers and hunks: the file's path, and (mark, text) of each line. What a line inside a hunk looks like
    does not matter, since the hunk's header says how many there are."""
    blocks: list[tuple[str, list[tuple[str, str]]]] = []
    path, old, new = "", 0, 0
    for line in lines:
        if old > 0 or new > 0:
            mark = line[:1] or " "
            old -= mark in " -"
            new -= mark in " +"
            blocks[-1][1].append((mark, line[1:]))
        elif found := _HUNK.match(line):
            old, new = (int(count) if count is not None else 1 for count in found.groups())
            blocks.append((path, [("@", line)]))
        else:
            if line.startswith("+++ "):
                path = line[4:].removeprefix("b/")
            if not blocks or blocks[-1][1][0][0] != "h":
                blocks.append(("", []))
            blocks[-1][1].append(("\\" if line.startswith("\\") else "h", line))
    return blocks


def _block(path: str, block: Sequence[tuple[str, str]]) -> list[Markup]:
    """Each line of a header or a hunk. Both sides of a hunk are read as code of their own."""
    whole = [visible(text) for _, text in block]
    texts = [text[:MAX_COLUMNS] for text in whole]
    notes = [
        f" [cut: {len(text) - MAX_COLUMNS:,} characters more]" if len(text) > MAX_COLUMNS else "" for text in whole
    ]
    coloured = [escape(text) for text in texts]
    lexer = _lexer(path)
    for sides in (" -", " +"):
        places = [i for i, (mark, _) in enumerate(block) if mark in sides]
        for i, html in zip(places, _coloured(lexer, [texts[i] for i in places]), strict=True):
            coloured[i] = html
    classes = {"+": "i", "-": "d", "@": "h", "h": "h", "\\": "h"}
    return [
        Markup('<span class="{}">{}{}{}\n</span>').format(
            classes.get(mark, "x"), mark if mark in "+- " else "", html, note
        )
        for (mark, _), html, note in zip(block, coloured, notes, strict=True)
    ]


def _coloured(lexer: Lexer, lines: Sequence[str]) -> list[Markup]:
    html: list[Markup] = [Markup("")]
    for kind, text in lexer.get_tokens("\n".join(lines)):
        name = next((name for parent, name in _CLASSES if kind in parent), "")
        for number, piece in enumerate(text.split("\n")):
            if number:
                html.append(Markup(""))
            if piece:
                html[-1] += (
                    Markup('<i class="{}">{}</i>').format(name, piece) if name and piece.strip() else escape(piece)
                )
    # A lexer may add or drop a last newline; what it does to the text otherwise is not trusted.
    html = [*html, *[Markup("")] * (len(lines) - len(html))][: len(lines)]
    same = all(each.striptags() == " ".join(line.split()) for each, line in zip(html, lines, strict=True))
    return html if same else [escape(line) for line in lines]


def _lexer(path: str) -> Lexer:
    try:
        return get_lexer_for_filename(path, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return TextLexer(stripnl=False, ensurenl=False)
