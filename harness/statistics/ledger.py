"""What a campaign's runs have shown about its primary metric, and how much error is left to say more.

The ledger is fed run by run, in the order of the campaign, and decides everything that rests on noise: which run gets more
seeds, the verdict, which run is accepted, and at the end which runs are better than the baseline. It is rebuilt from
records, which hold what was measured, what each look at a run cost, and how it came out: nothing that was decided is decided
again by what was measured since. `bench/verdicts.py` proves its error rates by feeding it simulated campaigns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .comparison import Comparison, Direction, GuardViolation, Mixture, Uncompared, compare, holm, promising
from .frontier import FrontierPosition, Line, Reference, name_of
from .noise import Noise, NoiseProfile, NoiseUnknown, combine, mean, scatters_less, scatters_more, squares_of

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
STEADY_LEVEL = 0.002
"""A run whose seeds scatter so much less than the others' (F test) does not show its noise: where the code fixes the seed of
a part, or of all but the hardware's chance, its seeds are no independent ones. Of runs that scatter a twentieth as much
three seeds show half; ten show half of those that scatter a third as much. Of honest runs it stops 1 in 1,000
(`bench/verdicts.py`)."""

Kind = Literal["improved", "trade_off", "not_significant", "worse", "inconclusive"]


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
    guard_violations: tuple[GuardViolation, ...] = ()
    """Guard metrics that fell by more than they may."""
    error_share: float = 0.0
    """Of alpha, what this look cost; 0 where nothing could be compared."""

    @property
    def accepted(self) -> bool:
        return self.kind == "improved"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """At the end: whether a run is better than the baseline by its last look, corrected over all runs (Holm)."""

    run: str
    baseline: str
    comparison: Comparison
    """At the level that Holm's procedure gave it."""
    p: float
    """Corrected."""
    better: bool


