"""What a campaign's runs have shown about its primary metric, and how much error is left to say more.

A run is executed in stages, which only decide whether to go on. What has passed them is executed at final seeds, which no
run used before and no agent could know, with its references beside it, and the verdict rests on these alone: only then error
is spent. Where a profile has no final seeds the verdict rests on the seeds of the stages.

The ledger is fed run by run, in the order of the campaign, and decides everything that rests on noise: which run gets more
seeds, the verdict, which run is accepted. It is rebuilt from records, which hold what was measured and what each look at a
run cost: nothing that was decided is decided again by what was measured since. `bench/verdicts.py` shows its error rates by
feeding it simulated campaigns.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..campaign.text import run_in_words
from .comparison import Comparison, Direction, GuardViolation, Mixture, Uncompared, compare, compare_paired
from .frontier import FrontierPosition, Line, Reference, name_of
from .noise import Noise, NoiseProfile, NoiseUnknown, combine, mean, scatters_less, scatters_more, squares_of

STAGES = (1, 3)
"""How many seeds a run gets: the first, and more where that is better at all."""
GO_ON = 0.2
"""The largest p, paired or not, at which a run goes on after a stage of several seeds. Nothing is concluded from it."""
PAIRS = 6
"""Shared seeds from which on a run and its reference are compared seed by seed; fewer do not show how they go together."""
ALPHA = 0.05
"""The share of campaigns, among those in which nothing is better, that may call any run improved."""
RESERVE = 0.1
"""The share of alpha that is kept for tests beyond the planned ones and for second looks at a run (`harness confirm`)."""
TESTED = 1 / 3
"""The share of the planned runs that is expected to reach its final seeds; each of so many has an equal share of alpha."""
WILD_LEVEL = 0.001
"""A run whose seeds scatter so much more than the others' (F test) is judged by its own scatter, and others without it: it
would hide their effects, and theirs would make it look steady."""
STEADY_LEVEL = 0.002
"""A run whose seeds scatter so much less than the others' (F test) does not show its noise: where the code fixes the seed of
a part, or of all but the hardware's chance, its seeds are no independent ones. Of runs that scatter a twentieth as much
three seeds show half; ten show half of those that scatter a third as much. Of honest runs it stops 1 in 1,000
(`bench/verdicts.py`)."""

Seeds = Mapping[int, float]
"""The primary metric, by seed."""
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
class FinalSeeds:
    """What was measured at a run's final seeds."""

    values: Seeds
    """Of the run."""
    beside: Mapping[str, Seeds] = field(default_factory=dict)
    """Of the references that were executed there too, by their names."""


