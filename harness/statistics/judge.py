"""Verdicts: a run beside its reference, with the ledger of the campaign rebuilt from all its records.

A run is compared with its reference (`references`) and with its parent: the first says what the idea is worth, the
second whether this step earned its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..campaign.contract import Contract, Profile
from ..campaign.metric import Metric
from ..campaign.record import ComparisonRecord, ControlRecord, FrontierRecord, PointRecord, Record, VerdictRecord
from ..campaign.text import run_in_words
from .comparability import name_of, screen
from .comparison import Comparison, GuardViolation, Uncompared, guard_violation
from .compute import compute_excess
from .frontier import FrontierPosition, Reference
from .frontier import name_of as name_of_reference
from .holdout import is_accepted
from .ledger import FinalSeeds, Judgement
from .noise import decimals, mean, rounded
from .recorded_ledger import RecordedLedger, measure
from .references import MeasuredRun, ReferencePair, References, usable
from .seed_group import repeated_seeds, unlike_members
from .wording import as_record, sentence


class Judge:
    """Judges the next run of a campaign, or one that is recorded again, given all records."""

    def __init__(
        self,
        contract: Contract,
        profile: str,
        planned: int,
        records: Sequence[Record],
        known: int | None = None,
        ledger: RecordedLedger | None = None,
    ) -> None:
        """`planned`: the runs that were planned when the campaign began. `known`: how many of the records may be references,
        those from before the run's round; for the noise and the error that is spent all count. `ledger`: of this campaign,
        so that records which it has taken in need not be taken in again."""
        self._contract = contract
        self._profile = profile
        self._spec = contract.profiles.get(profile, Profile())
        self._planned = planned
        self._records = list(records)
        self.references = References(contract, self._spec, self._records[:known])
        self._recorded = ledger or RecordedLedger(contract, profile, planned)
        self._ledger = self._recorded.after(self._records, final=self.has_final_seeds)

    def screen(self, measured: MeasuredRun) -> VerdictRecord | None:
        """The verdict where it does not rest on noise, except on scale."""
        for seed, results in measured.all_seeds.items():
            # What a loop that was observed left is no run of this campaign: to have its numbers again is to confirm them.
            known = (each for each in self._recorded.alike(results, self._records) if each.run < measured.run)
            earlier = [each for each in known if not (each.run and each.given)]
            if measured.varied:  # to have the numbers of one that did not say so is the purpose of saying it
                earlier = [each for each in earlier if each.verdict.kind != "not_comparable"]
            verdict = screen(self._contract, self._profile, results, earlier, seed=seed)
            if verdict is not None:
                where = f"seed {seed}: " if len(measured.all_seeds) > 1 else ""
                return verdict.model_copy(update={"why": where + verdict.why})
        unlike = unlike_members(self._contract, measured.all_seeds, self._records[0])
        if unlike:
            return VerdictRecord(kind="invalid", why=f"its seeds are not one experiment: {'; '.join(unlike)}")
        return None

    def seeds_wanted(self, measured: MeasuredRun) -> int:
        """How many seeds the run should have before it is judged."""
        have = len(measured.by_seed) + len(measured.failed_seeds)
        pair = self.references.compared_with(measured)
        if self._ledger is None or isinstance(pair, VerdictRecord):
            return have
        self._measure(measured.control, *measured.frontier)
        values = self._at_stages(measured)
        return self._ledger.seeds_wanted(f"run_{measured.run}", values, pair.parent, pair.baseline) if values else have

    def beside_at_final_seeds(self, measured: MeasuredRun) -> list[str]:
        """The references that are to be executed beside the run at final seeds; none where it gets no such seeds."""
        pair = self.references.compared_with(measured)
        if self._ledger is None or isinstance(pair, VerdictRecord) or not self.has_final_seeds:
            return []
        return [each for each in dict.fromkeys((pair.baseline, pair.parent)) if isinstance(each, str)]

    def reaches_final_seeds(self, measured: MeasuredRun) -> bool:
        """Whether the run has passed all its stages."""
        pair = self.references.compared_with(measured)
        if self._ledger is None or isinstance(pair, VerdictRecord) or not self.has_final_seeds:
            return False
        self._measure(measured.control, *measured.frontier)
        values = self._at_stages(measured)
        done = len(values) + len(measured.failed_seeds) >= self._spec.run_seeds[-1]
        return done and bool(values) and self._ledger.goes_on(f"run_{measured.run}", values, pair.parent, pair.baseline)

    def judge(self, measured: MeasuredRun) -> VerdictRecord:
        """The verdict. A second look at a run costs error of its own."""
        verdict = self.screen(measured)
        if verdict is not None:
            return verdict
        pair = self.references.compared_with(measured)
        if isinstance(pair, VerdictRecord):
            return pair
        primary, values = self._contract.primary, self._at_stages(measured)
        if primary is None or self._ledger is None:
            return VerdictRecord(kind="inconclusive", why="no primary metric is named")
        if not values:
            without = "this run" if primary.name in self._records[0].metrics else name_of(self._records[0])
            return VerdictRecord(kind="inconclusive", why=f"{without} has no {primary.title}")
        self._measure(measured.control, *measured.frontier)
        guard_violations = self._guard_violations(measured, pair)
        judgement = self._ledger.judge(
            f"run_{measured.run}",
            values,
            parent=pair.parent,
            baseline=pair.baseline,
            final=self._at_final_seeds(measured, primary.name),
            guard_violations=guard_violations,
        )
        return self._in_words(measured, pair, judgement)

    @property
    def has_final_seeds(self) -> bool:
        return tests_at_final_seeds(self._spec, self._records[0])

    def _measure(self, *controls: ControlRecord | None) -> None:
        if self._ledger is not None and self._contract.primary:
            measure(self._ledger, self._contract.primary.name, *controls)

    def _at_stages(self, measured: MeasuredRun) -> dict[int, float]:
        name = self._contract.primary.name if self._contract.primary else ""
        return measured.at(measured.by_seed, name) if name in self._records[0].metrics else {}

    @staticmethod
    def _at_final_seeds(measured: MeasuredRun, metric: str) -> FinalSeeds | None:
        values = measured.at(measured.final, metric) if measured.final else {}
        usable_ones = filter(usable, measured.final_references)
        return FinalSeeds(values, {each.name: each.by_seed(metric) for each in usable_ones}) if values else None

    def _guard_violations(self, measured: MeasuredRun, pair: ReferencePair) -> list[GuardViolation]:
        """Guard metrics that are worse than the parent's, or than the baseline's, by more than they may be: many small steps
        are a large one, and what an earlier run gave away is not free for the next."""
        guard_violations: list[GuardViolation] = []
        references = list(dict.fromkeys((pair.parent, pair.baseline)))
        for reference in references:
            name = name_of_reference(reference) if len(references) > 1 else ""
            for metric in self._contract.metric:
                mine, theirs = measured.values(metric.name), self.references.values(measured, reference, metric)
                if metric.guard is not None and mine and theirs:
                    violation = guard_violation(metric.name, mine, theirs, metric.guard, better=metric.better, against=name)
                    guard_violations += [violation] if violation else []
        kind, spent, beside = self._compute(measured, pair)
        excess = compute_excess(spent, beside, self._spec.most_compute, kind)
        return guard_violations + ([excess] if excess else [])

    def _compute(self, measured: MeasuredRun, pair: ReferencePair) -> tuple[str, Sequence[float], Sequence[float]]:
        """How the reference's compute was measured, the run's so, and the reference's."""
        kind, theirs = self.references.compute(measured, pair.baseline if isinstance(pair.baseline, str) else "run_0")
        return kind, getattr(measured, kind), theirs

    def _missing_guards(self, measured: MeasuredRun, pair: ReferencePair) -> list[str]:
        """Guards that a reference has and the run, at one of its seeds or at all, has not: what it paid is unknown."""
        guards = [
            metric for metric in self._contract.metric if metric.guard is not None and not measured.values(metric.name)
        ]
        missing = [
            f"{metric.name}, a guard, is missing"
            for metric in guards
            if any(self.references.values(measured, reference, metric) for reference in (pair.parent, pair.baseline))
        ]
        # Who opens an accelerator that its reference does not use would otherwise have no compute at all.
        _, mine, theirs = self._compute(measured, pair)
        unmeasured = theirs and not mine
        return missing + (["compute, a guard, was not measured at each of its seeds"] if unmeasured else [])

    def _in_words(self, measured: MeasuredRun, pair: ReferencePair, judgement: Judgement) -> VerdictRecord:
        primary = self._contract.primary
        assert primary is not None
        kind, why, compared = (judgement.kind, sentence(primary.name, judgement, self._planned), judgement.against_baseline)
        if measured.has_own(primary.name):
            why += "; the seeds are the experiment's own, self-reported"
        untouched = [{name: metric.values for name, metric in self._records[0].metrics.items()}]
        untouched += [each.metrics for each in measured.final_references if each.name == pair.baseline]
        caveats = [*measured.failed_seeds, *measured.fixed_seeds, *repeated_seeds(measured.all_seeds, untouched)]
        caveats += [
            f"{each.name} is no reference at the final seeds: {each.why_none}"
            for each in measured.final_references
            if each.why_none
        ]
        caveats += [
            f"{run_in_words(each.name)} failed at seed {', '.join(map(str, lost))}"
            for each in filter(usable, measured.final_references)
            if (lost := [seed for seed in measured.final if seed not in each.seeds])
        ]
        caveats += self._missing_guards(measured, pair)
        remarks = []
        for reference, found in {pair.parent: judgement.against_parent, pair.baseline: judgement.against_baseline}.items():
            of_place, remark = self._by_its_place(measured, reference, found)
            caveats += of_place
            remarks.append(remark)
        reported = self.references.self_reported(measured) if measured.control and usable(measured.control) else []
        if reported and not self._is_better_than_baseline(measured, judgement.error_share):
            names = ", ".join(reported)
            caveats.append(f"only the run itself reports {names}, and it is not improved against the baseline as executed")
        if self._records[0].given:
            unsaid = self.references.unsaid(measured)
            silent = f", and its {', '.join(unsaid)} is not known" if unsaid else ""
            caveats.append(f"the baseline was given with the experiment, not executed here{silent}")
        known = {name for name, value in measured.results.settings.items() if value is not None}
        if self._contract.comparable and known.isdisjoint(self._contract.comparable):
            caveats.append(f"it does not report {' or '.join(self._contract.comparable)}, so the scale may differ")
        if caveats and kind in ("improved", "trade_off"):
            kind, why = "inconclusive", f"{why}; but inconclusive: {'; '.join(caveats)}"
        elif caveats:
            why = f"{why}; {'; '.join(caveats)}"
        why += "".join(remarks)
        return VerdictRecord(
            kind=kind,
            why=why,
            against_parent=self._comparison(measured, pair.parent, judgement.against_parent),
            against_baseline=self._comparison(measured, pair.baseline, compared),
            guard_violations=[str(violation) for violation in judgement.guard_violations],
            caveats=caveats,
            error_share=judgement.error_share,
        )

    def _by_its_place(
        self, measured: MeasuredRun, reference: Reference, found: Comparison | Uncompared
    ) -> tuple[list[str], str]:
        """Of a run that is better near its reference in L0: that it is so for what the baseline's code gains there, too; or,
        as a remark, that this is not known."""
        if not isinstance(reference, str) or not isinstance(found, Comparison) or not found.is_better:
            return [], ""
        off = self.references.off(measured, reference)
        worth = self.references.worth_of_place(measured, reference) if off else []
        if isinstance(worth, str):
            return [], f"; {off}: what that alone is worth is not known, for {worth}"
        for change in worth:
            there = replace(found, reference=found.reference + change)
            if there.gain < found.gain and not there.is_better:
                by, of = (rounded(each, decimals(found.error)).replace("-", "−") for each in (change, found.difference))
                place = f"{off} alone changes it by {by} of {of}"
                return [f"{place}, by the baseline's frontier, and what remains is not significant"], ""
        return [], ""

    def _is_better_than_baseline(self, measured: MeasuredRun, share: float) -> bool:
        """Whether it would be improved without a control, too: one that its own word chose gives it nothing."""
        assert self._ledger is not None and self._contract.primary is not None
        final = self._at_final_seeds(measured, self._contract.primary.name)
        values = final.values if final else self._at_stages(measured)
        return bool(share) and self._ledger.is_better(f"run_{measured.run}", [*values.values()], "run_0", share)

    def _comparison(self, measured: MeasuredRun, reference: Reference, found: Comparison | Uncompared) -> ComparisonRecord:
        record = as_record(found, name_of_reference(reference))
        if isinstance(reference, FrontierPosition):
            record = record.model_copy(update={"frontier": self._frontier(measured, reference)})
        if self.has_final_seeds and not measured.final:
            record = record.model_copy(update={"tested": False})
        if record.method and self._ledger and self._ledger.drifted:
            drifted = "; the stored noise profile does not fit the baseline's seeds and is left out"
            record = record.model_copy(update={"method": record.method + drifted})
        return record

    def _frontier(self, measured: MeasuredRun, place: FrontierPosition) -> FrontierRecord:
        primary = self._contract.primary.name if self._contract.primary else ""
        points = []
        for point in place.points:
            values = self.references.measured_values(measured, point.name, primary)
            middle = mean(values) if values else None
            points.append(PointRecord(name=point.name, at=point.at, variance=point.variance, mean=middle, seeds=len(values)))
        return FrontierRecord(metric=place.metric, at=place.at, variance=place.variance, points=points)


