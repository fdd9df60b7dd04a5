"""Code and formulas inside somebody's words: what stands between backticks, names with an underscore, and what of ASCII
mathematics can be converted with certainty. All else stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup, escape

_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi - pi rho - sigma tau upsilon phi chi psi omega"
)
_GREEK = {name: chr(ord("α") + place) for place, name in enumerate(_NAMES.split()) if name != "-"}
_OPERATORS = {"<=": "≤", ">=": "≥", "!=": "≠", "+-": "±", "->": "→", "*": "·"}
_NAME = "|".join(_GREEK)
_PART = rf"(?:{_NAME}|[A-Za-zα-ω0-9]|[ijk]{{2}}|\{{[A-Za-z0-9]{{1,8}}\}})"
_SPAN = re.compile(
    rf"""(?<![\w`])`(?P<code>[^`\s](?:[^`\n]{{0,98}}[^`\s])?)`(?![\w`])
    |(?<![\w.^/\\{{-])(?P<base>{_NAME}|[A-Za-zα-ωΑ-Ω])(?:
        (?:_(?P<sub>{_PART}|[a-z]{{1,8}}(?=\^)))?\^(?P<sup>{_PART}|-1|'|\*)|_(?P<alone>{_PART})
     )(?![\w(\[/]|\.\w|[_^])
    |(?<![\w./\\@-])(?P<name>[A-Za-z]\w*_\w+(?:\(\w{{0,20}}\))?)(?![\w/\\@]|\.\w)
    |(?<![\w.`-])(?P<greek>{_NAME})(?![\w`-]|\.\w)
    |(?<=[\w)\]}}'|]\ )(?P<operator><=|>=|!=|\+-|->|\*)(?=\ [\w(\[{{|<-])""",
    re.VERBOSE,
)

_SYMBOL = re.compile(rf"(?<![\w.`-])({_NAME})(?=_|\^|\ (?:[*=<>+]|<=|>=)\ )")
"""A letter's name in an expression; the same word elsewhere in the line is that letter too."""


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Formula:
    """One letter with what stands below and above it; `ascii` is what was written."""

    base: str
    below: str
    above: str
    ascii: str


Span = str | Code | Formula


def spans(text: str) -> Iterator[Span]:
    """The parts of one line of `text`, in order."""
    place, symbols = 0, set(_SYMBOL.findall(text))
    for match in _SPAN.finditer(text):
        if text[place : match.start()]:
            yield text[place : match.start()]
        place = match.end()
        if match["code"] or match["name"]:
            yield Code(match["code"] or match["name"])
        elif match["base"]:
            below = match["sub"] or match["alone"] or ""
            yield Formula(_letter(match["base"]), _letter(below), _letter(match["sup"] or ""), match[0])
        else:
            name = match["greek"]
            yield _OPERATORS[match["operator"]] if name is None else _GREEK[name] if name in symbols else name
    if text[place:]:
        yield text[place:]


def html(text: str) -> Markup:
    """`text`, of one line or several, with its code and formulas set as such."""
    return Markup("").join(map(_html, spans(text)))


def _html(span: Span) -> Markup:
    match span:
        case Code(text):
            return Markup("<code>{}</code>").format(text)
        case Formula(base, below, above):
            parts = [Markup("<i>{}</i>").format(base)]
            parts += [Markup("<sub>{}</sub>").format(below)] if below else []
            parts += [Markup("<sup>{}</sup>").format(above)] if above else []
            return Markup("").join(parts)
        case str():
            return escape(span)


def _letter(part: str) -> str:
    part = part.strip("{}")
    return _GREEK.get(part, part.replace("-", "−"))
