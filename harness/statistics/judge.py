"""Verdicts: a run beside its reference, with the ledger of the campaign rebuilt from all its records.

A run is compared with its reference (`references`) and with its parent: the first says what the idea is worth, the
second whether this step earned its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..campaign.contract import Contract, Metric, Profile
from ..campaign.record import ComparisonRecord, ControlRecord, FrontierRecord, PointRecord, Record, VerdictRecord
from .comparability import name_of, screen
from .comparison import Comparison, GuardViolation, Uncompared, guard_violation
from .frontier import FrontierPosition, Reference
from .frontier import name_of as name_of_reference
from .ledger import Conclusion, Judgement, Ledger
from .noise import NoiseProfile, mean
from .references import MeasuredRun, ReferencePair, References, values_of
from .seed_group import repeated_seeds, unlike_members
from .wording import sentence


class Judge:
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

    def screen(self, measured: MeasuredRun) -> VerdictRecord | None:
        """The verdict where it does not rest on noise, except on scale."""
        earlier = [record for record in self._records if record.run < measured.run]
        for seed, results in measured.by_seed.items():
            verdict = screen(self._contract, self._profile, results, earlier, seed=seed)
            if verdict is not None:
                where = f"seed {seed}: " if len(measured.by_seed) > 1 else ""
                return verdict.model_copy(update={"why": where + verdict.why})
        unlike = unlike_members(self._contract, measured.by_seed, self._records[0])
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
        values = self._values(measured)
        return self._ledger.seeds_wanted(f"run_{measured.run}", values, pair.parent) if values else have

    def judge(self, measured: MeasuredRun) -> VerdictRecord:
        """The verdict. A second look at a run costs error of its own."""
        verdict = self.screen(measured)
        if verdict is not None:
            return verdict
        pair = self.references.compared_with(measured)
        if isinstance(pair, VerdictRecord):
            return pair
        primary, values = self._contract.primary, self._values(measured)
        if primary is None or self._ledger is None:
            return VerdictRecord(kind="inconclusive", why="no primary metric is named")
        if values is None:
            without = "this run" if primary.name in self._records[0].metrics else name_of(self._records[0])
            return VerdictRecord(kind="inconclusive", why=f"{without} has no {primary.title}")
        self._measure(measured.control, *measured.frontier)
        guard_violations = self._guard_violations(measured, pair)
        judgement = self._ledger.judge(
            f"run_{measured.run}", values, parent=pair.parent, baseline=pair.baseline, guard_violations=guard_violations
        )
        return self._in_words(measured, pair, judgement)

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
        # In the order of the campaign, with what each look cost and found then: nothing is tested again.
        for record in self._records:
            verdict, values = record.verdict, values_of(record.metrics.get(primary.name))
            self._measure(record.control, *record.frontier)
            if verdict.kind == "baseline":
                if values:
                    ledger.measure("run_0", values)
            else:
                compared = verdict.against_baseline
                shares = [look.error_share for look in (*record.earlier_verdicts, verdict)]
                tested = (compared.reference, Comparison.from_json(verdict.tested)) if compared and verdict.tested else None
                ledger.recall(f"run_{record.run}", values if compared else [], shares, tested)
        return ledger

    def _measure(self, *controls: ControlRecord | None) -> None:
        primary = self._contract.primary
        for control in controls:
            if self._ledger is not None and primary and control and control.metrics.get(primary.name):
                self._ledger.measure(control.name, control.metrics[primary.name])

    def _values(self, measured: MeasuredRun) -> list[float] | None:
        name = self._contract.primary.name if self._contract.primary else ""
        return (measured.values(name) or None) if name in self._records[0].metrics else None

    def _guard_violations(self, measured: MeasuredRun, pair: ReferencePair) -> list[GuardViolation]:
        """Guard metrics that are worse than the parent's, or than the baseline's, by more than they may be: many small steps
        are a large one, and what an earlier run gave away is not free for the next."""
        guard_violations = []
        references = list(dict.fromkeys((pair.parent, pair.baseline)))
        for reference in references:
            name = name_of_reference(reference) if len(references) > 1 else ""
            for metric in self._contract.metric:
                mine, theirs = measured.values(metric.name), self.references.values(measured, reference, metric)
                if metric.guard is not None and mine and theirs:
                    violation = guard_violation(metric.name, mine, theirs, metric.guard, better=metric.better, against=name)
                    guard_violations += [violation] if violation else []
        return guard_violations

    def _in_words(self, measured: MeasuredRun, pair: ReferencePair, judgement: Judgement) -> VerdictRecord:
        primary = self._contract.primary
        assert primary is not None
        kind, why, compared = (judgement.kind, sentence(primary.name, judgement, self._planned), judgement.against_baseline)
        if measured.has_own(primary.name):
            why += "; the seeds are the experiment's own, self-reported"
        caveats = [*measured.failed_seeds, *measured.fixed_seeds, *repeated_seeds(measured.by_seed)]
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
        return VerdictRecord(
            kind=kind,
            why=why,
            against_parent=self._comparison(measured, pair.parent, judgement.against_parent),
            against_baseline=self._comparison(measured, pair.baseline, compared),
            guard_violations=[str(violation) for violation in judgement.guard_violations],
            caveats=caveats,
            error_share=judgement.error_share,
            tested=compared.to_json() if judgement.error_share and isinstance(compared, Comparison) else None,
        )

    def _comparison(self, measured: MeasuredRun, reference: Reference, found: Comparison | Uncompared) -> ComparisonRecord:
        record = ComparisonRecord(
            reference=name_of_reference(reference),
            mean=found.mean,
            reference_mean=found.reference,
            seeds=found.n,
            reference_seeds=found.n_reference,
            frontier=self._frontier(measured, reference) if isinstance(reference, FrontierPosition) else None,
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
            "p_adjusted": found.p_adjusted,
            "sd": found.noise.sd,
            # Of a line what gives its standard error again when it is divided by the root of its number of seeds.
            "reference_sd": found.reference_noise.sd if alone else found.reference_error * found.n_reference**0.5,
            "method": found.method + (drifted if self._ledger and self._ledger.drifted else ""),
        }
        return record.model_copy(update=numbers)

    def _frontier(self, measured: MeasuredRun, place: FrontierPosition) -> FrontierRecord:
        primary = self._contract.primary.name if self._contract.primary else ""
        points = []
        for point in place.points:
            values = self.references.measured_values(measured, point.name, primary)
            middle = mean(values) if values else None
            points.append(PointRecord(name=point.name, at=point.at, variance=point.variance, mean=middle, seeds=len(values)))
        return FrontierRecord(metric=place.metric, at=place.at, variance=place.variance, points=points)


def next_parent(records: Sequence[Record], wish: str, primary: Metric | None) -> Record:
    """The run whose code the next one starts from: as the agent wished ("baseline", "run_2"), else the best accepted one.

    Where noise is unknown none can be accepted; then the best by its number, if that is better than the baseline's. Never an
    invalid one, nor one without effect.
    """
    sound = [r for r in records if r.status == "completed" and r.verdict.kind not in ("invalid", "no_effect")]
    asked = 0 if wish == "baseline" else int(wish[4:]) if wish.startswith("run_") else None
    if asked is not None and asked in (r.run for r in sound):
        return records[asked]
    accepted = [r for r in sound if r.verdict.kind == "improved"]
    unmeasured = [r for r in sound if r.verdict.kind == "inconclusive" and r.seed_count <= 1]
    if primary is None:
        return unmeasured[-1] if unmeasured else records[0]
    sign = 1 if primary.better == "lower" else -1
    numbered = [r for r in accepted or [records[0], *unmeasured] if primary.name in r.metrics]
    return min(numbered, key=lambda r: sign * r.metrics[primary.name].value, default=records[0])