def planned_tests(runs: int, *, final: bool) -> int:
    """How many of the planned runs have an equal share of alpha: with final seeds those that are expected to reach them."""
    return math.ceil(runs * TESTED) if final else runs


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
        final: bool = False,
        profile: NoiseProfile | None = None,
        bounds: tuple[float | None, float | None] = (None, None),
        alpha: float = ALPHA,
    ) -> None:
        """`runs`: how many were planned when the campaign began; a larger number given later must not be put here.
        `stages`: how many seeds a run gets, first and while it is promising. `final`: runs are tested at final seeds alone.
        `bounds`: the least and the most that the metric can be."""
        if runs < 1 or not stages or list(stages) != sorted({*stages}) or stages[0] < 1 or not 0 < alpha < 0.5:
            raise ValueError(
                f"expected at least one run, stages that rise, and alpha below 1/2; found {runs}, {stages}, {alpha}"
            )
        self._better: Direction = better
        self._runs, self._stages, self._alpha, self._bounds = runs, tuple(stages), alpha, bounds
        self._final = final
        self._profile = profile
        self._values: dict[str, Seeds] = {}
        self._at_stages: dict[str, Seeds] = {}
        self._squares: dict[str, tuple[float, int]] = {}
        self._unlike: dict[str, Noise | NoiseUnknown] = {}
        self._looks: dict[str, int] = {}
        self.drifted = False
        """The stored profile did not fit a reference's seeds and is not used."""

    def copy(self) -> Ledger:
        """One that goes its own way from here."""
        copied = copy.copy(self)
        for name, of_each in vars(self).items():
            if isinstance(of_each, dict):
                setattr(copied, name, dict(of_each))
        return copied

    def measure(self, name: str, values: Seeds) -> None:
        """Take in the seeds of a reference that is the unmodified code (baseline, control)."""
        if self._profile is not None and self._profile.drifted([*values.values()]):
            self._profile, self.drifted = None, True
        self._take(name, values, untouched=True)

    def recall(self, run: str, stages: Seeds, final: FinalSeeds | None, looks: int) -> None:
        """Take in a run that was judged before: its values, none where they are no evidence, and how many looks at it cost
        error."""
        self._looks[run] = looks
        if stages:
            self._take_run(run, stages, final)

    def seeds_wanted(self, run: str, values: Seeds, *references: Reference) -> int:
        """How many seeds a run should have in all in its stages, given those that it has (none at first)."""
        following = next((stage for stage in self._stages if stage > len(values)), len(values))
        return following if not values or self.goes_on(run, values, *references) else len(values)

    def goes_on(self, run: str, values: Seeds, *references: Reference) -> bool:
        """Whether a run that has these seeds is worth more of them, or its final ones: whether it looks better than each of
        `references`, the parent and the baseline.

        After the first stage what is better at all goes on, at the same seeds where there are such, then what is better at
        `GO_ON`. What does not go on could not pass the test, which comes once and with all seeds: so this filter can lower
        false alarms and never raise them, and what it lets pass is a question of cost and power alone.
        """
        return all(self._looks_better(run, values, each) for each in references)

    def _looks_better(self, run: str, values: Seeds, reference: Reference) -> bool:
        pairs = self._pairs(values, self._at_stages[reference]) if isinstance(reference, str) else None
        if len(values) <= self._stages[0]:
            mine, theirs = pairs or ([*values.values()], self._expected(reference))
            gain = mean(mine) - mean(theirs)
            return gain < 0 if self._better == "lower" else gain > 0
        found = [self._compare(run, [*values.values()], reference, 1.0)]
        if pairs:
            found.append(compare_paired(*pairs, better=self._better, level=GO_ON, alpha=self._alpha))
        return any(isinstance(each, Comparison) and each.p <= GO_ON for each in found)

    def judge(
        self,
        run: str,
        stages: Seeds,
        *,
        parent: Reference,
        baseline: Reference,
        final: FinalSeeds | None = None,
        guard_violations: Sequence[GuardViolation] = (),
    ) -> Judgement:
        """The verdict on a run, which spends its share of the error where it is tested: at its final seeds, if there are to
        be such.

        `parent` and `baseline` name what was measured or judged before; where there are controls for the run's settings they
        stand here instead, and where it is elsewhere on the frontier its place there. A run that was judged before is looked
        at again, with all its seeds, out of the reserve.
        """
        missing = [name for each in (parent, baseline) for name in _names(each) if name not in self._values]
        if missing:
            raise ValueError(f"{run}: {missing[0]} has not been measured; known: {', '.join(self._values)}")
        is_test = final is not None or not self._final
        # Of a run that is not tested the share says how far its interval reaches, and "worse", which nothing is done upon.
        share = self._next_share(run) if is_test else (1 - RESERVE) / self._runs
        values = [*(final.values if final else stages).values()]
        against_parent = self._against(run, values, parent, share, final)
        against_baseline = against_parent if parent == baseline else self._against(run, values, baseline, share, final)
        kind = self._kind(run, stages, (parent, baseline), against_parent, final, guard_violations)
        self._take_run(run, stages, final)
        spent = share if is_test and isinstance(against_parent, Comparison) else 0.0
        self._looks[run] = self._looks.get(run, 0) + bool(spent)
        names = name_of(parent), name_of(baseline)
        return Judgement(run, kind, *names, against_parent, against_baseline, tuple(guard_violations), spent)

    def is_better(self, run: str, values: Sequence[float], reference: str, share: float) -> bool:
        """Than a group of seeds as it was measured: beside another test of the run at this share it must hold too, so that
        it spends nothing (intersection-union test)."""
        found = self._compare(run, values, reference, share)
        return isinstance(found, Comparison) and found.is_better

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

    def _take_run(self, run: str, stages: Seeds, final: FinalSeeds | None) -> None:
        self._take(run, final.values if final else stages)
        self._at_stages[run] = stages
        for name, values in final.beside.items() if final else ():
            if values:
                self._take(f"{name} at the final seeds of {run}", values, untouched=True)

    def _take(self, name: str, seeds: Seeds, *, untouched: bool = False) -> None:
        values = [*seeds.values()]
        common, own = self._noises(name, values, untouched=untouched)
        self._values[name] = self._at_stages[name] = seeds
        self._squares[name] = squares_of(values)
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
                    f"the {len(values)} seeds of {run_in_words(name)} scatter far less than others (sd {sd:.2g} against "
                    f"{without.sd:.2g}): a part of it may have a fixed seed, so the noise is unknown"
                )
        common = combine([*others, squares], self._profile)
        return common, common

    def _next_share(self, run: str) -> float:
        """Of alpha: equal shares for the tests that are expected, then ever smaller ones that never use the reserve up."""
        # By the number that was planned: one that is chosen in view of results would bound no error.
        planned = planned_tests(self._runs, final=self._final)
        tested = [name for name, looks in self._looks.items() if looks]
        if run not in tested and len(tested) < planned:
            return (1 - RESERVE) / planned
        extra = sum(self._looks.values()) - min(len(tested), planned) + 1
        # 1 / (k (k + 1)) sums to 1 over all k (1 / k - 1 / (k + 1) telescopes), so looks need no limit.
        return RESERVE / (extra * (extra + 1))

    def _against(
        self, run: str, values: Sequence[float], reference: Reference, share: float, final: FinalSeeds | None
    ) -> Comparison | Uncompared:
        """Seed by seed where the reference was executed at enough of the final seeds; else as two groups."""
        beside = final.beside.get(reference) if final and isinstance(reference, str) else None
        mine, theirs = self._shared(final.values, beside) if final and beside else ([], [])
        _, own = self._noises(run, values)
        if len(mine) >= PAIRS and isinstance(own, Noise):
            paired = compare_paired(mine, theirs, better=self._better, level=self._alpha * share, alpha=self._alpha)
            if isinstance(paired, Comparison):
                return paired
        return self._compare(run, values, reference, share, [*beside.values()] if beside else None)

    def _pairs(self, values: Seeds, reference: Seeds) -> tuple[list[float], list[float]] | None:
        """Both at the same seeds, where the reference has all of them."""
        shared = self._shared(values, reference)
        return shared if len(shared[0]) == len(values) else None

    @staticmethod
    def _shared(values: Seeds, reference: Seeds) -> tuple[list[float], list[float]]:
        seeds = [seed for seed in values if seed in reference]
        return [values[seed] for seed in seeds], [reference[seed] for seed in seeds]

    def _compare(
        self, run: str, values: Sequence[float], reference: Reference, share: float, measured: Sequence[float] | None = None
    ) -> Comparison | Uncompared:
        """As two groups of seeds; `measured` are the reference's where they are not those that it had before."""
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
            theirs = measured or [*self._values[reference].values()]
            found = beside(theirs, self._unlike.get(reference, common))
            # That of a run was given with its own verdict, by the noise that was known then.
            alone = None if reference.startswith("run_") and reference != "run_0" else combine([squares_of(theirs)])
            shown = alone.sd if isinstance(alone, Noise) else None
            return replace(found, reference_sd=shown) if isinstance(found, Comparison) else found
        between, prolonged = (
            beside(self._along(line), self._noise_along(line, common)) for line in (reference.between, reference.prolonged)
        )
        if isinstance(between, Uncompared) or isinstance(prolonged, Uncompared):
            return between if isinstance(between, Uncompared) else prolonged
        return replace(between, others=(prolonged,))

    def _along(self, line: Line) -> Mixture:
        """The metric at a place on a line; that the place is not known exactly adds to its variance."""
        first, second = ([*self._values[point.name].values()] for point in (line.first, line.second))
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
            return [*self._values[reference].values()]
        return [self._along(reference.between).mean]

    def _kind(
        self,
        run: str,
        stages: Seeds,
        references: Sequence[Reference],
        compared: Comparison | Uncompared,
        final: FinalSeeds | None,
        guard_violations: Sequence[GuardViolation],
    ) -> Kind:
        if isinstance(compared, Uncompared):
            return "inconclusive"
        if compared.is_better and (final or not self._final):
            return "trade_off" if guard_violations else "improved"
        if compared.is_worse:
            return "worse"
        # so far it is better, and it has not been measured as often as it takes to find out
        more = final is None and (self._final or len(stages) < self._stages[-1])
        return "inconclusive" if more and self.goes_on(run, stages, *references) else "not_significant"
