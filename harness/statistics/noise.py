"""How much a metric differs between seeds: estimated from groups of seeds, and stored for an experiment.

A group is the values of one metric from executions of one code that differ only in the seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PROFILE_DOF = 20
"""A stored spread counts as no more degrees of freedom than this, so that the campaign's own seeds soon outweigh it. With
59, a spread stored 20 % too small makes 11 % of campaigns without any effect say "improved"; with 20, 7.5 %."""
DRIFT_LEVEL = 0.01
_MOST_DECIMALS = 8
_HUGE = 1e12
"""From here on a number is written with a power of ten."""
_SKEW_STANDARD_ERRORS = 1.64  # a skew that chance gives to one profile in ten is not used


@dataclass(frozen=True, slots=True)
class Noise:
    """Variance between seeds, the degrees of freedom that it was estimated with, and skew (0 where it is not known)."""

    variance: float
    dof: float
    skew: float = 0.0
    stored: bool = False
    """A stored profile is part of it."""

    @property
    def sd(self) -> float:
        return math.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class NoiseUnknown:
    """Nothing tells how much the metric differs between seeds; why, in words."""

    why: str


@dataclass(frozen=True, slots=True)
class NoiseProfile:
    """The spread of a metric as measured once over many seeds of the untouched experiment, and kept with it."""

    sd: float
    seeds: int
    skew: float = 0.0
    """Third standardised moment; 0 where it could be chance."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sd) and self.sd > 0 and self.seeds >= 2 and math.isfinite(self.skew)):
            raise ValueError(f"a noise profile needs a positive sd from at least 2 seeds; found {self}")

    @classmethod
    def of(cls, values: Sequence[float]) -> NoiseProfile:
        """The profile of these seeds. Raises ValueError where they are fewer than 2, not finite, or all the same."""
        squares, dof = squares_of(values)
        n = len(values)
        skew = 0.0
        if n >= 3 and squares > 0:
            centre = mean(values)
            third = math.fsum((value - centre) ** 3 for value in values) / n
            # Fisher and Pearson's adjusted G1, and its standard error for normal values (Joanes and Gill 1998).
            raw = third / (squares / n) ** 1.5 * math.sqrt(n * (n - 1)) / (n - 2)
            error = math.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))
            skew = raw if abs(raw) > _SKEW_STANDARD_ERRORS * error else 0.0
        return cls(sd=math.sqrt(squares / dof) if dof else 0.0, seeds=n, skew=skew)

    def drifted(self, values: Sequence[float]) -> bool:
        """Whether seeds measured now scatter so differently, more or less, that it is no chance (F test, level 1 %).

        False where `values` cannot tell (fewer than two). Ten seeds find a spread that has doubled two times in three; one
        that is 20 % off they hardly see.
        """
        squares, dof = squares_of(values)
        if dof == 0:
            return False
        # It may scatter more or less, so half of the level lies on either side.
        ratio = squares / dof / self.sd**2
        return min(_f_above(ratio, dof, self.seeds - 1), 1 - _f_above(ratio, dof, self.seeds - 1)) <= DRIFT_LEVEL / 2


def pool(groups: Iterable[Sequence[float]], profile: NoiseProfile | None = None) -> Noise | NoiseUnknown:
    """The noise over all `groups`, taken to be the same in each, and a stored profile (check `drifted` before).

    A group of one, or one in which every seed gave the same value, says nothing about noise and is left out.
    """
    return combine([squares_of(group) for group in groups], profile)


def combine(squares: Iterable[tuple[float, int]], profile: NoiseProfile | None = None) -> Noise | NoiseUnknown:
    """`pool` over groups that are already summed up, each as `squares_of` gives it."""
    total, dof = 0.0, 0
    for square, its_dof in squares:
        if square > 0:
            total += square
            dof += its_dof
    if profile is not None:
        # The stored spread enters as a group with so many degrees of freedom, as in the moderated t of Smyth 2004.
        stored = min(profile.seeds - 1, PROFILE_DOF)
        return Noise((total + stored * profile.sd**2) / (dof + stored), dof + stored, profile.skew, stored=True)
    if dof == 0:
        return NoiseUnknown("one seed each, so the noise is unknown")
    # The mean square within groups, as in the analysis of variance (Fisher 1925).
    return Noise(total / dof, dof)


def squares_of(values: Sequence[float]) -> tuple[float, int]:
    """Sum of squared deviations from the mean, and its degrees of freedom.

    The sum is exactly 0 where all values are the same. Raises ValueError where there are none, or one is not finite.
    """
    centre = mean(values)
    # Where the mean was rounded the sum would be tiny and not 0, and pass for noise.
    if all(value == values[0] for value in values):
        return 0.0, len(values) - 1
    return math.fsum((value - centre) ** 2 for value in values), len(values) - 1


def mean(values: Sequence[float]) -> float:
    """Raises ValueError where there are no values, or one is not finite."""
    total = math.fsum(values) if values else math.nan
    if not math.isfinite(total):
        raise ValueError(f"expected finite numbers, one a seed; found {list(values)}")
    return total / len(values)


def scatters_more(group: tuple[float, int], noise: Noise, level: float) -> bool:
    """Whether a group, summed up, scatters more than `noise` allows at `level` (F test)."""
    squares, dof = group
    return dof > 0 and _f_above(squares / dof / noise.variance, dof, noise.dof) <= level


def scatters_less(group: tuple[float, int], noise: Noise, level: float) -> bool:
    """Whether a group, summed up, scatters less than chance allows at `level` (F test) where the noise is `noise`."""
    squares, dof = group
    return dof > 0 and 1 - _f_above(squares / dof / noise.variance, dof, noise.dof) <= level


def _f_above(ratio: float, dof: float, other_dof: float) -> float:
    # The F test of two variances (Snedecor 1934), which other than normal values mislead (Box 1953).
    from scipy.special import fdtrc

    return float(fdtrc(dof, other_dof, ratio))


def decimals(noise: float) -> int:
    """How many decimals a number with this noise has on every page, 4 where the noise is 0: as many as leave the noise one
    digit, or two where it begins with 1 to 4, so that rounding changes it by a tenth at most."""
    if noise <= 0:
        return 4
    leading, _, power = f"{noise:.1e}".partition("e")  # rounded first: 0.0098 begins with 1
    if float(leading) >= 9.5:
        leading, power = "1.0", str(int(power) + 1)
    return max(0, (1 if float(leading) < 5 else 0) - int(power))


def rounded(value: float, places: int, sign: str = "-") -> str:
    """With so many decimals and a minus that is one; what is rounded to nothing has no sign."""
    text = f"{value:{sign}.{places}f}" if abs(value) < _HUGE else f"{value:{sign}.4g}"
    return (text if text.strip("+-0.") else text.lstrip("+-")).replace("-", "−")


def with_noise(value: float, noise: float, sign: str = "-") -> str:
    """`0.112 ± 0.008`: a number and its standard error, with the decimals that this is worth."""
    places = decimals(noise)
    if places > _MOST_DECIMALS:
        return f"{value:{sign}.4g} ± {noise:.1g}"
    return f"{rounded(value, places, sign)} ± {rounded(noise, places)}"


def prediction_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Where one more seed would be, in so many cases; None where fewer than two seeds, or none that scatter, are known."""
    from scipy.special import stdtrit

    squares, dof = squares_of(values)
    if dof < 1 or squares <= 0:
        return None
    reach = float(stdtrit(dof, (1 + level) / 2)) * math.sqrt(squares / dof * (1 + 1 / len(values)))
    return mean(values) - reach, mean(values) + reach
