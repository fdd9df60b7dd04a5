"""The reference of a run: the baseline, a matched control where its settings are others, or a place on the frontier where
it differs in what moves the primary metric (L0). A run is compared with its parent too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..campaign.contract import Contract, Profile, Setting
from ..campaign.metric import Metric
from ..campaign.record import ControlRecord, Record, VerdictRecord
from ..results.reading import Results
from .comparability import differences_of_scale, name_of
from .compute import compute_excess, kind_of, multiple
from .frontier import FrontierPosition, Point, Reference, are_apart, near, position_on_frontier
from .noise import Noise, combine, mean, squares_of

SWITCHED_OFF = "controls are switched off"
"""Why there is no control where a person wanted none."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run before its verdict. `by_seed` holds its results at the seeds of its stages, the campaign's own seed first."""

    run: int
    parent: Record
    by_seed: dict[int, Results]
    control: ControlRecord | None = None
    varied: tuple[str, ...] = ()
    failed_seeds: tuple[str, ...] = ()
    """Seeds whose execution failed, a sentence each."""
    frontier: tuple[ControlRecord, ...] = ()
    """The baseline's code at other settings, executed for this run."""
    own_seeds: bool = False
    """HARNESS_SEED changes nothing: the seeds are those that the experiment itself ran, where it says what they gave."""
    fixed_seeds: tuple[str, ...] = ()
    """Fixed seeds that its code has and the untouched experiment's has not, a sentence each."""
    final: dict[int, Results] = field(default_factory=dict)
    """Its results at its final seeds."""
    final_references: tuple[ControlRecord, ...] = ()
    """Its references at these seeds, by their names."""
    processor_seconds: tuple[float, ...] = ()
    """Of the executions that its verdict rests on, as far as they were measured."""
    device_seconds: tuple[float, ...] = ()
    """The same where they used a GPU that each had to itself."""
    first_seconds: Mapping[str, float | None] = field(default_factory=dict)
    """What its first execution took, by the kind of compute."""

    @property
    def all_seeds(self) -> dict[int, Results]:
        return self.by_seed | self.final

    @property
    def rests_on(self) -> dict[int, Results]:
        """What its numbers are the means of."""
        return self.final or self.by_seed

    @property
    def results(self) -> Results:
        return next(iter(self.by_seed.values()))

    def has_own(self, metric: str) -> bool:
        """Whether its seeds are the experiment's own, self-reported."""
        return self.own_seeds and metric in self.results.metrics and len(self.results.metrics[metric].seeds) > 1

    def values(self, metric: str) -> list[float]:
        """Those that its verdict rests on, one a seed, [] where a seed has none."""
        return [*self.at(self.rests_on, metric).values()]

    def at(self, seeds: Mapping[int, Results], metric: str) -> dict[int, float]:
        """Its values at some of its seeds, none where one has none."""
        if self.has_own(metric):
            return dict(enumerate(self.results.metrics[metric].seeds))
        found = {seed: results.metrics[metric].value for seed, results in seeds.items() if metric in results.metrics}
        return found if len(found) == len(seeds) else {}


@dataclass(frozen=True)
class ReferencePair:
    """What a run is compared with."""

    parent: Reference
    """Or what stands for it."""
    baseline: Reference


