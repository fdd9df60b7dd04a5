"""A reference frontier: what the baseline's code reaches where a metric that moves others (L0) is not the baseline's own.

Its points are the baseline's code executed at several settings. Between two neighbours it was not measured. It is taken to
bend one way over them and the next point outside, so there it lies between the straight line through the two and the line
through one of them and the next, prolonged: a run is better, or worse, than the frontier only where it is so beside both
lines. Nothing is said beyond the outermost points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from .noise import mean

NEAR = 0.1
"""How far apart, as a share, two values of the metric that moves others may be for a comparison without a frontier."""
ALIKE = 0.01
"""How far apart they are taken for the same."""
ENOUGH = 3
"""Points, each further from the next than `NEAR`; two would show no curvature."""


@dataclass(frozen=True, slots=True)
class Point:
    """A reference that was measured. `at`: the mean over its seeds of the metric that moves others, and its variance."""

    name: str
    at: float
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through two points, at one place."""

    first: Point
    second: Point
    share: float
    """Of the second point; below 0 or above 1 where the line is prolonged."""
    variance: float
    """Of the place on it."""

    @property
    def gap(self) -> float:
        return self.second.at - self.first.at


@dataclass(frozen=True, slots=True)
class FrontierPosition:
    """Where a run stands on the frontier: `metric` is what moves the others, `at` the run's mean of it."""

    metric: str
    at: float
    variance: float
    points: tuple[Point, ...]
    """By what they are at, rising, and `at` lies between two of them."""

    @property
    def name(self) -> str:
        first, second = self._neighbours
        return f"frontier at {self.metric} {self.at:.3g}, between {first.name} and {second.name}"

    @property
    def between(self) -> Line:
        return self._line(*self._neighbours)

    @property
    def prolonged(self) -> Line:
        """Through a neighbour and the next point outside; with one on either side, the line that is prolonged less."""
        first, second = self._neighbours
        i = self.points.index(first)
        lines = [self._line(self.points[i - 1], first)] if i > 0 else []
        if i + 2 < len(self.points):
            lines.append(self._line(self.points[i + 2], second))
        # On the line the sum is 1; beyond it grows by twice the distance from the nearer point.
        return min(lines, key=lambda line: abs(line.share - 1) + abs(line.share))

    @property
    def _neighbours(self) -> tuple[Point, Point]:
        i = next(i for i, point in enumerate(self.points) if point.at >= self.at and i > 0)
        return self.points[i - 1], self.points[i]

    def _line(self, first: Point, second: Point) -> Line:
        share = (self.at - first.at) / (second.at - first.at)
        # Propagation of error to first order: an error at an end moves the place by that end's share.
        variance = self.variance + (1 - share) ** 2 * first.variance + share**2 * second.variance
        return Line(first, second, share, variance)


Reference = str | FrontierPosition
"""What a run is compared with: something that was measured, by its name, or a place between."""


def name_of(reference: Reference) -> str:
    return reference if isinstance(reference, str) else reference.name


def position_on_frontier(metric: str, at: float, variance: float, points: Sequence[Point]) -> FrontierPosition | str:
    """The place of a run at `at` on the frontier through `points`, or why there is none.

    Of points that are as near to each other as `NEAR` the earlier one counts.
    """
    apart: list[Point] = []
    for point in points:
        if point.at > 0 and not any(near(point.at, other.at) for other in apart):
            apart.append(point)
    apart.sort(key=lambda point: point.at)
    if len(apart) < ENOUGH:
        return f"a frontier needs {ENOUGH} points, and there {'is' if len(apart) == 1 else 'are'} {len(apart)}"
    if not apart[0].at <= at <= apart[-1].at:
        return f"the frontier goes from {apart[0].at:.4g} to {apart[-1].at:.4g} and is not extrapolated"
    return FrontierPosition(metric, at, variance, tuple(apart))


def are_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the means of two groups of seeds differ by more than `ALIKE`, and than twice the standard error of their
    difference."""
    error = sum(stdev(group) ** 2 / len(group) for group in (one, other) if len(group) > 1) ** 0.5
    return bool(abs(mean(one) - mean(other)) > max(ALIKE * abs(mean(other)), 2 * error))


def near(one: float, other: float) -> bool:
    """Whether `one` is within 10 % of `other`."""
    return abs(one - other) <= NEAR * abs(other)
