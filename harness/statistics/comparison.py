"""What the difference between two groups of seeds means: how large, how sure, and in which words.

Where both were executed at the same seeds, and enough of them, they are compared seed by seed, by the spread of their
differences. Other groups are taken to be independent, and to scatter alike unless that is out of the question. Three seeds
do not show that a run scatters twice as much, or that noise is skewed, and both make a false "improved" several times as
likely; with as many seeds on both sides they hardly matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ..campaign.numbers import number
from ..campaign.text import reference_in_words
from .noise import Noise, NoiseUnknown, decimals, mean, pool, rounded

Direction = Literal["lower", "higher"]
_ROUNDING = 1e-9
"""What differences may scatter, of what the values do, that computers round."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run's metric beside a reference's. Differences are the run's mean minus the reference's, in the metric's unit."""

    better: Direction
    mean: float
    reference: float
    n: int
    n_reference: int
    noise: Noise
    reference_noise: Noise
    """The same as `noise` where both are taken to scatter alike."""
    level: float
    """The error that may be spent on calling this one comparison better: a share of the campaign's."""
    alpha: float
    """The error that may be spent on the whole campaign."""
    mixture: Mixture | None = None
    """The reference, where it was not measured itself."""
    paired: Noise | None = None
    """Of the differences seed by seed, where both were executed at the same seeds."""
    reference_sd: float | None = None
    """Between the reference's own seeds, for its standard error; None where another page gives that."""
    others: tuple[Comparison, ...] = ()
    """Beside what else the reference may be: it is better, or worse, only where it is so beside each of them."""

    @property
    def difference(self) -> float:
        return self.mean - self.reference

    @property
    def gain(self) -> float:
        """The difference, positive where the run is better."""
        return -self.difference if self.better == "lower" else self.difference

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        if self.paired is not None:
            return math.sqrt(self.paired.variance / self.n)
        return math.sqrt(self.noise.variance / self.n + self._reference_variance)

    @property
    def reference_error(self) -> float:
        """Standard error of the reference's mean."""
        return math.sqrt(self._reference_variance)

    @property
    def dof(self) -> float:
        """Degrees of freedom of `error`: Satterthwaite's (1946) and Welch's (1947) where the groups do not scatter alike."""
        if self.paired is not None:
            return self.paired.dof
        if self.noise == self.reference_noise:
            return self.noise.dof
        mine, theirs = self.noise.variance / self.n, self._reference_variance
        return (mine + theirs) ** 2 / (mine**2 / self.noise.dof + theirs**2 / self.reference_noise.dof)

    @property
    def p(self) -> float:
        """One-sided: how often so large a gain, or a larger one, comes by chance. Not corrected.

        Student's t test (1908). One-sided, because "better" is claimed of a gain alone; a loss is tested by `p_worse`.
        """
        # Intersection-union test (Berger 1982): it must hold beside each, so the largest p counts, uncorrected.
        return max(_tail(each.gain / each.error, each.dof, each._skew) for each in self._all)

    @property
    def p_worse(self) -> float:
        """One-sided p of a loss. Not corrected."""
        return max(_tail(-each.gain / each.error, each.dof, -each._skew) for each in self._all)

    @property
    def p_adjusted(self) -> float:
        """`p`, corrected for all that the campaign may test (Bonferroni, with unequal shares)."""
        return min(1.0, self.p * self.alpha / self.level)

    @property
    def p_worse_adjusted(self) -> float:
        """`p_worse`, corrected in the same way."""
        return min(1.0, self.p_worse * self.alpha / self.level)

    @property
    def is_better(self) -> bool:
        return self.p <= self.level

    @property
    def is_worse(self) -> bool:
        return self.p_worse <= self.level

    @property
    def interval(self) -> tuple[float, float]:
        """Limits of the difference, each wrong in at most a share `level`; with those of all runs that were tested together
        they hold in 1 - 2 alpha of campaigns, so for a picked winner as well."""
        # Bonferroni's inequality: the levels of all tests sum to at most alpha, on each side.
        least = min(each.gain - each.error * _threshold(self.level, each.dof, each._skew) for each in self._all)
        most = max(each.gain + each.error * _threshold(self.level, each.dof, -each._skew) for each in self._all)
        return (-most, -least) if self.better == "lower" else (least, most)

    @property
    def estimate(self) -> float:
        """The difference, shrunk where the run is called better.

        Who is picked for a large difference was lucky on average. The estimate is the difference under which half of those
        that are picked come out larger than this one, at least 0 and at most what was measured.
        """
        if not self.is_better:
            return self.difference
        # The t of a run that was picked, taken for normal, is a normal value cut off below. The effect under which the
        # measured one is its median is a median-unbiased estimate among those that are picked.
        measured = self.gain / self.error
        least = max(_threshold(self.level, each.dof, each._skew) * each.error - each.gain + self.gain for each in self._all)
        picked_from = min(least / self.error, measured)
        low, high = 0.0, measured
        # Then already without any effect half of those that are picked come out larger.
        if _above(measured) >= 0.5 * _above(picked_from):
            high = 0.0
        # That share rises with the effect, so halving finds it; 50 times reach a float's precision.
        for _ in range(50):
            middle = (low + high) / 2
            if _above(measured - middle) < 0.5 * _above(picked_from - middle):
                low = middle
            else:
                high = middle
        return math.copysign(low * self.error, self.difference)

    @property
    def method(self) -> str:
        """How it was decided, for the record."""
        if self.paired is not None:
            return (
                f"one-sided paired t test, sd of the differences {self.paired.sd:.4g} ({self.dof:.3g} degrees of freedom); "
                f"{self.n} shared seeds; level {self.level:.2g} of {self.alpha:g}"
            )
        skew = ", skew allowed for" if self.noise.skew else ""
        stored = ", with the stored noise profile" if self.noise.stored else ""
        alike = self.noise == self.reference_noise
        spread = f"pooled sd {self.noise.sd:.4g}" if alike else f"sd {self.noise.sd:.4g} and {self.reference_noise.sd:.4g}"
        if self.others:
            spread += f", beside the line between two points and one prolonged (there {self.others[0].reference:.4g})"
        return (
            f"one-sided t test, {spread} ({self.dof:.3g} degrees of freedom{stored}){skew}; "
            f"{self.n} against {self.n_reference} seeds; level {self.level:.2g} of {self.alpha:g}"
        )

    @property
    def _all(self) -> tuple[Comparison, ...]:
        return (self, *self.others)

    @property
    def _reference_variance(self) -> float:
        if self.mixture is None:
            return self.reference_noise.variance / self.n_reference
        return self.reference_noise.variance * self.mixture.share + self.mixture.extra

    @property
    def _skew(self) -> float:
        """Skew of the gain by chance: the means' skews, each less the more seeds, partly cancel."""
        if not self.noise.skew or self.paired is not None:
            return 0.0
        # Third cumulants of independent means add up: skew * sd^3 / n^2 each, over the variance to the power of 3/2. A
        # mixture is taken for one group of as many seeds as give its variance.
        n, m = self.n, self.n_reference if self.mixture is None else 1 / self.mixture.share
        skew = self.noise.skew * (1 / n**2 - 1 / m**2) / math.pow(1 / n + 1 / m, 1.5)
        return -skew if self.better == "lower" else skew


