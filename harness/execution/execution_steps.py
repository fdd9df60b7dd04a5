"""One execution as a step: planned, executed once whatever interrupts it, judged, and what it left filed."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from ..campaign.files import read_end, write_atomically
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.protocols import EXECUTED_ON, NOT_EXITED
from ..campaign.record import AttemptStatus
from ..campaign.text import in_words
from ..campaign.turn import AttemptFailure
from ..results.result_files import evaluation_files
from ..results.run_results import read_run
from ..results.sanity import missing_metrics, no_number, without
from . import baseline_cache, coverage
from .executions import ExecutionResult, Executions
from .filing import file_results
from .jobs import Variant
from .measurements import FINAL, FINAL_BASELINE, FINAL_PARENT, FRONTIER, HELD_OUT, HELD_OUT_REFERENCE, Measurements

SCORING_LOG = "scoring.txt"
TAIL = 4_000  # characters of output that go back to the agent
_LOOKS = 0.5
"""Seconds after which it is asked again what else is to be executed."""
ENDING_STEPS = ("run_0/execute", "run_0/smoke_test")
"""Their failure ends the campaign, which says it."""


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
    not_kept: tuple[str, ...] = ()
    """What of the agent's edits did not come through: told with a failure."""

    @property
    def phase(self) -> str:
        if self.variant.is_brief:
            return "smoke_test"
        if self.step.endswith("/execute"):
            return "execute"
        kind = self.step.rpartition("/")[2].rpartition("_")[0]
        what = {
            FINAL: "final ",
            FINAL_BASELINE: "baseline, final ",
            FINAL_PARENT: "parent, final ",
            HELD_OUT: "held-out evaluation, ",
            HELD_OUT_REFERENCE: "held-out evaluation, baseline, ",
        }.get(kind)
        return f"{what or ('control, ' if kind.startswith(('control', FRONTIER)) else '')}seed {self.variant.seed}"


class ExecutionSteps(CampaignPart):
    """Takes planned executions to their ends."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._measurements = Measurements.of(opened)
        self._executions = executions
        self._jobs = opened.jobs
        self._beginning = threading.Lock()
        self._in_hand = 0

    def execute_all(self, planned: Sequence[PlannedExecution]) -> list[AttemptFailure | None]:
        """Execute what is planned, in any order and several at once: none of them depends on another, nor on how many are in
        hand. What is in the way of each as evidence. What stops one has no further one begin, and is raised when those in
        hand are at their ends. Meanwhile others may have more executed beside them."""
        further = self._executions.meanwhile
        at_once = self._jobs if further else min(self._jobs, len(planned))
        if at_once < 2 or not planned:
            return [self.execute(each) for each in planned]
        over = threading.Event()

        def take(execute: Callable[[], Any]) -> Any:
            if over.is_set():
                return None
            try:
                return execute()
            except BaseException:
                over.set()
                raise
            finally:
                self._view.end()

        self._view.end()
        # Stopped at once, the threads end what they have in hand, and this one waits for them.
        with self._stop.polled(), ThreadPoolExecutor(at_once) as pool:
            ended = [pool.submit(take, partial(self.execute, each)) for each in planned]
            try:
                while wait(ended, _LOOKS if further else None).not_done:
                    ended += [pool.submit(take, each) for each in further()] if further else []
            except BaseException:
                over.set()
                raise
        return [future.result() for future in ended][: len(planned)]

    def execute(self, what: PlannedExecution) -> AttemptFailure | None:
        """Execute what is planned, unless that is done. What is in the way of it as evidence, if anything is."""
        fresh = not self._journal.is_done(what.step)
        own = self._measurements.overrides_of(what.commit)
        what = replace(what, variant=replace(what.variant, overrides={**own, **what.variant.overrides}))
        expected = self.expected("/smoke_test" if what.variant.is_brief else "/execute")
        # A step that is done is only read: a spent budget must not end a campaign before it is where it stood.
        if not fresh:
            result = self._journal.result(what.step)
        else:
            with self._beginning:
                self._stop.check()
                self._budget.check_execution(expected, self._in_hand)
                self._in_hand += 1
            try:
                result = self._journal.once(what.step, lambda: self._perform(what, expected))
            finally:
                with self._beginning:
                    self._in_hand -= 1
        # Only now: until the step is done, a crash has the results filed again from this working copy.
        self._executions.forget(what.step)
        if result["failure"] is None:
            hung = [warning for warning in result["warnings"] if warning.startswith(NOT_EXITED)]
            if fresh and hung and what.phase == "execute":  # of each further execution it is the same
                self._view.say(hung[0])
            return None
        if fresh and what.step not in ENDING_STEPS:
            self._view.say(f"{in_words(result['failure']['status'])}: {result['failure']['why']}")
        editable = tuple(self._campaign.contract.editable)
        return AttemptFailure(**result["failure"], restored=what.not_kept, editable=editable)

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
        failure = {"status": status, "why": why, "output_tail": read_end(log, TAIL)} if status else None
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
        if (gpus := execution.outcome.gpus) is not None:
            models = ", ".join(dict.fromkeys(gpus)) or "none"
            write_atomically(folder / EXECUTED_ON, json.dumps({"gpu": f"{len(gpus)} x {models}" if gpus[1:] else models}))
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
        before = self._repository.files(self._measurements.start_commit(what.run), code)
        return coverage.changed_statements(before, self._repository.files(what.commit, code))

    def _judge(self, execution: ExecutionResult, variant: Variant) -> tuple[AttemptStatus | None, str]:
        """The status of an execution that has no evidence, None for one that has."""
        outcome, scoring, smoke = execution.outcome, execution.scoring, variant.is_brief
        where = "smoke test: " if smoke else ""  # which the status does not say
        no_result: AttemptStatus = "smoke_test_failed" if smoke else "left_no_result"
        status: Any
        if variant.trial and outcome.ended == "timed_out":
            return None, ""  # it ran for as long as it was to be tried
        if outcome.ended != "ok":
            known = outcome.ended in get_args(AttemptStatus)
            status = outcome.ended if known else "crashed"
            if smoke and status == "crashed":
                status = "smoke_test_failed"
            return status, outcome.why if status == no_result else f"{where}{outcome.why}"
        if execution.spoiled:
            return no_result, execution.spoiled
        if scoring and scoring.refused:
            known = scoring.ended in get_args(AttemptStatus) and scoring.ended != "crashed"
            status = scoring.ended if known else no_result
            return status, scoring.refused if status == no_result else f"{where}{scoring.refused}"
        scores = scoring.scores if scoring else None
        contract = self._campaign.contract
        # File systems round times, some of them to whole seconds; hence the second of tolerance.
        results = read_run(execution.folder, contract, scores=scores, newer_than=execution.begun - 1)
        evals = {path.stem for _, path in evaluation_files(scores)[0]} if smoke and scores else ()
        missing = missing_metrics(contract, self._options.profile, results, evals=evals)
        if results.metrics and not missing:
            return None, ""
        problem = without(missing, results) if results.metrics else no_number(results, missing)
        return no_result, f"it finished, but {problem}."

    def expected(self, kind: str) -> float | None:
        """Seconds that the last execution of this kind took."""
        done = self._journal.of("done", kind)
        return float(done[-1]["result"]["outcome"]["seconds"]) if done else None
