"""Judging: a run beside what answers for it, with the ledger of the campaign rebuilt from its records.

A run's reference is the baseline, or a control where its settings are others. It is compared with its parent too: the first
says what the idea is worth, the second whether this step earned its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .contract import Contract, Metric, Profile, Setting
from .evidence import Comparison, Fall, Uncompared, worsened
from .ledger import Conclusion, Judgement, Ledger
from .noise import Noise, NoiseProfile, NoiseUnknown
from .record import ComparisonRecord, ControlRecord, Record, VerdictRecord
from .results import Results
from .sentence import sentence
from .verdict import compare_metrics, differences_of_scale, first_look, name_of

NEAR = 0.1
"""How far, as a share, a metric that moves others (L0) may be from the reference's."""
_SETTLED = frozenset({"unhealthy", "no_effect", "not_comparable", "failed", "baseline"})
"""Verdicts that do not rest on noise, and so spend none of the error."""


@dataclass(frozen=True)
class Case:
    """A run before its verdict. `by_seed` holds its results, the campaign's own seed first."""

    run: int
    parent: Record
    by_seed: dict[int, Results]
    control: ControlRecord | None = None
    varied: tuple[str, ...] = ()
    failed_seeds: tuple[str, ...] = ()
    """Seeds whose execution failed, a sentence each."""

    @property
    def results(self) -> Results:
        return next(iter(self.by_seed.values()))


