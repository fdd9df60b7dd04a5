"""A number of one run beside that of another, with the noise between seeds: described for a reader, never a verdict.

Verdicts are the ledger's, corrected for all that a campaign tests; what is said here is not corrected for anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...campaign.numbers import row
from ...statistics.noise import Noise, combine, mean, squares_of, with_noise

PLUS_MINUS = "± is one standard error, over seeds; of a single seed it is from the pooled spread between seeds."
"""How to read what follows ±, wherever it stands."""
LEVEL = 0.05
"""Above this chance of so large a difference without any effect (two-sided t test), a difference has no word."""

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
    noise, alone = combine([squares_of(values), squares_of(reference)]), combine([squares_of(reference)])
    numbers = mean(values), mean(reference), len(values), len(reference)
    if not isinstance(noise, Noise):
        return Difference(*numbers, better=better)
    # The reference has the standard error that it has wherever it stands alone.
    reference_sd = alone.sd if isinstance(alone, Noise) else noise.sd if len(reference) == 1 else None
    error = noise.sd * math.sqrt(1 / len(values) + 1 / len(reference))
    return Difference(*numbers, noise.sd, reference_sd, noise.dof, better, measured_error=error)


def set_with_errors(values: Sequence[float | None], errors: Sequence[float | None], *, signs: bool = False) -> list[str]:
    """Numbers and their standard errors, `0.24 ± 0.03`, set so that aligned to the right they stand below each other.

    Each is rounded by its own noise, as on every other page. Where that is not known, four digits, and more where numbers
    that differ would look the same. None is empty.
    """
    shown = []
    for value, error, plain in zip(values, errors, row(values), strict=True):
        if value is None:
            shown.append(("", ""))
        elif error:
            number, _, behind = with_noise(value, error, "+" if signs else "-").partition(" ± ")
            shown.append((number, behind))
        else:
            shown.append(("−" + plain[1:] if value < 0 else "+" * (signs and value > 0) + plain, ""))
    room = max(len(behind) for _, behind in shown) if shown else 0
    return [
        f"{number} ± {behind:<{room}}" if behind else number + " " * (room + 3 if room and number else 0)
        for number, behind in shown
    ]


def with_words(numbers: Sequence[str], words: Sequence[str]) -> list[str]:
    """A word behind each number that has one, set so that the numbers still stand below each other."""
    room = max(map(len, words), default=0)
    return [f"{number} {word:<{room}}" if number and room else number for number, word in zip(numbers, words, strict=True)]
