"""Statements in prose: a number that is certainly said to be a metric of a run. What is open to another reading is none.

The run is named in the sentence or by the heading above it; a number follows its metric with nothing between them but a
verb, a data set or the run. Plans, conditions, ranges, bounds, differences, lists and tables are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .names import Mention, Names
from .prose import Sentence, Token, sentences

_UNSURE = re.compile(
    r"\b(?:if|when\w*|unless|until|once|should|would|could|might|may|will|expect\w*|hope\w*|hypothes\w+|predict\w*|plan\w*"
    r"|next|target\w*|goal\w*|aim\w*|threshold\w*|at (?:least|most)|report(?:s|ed)? (?:by|in)|et al|paper|literature|except"
    r"|instead|difference|ratio|epochs?|per|best|worst|peak\w*|std\w*|stderr\w*|config\w*|details|eval_result_details)\b",
    re.IGNORECASE,
)
_BEFORE = frozenset("the a an our its mean average and but while where with has had have reaches reached achieves".split())  # noqa: SIM905
_VERB = r"(?:decreased?|increased?|fell|falls|rose|rises|dropped|drops|improved|reduced|grew|declined|went|lowered)\s"
_FROM = r"(?:from\sN\s%?\s?(?:\(\s[^()]*\)\s)?(?:and\sN\s%?\s?(?:\(\s[^()]*\)\s)?)?)?"
_GAP = re.compile(
    r"(?:(?:RUN|SET|is|was|are|were|of|at|in|for|on|the|reached|reaches|equals|now|data|set|dataset|[:=()])\s)*"
    rf"(?:{_VERB}(?:\w+ly\s|further\s)*{_FROM}to\s)?"
)
"""What may stand between a metric and its number, as `_shape` writes it."""
_BEHIND = re.compile(
    r"(?:%\s)?(?:±\sN\s)?"
    r"(?:$|[.;:)}\]!?]|,\s(?!N\s)|(?:and|but)\s(?!N\s)|(?:while|whereas|which|versus|vs|against|compared|so|than|because|though)\s"
    r"|(?:in|for|on)\s(?:the\s|this\s)?(?:RUN|SET)\s|\(\s(?:vs|versus|compared|up|down|from|in|for|on|the|RUN|SET|N)\s|RUN\s)"
)
"""What may stand behind the number: not a unit, a noun that it counts, a further number, or what narrows it."""
_OPENING = 3  # tokens of a heading before the run that what is below is about
_AGAINST = frozenset(
    "than against versus vs over from to with unlike below above like as beats outperforms exceeds matches".split()  # noqa: SIM905
)
_SKIPPED = frozenset("the our its in for of that those both".split())  # noqa: SIM905
_OWN_BASELINE = frozenset("the our in for of vs versus than against over from to".split())  # noqa: SIM905


class Statement(NamedTuple):
    """`number` is said to be the metric `name` of `run`; `named` where the sentence itself names the run."""

    sentence: Sentence
    name: str
    run: int
    named: bool
    number: Token
    percent: bool


class _Run(NamedTuple):
    """A run from token `first` to token `last`, None where it is not certain which; `against` it something is held, `beside`
    a number it is that number's alone."""

    first: int
    last: int
    number: int | None
    against: bool
    beside: bool


def statements(text: str, names: Names, about: int | None, this: int | None) -> Iterator[Statement]:
    """What `text` states. `about`: the run that it is of where none is named; `this`: the one that "this run" is."""
    headings: list[tuple[int, int | None]] = []
    for sentence in sentences(text):
        tokens = sentence.tokens()
        runs = list(_runs(tokens, this))
        if sentence.level:
            own = [run.number for run in runs[:1] if run.first <= _OPENING and not run.against]
            if own or sentence.level < 7:
                headings = [each for each in headings if each[0] < sentence.level]
                headings.append((sentence.level, own[0] if own else headings[-1][1] if headings else None))
        here = headings[-1][1] if headings else about
        if not _UNSURE.search(sentence.text):
            yield from _stated(sentence, tokens, runs, names, here)


def _stated(
    sentence: Sentence, tokens: Sequence[Token], runs: Sequence[_Run], names: Names, here: int | None
) -> Iterator[Statement]:
    taken = {place for run in runs for place in range(run.first, run.last + 1)}
    found = [each for each in names.mentions(tokens) if each.first not in taken]
    in_names = {place for each in found for place in range(each.first, each.last + 1)}
    sets = [each for each in names.data_sets(tokens) if each.first not in in_names | taken]
    shape = _shape(tokens, runs, sets)
    subjects = {run.number for run in runs if not run.against and not run.beside}
    for mention in found:
        at = _number_behind(tokens, shape, mention)
        before = mention.first - 1
        begins = before < 0 or tokens[before].kind == "mark" or shape[before] in ("RUN", "SET", "")
        if at is None or not (begins or tokens[before].text.lower() in _BEFORE):
            continue
        behind = at + 1 + (at + 1 < len(tokens) and tokens[at + 1].text == "%")
        inside, after = range(mention.last + 1, at), range(behind, behind + 4)
        owner = next((r for r in runs if not r.against and r.first in (after if r.beside else inside)), None)
        name = _of_set(mention, sets, at, in_dict="{" in sentence.text)
        if owner is None and len(subjects) > 1:
            continue
        run = owner.number if owner else next(iter(subjects)) if subjects else here
        if name is not None and run is not None:
            yield Statement(sentence, name, run, bool(owner or subjects), tokens[at], behind > at + 1)