class Judging:
    """Judges the next run of a campaign, given the records of those before it."""

    def __init__(self, contract: Contract, profile: str, planned: int, records: Sequence[Record]) -> None:
        """`planned`: the runs that were planned when the campaign began."""
        self._contract = contract
        self._profile = profile
        self._spec = contract.profiles.get(profile, Profile())
        self._planned = planned
        self._records = list(records)
        self._ledger = self._rebuilt() if contract.primary else None

    @property
    def accepted(self) -> list[Record]:
        """The runs that earned their place."""
        return [record for record in self._records if record.verdict.kind == "improved"]

    def first_look(self, case: Case) -> VerdictRecord | None:
        """The verdict where it does not rest on noise, except on scale."""
        for seed, results in case.by_seed.items():
            verdict = first_look(self._contract, self._profile, results, self._records, seed=seed)
            if verdict is not None:
                where = f"seed {seed}: " if len(case.by_seed) > 1 else ""
                return verdict.model_copy(update={"why": where + verdict.why})
        return None

    def overrides_of_control(self, case: Case) -> dict[str, Setting]:
        """The settings at which the baseline's code must be executed to answer for this run; empty where it does already."""
        differing = differences_of_scale(
            self._contract, case.results.settings, _settings(self._records[0]), case.varied
        )
        return {name: case.results.settings.get(name) for name in differing if name in self._spec.settings}

    def known_control(self, overrides: Mapping[str, Setting]) -> ControlRecord | None:
        """A control that an earlier run had executed at these settings."""
        controls = [record.control for record in self._records if record.control]
        return next((control for control in controls if control.overrides == overrides), None)

    def wanted(self, case: Case) -> int:
        """How many seeds the run should have before it is judged."""
        have = len(case.by_seed) + len(case.failed_seeds)
        if self._ledger is None or self._not_comparable(case):
            return have
        self._measure(case.control)
        values = self._values(case)
        return self._ledger.wanted(f"run_{case.run}", values, self._parent_name(case)) if values else have

    def judge(self, case: Case, looks: Sequence[int] = ()) -> VerdictRecord:
        """The verdict. `looks`: with how many seeds the run was judged before; a second look costs error of its own."""
        verdict = self.first_look(case) or self._not_comparable(case)
        if verdict is not None:
            return verdict
        primary, values = self._contract.primary, self._values(case)
        if primary is None or self._ledger is None:
            return VerdictRecord(kind="undecided", why="the contract names no primary metric")
        if values is None:
            without = "this run" if primary.name in self._records[0].metrics else name_of(self._records[0])
            return VerdictRecord(kind="undecided", why=f"{without} has no {primary.title}")
        self._measure(case.control)
        name, parent, baseline = f"run_{case.run}", self._parent_name(case), self._baseline_name(case)
        for seeds in looks:
            self._ledger.judge(name, values[:seeds], parent=parent, baseline=baseline)
        judgement = self._ledger.judge(name, values, parent=parent, baseline=baseline, falls=self._falls(case))
        return self._in_words(case, judgement)

    def conclude(self) -> list[Conclusion]:
        """What the campaign has shown against the baseline, corrected over all runs."""
        return self._ledger.conclude() if self._ledger else []

    def noise(self, run: int) -> Noise | NoiseUnknown:
        """How much the primary metric differs between seeds, as the verdict on `run` takes it."""
        return self._ledger.noise(f"run_{run}") if self._ledger else NoiseUnknown("there is no primary metric")

    def _rebuilt(self) -> Ledger:
        primary = self._contract.primary
        assert primary is not None and primary.better is not None
        noise = self._spec.noise.get(primary.name)
        ledger = Ledger(
            primary.better,
            self._planned,
            stages=self._spec.run_seeds,
            profile=NoiseProfile(noise.sd, noise.seeds, noise.skew) if noise else None,
            bounds=(primary.minimum, primary.maximum),
        )
        self._ledger = ledger
        for record in self._records:
            name, metric = f"run_{record.run}", record.metrics.get(primary.name)
            values = (metric.values or [metric.value]) if metric else None
            if record.control:
                self._measure(record.control)
            if record.verdict.kind == "baseline" and values:
                ledger.measure(name, values)
            elif record.verdict.kind not in _SETTLED and values and record.verdict.against_parent:
                against = record.verdict.against_baseline or record.verdict.against_parent
                for seeds in (*record.looks, len(values)):
                    ledger.judge(
                        name,
                        values[:seeds],
                        parent=record.verdict.against_parent.reference,
                        baseline=against.reference,
                    )
        return ledger

    def _measure(self, control: ControlRecord | None) -> None:
        primary = self._contract.primary
        if self._ledger is not None and primary and control and control.metrics.get(primary.name):
            self._ledger.measure(control.name, control.metrics[primary.name])

    def _not_comparable(self, case: Case) -> VerdictRecord | None:
        """Other settings than the reference's, or a metric that moves the primary one too far from it."""
        baseline = self._records[0]
        reference = case.control.settings if _usable(case.control) and case.control else _settings(baseline)
        name = case.control.name if _usable(case.control) and case.control else name_of(baseline)
        differing = differences_of_scale(self._contract, case.results.settings, reference, case.varied)
        if differing:
            why = f"{', '.join(differing.values())} ({name})"
            if case.control and case.control.why_none:
                why += f"; no control: {case.control.why_none}"
            return VerdictRecord(kind="not_comparable", why=why)
        primary = self._contract.primary
        if primary and primary.moves_with:
            mine = case.results.metrics.get(primary.moves_with)
            theirs = self._mean_of_reference(case, primary.moves_with)
            if mine is not None and theirs and abs(mine.value - theirs) > NEAR * abs(theirs):
                moved = f"{primary.moves_with} {mine.value:.4g} against {theirs:.4g} ({name})"
                return VerdictRecord(
                    kind="not_comparable", why=f"{moved}: more than 10 % apart, and {primary.name} moves with it"
                )
        return None

    def _values(self, case: Case) -> list[float] | None:
        name = self._contract.primary.name if self._contract.primary else ""
        if name not in self._records[0].metrics or any(name not in each.metrics for each in case.by_seed.values()):
            return None
        return [results.metrics[name].value for results in case.by_seed.values()]

    def _baseline_name(self, case: Case) -> str:
        return case.control.name if _usable(case.control) and case.control else "run_0"

    def _parent_name(self, case: Case) -> str:
        """The parent, where it was judged at the same settings; else what stands for it."""
        same = not differences_of_scale(self._contract, case.results.settings, _settings(case.parent), case.varied)
        judged = case.parent.verdict.against_parent is not None
        return f"run_{case.parent.run}" if same and judged else self._baseline_name(case)

    def _mean_of_reference(self, case: Case, metric: str) -> float | None:
        if _usable(case.control) and case.control:
            values = case.control.metrics.get(metric, [])
            return math.fsum(values) / len(values) if values else None
        found = self._records[0].metrics.get(metric)
        return found.value if found else None

    def _falls(self, case: Case) -> list[Fall]:
        """Guard metrics that are worse than the parent's by more than they may be."""
        falls = []
        mine = compare_metrics(list(case.by_seed.values()), None)
        parent = self._parent_name(case)
        for metric in self._contract.metric:
            theirs = self._guard_values(case, parent, metric)
            if metric.guard is not None and metric.name in mine and theirs:
                fall = worsened(metric.name, mine[metric.name].values, theirs, metric.guard, better=metric.better)
                falls += [fall] if fall else []
        return falls

    def _guard_values(self, case: Case, parent: str, metric: Metric) -> list[float]:
        if case.control and parent == case.control.name:
            return case.control.metrics.get(metric.name, [])
        record = case.parent if parent == f"run_{case.parent.run}" else self._records[0]
        found = record.metrics.get(metric.name)
        return (found.values or [found.value]) if found else []

    def _in_words(self, case: Case, judgement: Judgement) -> VerdictRecord:
        primary = self._contract.primary
        assert primary is not None
        kind, why = judgement.kind, sentence(primary.name, judgement, self._planned)
        doubts = [*case.failed_seeds]
        if self._records[0].given:
            doubts.append("the baseline was given with the experiment, not executed here")
        known = {name for name, value in case.results.settings.items() if value is not None}
        if self._contract.comparable and known.isdisjoint(self._contract.comparable):
            doubts.append(f"it does not report {' or '.join(self._contract.comparable)}, so the scale may differ")
        if doubts and kind in ("improved", "traded_off"):
            kind, why = "undecided", f"{why}; but undecided: {'; '.join(doubts)}"
        elif doubts:
            why = f"{why}; {'; '.join(doubts)}"
        return VerdictRecord(
            kind=kind,
            why=why,
            against_parent=_comparison(judgement.parent, judgement.against_parent),
            against_baseline=_comparison(judgement.baseline, judgement.against_baseline),
            falls=[str(fall) for fall in judgement.falls],
        )


def _usable(control: ControlRecord | None) -> bool:
    return control is not None and not control.why_none


def _settings(record: Record) -> dict[str, Setting]:
    return {name: setting.value for name, setting in record.settings.items()}


def _comparison(reference: str, found: Comparison | Uncompared) -> ComparisonRecord:
    record = ComparisonRecord(
        reference=reference,
        mean=found.mean,
        reference_mean=found.reference,
        seeds=found.n,
        reference_seeds=found.n_reference,
    )
    if isinstance(found, Uncompared):
        return record.model_copy(update={"why": found.why})
    low, high = found.interval
    numbers = {
        "difference": found.difference,
        "estimate": found.estimate,
        "low": low,
        "high": high,
        "p": found.p,
        "p_corrected": found.p_corrected,
        "sd": found.noise.sd,
        "reference_sd": found.reference_noise.sd,
        "method": found.method,
    }
    return record.model_copy(update=numbers)
