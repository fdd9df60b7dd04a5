"""Names of metrics and settings as prose writes them.

What a name is called follows from the name itself and from its label in the contract: `core.explained_variance_legacy` is
also "explained variance", "variance explained" and "EV", `dict_size` is "dictionary size", `cossim` "cosine similarity".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from ..campaign.contract import Contract
from ..campaign.record import Record

MAX_NAMES = 400
"""Names that are looked for, those of the contract first: results may hold thousands."""

_FILLERS = frozenset(
    [
        *("mean", "avg", "average", "total", "final", "overall", "legacy", "score", "value", "rate", "test", "eval"),
        *("size", "num", "number", "count", "n"),
    ]
)
"""Words of a name that prose leaves out."""
_STOP = frozenset(["a", "an", "as", "at", "by", "for", "in", "is", "it", "of", "on", "or", "per", "so", "the", "to"])
_BETWEEN = frozenset(["of", "the", "a", "an", "are", "still", "now"])
"""What may stand between the words of a name."""
_SPELT_OUT = {
    "lr": ("learning", "rate"),
    "mse": ("mean", "squared", "error"),
    "ce": ("cross", "entropy"),
    "kl": ("kullback", "leibler"),
    "ms": ("time",),
    "second": ("time",),
}
_HAVING = frozenset(["have", "has", "had", "having"])
_TIMES = frozenset(["ms", "second", "time"])
_SHORT = 5  # letters; up to this length a word of a name may be the beginning of a longer one: dict, num, acc


class Part(NamedTuple):
    """A word of prose, or a piece of an identifier."""

    text: str
    """Small letters, without a plural's s."""
    capitals: bool
    token: int
    """The token that it is of."""


class _Pattern(NamedTuple):
    words: tuple[str, ...]
    name: str
    rank: int
    capitals: bool = False


class Names:
    """All names of a campaign, to be found in prose."""

    def __init__(self, contract: Contract, records: Iterable[Record]) -> None:
        labels = {metric.name: metric.label for metric in contract.metric}
        names = dict.fromkeys(labels)
        for record in records:
            names.update(dict.fromkeys([*record.metrics, *record.settings]))
        names["seed"] = None
        self._patterns: dict[str, list[_Pattern]] = defaultdict(list)
        self._names = list(names)[:MAX_NAMES]
        for name in self._names:
            block = name.rpartition(".")[0]
            alone = name in labels and [each.rpartition(".")[0] for each in labels].count(block) == 1
            for pattern in _patterns(name, labels.get(name, ""), block if alone else ""):
                self._patterns[pattern.words[0][:2]].append(pattern)

    @cached_property
    def times(self) -> tuple[str, ...]:
        """The names of what is measured in time."""
        return tuple(name for name in self._names if is_time(name))

    def taken_by(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The times that what is named takes: `step_ms` for `steps`."""
        short = [pieces(name) for name in names]
        return tuple(name for name in self.times if [piece for piece in pieces(name) if piece not in _TIMES] in short)

    def at(self, parts: Sequence[Part], i: int) -> tuple[int, tuple[str, ...]]:
        """How many parts from `i` on are a name (0: none), and what they may name: the longest and nearest reading."""
        best: tuple[int, int] = (0, 0)
        found: list[str] = []
        for pattern in self._patterns.get(parts[i].text[:2], ()):
            length = _length(pattern, parts, i)
            if length and (key := (length, -pattern.rank)) >= best:
                if key > best:
                    found = []
                best = key
                found.append(pattern.name)
        return best[0], tuple(dict.fromkeys(found))


def is_time(name: str) -> bool:
    return not _TIMES.isdisjoint(pieces(name))


def pieces(text: str) -> list[str]:
    """The words that an identifier or a word is made of, in small letters, plurals as singulars."""
    return [_singular(piece) for piece in re.findall(r"[^\W\d_]+\d{0,9}|\d+", text.lower())]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _patterns(name: str, label: str, alone: str) -> list[_Pattern]:
    """`alone`: the evaluation that has no other metric, and may stand for this one."""
    block, _, last = name.rpartition(".")
    whole = pieces(last)
    bare = [word for word in whole if word not in _FILLERS]
    told = [word for word in pieces(re.sub(r"\([^)]{0,200}\)", "", label)) if word not in _STOP]
    variants = [(whole, 0), ([*pieces(block), *whole], 0), (told, 0), (bare, 1), (pieces(alone), 2)]
    found: list[_Pattern] = []
    for words, rank in variants:
        if not words or words[0].isdecimal() or (len(words) == 1 and words[0] in _STOP | _TIMES):
            continue
        found.append(_Pattern(tuple(words), name, rank))
        for short, long in _SPELT_OUT.items():
            if short in words:
                at = words.index(short)
                found.append(_Pattern((*words[:at], *long, *words[at + 1 :]), name, rank))
        if len(words) == 2:
            found.append(_Pattern((words[1], words[0]), name, rank + 1))
        if len(words) in (2, 3, 4):
            found.append(_Pattern(("".join(word[0] for word in words),), name, rank + 1, capitals=True))
    return list(dict.fromkeys(found))


def _length(pattern: _Pattern, parts: Sequence[Part], i: int) -> int:
    j = i
    for n, word in enumerate(pattern.words):
        if n and j < len(parts) and parts[j].text in _BETWEEN:
            j += 1
        if j >= len(parts) or (pattern.capitals and not parts[j].capitals):
            return 0
        used = _same(word, parts, j, within=n > 0)
        if not used:
            return 0
        j += used
    return j - i


def _same(word: str, parts: Sequence[Part], j: int, *, within: bool) -> int:
    """How many parts from `j` on stand for one word of a name."""
    written = parts[j].text
    if written == word or (word == "with" and written in _HAVING):
        return 1
    if 3 <= len(word) <= _SHORT and len(written) >= len(word) + 3 and written.startswith(word):
        return 1
    if within and len(written) >= 3 and written not in _STOP and word.startswith(written):
        return 1
    if len(word) > 5 and j + 1 < len(parts):
        cuts = range(3, len(word) - 2)
        if any(written.startswith(word[:cut]) and parts[j + 1].text.startswith(word[cut:]) for cut in cuts):
            return 2
    return 0