def _number_behind(tokens: Sequence[Token], shape: Sequence[str], mention: Mention) -> int | None:
    """The number that a metric is certainly said to be."""
    for at in range(mention.last + 1, min(len(tokens), mention.last + 25)):
        if tokens[at].kind != "number" or tokens[at].text[0] == "+" or shape[at] != "N":
            continue
        gap = "".join(f"{word} " for word in shape[mention.last + 1 : at] if word)
        rest = "".join(f"{word} " for word in shape[at + 1 : at + 9] if word)
        if _GAP.fullmatch(gap) and _BEHIND.match(rest):
            return at
    return None


def _of_set(mention: Mention, sets: Sequence[Mention], at: int, *, in_dict: bool) -> str | None:
    """Which of the metrics that are called so: the one of the data set that is named, where one is."""
    if in_dict:  # {'dino': {'kl_divergence': 1.03}}: a copy of results, where only a data set says whose number it is
        near = [each for each in sets if each.last < mention.first][-1:]
    else:
        near = [each for each in sets if mention.last < each.first < at + 5] or [
            each for each in sets if mention.first - 3 <= each.last < mention.first
        ]
        near = near or list(sets)
    blocks = {block for each in near for block in each.names}
    if len(mention.names) == 1 and not in_dict:
        block = mention.names[0].rpartition(".")[0]
        return mention.names[0] if not blocks or blocks == {block} else None
    own = [name for name in mention.names if {name.rpartition(".")[0]} == blocks]
    return own[0] if len(own) == 1 else None


def _shape(tokens: Sequence[Token], runs: Sequence[_Run], sets: Sequence[Mention]) -> list[str]:
    """A word a token: RUN, SET and N for runs, data sets and numbers; what goes on with one of these is empty."""
    shape = ["N" if token.kind == "number" else token.text.lower() for token in tokens]
    for name, spans in (("SET", sets), ("RUN", runs)):
        for each in spans:
            shape[each.first : each.last + 1] = [name, *[""] * (each.last - each.first)]
    for place, word in enumerate(shape):
        if word == "s" and place and shape[place - 1] in ("RUN", "SET", ""):
            shape[place] = ""
    return shape


def _runs(tokens: Sequence[Token], this: int | None) -> Iterator[_Run]:
    low = [token.text.lower() for token in tokens]
    place, ended, against = 0, -2, False
    while place < len(tokens):
        found = _run_at(tokens, low, place, this)
        if found is None:
            place += 1
            continue
        last, number = found
        before = [word for word in low[max(0, place - 4) : place] if word not in _SKIPPED]
        near = [word for word in before if word not in ("this", "(", "%")]
        # "0.358 (baseline: 0.304)": it belongs to the number behind it
        aside = any(token.kind == "number" for token in tokens[last + 1 : last + 3]) and low[place - 1 : place] == ["("]
        joined = ended == place - 2 and low[place - 1] in ("and", "or", ",")
        against = aside or (against if joined else bool(before) and before[-1] in _AGAINST)
        beside = bool(near) and near[-1][-1:].isdigit() and low[place - 1] != near[-1]
        if before[-1:] == ["with"] and "compared" not in before and "comparison" not in before:
            number, against = None, False  # "with run 2's schedule": whose result it is, is open
        yield _Run(place, last, number, against, beside)
        ended, place = last, last + 1


def _run_at(tokens: Sequence[Token], low: Sequence[str], at: int, this: int | None) -> tuple[int, int | None] | None:
    """The run that the words at `at` name, and the last of them."""
    before, behind = low[at - 1] if at else "", low[at + 1] if at + 1 < len(low) else ""
    if match := re.fullmatch(r"runs?[_-](\d{1,4})", low[at]):
        return at, int(match[1])
    if low[at] == "baseline":
        is_own = not before or before in _OWN_BASELINE or tokens[at - 1].kind == "mark"
        return at, 0 if is_own else None
    if low[at] in ("run", "runs"):
        if re.fullmatch(r"[0-9]{1,4}", behind) and before not in ("we", "i", "to") and low[at + 2 : at + 3] != ["-"]:
            counted = at + 2 < len(low) and low[at + 2] in ("seed", "seeds", "step", "steps", "times", "epochs", "more")
            return None if counted else (at + 1, int(behind) if low[at] == "run" else None)
        if before in ("this", "current"):
            return at, this
        if before in ("previous", "last", "first", "earlier", "other", "parent", "another", "all", "both", "two", "three"):
            return at, None
    return (at, None) if low[at] == "parent" else None
