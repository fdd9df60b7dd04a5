"""What the journal and the run folders hold about a run, put together for its verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..campaign.contract import Setting
from ..campaign.journal import now
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.protocols import SEED
from ..campaign.record import ControlRecord, Record
from ..campaign.turn import Turn, latest, turn_key
from ..results.reading import Results
from ..results.run_results import read_run
from ..results.sanity import check_sanity
from ..statistics.comparability import compare_metrics, differences_of_scale, seed_changes_nothing
from ..statistics.compute import KINDS
from ..statistics.judge import Judge, next_parent
from ..statistics.recorded_ledger import RecordedLedger
from ..statistics.references import SWITCHED_OFF, MeasuredRun, References, usable
from ..statistics.seed_group import unlike_members, varying_settings
from .fixed_seeds import fixed_seeds
from .rounds import Rounds
from .seed_variable import is_named


class Measurements(CampaignPart):
    """Looks up runs of one campaign. Changes nothing."""

    def __init__(self, opened: OpenCampaign, known: int | None = None, ledger: RecordedLedger | None = None) -> None:
        """`known`: how many records there were, where it is looked up what was known earlier; `ledger`: theirs."""
        super().__init__(opened)
        self.rounds = Rounds.of(opened)
        self._known = known
        campaign, profile = self._campaign, self._options.profile
        self._ledger = ledger or RecordedLedger(campaign.contract, profile, campaign.planned_runs)

    def at_start_of_round(self, run: int) -> Measurements:
        """What was known when the round of `run` began: nothing of its siblings decides what is executed for it."""
        return Measurements(self._opened, self.rounds.first(run), self._ledger)

    @property
    def records(self) -> list[Record]:
        """The records that are finished: one that a crash cut off is made again as if it were not there."""
        done = len(self._opened.records)
        while done and not self._journal.is_done(f"run_{done - 1}/record"):
            done -= 1
        return self._opened.records[:done][: self._known]

    def _read(self, folder: Path) -> Results:
        return read_run(folder, self._campaign.contract)

    def judge(self, known: int | None = None) -> Judge:
        """What judges the next run, or one that is recorded again. `known`: records that may be its references."""
        campaign, profile = self._campaign, self._options.profile
        return Judge(campaign.contract, profile, campaign.planned_runs, self.records, known, self._ledger)

    def references(self) -> References:
        """What finds the references of the next run."""
        return References(self._campaign.contract, self._campaign.spec(self._options.profile), self.records)

    def measured_run(self, run: int) -> MeasuredRun:
        """A run whose first seed was executed well, with the seeds, the control and the frontier that it has so far."""
        records = self.records
        by_seed = {self._campaign.contract.seed: self._read(self._campaign.run_folder(run))}
        final: dict[int, Results] = {}
        failed = []
        for kind, found in (("seed", by_seed), (FINAL, final)):
            for seed, result in self.executed(run, kind):
                if result["failure"]:
                    failed.append(f"seed {seed}: {result['failure']['why']}")
                else:
                    found[seed] = self._read(self._campaign.seed_folder(run, seed))
        varied = tuple(name for turn in self.turns(run) for name in turn.varies)
        first = self._journal.result(f"{self.turns(run)[-1].key}/execute")["outcome"]
        measured = MeasuredRun(
            run,
            self.parent(run),
            by_seed,
            None,
            varied,
            tuple(failed),
            own_seeds=self.own_seeds,
            fixed_seeds=tuple(self._new_fixed_seeds(run)),
            final=final,
            first_seconds={kind: first.get(kind) for kind in KINDS},
        )
        if run < len(records):  # it is compared with its reference of then
            measured = replace(measured, control=records[run].control, frontier=tuple(records[run].frontier))
        else:
            measured = replace(measured, control=self._control(measured))
            measured = replace(measured, frontier=self._frontier(measured))
        return replace(
            measured,
            final_references=tuple(self._final_references(measured)),
            processor_seconds=tuple(seconds_of_all(self.outcomes(run), "processor_seconds")),
            device_seconds=tuple(seconds_of_all(self.outcomes(run), "device_seconds")),
        )

    def outcomes(self, run: int) -> list[Mapping[str, Any]]:
        """How the executions ended that the numbers of a run are means over."""
        final = [result for _, result in self.executed(run, FINAL)]
        first = "run_0/execute" if run == 0 else f"{self.turns(run)[-1].key}/execute"
        results = final or [self._journal.result(first), *(result for _, result in self.executed(run, "seed"))]
        return [result["outcome"] for result in results if result and not result["failure"]]

    def _final_references(self, measured: MeasuredRun) -> Iterator[ControlRecord]:
        """The baseline, or the control in its place, and the parent, as they were executed at the run's final seeds."""
        control = measured.control if measured.control and usable(measured.control) else None
        kinds = {
            FINAL_BASELINE: (control.name if control else "run_0", control.overrides if control else {}),
            FINAL_PARENT: (f"run_{measured.parent.run}", {}),
        }
        for kind, (name, overrides) in kinds.items():
            ended = self.executed(measured.run, kind)
            folders = {seed: self._campaign.final_folder(measured.run, kind, seed) for seed, _ in ended}
            found = self._executed_reference(measured, name, overrides, kind, folders)
            if found is not None:
                yield found

    def _new_fixed_seeds(self, run: int) -> list[str]:
        """Fixed seeds that a run's code has and the untouched experiment's has not, a sentence each."""
        last = self.turns(run)[-1]
        code = [path for path in self._campaign.contract.editable if path.endswith(".py")]
        before = self._repository.files(self._journal.result("start")["commit"], code)
        after = self._repository.files(last.commit or last.base, code)
        found = [(path, seed) for path in after for seed in fixed_seeds(before.get(path, b""), after[path])]
        return [f"{path}, {seed} is a fixed seed: the harness gives seeds in HARNESS_SEED" for path, seed in found]

    def _control(self, measured: MeasuredRun) -> ControlRecord | None:
        """The control of this run: executed for it, or for an earlier one."""
        references = self.references()
        overrides = references.overrides_of_control(measured)
        known = references.known_control(overrides)
        if not overrides or known is not None:
            return known
        folders = {
            seed: self._campaign.control_folder(measured.run, seed) for seed, _ in self.executed(measured.run, "control")
        }
        control = self._executed_reference(measured, control_name(overrides), overrides, "control", folders)
        if control is None:
            if self._options.controls:
                return None
            return ControlRecord(name=control_name(overrides), overrides=overrides, run=measured.run, why_none=SWITCHED_OFF)
        settings = references.settings_of(control, measured)
        differing = differences_of_scale(self._campaign.contract, measured.results.settings, settings, measured.varied)
        why = "; ".join(filter(None, [control.why_none, *(differing.values() if control.seeds else ())]))
        return control.model_copy(update={"why_none": why})

    def _frontier(self, measured: MeasuredRun) -> tuple[ControlRecord, ...]:
        """The points of the frontier that were executed for this run, in the order in which they were decided on."""
        found = []
        decided = (self._journal.result(decision_step(measured.run, each)) for each in (FRONTIER, FRONTIER_NEARBY))
        for number, overrides in enumerate(next(filter(None, decided), [])):
            kind = frontier_step(number)
            seeds = [seed for seed, _ in self.executed(measured.run, kind)]
            folders = {seed: self._campaign.frontier_folder(measured.run, number, seed) for seed in seeds}
            found.append(self._executed_reference(measured, control_name(overrides), overrides, kind, folders))
        return tuple(each for each in found if each)

    def _executed_reference(
        self, measured: MeasuredRun, name: str, overrides: dict[str, Setting], kind: str, folders: dict[int, Path]
    ) -> ControlRecord | None:
        """A reference as it was executed for a run; None where it was not."""
        ended = self.executed(measured.run, kind)
        if not ended:
            return None
        good = [seed for seed, result in ended if not result["failure"]]
        if not good:
            why = f"it failed: {ended[0][1]['failure']['why']}"
            return ControlRecord(name=name, overrides=overrides, run=measured.run, why_none=why)
        results = [self._read(folders[seed]) for seed in good]
        return ControlRecord(
            name=name,
            overrides=overrides,
            run=measured.run,
            seeds=good,
            settings=results[0].settings,
            **_seconds([result["outcome"] for _, result in ended if not result["failure"]]),
            metrics={key: metric.values for key, metric in compare_metrics(results, None, own_seeds=self.own_seeds).items()},
            why_none="; ".join(self.problems(dict(zip(good, results, strict=True)), self.records[0])),
        )

    def problems(self, by_seed: Mapping[int, Results], baseline: Record | None) -> list[str]:
        """Why the untouched code at these seeds is no reference: as every seed of a run is checked, so is each of its."""
        contract, several = self._campaign.contract, len(by_seed) > 1
        broken = [
            f"seed {seed}: {problem}" if several else problem
            for seed, results in by_seed.items()
            for problem in check_sanity(contract, self._options.profile, results)
        ]
        return broken or unlike_members(contract, by_seed, baseline)

    def executed(self, run: int, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """The further executions of a run that have ended: seed and result, in order."""
        prefix = f"run_{run}/{kind}_"
        steps = [e for e in self._journal.of("done", f"run_{run}/") if e["step"].startswith(prefix)]
        return sorted((int(e["step"].removeprefix(prefix)), e["result"]) for e in steps)

    def seconds_beside(self, run: int) -> float:
        """What executions of a run took that are no attempt: the baseline's own, seeds, controls, points of the frontier."""
        steps = re.compile(rf"run_{run}/(execute|(seed|control|frontier\d+|{FINAL}|{FINAL_BASELINE}|{FINAL_PARENT})_\d+)")
        done = [e["result"] for e in self._journal.of("done", f"run_{run}/") if steps.fullmatch(e["step"])]
        return math.fsum(result["outcome"]["seconds"] for result in done)

    def overrides_of(self, commit: str) -> dict[str, Setting]:
        """The settings that the code of a commit is executed with, on top of the campaign's, as its turn gave them."""
        turns = (e["result"] for e in self._journal.of("done", "/turn"))
        return next((turn.get("overrides", {}) for turn in turns if turn["commit"] == commit), {})

    def parent(self, run: int) -> Record:
        """The run whose code `run` started from, as that was put in place for it."""
        number: int = self.rounds.start_of(run)["from"]
        return self.records[number]

    def start_commit(self, run: int) -> str:
        """The code that `run` started from, as it was left in place."""
        return str(self.rounds.start_of(run)["commit"])

    def best(self, records: list[Record]) -> Record:
        """The run whose code the next one is to start from."""
        return next_parent(records, self._wish(len(records) - 1), self._campaign.contract.primary)

    def _wish(self, run: int) -> str:
        """Where the agent asked, in the turns of `run` and its siblings, that the next run shall start."""
        return latest(turn.start_from for each in self.rounds.members(run) for turn in self.turns(each))

    @property
    def own_seeds(self) -> bool:
        """Whether the seeds of a metric are those that the experiment itself ran: as the baseline's record has it."""
        return self.records[0].ignores_seed or self.records[0].own_seeds > 0

    def baseline_facts(self) -> dict[str, Any]:
        """What of the baseline's record rests on its seeds. Where several were executed, they show whether HARNESS_SEED
        changes anything; where one was, the sources say whether it is read."""
        by_seed, seeds = self.baseline_by_seed()
        ignores = self._ignores_seed(by_seed)
        own = ignores or (len(by_seed) == 1 and not self.names_seed)
        metrics = compare_metrics(by_seed, None, own_seeds=own)
        varying = varying_settings(dict(zip(seeds, by_seed, strict=True)))
        return {
            "seeds": seeds,
            "metrics": metrics,
            "ignores_seed": ignores,
            "varying_settings": varying,
            **compute(self.outcomes(0)),
        }

    @property
    def names_seed(self) -> bool:
        """Whether the untouched experiment mentions HARNESS_SEED."""
        return self.names(SEED)

    def names(self, variable: str) -> bool:
        """Whether the untouched experiment mentions a variable: its command, or a source in whatever language."""
        contract, commit = self._campaign.contract, self._journal.result("start")["commit"]
        found = self._repository.mentioning(commit, [variable], [*contract.code, *contract.files])
        return is_named(contract, found, variable)

    @property
    def baseline_ignores_seed(self) -> bool:
        """Whether what was executed of the baseline so far says that no other seed of it is worth an execution."""
        return self._ignores_seed(self.baseline_by_seed()[0])

    def _ignores_seed(self, by_seed: Sequence[Results]) -> bool:
        return len(by_seed) > 1 and seed_changes_nothing(by_seed, is_read=self.names_seed)

    def baseline_by_seed(self) -> tuple[list[Results], list[int]]:
        """The results of all seeds of the baseline that ended well, and the seeds."""
        good = [seed for seed, result in self.executed(0, "seed") if not result["failure"]]
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
        turns = [e["result"] for e in self._journal.of("done", "/turn")]
        return latest(turn["plan"] for turn in turns)

    def started(self, run: int) -> str:
        """When the first step of a run began; now, where none has."""
        return next((str(e["time"]) for e in self._journal.of("started", f"run_{run}/")), now())


def compute(outcomes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What these executions took of processor, GPU and memory, for a record."""
    known = list(outcomes)
    return {
        **_seconds(known),
        "peak_memory": max((each["peak_memory"] for each in known if each.get("peak_memory")), default=None),
    }


def _seconds(outcomes: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """By the kind of compute, of those for which it was measured: not what was taken from the cache."""
    return {kind: [each[kind] for each in outcomes if each.get(kind) is not None] for kind in KINDS}


def seconds_of_all(outcomes: Collection[Mapping[str, Any]], kind: str) -> list[float]:
    """Of a run's executions, none where it was not measured for each: what is left out is what it would rather not show."""
    found: list[float] = _seconds(outcomes)[kind]
    return found if len(found) == len(outcomes) else []


def control_name(overrides: Mapping[str, Setting]) -> str:
    """What the baseline's code at these settings is called."""
    return f"control {assignments(overrides)}"


def assignments(settings: Mapping[str, Setting]) -> str:
    """`k=40, lr=0.001`."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


FRONTIER, FRONTIER_NEARBY = "frontier", "frontier_nearby"
FINAL, FINAL_BASELINE, FINAL_PARENT = "final", "baseline", "parent"
"""The kinds of the executions at final seeds: of the run itself, and of its references."""
HELD_OUT, HELD_OUT_REFERENCE = "held_out", "held_out_baseline"
"""Those of a held-out evaluation."""


def decision_step(run: int, what: str) -> str:
    """The step that decides what else is executed for a run: its control, points of a frontier, the seeds of a stage."""
    return f"run_{run}/decide_{what}"


def frontier_step(number: int) -> str:
    """The kind of the executions of one point of the frontier."""
    return f"frontier{number}"