def tests_at_final_seeds(spec: Profile, baseline: Record) -> bool:
    """Whether runs that pass their stages are tested at final seeds: where the profile has such, and seeds matter."""
    return spec.has_final_seeds and baseline.has_other_seeds


def may_be_started_from(record: Record) -> bool:
    return record.status == "completed" and record.verdict.kind not in ("invalid", "no_effect")


def next_parent(records: Sequence[Record], wish: str, primary: Metric | None) -> Record:
    """The run whose code the next one starts from: as the agent wished ("baseline", "run_2"), else the best accepted one.

    Where noise is unknown none can be accepted; then the best by its number, if that is better than the baseline's. Where no
    metric decides, the last one. Never an invalid one, nor one without effect.
    """
    sound = [r for r in records if may_be_started_from(r)]
    asked = 0 if wish == "baseline" else int(wish[4:]) if wish.startswith("run_") else None
    if asked is not None and asked in (r.run for r in sound):
        return records[asked]
    undecided = [r for r in sound if r.verdict.kind == "inconclusive"]
    if primary is None:
        return undecided[-1] if undecided else records[0]
    accepted = [r for r in sound if is_accepted(r)]
    sign = 1 if primary.better == "lower" else -1
    numbered = [r for r in accepted or [records[0], *undecided] if primary.name in r.metrics]
    ranked = sorted(numbered, key=lambda r: sign * r.metrics[primary.name].value)
    return next((r for r in ranked if accepted or r is records[0] or r.seed_count <= 1), records[0])
