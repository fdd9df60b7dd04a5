"""Cases: what the journal and the run folders hold about a run, put together for its verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .at_work import AtWork
from .contract import Setting
from .health import check_health
from .journal import now
from .judging import Judging
from .record import ControlRecord, Record
from .reference import SWITCHED_OFF, Case, References
from .results import Results
from .scored import read_run
from .seeding import fixed_seeds
from .turn import Turn, latest, turn_key
from .verdict import compare_metrics, differences_of_scale


class Cases:
    """Looks up runs of one campaign. Changes nothing."""

    def __init__(self, work: AtWork) -> None:
        self._campaign = work.campaign
        self._journal = work.journal
        self._repository = work.repository
        self._options = work.options

    @property
    def records(self) -> list[Record]:
        """The records that are finished: one that a crash cut off is made again as if it were not there."""
        return [r for r in self._campaign.read_records() if self._journal.is_done(f"run_{r.run}/record")]

    def _read(self, folder: Path) -> Results:
        return read_run(folder, self._campaign.contract)

    def judging(self) -> Judging:
        """What judges the next run, or one that is recorded again."""
        return Judging(self._campaign.contract, self._options.profile, self._campaign.planned_runs, self.records)

    def references(self) -> References:
        """What finds the references of the next run."""
        return References(self._campaign.contract, self._campaign.spec(self._options.profile), self.records)

    def case(self, run: int) -> Case:
        """A run whose first seed was executed well, with the seeds, the control and the frontier that it has so far."""
        records = self.records
        by_seed = {self._campaign.contract.seed: self._read(self._campaign.run_folder(run))}
        failed = []
        for seed, result in self.executed(run, "seed"):
            if result["trouble"]:
                failed.append(f"seed {seed}: {result['trouble']['why']}")
            else:
                by_seed[seed] = self._read(self._campaign.seed_folder(run, seed))
        varied = tuple(name for turn in self.turns(run) for name in turn.varies)
        case = Case(
            run, self.parent(run), by_seed, None, varied, tuple(failed), fixed_seeds=tuple(self._new_fixed_seeds(run))
        )
        if run < len(records):  # it is held against what answered for it
            return replace(case, control=records[run].control, frontier=tuple(records[run].frontier))
        case = replace(case, control=self._control(case))
        return replace(case, frontier=self._frontier(case))

    def _new_fixed_seeds(self, run: int) -> list[str]:
        """Fixed seeds that a run's code has and the untouched experiment's has not, a sentence each."""
        last = self.turns(run)[-1]
        code = [path for path in self._campaign.contract.editable if path.endswith(".py")]
        before = self._repository.files(self._journal.result("start")["commit"], code)
        after = self._repository.files(last.commit or last.base, code)
        found = [(path, seed) for path in after for seed in fixed_seeds(before.get(path, b""), after[path])]
        return [f"{path}, {seed} is a fixed seed: the harness gives seeds in HARNESS_SEED" for path, seed in found]

    def _control(self, case: Case) -> ControlRecord | None:
        """The control of this run: executed for it, or for an earlier one."""
        references = self.references()
        overrides = references.overrides_of_control(case)
        known = references.known_control(overrides)
        if not overrides or known is not None:
            return known
        folders = {
            seed: self._campaign.control_folder(case.run, seed) for seed, _ in self.executed(case.run, "control")
        }
        control = self._executed_control(case, overrides, "control", folders)
        if control is None:
            if self._options.controls:
                return None
            return ControlRecord(name=named(overrides), overrides=overrides, run=case.run, why_none=SWITCHED_OFF)
        differing = differences_of_scale(self._campaign.contract, case.results.settings, control.settings, case.varied)
        why = "; ".join(filter(None, [control.why_none, *(differing.values() if control.seeds else ())]))
        return control.model_copy(update={"why_none": why})

    def _frontier(self, case: Case) -> tuple[ControlRecord, ...]:
        """The points of the frontier that were executed for this run."""
        found = []
        for number, overrides in enumerate(self.references().overrides_of_frontier(case)):
            kind = frontier_kind(number)
            seeds = [seed for seed, _ in self.executed(case.run, kind)]
            folders = {seed: self._campaign.frontier_folder(case.run, number, seed) for seed in seeds}
            found.append(self._executed_control(case, overrides, kind, folders))
        return tuple(each for each in found if each)

    def _executed_control(
        self, case: Case, overrides: dict[str, Setting], kind: str, folders: dict[int, Path]
    ) -> ControlRecord | None:
        """The baseline's code at these settings, as it was executed for a run; None where it was not."""
        ended = self.executed(case.run, kind)
        if not ended:
            return None
        good = [seed for seed, result in ended if not result["trouble"]]
        if not good:
            why = f"it failed: {ended[0][1]['trouble']['why']}"
            return ControlRecord(name=named(overrides), overrides=overrides, run=case.run, why_none=why)
        results = [self._read(folders[seed]) for seed in good]
        broken = check_health(self._campaign.contract, self._options.profile, results[0])
        return ControlRecord(
            name=named(overrides),
            overrides=overrides,
            run=case.run,
            seeds=good,
            settings=results[0].settings,
            metrics={key: metric.values for key, metric in compare_metrics(results, None).items()},
            why_none="; ".join(broken),
        )

    def executed(self, run: int, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """The further executions of a run that have ended: seed and result, in order."""
        prefix = f"run_{run}/{kind}_"
        steps = [e for e in self._journal.of("done") if e["step"].startswith(prefix)]
        return sorted((int(e["step"].removeprefix(prefix)), e["result"]) for e in steps)

    def seconds_beside(self, run: int) -> float:
        """What executions of a run took that are no attempt: the baseline's own, seeds, controls, points of the frontier."""
        steps = re.compile(rf"run_{run}/(execute|(seed|control|frontier\d+)_\d+)")
        done = [e["result"] for e in self._journal.of("done") if steps.fullmatch(e["step"])]
        return math.fsum(result["outcome"]["seconds"] for result in done)

    def parent(self, run: int) -> Record:
        """The run whose code `run` started from, as that was put in place for it."""
        number: int = self.placed(run)["from"]
        return self.records[number]

    def placed(self, run: int) -> dict[str, Any]:
        """What put the code in place that `run` starts from: its `commit`, and the number of the run that it is `from`."""
        steps = [
            f"run_{run - 1}/record",
            *(e["step"] for e in self._journal.of("done") if e["step"].startswith(place(run))),
        ]
        found: dict[str, Any] = self._journal.result(steps[-1])
        return found

    def best(self, records: list[Record]) -> Record:
        """The run whose code the next one is to start from: as the agent asked, else the best that earned its place.

        Where noise is unknown nothing can earn its place; then the best by its number, if that is better than the
        baseline's. Never a broken one.
        """
        sound = [r for r in records if r.status == "completed" and r.verdict.kind not in ("unhealthy", "no_effect")]
        wish = self._wish(len(records) - 1)
        asked = 0 if wish == "baseline" else int(wish[4:]) if wish.startswith("run_") else None
        if asked is not None and asked in (r.run for r in sound):
            return records[asked]
        accepted = [r for r in sound if r.verdict.kind == "improved"]
        unmeasured = [r for r in sound if r.verdict.kind == "undecided" and len(r.seeds) <= 1]
        primary = self._campaign.contract.primary
        if primary is None:
            return unmeasured[-1] if unmeasured else records[0]
        sign = 1 if primary.better == "lower" else -1
        numbered = [r for r in accepted or [records[0], *unmeasured] if primary.name in r.metrics]
        return min(numbered, key=lambda r: sign * r.metrics[primary.name].value, default=records[0])

    def _wish(self, run: int) -> str:
        """Where the agent asked, in the turns of `run`, that the next run shall start."""
        return latest(turn.start_from for turn in self.turns(run))

    def baseline_by_seed(self) -> tuple[list[Results], list[int]]:
        """The results of all seeds of the baseline that ended well, and the seeds."""
        good = [seed for seed, result in self.executed(0, "seed") if not result["trouble"]]
        folders = [self._campaign.run_folder(0), *(self._campaign.seed_folder(0, seed) for seed in good)]
        return [self._read(folder) for folder in folders], [self._campaign.contract.seed, *good]

    def turns(self, run: int) -> list[Turn]:
        """The agent's turns of a run, in order."""
        found: list[Turn] = []
        while (result := self._journal.result(f"{turn_key(run, len(found) + 1)}/turn")) is not None:
            found.append(Turn.model_validate(result))
        return found

    def plan(self) -> str:
        """The agent's plan as it last gave it."""
        turns = [e["result"] for e in self._journal.of("done") if e["step"].endswith("/turn")]
        return latest(turn["plan"] for turn in turns)

    def started(self, prefix: str) -> str:
        """When the first step with this prefix began; now, where none has."""
        return next((str(e["time"]) for e in self._journal.of("started") if e["step"].startswith(prefix)), now())


def place(run: int) -> str:
    """What the names of the steps begin with that put code in place for a run, after the record before it did."""
    return f"place/run_{run}/"


def named(overrides: Mapping[str, Setting]) -> str:
    """What the baseline's code at these settings is called."""
    return "control " + ", ".join(f"{key}={value}" for key, value in overrides.items())


def frontier_kind(number: int) -> str:
    """The kind of the executions of one point of the frontier."""
    return f"frontier{number}"
