"""What a verdict needs besides the run itself: the baseline at the run's settings, points of a frontier, further seeds, and
final seeds that nothing was executed at before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from ..campaign.contract import Setting
from ..campaign.errors import CannotGoOn
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import Record
from ..campaign.text import duration
from ..campaign.turn import Turn
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
        self._measurements = Measurements(opened)
        self._steps = ExecutionSteps(opened, executions)

    def execute(self, turn: Turn) -> None:
        """Execute what the verdict on a run needs: the baseline at the run's settings, points of a frontier where it is
        elsewhere on it, and further seeds of what looks better than its reference."""
        run = turn.run
        # What a recorded run needed was decided by the references of its time; those of today might want more.
        if self._journal.is_done(f"run_{run}/record"):
            return
        if self._options.controls:
            controls = self._decide(run, "control", self._missing_control)
            self._execute_controls(run, [("control", each) for each in controls])
            has_frontier = self._campaign.spec(self._options.profile).frontier
            points = self._decide(run, FRONTIER, self._missing_points) if has_frontier else []
            self._execute_controls(run, [(frontier_step(number), each) for number, each in enumerate(points)])
        stage = 2
        while further := self._decide(run, f"stage_{stage}", self._further_seeds):
            self._execute_seeds(run, turn.commit or "", turn.attempt, further, "looks better so far")
            stage += 1
        self._execute_at_final_seeds(run, turn.commit or "", self._decide(run, FINAL, self._final_seeds))

    def _execute_at_final_seeds(self, run: int, commit: str, planned: list[tuple[str, int]]) -> None:
        """Execute a run and its references at seeds that were drawn for it; `planned`: what, at which seed."""
        if not planned:
            return
        control = self._measurements.measured_run(run).control
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
        self._execute_all("final seeds", executions)

    def _decide(self, run: int, what: str, wanted: Callable[[MeasuredRun], list[T]]) -> list[T]:
        """What is to be executed next for a run, by what was measured when it was first asked: an execution that has ended
        since, before an interruption, must not change it."""

        def decision() -> list[T]:
            measured = self._measurements.measured_run(run)
            return wanted(measured) if self._measurements.judge().screen(measured) is None else []

        found: list[T] = self._journal.once(decision_step(run, what), decision)
        return found

    def _missing_control(self, measured: MeasuredRun) -> list[dict[str, Setting]]:
        references = self._measurements.references()
        overrides = references.overrides_of_control(measured)
        return [overrides] if overrides and references.known_control(overrides) is None else []

    def _missing_points(self, measured: MeasuredRun) -> list[dict[str, Setting]]:
        return self._measurements.references().overrides_of_frontier(measured)

    def _further_seeds(self, measured: MeasuredRun) -> list[int]:
        if self._measurements.own_seeds:
            return []
        # A seed that failed counts too, or it would be asked for again without end.
        have = len(measured.by_seed) + len(measured.failed_seeds)
        return self._campaign.seeds(self._measurements.judge().seeds_wanted(measured))[have:]

    def _final_seeds(self, measured: MeasuredRun, count: int | None = None) -> list[tuple[str, int]]:
        """What is to be executed at `count` fresh seeds, by default the profile's where the run has passed its stages."""
        judge = self._measurements.judge()
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
            self._execute_at_final_seeds(record.run, record.commit, self._more_final_seeds(record, count))
            return
        further = [seed for seed in self._campaign.seeds(count) if seed not in record.seeds]
        self._execute_seeds(record.run, record.commit, 0, further)

    def _execute_seeds(self, run: int, commit: str, attempt: int, seeds: list[int], why: str = "") -> None:
        """Execute the code of a run at further seeds of the contract's."""
        places = {seed: self._campaign.seed_folder(run, seed) for seed in seeds}
        self._execute_all(
            why,
            [
                PlannedExecution(f"run_{run}/seed_{seed}", commit, run, attempt, Variant(seed), place, place)
                for seed, place in places.items()
            ],
        )

    def _more_final_seeds(self, record: Record, count: int) -> list[tuple[str, int]]:
        """What a recorded run needs to have `count` final seeds; drawn once, whatever interrupts their executions."""
        have = len(self._measurements.executed(record.run, FINAL))
        step = decision_step(record.run, f"{FINAL}_{count}")

        def drawn() -> list[tuple[str, int]]:
            return self._final_seeds(self._measurements.measured_run(record.run), max(0, count - have))

        found: list[tuple[str, int]] = self._journal.once(step, drawn)
        return found

    def _execute_controls(self, run: int, controls: list[tuple[str, dict[str, Setting]]]) -> None:
        """Execute the baseline's code at other settings, each under the kind of its steps."""
        if not controls:
            return
        stages = self._campaign.spec(self._options.profile).run_seeds
        seeds = self._campaign.seeds(1 if self._measurements.own_seeds else stages[min(1, len(stages) - 1)])
        what = "; ".join(assignments(overrides) for _, overrides in controls)
        name = "control" if controls[0][0] == "control" else "frontier"
        commit, executions = self._opened.first_commit, []
        for number, (kind, overrides) in enumerate(controls):
            for seed in seeds:
                if name == "control":
                    place = self._campaign.control_folder(run, seed)
                else:
                    place = self._campaign.frontier_folder(run, number, seed)
                step = f"run_{run}/{kind}_{seed}"
                executions.append(PlannedExecution(step, commit, run, 0, Variant(seed, overrides), place, place))
        self._execute_all(f"{name}, the baseline at {what}", executions)

    def _execute_all(self, why: str, planned: list[PlannedExecution]) -> None:
        """Execute what is planned, after `why` and what it takes are said."""
        left = sum(not self._journal.is_done(each.step) for each in planned)
        expected = self._steps.expected("/execute")
        if why and left and expected:
            rounds = math.ceil(left / self._opened.jobs)
            self._view.say(f"{why}: {left} more executions, about {duration(rounds * expected)}")
        self._steps.execute_all(planned)
