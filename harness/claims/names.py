"""Names of metrics as prose writes them.

A metric is called by its name, by its label, and by the key that it was read from, which is SAEBench's or AI-Scientist's own
name: `core.ce_loss_score` is "CE loss score", `dino.kl_divergence` is "KL divergence" with "dino" before or behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..campaign.contract import Contract
from ..campaign.record import Record
from .prose import Token

MAX_NAMES = 400
"""Names that are looked for, those of the contract first: results may hold thousands."""

_SAME = {"divergence": "div", "accuracy": "acc", "validation": "val", "training": "train", "evaluation": "eval"}
_LONGEST_LABEL = 4  # words


class Mention(NamedTuple):
    """A name from token `first` to token `last`, and what may be called so."""

    first: int
    last: int
    names: tuple[str, ...]


class Names:
    """All metrics of a campaign, to be found in prose, and the data sets or evaluations that they are of."""

    def __init__(self, contract: Contract, records: Iterable[Record]) -> None:
        labels = {metric.name: metric.label for metric in contract.metric}
        names = dict.fromkeys(labels, "")
        for record in records:
            for name, metric in record.metrics.items():
                names[name] = names.get(name) or metric.key
        self._called: dict[tuple[str, ...], list[str]] = {}
        self._sets: dict[tuple[str, ...], list[str]] = {}
        for name, key in list(names.items())[:MAX_NAMES]:
            block = name.rpartition(".")[0]
            if block:
                self._sets[tuple(pieces(block))] = [block]
            for words in _calls(name, key, labels.get(name, "")):
                self._called[words] = list(dict.fromkeys([*self._called.get(words, ()), name]))

    def called(self, text: str) -> tuple[str, ...]:
        """The metrics that may be called so."""
        return tuple(self._called.get(tuple(pieces(text)), ()))

    def mentions(self, tokens: Sequence[Token]) -> list[Mention]:
        """The names in a sentence, each as long as it can be."""
        return _found(tokens, self._called)

    def data_sets(self, tokens: Sequence[Token]) -> list[Mention]:
        """The data sets in a sentence."""
        return _found(tokens, self._sets)


def pieces(text: str) -> list[str]:
    """The words that an identifier or a word is made of, in small letters, plurals as singulars."""
    found = (_singular(piece) for piece in re.findall(r"[^\W\d_]+\d{0,9}|\d+", text.lower()))
    return [_SAME.get(piece, piece) for piece in found]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _calls(name: str, key: str, label: str) -> Iterable[tuple[str, ...]]:
    block, _, last = name.rpartition(".")
    told = pieces(label) if 0 < len(label.split()) <= _LONGEST_LABEL else []
    own = re.split(r"[.\]\s]", key)[-1]
    for whole in (pieces(last), [*pieces(block), *pieces(last)], told, pieces(own)):
        for words in (whole, [word for word in whole if word != "mean"]):
            if words and not words[0].isdecimal() and (len(words) > 1 or len(words[0]) > 1):
                yield tuple(words)


def _found(tokens: Sequence[Token], called: dict[tuple[str, ...], list[str]]) -> list[Mention]:
    parts = [
        (piece, place)
        for place, token in enumerate(tokens)
        if token.kind != "mark" or token.text not in "-_/"
        for piece in (pieces(token.text) if token.kind in ("word", "code", "number") else [token.text])
    ]
    found: list[Mention] = []
    longest = max(map(len, called), default=0)
    at = len(parts) if not longest else 0
    while at < len(parts):
        whole = at == 0 or parts[at - 1][1] != parts[at][1]
        for end in range(min(len(parts), at + longest), at, -1) if whole else ():
            names = called.get(tuple(piece for piece, _ in parts[at:end]))
            if names and (end == len(parts) or parts[end][1] != parts[end - 1][1]):
                found.append(Mention(parts[at][1], parts[end - 1][1], tuple(names)))
                at = end
                break
        else:
            at += 1
    return found
