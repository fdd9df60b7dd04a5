"""Claims in prose: the numbers and directions that records could confirm or contradict.

Nothing is looked up here, so nothing is judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .directions import SAYS_SOMETHING, DirectionClaim, StatusClaim, direction_claims
from .mentions import Reading
from .names import Names
from .prose import Sentence, sentences
from .quantities import Quantity, quantities

Claim = Quantity | DirectionClaim | StatusClaim

_DIGIT = re.compile(r"[0-9]")


def claims(text: str, names: Names, about: int | None) -> Iterator[tuple[Sentence, Claim]]:
    """What `text` claims, in its order, with the sentences. `about`: the run that it speaks of where it names none."""
    for sentence in sentences(text):
        if _DIGIT.search(sentence.text) or SAYS_SOMETHING.search(sentence.text):
            reading = Reading(sentence, names, about)
            found: list[tuple[int, Claim]] = [*quantities(reading), *direction_claims(reading)]
            for _, claim in sorted(found, key=lambda pair: pair[0]):
                yield sentence, claim
