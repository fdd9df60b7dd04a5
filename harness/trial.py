"""A change is tried: the gate, the smoke run, the run. Each says what is in the way, or nothing."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from . import gate
from .at_work import AtWork
from .brief import Trouble
from .execution import Execution, file_results
from .health import missing_metrics
from .record import AttemptStatus, write_atomically
from .result_files import FINAL_INFO
from .results import read_results
from .turn import Turn
from .workspace import Change

TAIL = 4_000  # characters of output that go back to the agent


class Trials:
    """Tries changes and the baseline."""

    def __init__(self, work: AtWork) -> None:
        self._campaign = work.campaign
        self._journal = work.journal
        self._repository = work.repository
        self._executions = work.executions
        self._budget = work.budget
        self._view = work.view
        self._stop = work.stop
        self._options = work.options

    def baseline(self) -> Trouble | None:
        """Execute the untouched experiment as run 0, unless its results were given with the experiment."""
        if self._journal.result("start")["given"]:
            return None
        commit = self._journal.result("start")["commit"]
        return self._execute("run_0/execute", commit, 0, 0, self._campaign.run_folder(0))

    def gate(self, turn: Turn) -> Trouble | None:
        """Refuse what would be no run: no answer, no change, a change that cannot run."""
        step = f"{turn.key}/gate"
        result = self._journal.once(step, lambda: {"refused": self._refusal(turn)})
        if result["refused"] is None:
            return None
        if turn.no_answer:
            return Trouble("no_answer", turn.no_answer, "", turn.not_kept)
        self._view.say(f"refused: {result['refused']}")
        return Trouble("refused", result["refused"], "", turn.not_kept)

    def smoke(self, turn: Turn) -> Trouble | None:
        """Execute for seconds before it is executed for long."""
        if not self._campaign.contract.smoke or turn.forced:
            return None
        folder = self._campaign.attempt_folder(turn.run, turn.attempt)
        step = f"{turn.key}/smoke"
        return self._execute(
            step, turn.commit or "", turn.run, turn.attempt, folder, smoke=True, not_kept=turn.not_kept
        )

    def execute(self, turn: Turn) -> Trouble | None:
        """The run itself. What it leaves is filed as the run's, or as the attempt's when it failed."""
        step = f"{turn.key}/execute"
        folder = self._campaign.run_folder(turn.run)
        return self._execute(step, turn.commit or "", turn.run, turn.attempt, folder, not_kept=turn.not_kept)

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
        """The code that this run started from: that of the last record, as it was left in place."""
        return str(self._journal.result(f"run_{run - 1}/record")["commit"])

    def _last_failed(self, turn: Turn) -> str | None:
        """The code of the last attempt of this run that was refused for its code or failed when executed."""
        for attempt in range(turn.attempt - 1, 0, -1):
            earlier = self._journal.result(f"run_{turn.run}/attempt_{attempt}/turn")
            if earlier and earlier["commit"]:
                return str(earlier["commit"])
        return None

    def _execute(
        self,
        step: str,
        commit: str,
        run: int,
        attempt: int,
        folder: Path,
        *,
        smoke: bool = False,
        not_kept: tuple[str, ...] = (),
    ) -> Trouble | None:
        fresh = not self._journal.is_done(step)
        if fresh:
            self._stop.check()
            expected = self._expected(smoke)
            self._budget.check_execution(expected)
            self._view.begin(run, self._options.max_runs, attempt, "smoke" if smoke else "execute", expected)
        result = self._journal.once(step, lambda: self._perform(step, commit, run, attempt, folder, smoke))
        self._executions.forget(step)
        if result["trouble"] is None:
            return None
        if fresh:
            self._view.say(f"{result['trouble']['status'].replace('_', ' ')}: {result['trouble']['why']}")
        editable = tuple(self._campaign.contract.editable)
        return Trouble(**result["trouble"], put_back=not_kept, editable=editable)

    def _perform(self, step: str, commit: str, run: int, attempt: int, folder: Path, smoke: bool) -> dict[str, Any]:
        with self._stop.polled():
            execution = self._executions.execute(
                step,
                commit,
                run,
                seed=self._campaign.contract.seed,
                smoke=smoke,
                tick=self._view.tick,
                stop=lambda: self._stop.at_once,
            )
        status, why = self._judge(execution, smoke)
        folder.mkdir(parents=True, exist_ok=True)
        trouble = None
        if status is not None:
            tail = _tail(execution.log)
            trouble = {"status": status, "why": why, "output_tail": tail}
        if smoke:
            shutil.copyfile(execution.log, folder / "smoke.txt")
            return {"trouble": trouble, "outcome": asdict(execution.outcome), "warnings": []}
        if trouble and run > 0:
            folder = self._campaign.attempt_folder(run, attempt)
        warnings = file_results(execution.folder, folder / "out" if trouble and run > 0 else folder)
        shutil.copyfile(execution.log, folder / "log.txt")
        return {"trouble": trouble, "outcome": asdict(execution.outcome), "warnings": warnings}

    def _judge(self, execution: Execution, smoke: bool) -> tuple[AttemptStatus | None, str]:
        """The status of an execution that has no evidence, None for one that has."""
        outcome = execution.outcome
        if outcome.ended != "ok":
            known = outcome.ended in get_args(AttemptStatus)
            status: Any = outcome.ended if known else "crashed"
            if smoke and status == "crashed":
                status = "smoke_failed"
            return status, f"{'smoke run: ' if smoke else ''}{outcome.why}"
        results = read_results(execution.folder, newer_than=execution.begun - 1)
        missing = missing_metrics(self._campaign.contract, self._options.profile, results)
        if results.metrics and not missing:
            return None, ""
        findings = "; ".join(
            f"{f.file}: {f.key}: {f.problem}" if f.key else f"{f.file}: {f.problem}" for f in results.findings
        )
        problem = f"no number for {', '.join(missing)}" if missing else f"no {FINAL_INFO} with a number in it"
        why = f"it ended well and left no evidence: {problem}." + (f" {findings}." if findings else "")
        return ("smoke_failed" if smoke else "wrong_result"), ("smoke run: " if smoke else "") + why

    def _expected(self, smoke: bool) -> float | None:
        """Seconds that the last execution of this kind took."""
        kind = "/smoke" if smoke else "/execute"
        times = [e["result"]["outcome"]["seconds"] for e in self._journal.of("done") if e["step"].endswith(kind)]
        return times[-1] if times else None


def _tail(log: Path) -> str:
    """The end of an output, any bytes, of a bounded size."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4 * TAIL))
        return file.read().decode(errors="replace")[-TAIL:]
