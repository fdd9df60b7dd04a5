"""A change is tried: the pre-check, the smoke test, the run. Each says what is in the way, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar, get_args

from ..campaign.contract import Setting
from ..campaign.errors import CannotGoOn
from ..campaign.files import write_atomically
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import AttemptStatus, Record
from ..campaign.text import duration, in_words
from ..campaign.turn import AttemptFailure, Turn
from ..results.result_files import evaluation_files
from ..results.run_results import read_run
from ..results.sanity import missing_metrics, no_number, without
from ..statistics.references import MeasuredRun, usable
from . import baseline_cache, coverage, precheck
from .executions import ExecutionResult, Executions, Variant, file_results
from .measurements import FINAL, FINAL_BASELINE, FINAL_PARENT, FRONTIER, Measurements, decision_step, frontier_step

SCORING_LOG = "scoring.txt"
TAIL = 4_000  # characters of output that go back to the agent
FRESH_SEEDS = range(1_000, 1_000_000)
"""Those that final seeds are drawn from: too many to try out, and small enough for arithmetic with them."""
T = TypeVar("T")


@dataclass(frozen=True)
class PlannedExecution:
    """One execution: which code, as which step, and where what it leaves is filed, if it ends well and if not."""

    step: str
    commit: str
    run: int
    attempt: int
    variant: Variant
    folder: Path
    failed: Path
    cache_entry: Path | None = None
    """Where results of this code are kept for other campaigns, one entry for each content of what it reads."""

    @property
    def phase(self) -> str:
        if self.variant.is_brief:
            return "smoke_test"
        if self.step.endswith("/execute"):
            return "execute"
        kind = self.step.rpartition("/")[2].rpartition("_")[0]
        what = {FINAL: "final ", FINAL_BASELINE: "baseline, final ", FINAL_PARENT: "parent, final "}.get(kind)
        return f"{what or ('control, ' if self.variant.overrides else '')}seed {self.variant.seed}"


class Attempts(CampaignPart):
    """Tries changes and the baseline."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._measurements = Measurements(opened)
        self._executions = executions
        self._own = Variant(opened.campaign.contract.seed)

    def baseline(self) -> AttemptFailure | None:
        """Execute the untouched experiment as run 0, unless its results were given with the experiment, then its other
        seeds, which are kept for later campaigns."""
        if self._journal.result("start")["given"]:
            return self._given_baseline()
        commit, folder = self._opened.first_commit, self._campaign.run_folder(0)
        failure = self._execute(PlannedExecution("run_0/execute", commit, 0, 0, self._own, folder, folder))
        if failure is None:
            code = self._repository.blobs(commit, self._campaign.experiment_files)
            cache_entry = baseline_cache.entry(
                code, self._campaign.linked, self._campaign.contract, self._options, self._journal.result("environment")
            )
            # One that fails is named in the baseline's record and does not stop the campaign.
            for seed in self._campaign.seeds(self._campaign.spec(self._options.profile).baseline_seeds)[1:]:
                place = self._campaign.seed_folder(0, seed)
                step = f"run_0/seed_{seed}"
                self._execute(PlannedExecution(step, commit, 0, 0, Variant(seed), place, place, cache_entry))
        return failure

    def _given_baseline(self) -> AttemptFailure | None:
        """Whether given results are some, and the untouched code runs for as long as a smoke test takes: otherwise an agent
        would be paid for mending what it did not break."""
        results = read_run(self._campaign.run_folder(0), self._campaign.contract)
        if not results.metrics:
            findings = "; ".join(map(str, results.findings)) or "final_info.json: empty"
            why = f"the given results in run_0 hold no number: {findings}. `--baseline own` executes the baseline"
            return AttemptFailure("left_no_result", why)
        return self.try_baseline()

    def try_baseline(self) -> AttemptFailure | None:
        """Execute the untouched experiment for as long as a smoke test takes, whether it has one or not."""
        smoke, folder = self._campaign.contract.smoke, self._campaign.attempt_folder(0, 1)
        variant = replace(self._own, smoke=smoke, trial=not smoke)
        return self._execute(PlannedExecution("run_0/smoke_test", self._opened.first_commit, 0, 0, variant, folder, folder))

    def execute_seeds_and_controls(self, turn: Turn) -> None:
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
            self._say_cost("looks better so far", [f"run_{run}/seed_{seed}" for seed in further])
            for seed in further:
                place = self._campaign.seed_folder(run, seed)
                step = f"run_{run}/seed_{seed}"
                self._execute(PlannedExecution(step, turn.commit or "", run, turn.attempt, Variant(seed), place, place))
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
        self._say_cost("final seeds", [f"run_{run}/{kind}_{seed}" for kind, seed in planned])
        for kind, seed in planned:
            own = kind == FINAL
            place = self._campaign.seed_folder(run, seed) if own else self._campaign.final_folder(run, kind, seed)
            code, settings = variants[kind]
            self._execute(PlannedExecution(f"run_{run}/{kind}_{seed}", code, run, 0, Variant(seed, settings), place, place))

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
        return [(kind, seed) for seed in self._fresh_seeds(count) for kind in kinds]

    def _fresh_seeds(self, count: int) -> list[int]:
        """Seeds that nothing in this campaign was executed at: what a verdict rests on could not be known before."""
        ends = [e["step"].rpartition("_")[2] for e in self._journal.events if e["event"] == "started"]
        used = {self._campaign.contract.seed, *(int(end) for end in ends if end.isdecimal())}
        free = [seed for seed in SystemRandom().sample(FRESH_SEEDS, count + len(used)) if seed not in used]
        return free[:count]

    def execute_seeds(self, record: Record, count: int) -> None:
        """Execute a recorded run with further seeds, until it has `count`. Raises CannotGoOn where all are the same."""
        if self._measurements.own_seeds:
            raise CannotGoOn(
                f"run {record.run}: HARNESS_SEED changes nothing here; further seeds would give the same numbers."
            )
        if record.run and self._measurements.judge().has_final_seeds:
            self._execute_at_final_seeds(record.run, record.commit, self._more_final_seeds(record, count))
            return
        for seed in (seed for seed in self._campaign.seeds(count) if seed not in record.seeds):
            place, step = self._campaign.seed_folder(record.run, seed), f"run_{record.run}/seed_{seed}"
            self._execute(PlannedExecution(step, record.commit, record.run, 0, Variant(seed), place, place))

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
        what = "; ".join(settings_in_words(overrides) for _, overrides in controls)
        name = "control" if controls[0][0] == "control" else "frontier"
        steps = [f"run_{run}/{kind}_{seed}" for kind, _ in controls for seed in seeds]
        self._say_cost(f"{name}, the baseline at {what}", steps)
        commit = self._opened.first_commit
        for number, (kind, overrides) in enumerate(controls):
            for seed in seeds:
                if name == "control":
                    place = self._campaign.control_folder(run, seed)
                else:
                    place = self._campaign.frontier_folder(run, number, seed)
                step = f"run_{run}/{kind}_{seed}"
                self._execute(PlannedExecution(step, commit, run, 0, Variant(seed, overrides), place, place))

    def _say_cost(self, what: str, steps: list[str]) -> None:
        left = [step for step in steps if not self._journal.is_done(step)]
        expected = self._expected("/execute")
        if left and expected:
            self._view.say(f"{what}: {len(left)} more executions, about {duration(len(left) * expected)}")

    def pre_check(self, turn: Turn) -> AttemptFailure | None:
        """Reject what would be no run: no answer, no change, a change that cannot run."""
        step = f"{turn.key}/pre_check"
        fresh = not self._journal.is_done(step)
        result = self._journal.once(step, lambda: {"rejected": self._reason_to_reject(turn)})
        if result["rejected"] is None:
            return None
        if turn.no_answer:
            return AttemptFailure("no_answer", turn.no_answer, "", turn.not_kept)
        if fresh:
            self._view.say(f"rejected: {result['rejected']}")
        return AttemptFailure("rejected", result["rejected"], "", turn.not_kept)

    def smoke_test(self, turn: Turn) -> AttemptFailure | None:
        """Execute for seconds before it is executed for long."""
        if not self._campaign.contract.smoke or turn.forced:
            return None
        folder = self._campaign.attempt_folder(turn.run, turn.attempt)
        step = f"{turn.key}/smoke_test"
        variant = replace(self._own, smoke=True)
        planned = PlannedExecution(step, turn.commit or "", turn.run, turn.attempt, variant, folder, folder)
        return self._execute(planned, turn.not_kept)

    def execute(self, turn: Turn) -> AttemptFailure | None:
        """The run itself. What it leaves is filed as the run's, or as the attempt's when it failed."""
        folder = self._campaign.run_folder(turn.run)
        failed = self._campaign.attempt_folder(turn.run, turn.attempt)
        step = f"{turn.key}/execute"
        planned = PlannedExecution(step, turn.commit or "", turn.run, turn.attempt, self._own, folder, failed / "out")
        return self._execute(planned, turn.not_kept)

    def _reason_to_reject(self, turn: Turn) -> str | None:
        if turn.no_answer:
            return turn.no_answer
        if turn.forced:
            return None
        code = self._campaign.code
        parent = self._repository.files(self._parent_commit(turn.run), code)
        after = self._repository.files(turn.commit or turn.base, code)
        failed = self._last_failed(turn)
        reason = precheck.reject(
            after,
            parent,
            self._repository.files(failed, code) if failed else None,
            self._campaign.contract,
            self._executions.python,
            problems=turn.problems,
            wrote_notes=bool(turn.words),
        )
        if reason is None and turn.commit is None:
            reason = (
                f"Nothing changed in this attempt, so nothing was run. Edit {' or '.join(self._campaign.contract.editable)}."
            )
        if reason is not None:
            folder = self._campaign.attempt_folder(turn.run, turn.attempt)
            write_atomically(folder / "rejected.txt", reason + "\n")
        return reason

    def _parent_commit(self, run: int) -> str:
        """The code that this run started from, as it was left in place."""
        return str(self._measurements.start_of(run)["commit"])

    def _last_failed(self, turn: Turn) -> str | None:
        """The code of the last attempt of this run that was rejected for its code or failed when executed."""
        for attempt in range(turn.attempt - 1, 0, -1):
            earlier = self._journal.result(f"run_{turn.run}/attempt_{attempt}/turn")
            if earlier and earlier["commit"]:
                return str(earlier["commit"])
        return None

    def _execute(self, what: PlannedExecution, not_kept: tuple[str, ...] = ()) -> AttemptFailure | None:
        fresh = not self._journal.is_done(what.step)
        expected = self._expected("/smoke_test" if what.variant.is_brief else "/execute")
        # A step that is done is only read: a spent budget must not end a campaign before it is where it stood.
        if fresh:
            self._stop.check()
            self._budget.check_execution(expected)
        result = self._journal.once(what.step, lambda: self._perform(what, expected))
        # Only now: until the step is done, a crash has the results filed again from this working copy.
        self._executions.forget(what.step)
        if result["failure"] is None:
            return None
        if fresh:
            self._view.say(f"{in_words(result['failure']['status'])}: {result['failure']['why']}")
        editable = tuple(self._campaign.contract.editable)
        return AttemptFailure(**result["failure"], restored=not_kept, editable=editable)

    def _prepare(self, what: PlannedExecution) -> None:
        """Have the laboratory prepare what an execution with these settings reads, once in a process."""
        if self._executions.is_prepared(what.variant):
            return
        self._view.begin(what.run, self._options.max_runs, what.attempt, "prepare")
        with self._stop.polled():
            self._executions.prepare(what.variant)

    def _perform(self, what: PlannedExecution, expected: float | None) -> dict[str, Any]:
        self._prepare(what)
        data = self._executions.data_digest(what.variant)
        cache_entry = what.cache_entry and baseline_cache.of_data(what.cache_entry, data)
        if cache_entry and baseline_cache.load(cache_entry, what.variant.seed, what.folder):
            return {"failure": None, "outcome": {"seconds": 0.0}, "warnings": [], "from_cache": True}
        self._view.begin(what.run, self._options.max_runs, what.attempt, what.phase, expected)
        watched = self._watched(what)
        with self._stop.polled():
            execution = self._executions.execute(what.step, what.commit, what.run, what.variant, watched)
        scoring = execution.scoring
        # Judged once: when this is begun again after a crash, some of the files may have been filed already.
        judged = self._campaign.execution(what.step) / "judged.json"
        if not judged.exists():
            write_atomically(judged, json.dumps(self._judge(execution, what.variant)))
        status, why = json.loads(judged.read_text(encoding="utf-8"))
        log = scoring.log if scoring and scoring.refused else execution.log
        failure = {"status": status, "why": why, "output_tail": _tail(log)} if status else None
        outcome = asdict(execution.outcome)
        outcome["seconds"] += scoring.seconds if scoring else 0.0  # what a run takes, for budgets and forecasts
        if what.variant.is_brief:
            what.folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(execution.log, what.folder / "smoke.txt")
            idle = coverage.never_ran(execution.coverage, watched)
            return {"failure": failure, "outcome": outcome, "warnings": [], "never_ran": idle}
        folder = what.failed if failure else what.folder
        warnings = [*execution.remarks, *file_results(execution.folder, folder, scoring.scores if scoring else None)]
        beside = folder.parent if folder.name == "out" else folder
        shutil.copyfile(execution.log, beside / "log.txt")
        if scoring and scoring.log.exists():
            shutil.copyfile(scoring.log, beside / SCORING_LOG)
        if cache_entry and not failure:
            baseline_cache.store(cache_entry, what.variant.seed, folder)
        if execution.outcome.ended == "ok" and execution.outcome.exit_code != 0:
            warnings.append(f"{execution.outcome.why}.")
        scored = {"seconds": scoring.seconds, "artifact": scoring.artifact} if scoring else None
        return {"failure": failure, "outcome": outcome, "warnings": warnings, "scoring": scored}

    def _watched(self, what: PlannedExecution) -> dict[str, list[coverage.Lines]]:
        """The statements that a run's change has and its parent's code has not, in a smoke test."""
        if not what.variant.smoke or what.run == 0:
            return {}
        code = self._campaign.contract.editable
        before = self._repository.files(self._parent_commit(what.run), code)
        return coverage.changed_statements(before, self._repository.files(what.commit, code))

    def _judge(self, execution: ExecutionResult, variant: Variant) -> tuple[AttemptStatus | None, str]:
        """The status of an execution that has no evidence, None for one that has."""
        outcome, scoring, smoke = execution.outcome, execution.scoring, variant.is_brief
        status: Any
        if variant.trial and outcome.ended == "timed_out":
            return None, ""  # it ran for as long as it was to be tried
        if outcome.ended != "ok":
            known = outcome.ended in get_args(AttemptStatus)
            status = outcome.ended if known else "crashed"
            if smoke and status == "crashed":
                status = "smoke_test_failed"
            return status, f"{'smoke test: ' if smoke else ''}{outcome.why}"
        if execution.spoiled:
            return (
                "smoke_test_failed" if smoke else "left_no_result"
            ), f"{'smoke test: ' if smoke else ''}{execution.spoiled}"
        if scoring and scoring.refused:
            known = scoring.ended in get_args(AttemptStatus) and scoring.ended != "crashed"
            status = scoring.ended if known else "smoke_test_failed" if smoke else "left_no_result"
            return status, f"{'smoke test: ' if smoke else ''}{scoring.refused}"
        scores = scoring.scores if scoring else None
        contract = self._campaign.contract
        # File systems round times, some of them to whole seconds; hence the second of tolerance.
        results = read_run(execution.folder, contract, scores=scores, newer_than=execution.begun - 1)
        evals = {path.stem for _, path in evaluation_files(scores)[0]} if smoke and scores else ()
        missing = missing_metrics(contract, self._options.profile, results, evals=evals)
        if results.metrics and not missing:
            return None, ""
        problem = without(missing, results) if results.metrics else no_number(results)
        why = f"it ended well, but {problem}."
        return ("smoke_test_failed" if smoke else "left_no_result"), ("smoke test: " if smoke else "") + why

    def _expected(self, kind: str) -> float | None:
        """Seconds that the last execution of this kind took."""
        times = [e["result"]["outcome"]["seconds"] for e in self._journal.of("done") if e["step"].endswith(kind)]
        return times[-1] if times else None


def settings_in_words(settings: Mapping[str, Setting]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _tail(log: Path) -> str:
    """The end of an output, any bytes, of a bounded size."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4 * TAIL))
        return file.read().decode(errors="replace")[-TAIL:]
