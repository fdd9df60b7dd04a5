"""What a verdict needs besides the run itself: the baseline at the run's settings, points of a frontier, further seeds, and
final seeds that nothing was executed at before."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from ..campaign.contract import Setting
from ..campaign.errors import CannotGoOn
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import Record
from ..campaign.text import duration
from ..campaign.turn import Turn
from ..statistics.judge import Judge
from ..statistics.references import MeasuredRun, usable
from .execution_steps import ExecutionSteps, PlannedExecution
from .executions import Executions
from .fresh_seeds import fresh_seeds
from .jobs import Variant
from .measurements import (
    FINAL,
    FINAL_BASELINE,
    FINAL_PARENT,
    FRONTIER,
    FRONTIER_NEARBY,
    Measurements,
    assignments,
    decision_step,
    frontier_step,
)

T = TypeVar("T")


class SeedsAndControls(CampaignPart):
    """Decides what else a run needs, and has it executed."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._measurements = Measurements.of(opened)
        self._steps = ExecutionSteps(opened, executions)

    def execute(self, turns: Sequence[Turn]) -> None:
        """Execute what the verdicts on the runs of a round need: the baseline at a run's settings, points of a frontier
        where it is elsewhere on it, and further seeds of what looks better than its reference."""
        # What a recorded run needed was decided by the references of its time; those of today might want more.
        turns = [turn for turn in turns if not self._journal.is_done(f"run_{turn.run}/record")]
        if self._options.controls:
            wanted = {turn.run: self._decide(turn.run, "control", _missing_control) for turn in turns}
            self._execute_controls("control", {run: [("control", each) for each in found] for run, found in wanted.items()})
            if self._campaign.spec(self._options.profile).frontier:
                self._execute_frontier({turn.run: self._decide(turn.run, FRONTIER, _missing_points) for turn in turns})
        stage, going_on = 2, turns
        while going_on:
            further = {turn.run: self._decide(turn.run, f"stage_{stage}", self._further_seeds) for turn in going_on}
            going_on = [turn for turn in going_on if further[turn.run]]
            planned = [self._at_seeds(turn.run, turn.commit or "", turn.attempt, further[turn.run]) for turn in going_on]
            self._execute_all("looks better so far", [*chain(*planned)])
            stage += 1
        drawn = {turn.run: self._decide(turn.run, FINAL, self._final_seeds) for turn in turns}
        if self._options.controls and self._campaign.spec(self._options.profile).frontier:
            tested = [turn.run for turn in turns if drawn[turn.run]]
            self._execute_frontier({run: self._decide(run, FRONTIER_NEARBY, _missing_points_nearby) for run in tested})
        known = self._measurements.at_start_of_round
        final = [self._at_final_seeds(known(turn.run), turn.run, turn.commit or "", drawn[turn.run]) for turn in turns]
        self._execute_all("final seeds", [*chain(*final)])

    def _at_final_seeds(
        self, known: Measurements, run: int, commit: str, planned: list[tuple[str, int]]
    ) -> list[PlannedExecution]:
        """The executions of a run and its references at seeds that were drawn for it; `planned`: what, at which seed."""
        if not planned:
            return []
        control = known.measured_run(run).control
        parent = self._measurements.parent(run)
        overrides = control.overrides if control and usable(control) else {}
        variants = {
            FINAL: (commit, {}),
            FINAL_BASELINE: (self._opened.first_commit, overrides),
            FINAL_PARENT: (parent.commit, {}),
        }
        executions = []
        for kind, seed in planned:
            own = kind == FINAL
            place = self._campaign.seed_folder(run, seed) if own else self._campaign.final_folder(run, kind, seed)
            code, settings = variants[kind]
            step = f"run_{run}/{kind}_{seed}"
            executions.append(PlannedExecution(step, code, run, 0, Variant(seed, settings), place, place))
        return executions

    def _decide(self, run: int, what: str, wanted: Callable[[MeasuredRun, Judge], list[T]]) -> list[T]:
        """What is to be executed next for a run, by what was measured when it was first asked, and of its siblings nothing:
        an execution that has ended since, before an interruption, must not change it."""

        def decision() -> list[T]:
            known = self._measurements.at_start_of_round(run)
            measured, judge = known.measured_run(run), known.judge()
            return wanted(measured, judge) if judge.screen(measured) is None else []

        found: list[T] = self._journal.once(decision_step(run, what), decision, leaves_files=False)
        return found

    def _further_seeds(self, measured: MeasuredRun, judge: Judge) -> list[int]:
        if self._measurements.own_seeds:
            return []
        # A seed that failed counts too, or it would be asked for again without end.
        have = len(measured.by_seed) + len(measured.failed_seeds)
        return self._campaign.seeds(judge.seeds_wanted(measured))[have:]

    def _final_seeds(self, measured: MeasuredRun, judge: Judge, count: int | None = None) -> list[tuple[str, int]]:
        """What is to be executed at `count` fresh seeds, by default the profile's where the run has passed its stages."""
        if count is None:
            count = self._campaign.spec(self._options.profile).final_seeds if judge.reaches_final_seeds(measured) else 0
        beside = judge.beside_at_final_seeds(measured)
        kinds = [
            FINAL,
            *(FINAL_PARENT if name == f"run_{measured.parent.run}" != "run_0" else FINAL_BASELINE for name in beside),
        ]
        return [(kind, seed) for seed in fresh_seeds(self._opened, count) for kind in kinds]

    def add_seeds(self, record: Record, count: int) -> None:
        """Execute a recorded run with further seeds, until it has `count`. Raises CannotGoOn where all are the same."""
        if self._measurements.own_seeds:
            raise CannotGoOn(
                f"run {record.run}: HARNESS_SEED changes nothing here; further seeds would give the same numbers."
            )
        if record.run and self._measurements.judge().has_final_seeds:
            drawn = self._more_final_seeds(record, count)
            self._execute_all("final seeds", self._at_final_seeds(self._measurements, record.run, record.commit, drawn))
            return
        further = [seed for seed in self._campaign.seeds(count) if seed not in record.seeds]
        self._execute_all("", self._at_seeds(record.run, record.commit, 0, further))

    def _at_seeds(self, run: int, commit: str, attempt: int, seeds: list[int]) -> list[PlannedExecution]:
        """The executions of a run's code at further seeds of the contract's."""
        places = {seed: self._campaign.seed_folder(run, seed) for seed in seeds}
        return [
            PlannedExecution(f"run_{run}/seed_{seed}", commit, run, attempt, Variant(seed), place, place)
            for seed, place in places.items()
        ]

    def _more_final_seeds(self, record: Record, count: int) -> list[tuple[str, int]]:
        """What a recorded run needs to have `count` final seeds; drawn once, whatever interrupts their executions."""
        have = len(self._measurements.executed(record.run, FINAL))
        step = decision_step(record.run, f"{FINAL}_{count}")

        def drawn() -> list[tuple[str, int]]:
            measured, judge = self._measurements.measured_run(record.run), self._measurements.judge()
            return self._final_seeds(measured, judge, max(0, count - have))

        found: list[tuple[str, int]] = self._journal.once(step, drawn)
        return found

    def _execute_frontier(self, wanted: Mapping[int, list[dict[str, Setting]]]) -> None:
        points = {run: [(frontier_step(i), each) for i, each in enumerate(found)] for run, found in wanted.items()}
        self._execute_controls(FRONTIER, points)

    def _execute_controls(self, name: str, controls: Mapping[int, list[tuple[str, dict[str, Setting]]]]) -> None:
        """Execute the baseline's code at other settings for runs, each under the kind of its steps."""
        stages = self._campaign.spec(self._options.profile).run_seeds
        seeds = self._campaign.seeds(1 if self._measurements.own_seeds else stages[min(1, len(stages) - 1)])
        what = "; ".join(dict.fromkeys(assignments(overrides) for each in controls.values() for _, overrides in each))
        commit, executions = self._opened.first_commit, []
        for run, wanted in controls.items():
            for number, (kind, overrides) in enumerate(wanted):
                for seed in seeds:
                    if name == FRONTIER:
                        place = self._campaign.frontier_folder(run, number, seed)
                    else:
                        place = self._campaign.control_folder(run, seed)
                    step = f"run_{run}/{kind}_{seed}"
                    executions.append(PlannedExecution(step, commit, run, 0, Variant(seed, overrides), place, place))
        self._execute_all(f"{name}, the baseline at {what}", executions)

    def _execute_all(self, why: str, planned: list[PlannedExecution]) -> None:
        """Execute what is planned, after `why` and what it takes are said."""
        left = sum(not self._journal.is_done(each.step) for each in planned)
        expected = self._steps.expected("/execute")
        if why and left and expected:
            rounds = math.ceil(left / self._opened.jobs)
            self._view.say(f"{why}: {left} more executions, about {duration(round(rounds * expected, 1))}")
        self._steps.execute_all(planned)


def _missing_control(measured: MeasuredRun, judge: Judge) -> list[dict[str, Setting]]:
    overrides = judge.references.overrides_of_control(measured)
    return [overrides] if overrides and judge.references.known_control(overrides) is None else []


def _missing_points(measured: MeasuredRun, judge: Judge) -> list[dict[str, Setting]]:
    return judge.references.overrides_of_frontier(measured)


def _missing_points_nearby(measured: MeasuredRun, judge: Judge) -> list[dict[str, Setting]]:
    return judge.references.overrides_of_frontier_nearby(measured)
