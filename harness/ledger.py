"""What a campaign's runs have shown about its primary metric, and how much error is left to say more.

The ledger is fed run by run, in the order of the campaign, and decides everything that rests on noise: which run gets more
seeds, the verdict, which run is accepted, and at the end which runs are better than the baseline. The same values in the
same order give the same answers, so it is rebuilt from records rather than stored. `bench/verdicts.py` proves its error
rates by feeding it simulated campaigns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .evidence import Comparison, Direction, Fall, Mixture, Uncompared, compare, holm, promising
from .frontier import Line, Place, Reference, name_of
from .noise import Noise, NoiseProfile, NoiseUnknown, combine, mean, scatters_more, squares_of

STAGES = (1, 3, 10)
"""How many seeds a run gets: the first, more where that is better at all, and as many as the baseline where these would do
for a single comparison."""
ALPHA = 0.05
"""The share of campaigns, among those in which nothing is better, that may call any run improved."""
RESERVE = 0.1
"""The share of alpha that is kept for runs beyond the planned ones and for second looks at a run (`harness confirm`)."""
WILD_LEVEL = 0.001
"""A run whose seeds scatter so much more than the others' (F test) is judged by its own scatter, and others without it: it
would hide their effects, and theirs would make it look steady."""

Kind = Literal["improved", "traded_off", "within_noise", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of one run. Its comparison with the parent decides the kind."""

    run: str
    kind: Kind
    parent: str
    baseline: str
    against_parent: Comparison | Uncompared
    """Does this step earn its place."""
    against_baseline: Comparison | Uncompared
    """What is the idea worth."""
    falls: tuple[Fall, ...] = ()
    """Guard metrics that fell by more than they may."""

    @property
    def accepted(self) -> bool:
        return self.kind == "improved"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """At the end: whether a run is better than the baseline, corrected over all runs (Holm)."""

    run: str
    baseline: str
    comparison: Comparison
    """At the level that Holm's procedure gave it."""
    p: float
    """Corrected."""
    better: bool
    falls: tuple[Fall, ...]


def _names(reference: Reference) -> list[str]:
    return [point.name for point in reference.points] if isinstance(reference, Place) else [reference]