def _names(reference: Reference) -> list[str]:
    return [point.name for point in reference.points] if isinstance(reference, FrontierPosition) else [reference]


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
        self._unlike: dict[str, Noise | NoiseUnknown] = {}
        self._spent: dict[str, list[float]] = {}
        self._tested: dict[str, tuple[str, Comparison]] = {}
        self.drifted = False
        """The stored profile did not fit a reference's seeds and is not used."""

    def measure(self, name: str, values: Sequence[float]) -> None:
        """Take in the seeds of a reference that is the untouched code (baseline, control)."""
        if self._profile is not None and self._profile.drifted(values):
            self._profile, self.drifted = None, True
        self._take(name, values, untouched=True)

    def recall(
        self, run: str, values: Sequence[float], shares: Sequence[float], tested: tuple[str, Comparison] | None
    ) -> None:
        """Take in a run that was judged before: its values, [] where they are no evidence, what each look at it cost, and
        what the last one tested, with the name of the baseline that it was held against."""
        self._note(run, shares, tested)
        if values:
            self._take(run, values)

    def seeds_wanted(self, run: str, values: Sequence[float], parent: Reference) -> int:
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
        self,
        run: str,
        values: Sequence[float],
        *,
        parent: Reference,
        baseline: Reference,
        guard_violations: Sequence[GuardViolation] = (),
    ) -> Judgement:
        """The verdict on a run, which spends its share of the error.

        `parent` and `baseline` name what was measured or judged before; where there are controls for the run's settings they
        stand here instead, and where it is elsewhere on the frontier its place there. A run that was judged before is looked
        at again, with all its seeds, out of the reserve.
        """
        missing = [name for each in (parent, baseline) for name in _names(each) if name not in self._values]
        if missing:
            raise ValueError(f"{run}: {missing[0]} has not been measured; known: {', '.join(self._values)}")
        share = self._next_share(run)
        against_parent = self._compare(run, values, parent, share)
        against_baseline = against_parent if parent == baseline else self._compare(run, values, baseline, share)
        kind = self._kind(run, values, parent, against_parent, guard_violations)
        self._take(run, values)
        share = 0.0 if isinstance(against_parent, Uncompared) else share
        tested = None if isinstance(against_baseline, Uncompared) else (name_of(baseline), against_baseline)
        self._note(run, [share], tested if share else None)
        names = name_of(parent), name_of(baseline)
        return Judgement(run, kind, *names, against_parent, against_baseline, tuple(guard_violations), share)

    def conclude(self) -> list[Conclusion]:
        """The last look at each run that tested it against the baseline. What that found at its own share stays so; what
        earlier looks cost stays spent."""
        tests = [(run, *tested, self._spent[run][-1]) for run, tested in self._tested.items()]
        corrected = holm([comparison.p for *_, comparison, _ in tests], [share for *_, share in tests])
        conclusions = []
        for (run, baseline, comparison, _), p in zip(tests, corrected, strict=True):
            # where Holm's procedure stood when it came to this p: alpha times the share over what remained
            level = comparison.p * self._alpha / p if 0 < p < 1 else 0.0
            if level > comparison.level:
                comparison = replace(comparison, level=level)
            conclusions.append(Conclusion(run, baseline, comparison, p, p <= self._alpha))
        return conclusions

    def noise(self, run: str = "") -> Noise | NoiseUnknown:
        """The noise over all that was measured, or that of `run` alone where its seeds scatter unlike the others'."""
        if run in self._unlike:
            return self._unlike[run]
        # Pooled, because two degrees of freedom decide next to nothing: at 0.45 %, one of ten equal shares of alpha less
        # the reserve, the threshold of t is 10.5 for the three seeds of one run and 2.8 for 29 degrees of freedom.
        return combine(self._alike(), self._profile)

    def _alike(self, but: str = "") -> list[tuple[float, int]]:
        """What was measured and scatters alike, summed up."""
        return [group for name, group in self._squares.items() if name != but and name not in self._unlike]

    def _take(self, name: str, values: Sequence[float], *, untouched: bool = False) -> None:
        common, own = self._noises(name, values, untouched=untouched)
        self._values[name], self._squares[name] = tuple(values), squares_of(values)
        self._unlike.pop(name, None)
        if own is not common:
            self._unlike[name] = own

    def _noises(
        self, name: str, values: Sequence[float], *, untouched: bool = False
    ) -> tuple[Noise | NoiseUnknown, Noise | NoiseUnknown]:
        """The common noise, these values in it, and the values' own: the same, unless they scatter unlike the others'."""
        squares, others = squares_of(values), self._alike(name)
        without = combine(others, self._profile)
        if squares[0] > 0 and isinstance(without, Noise):
            if scatters_more(squares, without, WILD_LEVEL):
                return without, combine([squares])
            # Untouched code has no seed that a change could have fixed.
            if not untouched and scatters_less(squares, without, STEADY_LEVEL):
                sd = math.sqrt(squares[0] / squares[1])
                return without, NoiseUnknown(
                    f"the {len(values)} seeds of {name} scatter far less than others (sd {sd:.2g} against "
                    f"{without.sd:.2g}): a part of it may have a fixed seed, so the noise is unknown"
                )
        common = combine([*others, squares], self._profile)
        return common, common

    def _note(self, run: str, shares: Sequence[float], tested: tuple[str, Comparison] | None) -> None:
        self._spent.setdefault(run, []).extend(share for share in shares if share > 0)
        self._tested.pop(run, None)
        if tested is not None:
            self._tested[run] = tested

    def _next_share(self, run: str) -> float:
        """Of alpha: equal shares for the planned runs, then ever smaller ones that never use the reserve up."""
        looks = {name: len(shares) for name, shares in self._spent.items() if shares}
        if run not in looks and len(looks) < self._runs:
            # By the number that was planned: one that is chosen in view of results would bound no error.
            return (1 - RESERVE) / self._runs
        extra = sum(looks.values()) - min(len(looks), self._runs) + 1
        # 1 / (k (k + 1)) sums to 1 over all k (1 / k - 1 / (k + 1) telescopes), so looks need no limit.
        return RESERVE / (extra * (extra + 1))

    def _compare(self, run: str, values: Sequence[float], reference: Reference, share: float) -> Comparison | Uncompared:
        common, own = self._noises(run, values)

        def beside(group: Sequence[float] | Mixture, noise: Noise | NoiseUnknown) -> Comparison | Uncompared:
            return compare(
                values,
                group,
                better=self._better,
                noise=own,
                reference_noise=noise,
                level=self._alpha * share,
                alpha=self._alpha,
                bounds=self._bounds,
            )

        if isinstance(reference, str):
            return beside(self._values[reference], self._unlike.get(reference, common))
        between, prolonged = (
            beside(self._along(line), self._noise_along(line, common)) for line in (reference.between, reference.prolonged)
        )
        if isinstance(between, Uncompared) or isinstance(prolonged, Uncompared):
            return between if isinstance(between, Uncompared) else prolonged
        return replace(between, others=(prolonged,))

    def _along(self, line: Line) -> Mixture:
        """The metric at a place on a line; that the place is not known exactly adds to its variance."""
        first, second = self._values[line.first.name], self._values[line.second.name]
        # The delta method: an error of the place moves the metric by the slope of the line.
        slope = (mean(second) - mean(first)) / line.gap
        return Mixture(((1 - line.share, first), (line.share, second)), slope**2 * line.variance)

    def _noise_along(self, line: Line, common: Noise | NoiseUnknown) -> Noise | NoiseUnknown:
        """The common noise, or that of the end that scatters wildly."""
        ends = (line.first.name, line.second.name)
        found = [common, *(self._unlike[name] for name in ends if name in self._unlike)]
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
        guard_violations: Sequence[GuardViolation],
    ) -> Kind:
        if isinstance(compared, Uncompared):
            return "inconclusive"
        if compared.is_better:
            return "trade_off" if guard_violations else "improved"
        if compared.is_worse:
            return "worse"
        # so far it is better, and it has not been measured as often as it takes to find out
        return "inconclusive" if self.seeds_wanted(run, values, parent) > len(values) else "not_significant"