@dataclass(frozen=True, slots=True)
class Mixture:
    """A reference that was not measured itself: shares of groups of seeds that were. The shares sum to 1."""

    groups: tuple[tuple[float, Sequence[float]], ...]
    extra: float = 0.0
    """Variance of its mean besides that between seeds."""

    @property
    def mean(self) -> float:
        return math.fsum(share * mean(values) for share, values in self.groups)

    @property
    def seeds(self) -> int:
        return sum(len(values) for _, values in self.groups)

    @property
    def share(self) -> float:
        """Of the variance between seeds that is in the variance of its mean; 1/n for one group of n."""
        return math.fsum(share**2 / len(values) for share, values in self.groups)


@dataclass(frozen=True, slots=True)
class Uncompared:
    """Two means between which nothing can be said, and why."""

    mean: float
    reference: float
    n: int
    n_reference: int
    why: str


def compare(
    run: Sequence[float],
    reference: Sequence[float] | Mixture,
    *,
    better: Direction,
    noise: Noise | NoiseUnknown,
    reference_noise: Noise | NoiseUnknown,
    level: float,
    alpha: float,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Comparison | Uncompared:
    """The comparison of two groups of seeds, or why there is none.

    `noise` and `reference_noise`: see `noise.pool`; the same, over all groups, unless one scatters unlike the others.
    `bounds`: the least and the most that the metric can be; a group that sits on one does not show its noise. Raises
    ValueError for values that are no finite numbers.
    """
    mixed = reference if isinstance(reference, Mixture) else Mixture(((1.0, reference),))
    numbers = mean(run), mixed.mean, len(run), mixed.seeds
    for whose, values in (("this run", run), *(("the reference", group) for _, group in mixed.groups)):
        problem = _hidden_noise(whose, values, bounds)
        if problem:
            return Uncompared(*numbers, problem)
    if isinstance(noise, NoiseUnknown):
        return Uncompared(*numbers, noise.why)
    if isinstance(reference_noise, NoiseUnknown):
        return Uncompared(*numbers, reference_noise.why)
    between = mixed if mixed is reference else None
    return Comparison(better, *numbers, noise, reference_noise, level, alpha, between)


def compare_paired(
    run: Sequence[float], reference: Sequence[float], *, better: Direction, level: float, alpha: float
) -> Comparison | Uncompared:
    """The comparison of two groups seed by seed: both hold one value for each of the same seeds, at least two."""
    numbers = mean(run), mean(reference), len(run), len(reference)
    for whose, values in (("this run", run), ("the reference", reference)):
        problem = _hidden_noise(whose, values, (None, None))
        if problem:
            return Uncompared(*numbers, problem)
    mine, theirs, both = (pool([each]) for each in (run, reference, [a - b for a, b in zip(run, reference, strict=True)]))
    if isinstance(mine, NoiseUnknown) or isinstance(theirs, NoiseUnknown) or isinstance(both, NoiseUnknown):
        return Uncompared(*numbers, "all shared seeds gave the same difference, so the noise is unknown")
    if both.sd <= _ROUNDING * max(mine.sd, theirs.sd):  # equal but for how computers round
        return Uncompared(*numbers, "all shared seeds gave the same difference, so the noise is unknown")
    return Comparison(better, *numbers, mine, theirs, level, alpha, paired=both)


@dataclass(frozen=True, slots=True)
class GuardViolation:
    """A guard metric that fell by more than it may."""

    metric: str
    change: float
    limit: float
    against: str = ""
    """What it fell from, where that is not said otherwise."""
    error: float = 0.0
    """Standard error of the change, 0 where it is not known: for its digits."""

    def __str__(self) -> str:
        against = f" against {reference_in_words(self.against)}" if self.against else ""
        sign = "+" if self.change > 0 else "−"
        size = abs(self.change)
        changed = rounded(size, decimals(self.error)) if self.error else number(size, 2)
        return f"{self.metric} {sign}{changed}{against} (limit {sign}{number(self.limit)})"


def guard_violation(
    metric: str,
    run: Sequence[float],
    reference: Sequence[float],
    limit: float,
    *,
    better: Direction | None,
    against: str = "",
) -> GuardViolation | None:
    """The fall of a guard metric by more than `limit` (in its unit), None where it stayed within.

    Judged by the means: the burden is on the run that claims an improvement, so noise excuses no fall; a limit should leave
    room for it. `better` None limits the change in either direction.
    """
    change = mean(run) - mean(reference)
    loss = abs(change) if better is None else change if better == "lower" else -change
    return GuardViolation(metric, change, limit, against, _error(run, reference)) if loss > limit else None


def _error(run: Sequence[float], reference: Sequence[float]) -> float:
    """Standard error of a difference of means, seed by seed where there are as many; 0 where it is unknown."""
    if len(run) == len(reference):
        noise, share = pool([[a - b for a, b in zip(run, reference, strict=True)]]), 1 / len(run)
    else:
        noise, share = pool([run, reference]), 1 / len(run) + 1 / len(reference)
    return noise.sd * math.sqrt(share) if isinstance(noise, Noise) else 0.0


def _hidden_noise(whose: str, values: Sequence[float], bounds: tuple[float | None, float | None]) -> str:
    first, count = values[0], len(values)
    for bound in bounds:
        at_bound = 0 if bound is None else sum(value == bound for value in values)
        if at_bound and at_bound >= min(2, count):
            seeds = "its one seed" if count == 1 else f"{at_bound} of {count} seeds"
            return f"{whose} is at the metric's bound ({bound:g}) in {seeds}, so its noise cannot be seen"
    if count > 1 and all(value == first for value in values):
        return f"all {count} seeds of {whose} gave {first:.6g}: the seed changes nothing there, so the noise is unknown"
    return ""


def _tail(t: float, dof: float, skew: float) -> float:
    """The chance of a larger t. A skew that makes large values more frequent raises it; one that makes them rarer is not
    relied on."""
    from scipy.special import stdtr

    return float(stdtr(dof, -(_unskewed(t, skew) if skew > 0 else t)))


@lru_cache(maxsize=4096)
def _threshold(level: float, dof: float, skew: float) -> float:
    """The t whose `_tail` is `level` (below 1/2)."""
    from scipy.special import stdtrit

    t = float(-stdtrit(dof, level))
    return max(t, _skewed(t, skew)) if skew > 0 else t


def _unskewed(t: float, skew: float) -> float:
    """Wilson and Hilferty (1931): the normal value as frequent as `t` of a standardised gamma with this skew.

    Never more than `t`, since the estimate of a skew is no reason to be bolder.
    """
    # This gamma has the shape k = 4 / skew^2; as a share of its mean, 1 + skew * t / 2, its cube root is nearly normal
    # with mean 1 - 1 / (9 k) and variance 1 / (9 k). For a t instead of a normal value that is an approximation.
    root = math.cbrt(max(0.0, 1 + skew * t / 2))
    return min(t, 6 / skew * (root - 1) + skew / 6)


def _skewed(z: float, skew: float) -> float:
    """The inverse of `_unskewed`."""
    return 2 / skew * (max(0.0, 1 + skew / 6 * (z - skew / 6)) ** 3 - 1)


def _above(z: float) -> float:
    """The share of a standard normal above z."""
    return 0.5 * math.erfc(z / math.sqrt(2))
