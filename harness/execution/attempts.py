"""A change is tried: the pre-check, the smoke test, the run. Each says what is in the way, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..campaign.files import write_atomically
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.turn import AttemptFailure, Turn, turn_key
from ..results.run_results import read_run
from . import baseline_cache, precheck
from .earlier_proposals import EarlierProposals, Known
from .execution_steps import ExecutionSteps, PlannedExecution
from .executions import Executions
from .jobs import Variant
from .measurements import Measurements


class Attempts(CampaignPart):
    """Tries changes and the baseline."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._measurements = Measurements.of(opened)
        self._earlier = EarlierProposals(opened)
        self._steps = ExecutionSteps(opened, executions)
        self._python = executions.python
        self._own = Variant(opened.campaign.contract.seed)

    def baseline(self) -> AttemptFailure | None:
        """Execute the untouched experiment as run 0, unless its results were given with the experiment, then its other
        seeds, which are kept for later campaigns."""
        if self._journal.result("start")["given"]:
            return self._given_baseline()
        commit, folder = self._opened.first_commit, self._campaign.run_folder(0)
        failure = self._steps.execute(PlannedExecution("run_0/execute", commit, 0, 0, self._own, folder, folder))
        if failure is None:
            code = self._repository.blobs(commit, self._campaign.experiment_files)
            cache_entry = baseline_cache.entry(
                code, self._campaign.linked, self._campaign.contract, self._options, self._journal.result("environment")
            )
            # One that fails is named in the baseline's record and does not stop the campaign.
            seeds = self._campaign.seeds(self._campaign.spec(self._options.profile).baseline_seeds)[1:]
            places = {seed: self._campaign.seed_folder(0, seed) for seed in seeds}
            planned = [
                PlannedExecution(f"run_0/seed_{seed}", commit, 0, 0, Variant(seed), place, place, cache_entry)
                for seed, place in places.items()
            ]
            # Where nothing reads the seed, one more execution shows whether the others are worth theirs.
            first = 1 if planned[1:] and not self._measurements.names_seed else 0
            self._steps.execute_all(planned[:first])
            if not (first and self._measurements.baseline_ignores_seed):
                self._steps.execute_all(planned[first:])
        return failure

    def _given_baseline(self) -> AttemptFailure | None:
        """Whether given results are some, and the untouched code runs for as long as a smoke test takes: otherwise an agent
        would be paid for mending what it did not break."""
        results = read_run(self._campaign.run_folder(0), self._campaign.contract)
        if not results.metrics:
            findings = "; ".join(map(str, results.findings)) or "final_info.json: empty"
            why = f"the given results in run_0 hold no number: {findings}. `--baseline own` executes the baseline"
            return AttemptFailure("left_no_result", why)
        return None if self._options.observed else self.try_baseline()  # of an observed loop nothing is executed unasked

    def try_baseline(self) -> AttemptFailure | None:
        """Execute the untouched experiment for as long as a smoke test takes, whether it has one or not."""
        smoke, folder = self._campaign.contract.smoke, self._campaign.attempt_folder(0, 1)
        variant = replace(self._own, smoke=smoke, trial=not smoke)
        return self._steps.execute(
            PlannedExecution("run_0/smoke_test", self._opened.first_commit, 0, 0, variant, folder, folder)
        )

    def pre_check(self, turn: Turn) -> AttemptFailure | None:
        """Reject what would be no run: no answer, no change, a change that cannot run."""
        step = f"{turn.key}/pre_check"
        fresh = not self._journal.is_done(step)
        result = self._journal.once(step, lambda: self._pre_checked(turn))
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
        commit, not_kept = turn.commit or "", turn.not_kept
        return self._steps.execute(
            PlannedExecution(step, commit, turn.run, turn.attempt, variant, folder, folder, not_kept=not_kept)
        )

    def execute(self, turns: Sequence[Turn]) -> list[AttemptFailure | None]:
        """The runs themselves. What one leaves is filed as the run's, or as the attempt's when it failed."""
        return self._steps.execute_all([self._planned(turn) for turn in turns])

    def execute_beside(self, turn: Turn) -> None:
        """The same of one, beside what is in hand, in a thread of that: `execute` then says how it ended."""
        self._steps.execute(self._planned(turn))

    def _planned(self, turn: Turn) -> PlannedExecution:
        """The first execution of a run."""
        folder = self._campaign.run_folder(turn.run)
        failed = self._campaign.attempt_folder(turn.run, turn.attempt) / "out"
        step, commit = f"{turn.key}/execute", turn.commit or ""
        return PlannedExecution(step, commit, turn.run, turn.attempt, self._own, folder, failed, not_kept=turn.not_kept)

    def _pre_checked(self, turn: Turn) -> dict[str, Any]:
        """Why it is `rejected`, if it is; what tells its `code` from others; whether that has `told` the agent what came of
        the same code before, and may stand by it."""
        before = self._journal.result(f"{turn_key(turn.run, turn.attempt - 1)}/pre_check")
        own = self._earlier.fingerprint(turn)
        reason, known = turn.no_answer or None, None
        stands_by_it = bool(before and before.get("told") and before["code"] == own)
        if not (reason or turn.forced or stands_by_it):
            known = self._earlier.same(turn, own)
            reason = self._same_as(known, turn) if known else self._reason_to_reject(turn)
        if reason is not None and not turn.no_answer:
            write_atomically(self._campaign.attempt_folder(turn.run, turn.attempt) / "rejected.txt", reason + "\n")
        return {"rejected": reason, "code": own, "told": known is not None and not known.is_measured}

    def _same_as(self, known: Known, turn: Turn) -> str:
        if known.is_measured:
            return (
                f"This is the code of {known.said}. It would give the same numbers, so nothing was run. Test something else."
            )
        all_the_same = "answer without an edit, and it is executed all the same"
        if turn.submission:
            all_the_same = f"`harness resume {self._campaign.name} --force` executes it all the same"
        return f"This is the code of {known.said}. Test something else; or {all_the_same}."

    def _reason_to_reject(self, turn: Turn) -> str | None:
        code = self._campaign.code
        parent = self._repository.files(self._measurements.start_commit(turn.run), code)
        after = self._repository.files(turn.commit or turn.base, code)
        if turn.overrides != self._measurements.parent(turn.run).overrides and after == parent:
            return None  # the same code at other settings
        failed = self._last_failed(turn)
        reason = precheck.reject(
            after,
            parent,
            self._repository.files(failed, code) if failed else None,
            self._campaign.contract,
            self._python,
            problems=turn.problems,
            wrote_notes=bool(turn.words),
        )
        if reason is None and turn.commit is None:
            reason = (
                f"Nothing changed in this attempt, so nothing was run. Edit {' or '.join(self._campaign.contract.editable)}."
            )
        return reason

    def _last_failed(self, turn: Turn) -> str | None:
        """The code of the last attempt of this run, at the same settings, that was rejected for its code or failed when
        executed."""
        for attempt in range(turn.attempt - 1, 0, -1):
            earlier = self._journal.result(f"{turn_key(turn.run, attempt)}/turn")
            if earlier and earlier["commit"] and earlier.get("overrides", {}) == turn.overrides:
                return str(earlier["commit"])
        return None