class References:
    """Finds the reference of the next run of a campaign, given the records of those before it."""

    def __init__(self, contract: Contract, spec: Profile, records: Sequence[Record]) -> None:
        self._contract = contract
        self._spec = spec
        self._records = list(records)

    def overrides_of_control(self, measured: MeasuredRun) -> dict[str, Setting]:
        """The settings at which the baseline's code must be executed as this run's reference; empty where there is one,
        where the baseline was given so that none need be executed, or where the run does not report one. Where there is a
        scorer nothing that the run alone reports chooses one."""
        overrides = {} if self._records[0].given else self._own_settings(measured)
        unseen = self._contract.scorer and self.self_reported(measured)
        return {} if None in overrides.values() or unseen else overrides | self._more_compute(measured, overrides)

    def self_reported(self, measured: MeasuredRun) -> list[str]:
        """What of its scale differs from what the harness set, as the run alone says: no artifact and no scorer shows it."""
        sources = measured.results.sources
        return [name for name in self._own_settings(measured) if sources.get(name, "reported") == "reported"]

    def _own_settings(self, measured: MeasuredRun) -> dict[str, Setting]:
        """Those that decide scale, that the harness set for the baseline, and that are others here."""
        differing = differences_of_scale(self._contract, measured.results.settings, self._baseline, measured.varied)
        return {name: measured.results.settings.get(name) for name in differing if name in self._spec.settings}

    def _more_compute(self, measured: MeasuredRun, overrides: Mapping[str, Setting]) -> dict[str, Setting]:
        """What gives the baseline's code as much compute as the run's first execution took, to a tenth of the baseline's."""
        name, kind = self._spec.compute_setting, kind_of(self._records[0])
        spent, first = getattr(self._records[0], kind), measured.first_seconds.get(kind)
        mine = [] if first is None else [first]
        planned = self._baseline.get(name) or self._spec.settings.get(name)
        if name in overrides or not isinstance(planned, int | float) or self._records[0].given:
            return {}
        if self._spec.compute != "matched" or not compute_excess(mine, spent, self._spec.most_compute):
            return {}
        more = planned * round(multiple(mine, spent) or 1.0, 1)
        return {name: round(more) if isinstance(planned, int) else more}

    def settings_of(self, control: ControlRecord, measured: MeasuredRun) -> dict[str, Setting]:
        """What a run's settings are held against: of a control with as much compute, what only that moved is as in the
        baseline."""
        name = self._spec.compute_setting
        if name not in control.overrides or measured.results.settings.get(name) != self._baseline.get(name):
            return control.settings
        moved = [each for each in self._contract.comparable if each == name or each not in control.overrides]
        return control.settings | {each: self._baseline.get(each) for each in moved}

    def free_beside(self, measured: MeasuredRun) -> list[str]:
        """The settings that may differ between a run and its control."""
        control = measured.control
        matched = self.settings_of(control, measured) if control else {}
        return [
            *measured.varied,
            *(name for name, value in matched.items() if control and value != control.settings.get(name)),
        ]

    def known_control(self, overrides: Mapping[str, Setting]) -> ControlRecord | None:
        """A control that an earlier run had executed at these settings. One that was switched off then may be wanted now."""
        known = (control for control in self._controls() if control.why_none != SWITCHED_OFF)
        return next((control for control in known if control.overrides == overrides), None)

    def overrides_of_frontier(self, measured: MeasuredRun) -> list[dict[str, Setting]]:
        """At which settings the baseline's code must be executed as this run's references at its L0; empty where none would
        help, or nothing is missing."""
        metric = self._moving
        values = measured.values(metric) if metric else []
        if not self._spec.frontier or self._differing(measured) or not values or not self._moved(measured):
            return []
        return self._missing_points(measured)

    def overrides_of_frontier_nearby(self, measured: MeasuredRun) -> list[dict[str, Setting]]:
        """The same for a run that is near what it is compared with in L0, and not at it."""
        if not self._spec.frontier or self._differing(measured) or self._moved(measured):
            return []
        pair = self.compared_with(measured)
        references = (pair.parent, pair.baseline) if isinstance(pair, ReferencePair) else ()
        is_off = any(self.off(measured, each) for each in references if isinstance(each, str))
        return self._missing_points(measured) if is_off else []

    def off(self, measured: MeasuredRun, reference: str) -> str:
        """How far the run is from what it is compared with in what moves the primary metric, "" where it is there."""
        metric = self._moving or ""
        mine, theirs = measured.values(metric), self.measured_values(measured, reference, metric)
        if not mine or not theirs or not are_apart(mine, theirs):
            return ""
        return f"{metric} {mean(mine):.4g} against {mean(theirs):.4g}"

    def worth_of_place(self, measured: MeasuredRun, reference: str) -> list[float] | str:
        """By how much the primary metric of the baseline's code changes from where a reference is, in what moves it, to
        where the run is, along either line of the frontier; or why that is not known."""
        metric, primary = self._moving or "", self._contract.primary
        place = self._position(measured)
        if isinstance(place, str) or primary is None:
            return str(place)
        further = mean(measured.values(metric)) - mean(self.measured_values(measured, reference, metric))
        found = []
        for line in (place.between, place.prolonged):
            ends = [self.measured_values(measured, point.name, primary.name) for point in (line.first, line.second)]
            if not all(ends):
                return f"the frontier has no {primary.name}"
            found.append(further * (mean(ends[1]) - mean(ends[0])) / line.gap)
        return found

    def _missing_points(self, measured: MeasuredRun) -> list[dict[str, Setting]]:
        """The settings of the frontier at which nothing was executed yet, where the run has no place on it."""
        if isinstance(self._position(measured), FrontierPosition):
            return []
        beside = self._own_settings(measured) if measured.control and usable(measured.control) else {}
        wanted = []
        for name, settings in self._spec.frontier.items():
            for value in settings:
                both = {**beside, name: value}
                overrides = {key: each for key, each in both.items() if self._baseline.get(key) != each}
                if overrides and self.known_control(overrides) is None and overrides != beside:
                    wanted.append(overrides)
        return wanted

    def compared_with(self, measured: MeasuredRun) -> ReferencePair | VerdictRecord:
        """What the run is compared with, or the verdict that it cannot be."""
        control = measured.control if measured.control and usable(measured.control) else None
        name = control.name if control else name_of(self._records[0])
        differing = self._differing(measured)
        if differing:
            why = f"{', '.join(differing)} ({name})"
            if measured.control and measured.control.why_none:
                why += f"; no control: {measured.control.why_none}"
            elif self._records[0].given and self._spec.settings:
                why += "; no control is executed beside it, since it may be of other code; without --baseline given one is"
            elif self._contract.scorer and (unseen := self.self_reported(measured)):
                why += f"; no control: only the run itself reports {', '.join(unseen)}; neither artifact nor scorer shows it"
            return VerdictRecord(kind="not_comparable", why=why)
        baseline: Reference = control.name if control else "run_0"
        moved = self._moved(measured)
        if moved:
            found = self._position(measured)
            if isinstance(found, str):
                why = f"{moved} ({name}): {self._too_far}"
                return VerdictRecord(kind="not_comparable", why=f"{why}; {found}" if self._spec.frontier else why)
            baseline = found
        return self._beside_parent(measured, baseline)

    def measured_values(self, measured: MeasuredRun, name: str, metric: str) -> list[float]:
        """The values of a metric of what was measured under `name`, one a seed: at the run's final seeds, where it was
        executed there."""
        for control in (*filter(usable, measured.final_references), *self._controls(measured)):
            if control.name == name:
                return control.metrics.get(metric, [])
        record = next((r for r in [*self._records, measured.parent] if name == f"run_{r.run}"), None)
        return [*record.by_seed(metric).values()] if record else []

    def compute(self, measured: MeasuredRun, name: str) -> tuple[str, list[float]]:
        """How the compute of what was measured under `name` was measured, and what: beside the run where that was done."""
        executed = (*filter(usable, measured.final_references), *self._controls(measured))
        found = [*(each for each in executed if each.name == name), *(r for r in self._records if name == f"run_{r.run}")]
        known = ((kind := kind_of(each), list[float](getattr(each, kind))) for each in found)
        return next((each for each in known if each[1]), ("processor_seconds", []))

    def values(self, measured: MeasuredRun, reference: Reference, metric: Metric) -> list[float]:
        """The values of a guard metric of what a run is compared with; between two points, on the line between them."""
        if isinstance(reference, str):
            return self.measured_values(measured, reference, metric.name)
        line = reference.between
        ends = [self.measured_values(measured, point.name, metric.name) for point in (line.first, line.second)]
        return [(1 - line.share) * mean(ends[0]) + line.share * mean(ends[1])] if all(ends) else []

    @property
    def _baseline(self) -> dict[str, Setting]:
        return _settings(self._records[0])

    @property
    def _moving(self) -> str | None:
        """The metric that moves the primary one."""
        return self._contract.primary.moves_with if self._contract.primary else None

    @property
    def _too_far(self) -> str:
        return f"more than 10 % apart, and {self._contract.primary.name if self._contract.primary else ''} moves with it"

    def _differing(self, measured: MeasuredRun) -> list[str]:
        """The settings of scale that differ from those of the run's reference."""
        control = measured.control if measured.control and usable(measured.control) else None
        settings = self.settings_of(control, measured) if control else self._baseline
        found = differences_of_scale(self._contract, measured.results.settings, settings, measured.varied)
        unknown = [name for name in found if settings.get(name) is None] if self._records[0].given else []
        return [words for name, words in found.items() if name not in unknown]

    def unsaid(self, measured: MeasuredRun) -> list[str]:
        """What a baseline that was given does not say of its scale, and the run does."""
        if not self._records[0].given:
            return []
        found = differences_of_scale(self._contract, measured.results.settings, self._baseline, measured.varied)
        return [name for name in found if self._baseline.get(name) is None]

    def _moved(self, measured: MeasuredRun) -> str:
        """How far the run is from its reference in what moves the primary metric ("l0 6 against 5"), "" where it is near."""
        metric = self._moving
        mine = measured.values(metric) if metric else []
        control = measured.control if measured.control and usable(measured.control) else None
        theirs = self.measured_values(measured, control.name if control else "run_0", metric) if metric else []
        if not mine or not theirs or near(mean(mine), mean(theirs)):
            return ""
        return f"{metric} {mean(mine):.4g} against {mean(theirs):.4g}"

    def _position(self, measured: MeasuredRun) -> FrontierPosition | str:
        """Where the run stands among the baseline and its controls that differ in the settings of the frontier alone."""
        metric = self._moving or ""
        free = {*measured.varied, *self._spec.frontier}
        known = {"run_0": self._baseline} | {each.name: each.settings for each in self._controls(measured) if usable(each)}
        groups = {name: self.measured_values(measured, name, metric) for name in known}
        groups = {
            name: values
            for name, values in groups.items()
            if values
            and not differences_of_scale(self._contract, measured.results.settings, known[name], free)
            and not self._records[0].given
        }
        mine = measured.values(metric)
        # Unknown where no seed was repeated, or all agree (an L0 that is fixed); then the place is taken for exact.
        noise = combine(squares_of(values) for values in [*groups.values(), mine])
        variance = noise.variance if isinstance(noise, Noise) else 0.0
        points = [Point(name, mean(values), variance / len(values)) for name, values in groups.items()]
        return position_on_frontier(metric, mean(mine), variance / len(mine), points)

    def _beside_parent(self, measured: MeasuredRun, baseline: Reference) -> ReferencePair | VerdictRecord:
        """The parent, where it was judged at the same settings; else what stands for it."""
        parent = measured.parent
        same = not differences_of_scale(self._contract, measured.results.settings, _settings(parent), measured.varied)
        if not same or parent.verdict.against_parent is None:
            return ReferencePair(baseline, baseline)
        metric = self._moving
        mine = measured.values(metric) if metric else []
        theirs = parent.metrics.get(metric) if metric else None
        if mine and theirs is not None and not near(mean(mine), theirs.value):
            moved = f"{metric} {mean(mine):.4g} against {theirs.value:.4g} (run {parent.run}, from which it started)"
            return VerdictRecord(kind="not_comparable", why=f"{moved}: {self._too_far}")
        return ReferencePair(f"run_{parent.run}", baseline)

    def _controls(self, measured: MeasuredRun | None = None) -> list[ControlRecord]:
        having = [record for record in self._records if record.control or record.frontier]
        found = [each for record in having for each in (record.control, *record.frontier)]
        found += [measured.control, *measured.frontier] if measured else []
        return [each for each in found if each]


def usable(control: ControlRecord) -> bool:
    """It is a reference for the run that needed it."""
    return not control.why_none


def _settings(record: Record) -> dict[str, Setting]:
    return {name: setting.value for name, setting in record.settings.items()}
