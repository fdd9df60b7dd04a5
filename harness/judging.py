"""Judging: a run beside what answers for it, with the ledger of the campaign rebuilt from all its records.

A run is compared with what answers for it (`reference`) and with its parent: the first says what the idea is worth, the
second whether this step earned its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from .contract import Contract, Profile
from .evidence import Comparison, Fall, Uncompared, worsened
from .frontier import Place, Reference
from .frontier import name_of as name_of_reference
from .ledger import Conclusion, Judgement, Ledger
from .noise import NoiseProfile, mean
from .record import ComparisonRecord, ControlRecord, FrontierRecord, PointRecord, Record, VerdictRecord
from .reference import Answer, Case, References, values_of
from .sentence import sentence
from .verdict import first_look, name_of


class Judging:
    """Judges the next run of a campaign, or one that is recorded again, given all records."""

    def __init__(self, contract: Contract, profile: str, planned: int, records: Sequence[Record]) -> None:
        """`planned`: the runs that were planned when the campaign began."""
        self._contract = contract
        self._profile = profile
        self._spec = contract.profiles.get(profile, Profile())
        self._planned = planned
        self._records = list(records)
        self.references = References(contract, self._spec, records)
        self._ledger = self._rebuilt() if contract.primary else None

    def first_look(self, case: Case) -> VerdictRecord | None:
        """The verdict where it does not rest on noise, except on scale."""
        earlier = [record for record in self._records if record.run < case.run]
        for seed, results in case.by_seed.items():
            verdict = first_look(self._contract, self._profile, results, earlier, seed=seed)
            if verdict is not None:
                where = f"seed {seed}: " if len(case.by_seed) > 1 else ""
                return verdict.model_copy(update={"why": where + verdict.why})
        return None

    def wanted(self, case: Case) -> int:
        """How many seeds the run should have before it is judged."""
        have = len(case.by_seed) + len(case.failed_seeds)
        answer = self.references.answering(case)
        if self._ledger is None or isinstance(answer, VerdictRecord):
            return have
        self._measure(case.control, *case.frontier)
        values = self._values(case)
        return self._ledger.wanted(f"run_{case.run}", values, answer.parent) if values else have

    def judge(self, case: Case) -> VerdictRecord:
        """The verdict. A second look at a run costs error of its own."""
        verdict = self.first_look(case)
        if verdict is not None:
            return verdict
        answer = self.references.answering(case)
        if isinstance(answer, VerdictRecord):
            return answer
        primary, values = self._contract.primary, self._values(case)
        if primary is None or self._ledger is None:
            return VerdictRecord(kind="undecided", why="the contract names no primary metric")
        if values is None:
            without = "this run" if primary.name in self._records[0].metrics else name_of(self._records[0])
            return VerdictRecord(kind="undecided", why=f"{without} has no {primary.title}")
        self._measure(case.control, *case.frontier)
        falls = self._falls(case, answer)
        judgement = self._ledger.judge(
            f"run_{case.run}", values, parent=answer.parent, baseline=answer.baseline, falls=falls
        )
        return self._in_words(case, answer, judgement)

    def conclude(self) -> list[Conclusion]:
        """What the campaign has shown against the baseline, corrected over all runs."""
        return self._ledger.conclude() if self._ledger else []

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
            verdict, values = record.verdict, values_of(record.metrics.get(primary.name))
            self._measure(record.control, *record.frontier)
            if verdict.kind == "baseline":
                if values:
                    ledger.measure("run_0", values)
            else:
                compared = verdict.against_baseline
                shares = [look.share for look in (*record.looks, verdict)]
                tested = (compared.reference, verdict.tested) if compared and verdict.tested else None
                ledger.recall(f"run_{record.run}", values if compared else [], shares, tested)
        return ledger

    def _measure(self, *controls: ControlRecord | None) -> None:
        primary = self._contract.primary
        for control in controls:
            if self._ledger is not None and primary and control and control.metrics.get(primary.name):
                self._ledger.measure(control.name, control.metrics[primary.name])

    def _values(self, case: Case) -> list[float] | None:
        name = self._contract.primary.name if self._contract.primary else ""
        return (case.values(name) or None) if name in self._records[0].metrics else None

    def _falls(self, case: Case, answer: Answer) -> list[Fall]:
        """Guard metrics that are worse than the parent's, or than the baseline's, by more than they may be: many small steps
        are a large one, and what an earlier run gave away is not free for the next."""
        falls = []
        references = list(dict.fromkeys((answer.parent, answer.baseline)))
        for reference in references:
            name = name_of_reference(reference) if len(references) > 1 else ""
            for metric in self._contract.metric:
                mine, theirs = case.values(metric.name), self.references.values(case, reference, metric)
                if metric.guard is not None and mine and theirs:
                    fall = worsened(metric.name, mine, theirs, metric.guard, better=metric.better, against=name)
                    falls += [fall] if fall else []
        return falls

    def _in_words(self, case: Case, answer: Answer, judgement: Judgement) -> VerdictRecord:
        primary = self._contract.primary
        assert primary is not None
        kind, why, compared = (
            judgement.kind,
            sentence(primary.name, judgement, self._planned),
            judgement.against_baseline,
        )
        doubts = [*case.failed_seeds, *case.fixed_seeds]
        if self._records[0].given:
            unsaid = self.references.unsaid(case)
            silent = f", and its {', '.join(unsaid)} is not known" if unsaid else ""
            doubts.append(f"the baseline was given with the experiment, not executed here{silent}")
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
            against_parent=self._comparison(case, answer.parent, judgement.against_parent),
            against_baseline=self._comparison(case, answer.baseline, compared),
            falls=[str(fall) for fall in judgement.falls],
            doubts=doubts,
            share=judgement.share,
            tested=compared if judgement.share and isinstance(compared, Comparison) else None,
        )

    def _comparison(self, case: Case, reference: Reference, found: Comparison | Uncompared) -> ComparisonRecord:
        record = ComparisonRecord(
            reference=name_of_reference(reference),
            mean=found.mean,
            reference_mean=found.reference,
            seeds=found.n,
            reference_seeds=found.n_reference,
            frontier=self._frontier(case, reference) if isinstance(reference, Place) else None,
        )
        if isinstance(found, Uncompared):
            return record.model_copy(update={"why": found.why})
        low, high = found.interval
        alone = found.mixture is None
        drifted = "; the stored noise profile does not fit the baseline's seeds and is left out"
        numbers = {
            "difference": found.difference,
            "estimate": found.estimate,
            "low": low,
            "high": high,
            "p": found.p,
            "p_corrected": found.p_corrected,
            "sd": found.noise.sd,
            "reference_sd": found.reference_noise.sd if alone else found.reference_error * found.n_reference**0.5,
            "method": found.method + (drifted if self._ledger and self._ledger.drifted else ""),
        }
        return record.model_copy(update=numbers)

    def _frontier(self, case: Case, place: Place) -> FrontierRecord:
        primary = self._contract.primary.name if self._contract.primary else ""
        points = []
        for point in place.points:
            values = self.references.measured(case, point.name, primary)
            middle = mean(values) if values else None
            points.append(
                PointRecord(name=point.name, at=point.at, variance=point.variance, mean=middle, seeds=len(values))
            )
        return FrontierRecord(metric=place.metric, at=place.at, variance=place.variance, points=points)