class Ledger:
    """The primary metric of one campaign, and the error spent on it."""

    def __init__(
        self,
        better: Direction,
        runs: int,
        *,
        stages: Sequence[int] = STAGES,
        profile: NoiseProfile | None = None,
        bounds: tuple[float | None, float | None] = (None, None),
        alpha: float = ALPHA,
    ) -> None:
        """`runs`: how many were planned when the campaign began; a larger number given later must not be put here.
        `stages`: how many seeds a run gets, first and while it is promising. `bounds`: the least and the most that the
        metric can be."""
        if runs < 1 or not stages or list(stages) != sorted({*stages}) or stages[0] < 1 or not 0 < alpha < 0.5:
            raise ValueError(
                f"expected at least one run, stages that rise, and alpha below 1/2; found {runs}, {stages}, {alpha}"
            )
        self._better: Direction = better
        self._runs, self._stages, self._alpha, self._bounds = runs, tuple(stages), alpha, bounds
        self._profile = profile
        self._values: dict[str, Sequence[float]] = {}
        self._squares: dict[str, tuple[float, int]] = {}
        self._wild: set[str] = set()
        self._tests: list[tuple[Judgement, float]] = []
        self.drifted = False
        """The stored profile did not fit a reference's seeds and is not used."""

    def measure(self, name: str, values: Sequence[float]) -> None:
        """Take in the seeds of a reference (baseline, control), or all seeds of a run that got more without being judged."""
        if self._profile is not None and self._profile.drifted(values):
            self._profile, self.drifted = None, True
        self._take(name, values)

    def wanted(self, run: str, values: Sequence[float], parent: Reference) -> int:
        """How many seeds a run should have in all before it is judged, given those that it has (none at first).

        After the first stage what is better at all goes on, then what is better at the level that a single comparison would
        need. The test comes once, after the last stage that was reached, and what does not go on could not pass it: so this
        filter can lower false alarms and never raise them, and what it lets pass is a question of cost and power alone.
        """
        following = next((stage for stage in self._stages if stage > len(values)), len(values))
        if not values or following == len(values):
            return following
        if len(values) <= self._stages[0]:
            return following if promising(values, self._expected(parent), self._better) else len(values)
        so_far = self._compare(run, values, parent, 1.0)
        return following if isinstance(so_far, Comparison) and so_far.is_better else len(values)

    def judge(
        self, run: str, values: Sequence[float], *, parent: Reference, baseline: Reference, falls: Sequence[Fall] = ()
    ) -> Judgement:
        """The verdict on a run, which spends its share of the error.

        `parent` and `baseline` name what was measured or judged before; where there are controls for the run's settings they
        stand here instead, and where it is elsewhere on the frontier its place there. A run that was judged before is looked
        at again, with all its seeds, out of the reserve.
        """
        missing = [name for each in (parent, baseline) for name in _names(each) if name not in self._values]
        if missing:
            raise ValueError(f"{run}: {missing[0]} has not been measured; known: {', '.join(self._values)}")
        weight = self._next_weight(run)
        against_parent = self._compare(run, values, parent, weight)
        against_baseline = against_parent if parent == baseline else self._compare(run, values, baseline, weight)
        kind = self._kind(run, values, parent, against_parent, falls)
        self._take(run, values)
        names = name_of(parent), name_of(baseline)
        judgement = Judgement(run, kind, *names, against_parent, against_baseline, tuple(falls))
        if not isinstance(against_parent, Uncompared):
            self._tests.append((judgement, weight))
        return judgement

    def conclude(self) -> list[Conclusion]:
        """Each test against the baseline, in the order of the runs. What was better at its own share stays so."""
        tests = [
            (judgement, judgement.against_baseline, weight)
            for judgement, weight in self._tests
            if not isinstance(judgement.against_baseline, Uncompared)
        ]
        corrected = holm([comparison.p for _, comparison, _ in tests], [weight for *_, weight in tests])
        conclusions = []
        for (judgement, comparison, _), p in zip(tests, corrected, strict=True):
            # where Holm's procedure stood when it came to this p: alpha times the weight over what remained
            level = comparison.p * self._alpha / p if 0 < p < 1 else 0.0
            if level > comparison.level:
                comparison = replace(comparison, level=level)
            better = p <= self._alpha
            conclusions.append(Conclusion(judgement.run, judgement.baseline, comparison, p, better, judgement.falls))
        return conclusions

    def noise(self, run: str = "") -> Noise | NoiseUnknown:
        """The noise over all that was measured, or that of `run` alone where its seeds scatter wildly."""
        if run in self._wild:
            return combine([self._squares[run]])
        return combine((group for name, group in self._squares.items() if name not in self._wild), self._profile)

    def _take(self, name: str, values: Sequence[float]) -> None:
        common, own = self._noises(name, values)
        self._values[name], self._squares[name] = tuple(values), squares_of(values)
        self._wild.discard(name)
        if own is not common:
            self._wild.add(name)

    def _noises(self, name: str, values: Sequence[float]) -> tuple[Noise | NoiseUnknown, Noise | NoiseUnknown]:
        """The common noise, these values in it, and the values' own: the same, unless they scatter wildly."""
        squares = squares_of(values)
        others = [group for other, group in self._squares.items() if other != name and other not in self._wild]
        if squares[0] > 0:
            without = combine(others, self._profile)
            if isinstance(without, Noise) and scatters_more(squares, without, WILD_LEVEL):
                return without, combine([squares])
        common = combine([*others, squares], self._profile)
        return common, common

    def _next_weight(self, run: str) -> float:
        """Shares of alpha: equal ones for the planned runs, then ever smaller ones that never use the reserve up."""
        judged = {judgement.run for judgement, _ in self._tests}
        if run not in judged and len(judged) < self._runs:
            return (1 - RESERVE) / self._runs
        extra = len(self._tests) - min(len(judged), self._runs) + 1
        return RESERVE / (extra * (extra + 1))

    def _compare(
        self, run: str, values: Sequence[float], reference: Reference, weight: float
    ) -> Comparison | Uncompared:
        common, own = self._noises(run, values)

        def beside(group: Sequence[float] | Mixture, noise: Noise | NoiseUnknown) -> Comparison | Uncompared:
            return compare(
                values,
                group,
                better=self._better,
                noise=own,
                reference_noise=noise,
                level=self._alpha * weight,
                alpha=self._alpha,
                bounds=self._bounds,
            )

        if isinstance(reference, str):
            wild = reference in self._wild
            return beside(self._values[reference], combine([self._squares[reference]]) if wild else common)
        between, prolonged = (
            beside(self._along(line), self._noise_along(line, common))
            for line in (reference.between, reference.prolonged)
        )
        if isinstance(between, Uncompared) or isinstance(prolonged, Uncompared):
            return between if isinstance(between, Uncompared) else prolonged
        return replace(between, others=(prolonged,))

    def _along(self, line: Line) -> Mixture:
        """The metric at a place on a line; that the place is not known exactly adds to its variance."""
        first, second = self._values[line.first.name], self._values[line.second.name]
        slope = (mean(second) - mean(first)) / line.gap
        return Mixture(((1 - line.share, first), (line.share, second)), slope**2 * line.variance)

    def _noise_along(self, line: Line, common: Noise | NoiseUnknown) -> Noise | NoiseUnknown:
        """The common noise, or that of the end that scatters wildly."""
        wild = [self._squares[point.name] for point in (line.first, line.second) if point.name in self._wild]
        found = [common, *(combine([squares]) for squares in wild)]
        known = [noise for noise in found if isinstance(noise, Noise)]
        return max(known, key=lambda noise: noise.variance) if len(known) == len(found) else found[0]

    def _expected(self, reference: Reference) -> list[float]:
        """What would be no better and no worse."""
        if isinstance(reference, str):
            return list(self._values[reference])
        return [self._along(reference.between).mean]

    def _kind(
        self,
        run: str,
        values: Sequence[float],
        parent: Reference,
        compared: Comparison | Uncompared,
        falls: Sequence[Fall],
    ) -> Kind:
        if isinstance(compared, Uncompared):
            return "undecided"
        if compared.is_better:
            return "traded_off" if falls else "improved"
        if compared.is_worse:
            return "worse"
        # so far it is better, and it has not been measured as often as it takes to find out
        return "undecided" if self.wanted(run, values, parent) > len(values) else "within_noise"
