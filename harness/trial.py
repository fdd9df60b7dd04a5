"""A change is tried: the gate, the smoke run, the run. Each says what is in the way, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from . import coverage, gate, kept
from .at_work import AtWork
from .brief import Trouble
from .cases import Cases, frontier_kind
from .contract import Setting
from .execution import Execution, file_results
from .health import missing_metrics
from .record import AttemptStatus, Record, write_atomically
from .result_files import FINAL_INFO, evaluation_files
from .scored import read_run
from .text import duration
from .turn import Turn
from .workspace import Change

SCORING_LOG = "scoring.txt"
TAIL = 4_000  # characters of output that go back to the agent


@dataclass(frozen=True)
class Execute:
    """One execution: which code, as which step, and where what it leaves is filed, if it ends well and if not."""

    step: str
    commit: str
    run: int
    attempt: int
    folder: Path
    failed: Path
    smoke: bool = False
    seed: int | None = None
    """None: that of the contract."""
    overrides: Mapping[str, Setting] = field(default_factory=dict)
    shelf: Path | None = None
    """Where results of this code are kept for other campaigns."""

    @property
    def phase(self) -> str:
        if self.smoke:
            return "smoke"
        return "execute" if self.seed is None else f"{'control, ' if self.overrides else ''}seed {self.seed}"


class Trials:
    """Tries changes and the baseline."""

    def __init__(self, work: AtWork) -> None:
        self._cases = Cases(work)
        self._campaign = work.campaign
        self._journal = work.journal
        self._repository = work.repository
        self._executions = work.executions
        self._budget = work.budget
        self._view = work.view
        self._stop = work.stop
        self._options = work.options

    def baseline(self) -> Trouble | None:
        """Execute the untouched experiment as run 0, unless its results were given with the experiment, then its other
        seeds, which are kept for later campaigns."""
        if self._journal.result("start")["given"]:
            return None
        commit, folder = self._journal.result("start")["commit"], self._campaign.run_folder(0)
        trouble = self._execute(Execute("run_0/execute", commit, 0, 0, folder, folder))
        if trouble is None:
            code = self._repository.files(commit, self._campaign.experiment_files)
            shelf = kept.shelf(code, self._campaign.contract, self._options, self._journal.result("fingerprint"))
            for seed in self._campaign.seeds(self._campaign.spec(self._options.profile).baseline_seeds)[1:]:
                place = self._campaign.seed_folder(0, seed)
                self._execute(Execute(f"run_0/seed_{seed}", commit, 0, 0, place, place, seed=seed, shelf=shelf))
        return trouble

    def look_closer(self, turn: Turn) -> None:
        """Execute what the verdict on a run needs: the baseline at the run's settings, points of a frontier where it is
        elsewhere on it, and further seeds of what looks better than its reference."""
        run, judging, references = turn.run, self._cases.judging(), self._cases.references()
        if self._journal.is_done(f"run_{run}/record"):
            return
        case = self._cases.case(run)
        if judging.first_look(case) is not None:
            return
        overrides = references.overrides_of_control(case)
        if overrides and self._options.controls and references.known_control(overrides) is None:
            self._execute_controls(run, [("control", overrides)])
            case = self._cases.case(run)
        points = references.overrides_of_frontier(replace(case, frontier=()))
        if points and self._options.controls:
            self._execute_controls(run, [(frontier_kind(number), each) for number, each in enumerate(points)])
            case = self._cases.case(run)
        while (have := len(case.by_seed) + len(case.failed_seeds)) < (wanted := judging.wanted(case)):
            further = self._campaign.seeds(wanted)[have:]
            self._say_cost("looks better so far", [f"run_{run}/seed_{seed}" for seed in further])
            for seed in further:
                place = self._campaign.seed_folder(run, seed)
                step = f"run_{run}/seed_{seed}"
                self._execute(Execute(step, turn.commit or "", run, turn.attempt, place, place, seed=seed))
            case = self._cases.case(run)

    def more_seeds(self, record: Record, count: int) -> None:
        """Execute a recorded run with further seeds, until it has `count`."""
        for seed in (seed for seed in self._campaign.seeds(count) if seed not in record.seeds):
            place, step = self._campaign.seed_folder(record.run, seed), f"run_{record.run}/seed_{seed}"
            self._execute(Execute(step, record.commit, record.run, 0, place, place, seed=seed))

    def _execute_controls(self, run: int, controls: list[tuple[str, dict[str, Setting]]]) -> None:
        """Execute the baseline's code at other settings, each under the kind of its steps."""
        stages = self._campaign.spec(self._options.profile).run_seeds
        seeds = self._campaign.seeds(stages[min(1, len(stages) - 1)])
        what = "; ".join(in_words(overrides) for _, overrides in controls)
        name = "control" if controls[0][0] == "control" else "frontier"
        steps = [f"run_{run}/{kind}_{seed}" for kind, _ in controls for seed in seeds]
        self._say_cost(f"{name}, the baseline at {what}", steps)
        commit = self._journal.result("start")["commit"]
        for number, (kind, overrides) in enumerate(controls):
            for seed in seeds:
                if name == "control":
                    place = self._campaign.control_folder(run, seed)
                else:
                    place = self._campaign.frontier_folder(run, number, seed)
                step = f"run_{run}/{kind}_{seed}"
                self._execute(Execute(step, commit, run, 0, place, place, seed=seed, overrides=overrides))

    def _say_cost(self, what: str, steps: list[str]) -> None:
        left = [step for step in steps if not self._journal.is_done(step)]
        expected = self._expected("/execute")
        if left and expected:
            self._view.say(f"{what}: {len(left)} more executions, about {duration(len(left) * expected)}")

    def gate(self, turn: Turn) -> Trouble | None:
        """Refuse what would be no run: no answer, no change, a change that cannot run."""
        step = f"{turn.key}/gate"
        fresh = not self._journal.is_done(step)
        result = self._journal.once(step, lambda: {"refused": self._refusal(turn)})
        if result["refused"] is None:
            return None
        if turn.no_answer:
            return Trouble("no_answer", turn.no_answer, "", turn.not_kept)
        if fresh:
            self._view.say(f"refused: {result['refused']}")
        return Trouble("refused", result["refused"], "", turn.not_kept)

    def smoke(self, turn: Turn) -> Trouble | None:
        """Execute for seconds before it is executed for long."""
        if not self._campaign.contract.smoke or turn.forced:
            return None
        folder = self._campaign.attempt_folder(turn.run, turn.attempt)
        step = f"{turn.key}/smoke"
        return self._execute(
            Execute(step, turn.commit or "", turn.run, turn.attempt, folder, folder, smoke=True), turn.not_kept
        )

    def execute(self, turn: Turn) -> Trouble | None:
        """The run itself. What it leaves is filed as the run's, or as the attempt's when it failed."""
        folder = self._campaign.run_folder(turn.run)
        failed = self._campaign.attempt_folder(turn.run, turn.attempt)
        step = f"{turn.key}/execute"
        return self._execute(
            Execute(step, turn.commit or "", turn.run, turn.attempt, folder, failed / "out"), turn.not_kept
        )

    def _refusal(self, turn: Turn) -> str | None:
        if turn.no_answer:
            return turn.no_answer
        if turn.forced:
            return None
        code = self._campaign.code
        parent = self._repository.files(self._parent_commit(turn.run), code)
        after = self._repository.files(turn.commit or turn.base, code)
        failed = self._last_failed(turn)
        reason = gate.refuse(
            Change(problems=turn.problems, words=turn.words),
            after,
            parent,
            self._repository.files(failed, code) if failed else None,
            self._campaign.contract,
            self._executions.python,
        )
        if reason is not None:
            folder = self._campaign.attempt_folder(turn.run, turn.attempt)
            write_atomically(folder / "refused.txt", reason + "\n")
        return reason

    def _parent_commit(self, run: int) -> str:
        """The code that this run started from, as it was left in place."""
        return str(self._cases.placed(run)["commit"])

    def _last_failed(self, turn: Turn) -> str | None:
        """The code of the last attempt of this run that was refused for its code or failed when executed."""
        for attempt in range(turn.attempt - 1, 0, -1):
            earlier = self._journal.result(f"run_{turn.run}/attempt_{attempt}/turn")
            if earlier and earlier["commit"]:
                return str(earlier["commit"])
        return None

    def _execute(self, what: Execute, not_kept: tuple[str, ...] = ()) -> Trouble | None:
        fresh = not self._journal.is_done(what.step)
        expected = self._expected("/smoke" if what.smoke else "/execute")
        if fresh:
            self._stop.check()
            self._budget.check_execution(expected)
        result = self._journal.once(what.step, lambda: self._perform(what, expected))
        self._executions.forget(what.step)
        if result["trouble"] is None:
            return None
        if fresh:
            self._view.say(f"{result['trouble']['status'].replace('_', ' ')}: {result['trouble']['why']}")
        editable = tuple(self._campaign.contract.editable)
        return Trouble(**result["trouble"], put_back=not_kept, editable=editable)

    def _prepare(self, what: Execute) -> None:
        """Have the laboratory prepare what an execution with these settings reads, once in a process."""
        if self._executions.is_prepared(what.overrides, what.smoke):
            return
        self._view.begin(what.run, self._options.max_runs, what.attempt, "prepare")
        with self._stop.polled():
            self._executions.prepare(
                self._journal.result("start")["commit"],
                overrides=what.overrides,
                smoke=what.smoke,
                tick=self._view.tick,
                stop=lambda: self._stop.at_once,
            )

    def _perform(self, what: Execute, expected: float | None) -> dict[str, Any]:
        if what.shelf and kept.take(what.shelf, what.seed, what.folder):
            return {"trouble": None, "outcome": {"seconds": 0.0}, "warnings": [], "kept": True}
        self._prepare(what)
        self._view.begin(what.run, self._options.max_runs, what.attempt, what.phase, expected)
        seed = self._campaign.contract.seed if what.seed is None else what.seed
        watched = self._watched(what)
        with self._stop.polled():
            execution = self._executions.execute(
                what.step,
                what.commit,
                what.run,
                start=self._journal.result("start")["commit"],
                seed=seed,
                overrides=what.overrides,
                smoke=what.smoke,
                watched=watched,
                tick=self._view.tick,
                stop=lambda: self._stop.at_once,
            )
        scoring = execution.scoring
        # Judged once: when this is begun again after a crash, some of the files may have been filed already.
        judged = self._campaign.execution(what.step) / "judged.json"
        if not judged.exists():
            write_atomically(judged, json.dumps(self._judge(execution, what.smoke)))
        status, why = json.loads(judged.read_text(encoding="utf-8"))
        log = scoring.log if scoring and scoring.refused else execution.log
        trouble = {"status": status, "why": why, "output_tail": _tail(log)} if status else None
        outcome = asdict(execution.outcome)
        outcome["seconds"] += scoring.seconds if scoring else 0.0  # what a run takes, for budgets and forecasts
        if what.smoke:
            what.folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(execution.log, what.folder / "smoke.txt")
            idle = coverage.never_ran(execution.coverage, watched)
            return {"trouble": trouble, "outcome": outcome, "warnings": [], "never_ran": idle}
        folder = what.failed if trouble else what.folder
        warnings = file_results(execution.folder, folder, scoring.scores if scoring else None)
        beside = folder.parent if folder.name == "out" else folder
        shutil.copyfile(execution.log, beside / "log.txt")
        if scoring and scoring.log.exists():
            shutil.copyfile(scoring.log, beside / SCORING_LOG)
        if what.shelf and not trouble:
            kept.keep(what.shelf, what.seed, folder)
        scored = {"seconds": scoring.seconds, "artifact": scoring.artifact} if scoring else None
        return {"trouble": trouble, "outcome": outcome, "warnings": warnings, "scoring": scored}

    def _watched(self, what: Execute) -> dict[str, list[coverage.Lines]]:
        """The statements that a run's change has and its parent's code has not, in a smoke run."""
        if not what.smoke or what.run == 0:
            return {}
        code = self._campaign.contract.editable
        before = self._repository.files(self._parent_commit(what.run), code)
        return coverage.changed_statements(before, self._repository.files(what.commit, code))

    def _judge(self, execution: Execution, smoke: bool) -> tuple[AttemptStatus | None, str]:
        """The status of an execution that has no evidence, None for one that has."""
        outcome, scoring = execution.outcome, execution.scoring
        status: Any
        if outcome.ended != "ok":
            known = outcome.ended in get_args(AttemptStatus)
            status = outcome.ended if known else "crashed"
            if smoke and status == "crashed":
                status = "smoke_failed"
            return status, f"{'smoke run: ' if smoke else ''}{outcome.why}"
        if execution.spoiled:
            return ("smoke_failed" if smoke else "wrong_result"), f"{'smoke run: ' if smoke else ''}{execution.spoiled}"
        if scoring and scoring.refused:
            known = scoring.ended in get_args(AttemptStatus) and scoring.ended != "crashed"
            status = scoring.ended if known else "smoke_failed" if smoke else "wrong_result"
            return status, f"{'smoke run: ' if smoke else ''}{scoring.refused}"
        scores = scoring.scores if scoring else None
        contract = self._campaign.contract
        results = read_run(execution.folder, contract, scores=scores, newer_than=execution.begun - 1)
        evals = {path.stem for _, path in evaluation_files(scores)[0]} if smoke and scores else ()
        missing = missing_metrics(contract, self._options.profile, results, evals=evals)
        if results.metrics and not missing:
            return None, ""
        findings = "; ".join(map(str, results.findings))
        problem = f"no number for {', '.join(missing)}" if missing else f"no {FINAL_INFO} with a number in it"
        why = f"it ended well and left no evidence: {problem}." + (f" {findings}." if findings else "")
        return ("smoke_failed" if smoke else "wrong_result"), ("smoke run: " if smoke else "") + why

    def _expected(self, kind: str) -> float | None:
        """Seconds that the last execution of this kind took."""
        times = [e["result"]["outcome"]["seconds"] for e in self._journal.of("done") if e["step"].endswith(kind)]
        return times[-1] if times else None


def in_words(settings: Mapping[str, Setting]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _tail(log: Path) -> str:
    """The end of an output, any bytes, of a bounded size."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4 * TAIL))
        return file.read().decode(errors="replace")[-TAIL:]
