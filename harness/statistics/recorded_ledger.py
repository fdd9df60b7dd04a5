"""The ledger of a campaign, rebuilt from its records, and which of them have which numbers: each is taken in once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import is_

from ..campaign.contract import Contract, Profile
from ..campaign.record import ControlRecord, Record
from ..results.reading import Results
from .comparability import first_value, judged_metrics
from .ledger import FinalSeeds, Ledger
from .noise import NoiseProfile


class RecordedLedger:
    """What the records of a campaign add up to, for who judges the next run."""

    def __init__(self, contract: Contract, profile: str, planned: int) -> None:
        """`planned`: the runs that were planned when the campaign began."""
        self._primary = contract.primary
        self._judged = judged_metrics(contract)
        self._having: dict[tuple[str, float], list[Record]] = {}
        """Runs by each of their judged numbers."""
        self._spec = contract.profiles.get(profile, Profile())
        self._planned = planned
        self._taking = threading.Lock()
        self._taken: list[Record] = []
        self._ledger: Ledger | None = None

    def after(self, records: Sequence[Record], *, final: bool) -> Ledger | None:
        """The ledger after these records, as the caller's own; None where no primary metric is named. `final`: runs are
        tested at final seeds alone, which the baseline's record decides.

        Records that were there when it was asked before are not taken in again, but where one of them was judged again.
        """
        with self._taking:
            if not self._taken or not _begins_with(records, self._taken):
                self._taken, self._having, self._ledger = [], {}, self._empty(final) if self._primary else None
            for record in records[len(self._taken) :]:
                self._take(record)
                self._taken.append(record)
            return self._ledger.copy() if self._ledger is not None else None

    def alike(self, results: Results, records: Sequence[Record]) -> list[Record]:
        """Those of these records that have one of the judged numbers of these results; all where none is judged."""
        with self._taking:
            if not self._judged or not _begins_with(self._taken, records):
                return [*records]
            numbers = [(name, results.metrics[name].value) for name in self._judged if name in results.metrics]
            found = {record.run: record for number in numbers for record in self._having.get(number, ())}
            return [found[run] for run in sorted(found) if run < len(records)]

    def _empty(self, final: bool) -> Ledger:
        primary = self._primary
        assert primary is not None and primary.better is not None
        noise = self._spec.noise.get(primary.name)
        return Ledger(
            primary.better,
            self._planned,
            stages=self._spec.run_seeds,
            final=final,
            profile=NoiseProfile(noise.sd, noise.seeds, noise.skew) if noise else None,
            bounds=(primary.minimum, primary.maximum),
        )

    def _take(self, record: Record) -> None:
        """In the order of the campaign, with what each look cost then: nothing is tested again."""
        for judged in self._judged & record.metrics.keys():
            self._having.setdefault((judged, first_value(record.metrics[judged])), []).append(record)
        ledger = self._ledger
        if ledger is None:
            return
        name = self._primary.name if self._primary else ""
        measure(ledger, name, record.control, *record.frontier)
        if record.verdict.kind == "baseline":
            if name in record.metrics:
                ledger.measure("run_0", record.by_seed(name))
            return
        compared = record.verdict.against_baseline is not None
        beside = {each.name: each.by_seed(name) for each in record.final_references if each.metrics.get(name)}
        final = FinalSeeds(record.by_seed(name), beside) if record.stage_seeds else None
        ledger.recall(f"run_{record.run}", record.at_stages(name) if compared else {}, final, record.looks)


def _begins_with(records: Sequence[Record], first: Sequence[Record]) -> bool:
    return len(first) <= len(records) and all(map(is_, first, records))


def measure(ledger: Ledger, metric: str, *controls: ControlRecord | None) -> None:
    """Have a ledger take in those controls and points of a frontier that have the metric."""
    for control in controls:
        if control and control.metrics.get(metric):
            ledger.measure(control.name, control.by_seed(metric))
