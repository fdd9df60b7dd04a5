"""Code in pieces with a kind each, for whoever colours it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound

KINDS: tuple[tuple[Any, str], ...] = (
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
"""Kinds of tokens that have a colour, and their letters."""

Piece = tuple[str, str]
"""A kind's letter, empty where there is none, and text."""


def pieces(path: str, lines: Sequence[str]) -> list[list[Piece]]:
    """Each of `lines` of the file `path` in pieces that are, one after the other, exactly that line."""
    found: list[list[Piece]] = [[]]
    for kind, text in _lexer(path).get_tokens("\n".join(lines)):
        letter = _letter(kind)
        for number, piece in enumerate(text.split("\n")):
            if number:
                found.append([])
            kind = letter if piece.strip() else ""
            if found[-1] and found[-1][-1][0] == kind:
                found[-1][-1] = (kind, found[-1][-1][1] + piece)
            elif piece:
                found[-1].append((kind, piece))
    # A lexer may add or drop a last newline; what it does to the text otherwise is not trusted.
    found = [*found, *([] for _ in lines)][: len(lines)]
    same = all("".join(text for _, text in each) == line for each, line in zip(found, lines, strict=True))
    return found if same else [[("", line)] for line in lines]


@lru_cache
def _letter(kind: Any) -> str:
    return next((letter for parent, letter in KINDS if kind in parent), "")


@lru_cache
def _lexer(path: str) -> Any:
    try:
        return get_lexer_for_filename(path, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return TextLexer(stripnl=False, ensurenl=False)
