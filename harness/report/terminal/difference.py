"""A number of one run beside that of another, with the noise between seeds: described for a reader, never a verdict.

Verdicts are the ledger's, corrected for all that a campaign tests; what is said here is not corrected for anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...campaign.numbers import row
from ...statistics.noise import Noise, combine, decimals, mean, signed, squares_of

LEVEL = 0.05
"""Above this chance of so large a difference without any effect (two-sided t test), a difference has no word."""

_MOST_DECIMALS = 8

Word = Literal["", "same", "better", "worse", "better?", "worse?", "not significant"]


@dataclass(frozen=True)
class Difference:
    """A mean over seeds minus a reference's, in the metric's unit."""

    value: float
    reference: float
    seeds: int
    reference_seeds: int
    sd: float | None = None
    """Standard deviation between seeds, None where no seed was repeated."""
    reference_sd: float | None = None
    dof: float = math.inf
    better: str | None = None
    """`lower`, `higher`, or None where neither is."""
    tested: bool = False
    """It is the metric that verdicts rest on: its word is theirs, and without their limits it has a question mark."""
    low: float | None = None
    high: float | None = None
    measured_error: float | None = None
    """Standard error of the difference as the verdict took it, or measured seed by seed."""

    @property
    def difference(self) -> float:
        return self.value - self.reference

    @property
    def value_error(self) -> float | None:
        """Standard error of the mean."""
        return None if self.sd is None else self.sd / math.sqrt(self.seeds)

    @property
    def reference_error(self) -> float | None:
        return None if self.reference_sd is None else self.reference_sd / math.sqrt(self.reference_seeds)

    @property
    def error(self) -> float | None:
        """Standard error of the difference; seeds that are not shared are taken to be independent."""
        if self.measured_error is not None:
            return self.measured_error
        mine, theirs = self.value_error, self.reference_error
        return None if mine is None or theirs is None else math.hypot(mine, theirs)

    @property
    def word(self) -> Word:
        """What the difference means; with a question mark where the noise is unknown, or nothing was tested."""
        if self.better is None:
            return ""
        if self.difference == 0:
            return "same"
        if self.low is not None and self.high is not None:
            return beyond(self.low, self.high, self.better)
        is_better = (self.difference < 0) == (self.better == "lower")
        if self.tested or self.error is None:
            return "better?" if is_better else "worse?"
        if self._chance > LEVEL:
            return "not significant"
        return "better" if is_better else "worse"

    @property
    def _chance(self) -> float:
        """How often chance alone gives so large a difference, in either direction."""
        # Student's t test (1908), pooled variance. Two-sided: no direction was claimed before the numbers were seen.
        from scipy.special import stdtr

        assert self.error is not None
        return 2 * float(stdtr(self.dof, -abs(self.difference) / self.error))


def beyond(low: float, high: float, better: str) -> Word:
    """What a difference within these limits means."""
    if low <= 0 <= high:
        return "not significant"
    return "better" if (high < 0) == (better == "lower") else "worse"


def beside(values: Sequence[float], reference: Sequence[float], better: str | None, *, paired: bool = False) -> Difference:
    """Two groups of seeds, taken to scatter alike. A group of one, or of equal values, says nothing about noise. `paired`:
    both are at the same seeds."""
    both = combine([squares_of([a - b for a, b in zip(values, reference, strict=True)])]) if paired else None
    if isinstance(both, Noise):
        mine, theirs = (combine([squares_of(each)]) for each in (values, reference))
        return Difference(
            mean(values),
            mean(reference),
            len(values),
            len(reference),
            mine.sd if isinstance(mine, Noise) else None,
            theirs.sd if isinstance(theirs, Noise) else None,
            both.dof,
            better,
            measured_error=both.sd / math.sqrt(len(values)),
        )
    noise = combine([squares_of(values), squares_of(reference)])
    sd, dof = (noise.sd, noise.dof) if isinstance(noise, Noise) else (None, math.inf)
    return Difference(mean(values), mean(reference), len(values), len(reference), sd, sd, dof, better)


def set_with_errors(values: Sequence[float | None], errors: Sequence[float | None], *, signs: bool = False) -> list[str]:
    """Numbers and their standard errors, `0.24 ± 0.03`, set so that aligned to the right they stand below each other.

    Rounded by the noise, as in the notes. Where no error is known, four digits, and more where numbers that differ would
    look the same. None is empty.
    """
    known = [error for error in errors if error]
    places = decimals(min(known)) if known else None
    if places is None or places > _MOST_DECIMALS:
        shown = row(values)
        numbers = [
            "" if value is None else ("+" if signs and value > 0 else "") + text
            for value, text in zip(values, shown, strict=True)
        ]
        behind = ["" if error is None else f"{error:.1g}" for error in errors]
    else:
        numbers = ["" if v is None else signed(v, places) if signs else f"{v:.{places}f}" for v in values]
        behind = ["" if error is None else f"{error:.{places}f}" for error in errors]
    room = max(map(len, behind), default=0)
    return [
        "" if not number else f"{number} ± {error:>{room}}" if error else number + " " * (room + 3 if room else 0)
        for number, error in zip(numbers, behind, strict=True)
    ]


def with_words(numbers: Sequence[str], words: Sequence[str]) -> list[str]:
    """A word behind each number that has one, set so that the numbers still stand below each other."""
    room = max(map(len, words), default=0)
    return [f"{number} {word:<{room}}" if number and room else number for number, word in zip(numbers, words, strict=True)]
