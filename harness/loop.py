"""The loop: an idea, an agent, an experiment, and a record that can be believed.

    brief -> agent -> change -> pre-check -> smoke test -> run -> results -> verdict -> record, notes, commit

Every step is durable (`Journal.once`): after a crash the loop runs again from its first line and does nothing twice.
What goes wrong inside a run is an `AttemptFailure` that goes back to the agent; only what no further run could survive ends
the campaign, as an `Ending` that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from .agents.dialogue import Dialogue
from .agents.joining import unfinished
from .agents.outside import OUTSIDE
from .agents.reviewer import Reviewer
from .agents.submission import Ended, Source, Waiting
from .campaign.errors import BaselineFailed, BudgetSpent, InputError
from .campaign.journal import END
from .campaign.open_campaign import OpenCampaign
from .campaign.record import Record
from .campaign.text import in_words
from .execution.attempts import Attempts
from .execution.executions import Executions
from .execution.executors import find_executor
from .execution.holdout import Holdout
from .execution.plots import Plots
from .execution.proposal import Proposal
from .execution.rescoring import Rescoring
from .execution.rounds import Rounds
from .execution.seeds_and_controls import SeedsAndControls
from .report.recorder import Recorder
from .statistics.holdout import is_accepted, why_none_accepted
from .trackers.tracking import Tracking


@dataclass(frozen=True)
class Ending:
    """Why a campaign ended for now. `exit_code` is that of the command."""

    reason: str
    message: str
    exit_code: int
    change: str = ""
    """What tells the change that was handed in from others."""
    put_back: tuple[str, ...] = ()
    """What somebody had edited of the campaign's own files, a sentence each."""


RUNS_SPENT = Ending("runs_spent", "All runs are spent.", 0)


class Loop:
    """One campaign on its way. Each part does one thing with the journal between it and any crash."""

    def __init__(self, opened: OpenCampaign) -> None:
        self.opened, self.campaign = opened, opened.campaign
        self.max_runs, self.max_attempts = opened.options.max_runs, opened.options.max_attempts
        self.rounds = Rounds.of(opened)
        executor = find_executor(opened.options.executor, opened.options.executor_settings)
        self.executions = executions = Executions(opened, executor)
        self.recorder = Recorder(opened, executions)
        self.attempts = Attempts(opened, executions)
        self.seeds_and_controls = SeedsAndControls(opened, executions)
        self.holdout = Holdout(opened, executions)
        self.plots = Plots(opened, executions)
        self.rescoring = Rescoring(opened, executions)
        self.dialogue = Dialogue(opened)
        self.reviewer = Reviewer(opened)
        self.tracking = Tracking(opened)
        self.round: list[Proposal] = []
        """What is proposed in the round in hand."""
        self.stands: Ending | None = None
        """Where the campaign stood when all that was in hand before was done."""
        if opened.options.agent == OUTSIDE and opened.jobs > 1 and not opened.journal.is_dry:
            executions.meanwhile = self.take_in

    def run(self) -> Ending:
        """Take the campaign from wherever it is to its end."""
        self.recorder.start()
        fresh, installs = not self.recorder.has(0), self.dialogue.needs_installation
        if fresh and not installs:
            self.prepare()
        self.baseline()
        if fresh and installs:  # which takes minutes, while a baseline may fail in a second
            self.prepare()
        self.recorder.record_given()
        try:
            ending = self.all_runs()
        except Ended as ended:
            ending = Ending(ended.reason, str(ended), ended.exit_code)
        self.held_out()
        return ending

    def all_runs(self) -> Ending:
        """One round after the other, until the runs are spent or the agent wants no more."""
        first = self.opened.options.observed + 1
        while first <= self.max_runs:
            proposals = self.one_round(first)
            self.tracking.track()
            run, turn = proposals[-1].run, proposals[-1].taken
            if turn.all_completed and not (self.recorder.has(run) and self.dialogue.has_message_for(run + 1)):
                return Ending("all_completed", self.dialogue.why_no_more(turn), 0)
            if run < self.max_runs and self.is_out_of_patience(first, run):
                patience = self.opened.options.patience or 1
                why = why_none_accepted(self.opened.records[-patience:])
                said = f"No run of the last {patience} was accepted (--patience {patience}){why}."
                return Ending("patience_spent", said, 0)
            first = run + 1
        return RUNS_SPENT

    def is_out_of_patience(self, first: int, last: int) -> bool:
        """Whether as many runs in a row as may be were not accepted, nor any other of this round."""
        patience = self.opened.options.patience
        if patience is None or last < patience or not self.recorder.has(last):
            return False
        since = min(first, last + 1 - patience)
        return not any(is_accepted(each) for each in self.opened.records[since : last + 1])

    def held_out(self) -> None:
        """What the selected run is worth where nothing was selected, once nothing more is."""
        number = self.holdout.execute()
        if number is not None:
            self.recorder.record_holdout(number, lambda: self.holdout.result(number))

    def prepare(self) -> None:
        """Have who is asked ready before anything is spent on it."""
        self.dialogue.prepare()
        self.reviewer.prepare()

    def baseline(self) -> None:
        """Run 0: the untouched experiment. Without a sound one nothing that follows would mean anything."""
        failure = self.attempts.baseline()
        if failure:
            raise BaselineFailed(f"the baseline {in_words(failure.status)}: {failure.why}\n{failure.output_tail}")
        self.plots.draw(0)
        self.recorder.record_baseline()
        self.tracking.track()

    def one_round(self, first: int) -> list[Proposal]:
        """Proposals from one parent, by default one, until each has been executed well or its attempts are used up; then the
        records, in order. Nothing of a round decides within it: its siblings are judged by what was known before."""
        proposals = self.round = []
        for run in range(first, self.max_runs + 1):
            if not self.rounds.has_room(first, run) or (proposals and proposals[-1].taken.all_completed):
                break
            proposals.append(self.propose(Proposal(run), beside=bool(proposals)))
        while True:
            runs = [each for each in proposals if not each.is_none]
            if executable := [each for each in runs if each.is_ready]:
                found = self.attempts.execute([each.taken for each in executable])
                for each, failure in zip(executable, found, strict=True):
                    each.failure, each.is_executed = failure, failure is None
                for each in executable:
                    if each.failure is not None:
                        self.propose(each, beside=len(runs) > 1)
            elif executed := [each for each in runs if each.is_executed and not each.is_measured]:
                self.seeds_and_controls.execute([each.taken for each in executed])
                for each in executed:
                    each.is_measured = True
            else:
                break
        self.round = []
        if len(runs) > 1 and runs[-1].is_open and runs[-1].attempt < self.max_attempts:
            proposals.remove(runs.pop())  # it joined, and is in nobody's hands: its next attempt is of a round of its own
        for each in runs:
            self.close_run(each)
        return proposals

    def take_in(self) -> list[Callable[[], None]]:
        """Have what others hand in meanwhile join the round in hand, as its next run, or as the next attempt at its last one
        where that was rejected. Returns their first executions."""
        joined: list[Callable[[], None]] = []
        while self.round and not self.opened.stop.soon:
            last = self.round[-1]
            new = not last.is_open or last.attempt == self.max_attempts
            run, beside = last.run + new, len(self.round) - (not new)
            if run > self.max_runs or not self.dialogue.joins(beside):
                break
            proposal = Proposal(run) if new else last
            if new:
                self.round.append(proposal)
            with suppress(BudgetSpent):  # its maker is told, and has it in hand then
                self.propose(proposal, beside=True)
            if proposal.is_ready:
                joined.append(partial(self.attempts.execute_beside, proposal.taken))
        return joined

    def propose(self, proposal: Proposal, beside: bool = False) -> Proposal:
        """Attempts, until a change is ready to be executed, they are used up, or the agent wants no further run; `beside`
        other runs of the round, until nobody is there to ask."""
        run = proposal.run
        while proposal.attempt < self.max_attempts and not proposal.is_ready:
            attempt = proposal.attempt + 1
            if not self.dialogue.is_asked(run, attempt, beside):
                break
            self.recorder.put_code(run, attempt, self.dialogue.base_of_next())
            turn = proposal.turn = self.dialogue.take(run, attempt, proposal.failure)
            proposal.attempt = attempt
            if proposal.wants_no_run:
                if attempt > 1 or not self.dialogue.has_message_for(run, attempt):
                    break
                continue
            proposal.failure = self.attempts.pre_check(turn) or self.attempts.smoke_test(turn)
        return proposal

    def close_run(self, proposal: Proposal) -> None:
        """The record of a run, and what a reviewer says of it."""
        if proposal.is_executed:
            self.plots.draw(proposal.run, proposal.taken.commit or proposal.taken.base)
        record = self.recorder.record(proposal.run)
        advice = None if proposal.wants_no_run else self.reviewer.review(record)
        if advice is not None:
            self.recorder.add_review(record, *advice)

    def hand_in(self, source: Source, name: str) -> Ending:
        """Take a change from outside as the next one, after what is in hand; one that was tried already is that one."""
        for begun in unfinished(self.opened.journal, name):
            self.opened.view.say(f"{begun} of an earlier try was interrupted: it goes on first")
        try:
            ending = self.stands = self._until_it_waits()
            if tried := self.dialogue.was_tried(source, name):
                self.opened.view.say("this change was handed in already; what came of it:")
                return replace(ending, change=tried)
            self.dialogue.check_budget()
        except BudgetSpent as spent:
            if self.dialogue.was_taken(name):
                raise
            self.dialogue.withdraw(name)
            raise BudgetSpent(f"{spent} So this change was not tried.") from spent
        if ending.reason == RUNS_SPENT.reason:
            self.dialogue.withdraw(name)
            said = f"All {self.max_runs} runs are spent, so nothing was tried."
            return Ending(RUNS_SPENT.reason, said, BudgetSpent.exit_code)
        if not self.dialogue.receive(name):
            self.dialogue.hand_in(source, name)
        return self._until_it_waits()

    def end(self) -> Ending:
        """After what is in hand, conclude, though runs are left. Nothing is tried for it."""
        ending = self._until_it_waits()
        if ending.reason == Waiting.reason:
            self.opened.journal.append(END)
            ending = self.run()
        return ending

    def _until_it_waits(self) -> Ending:
        try:
            return self.run()
        except Waiting as waits:
            return Ending(waits.reason, str(waits), waits.exit_code)

    def confirm(self, run: int, seeds: int) -> Ending:
        """Execute a recorded run, or the baseline, with more seeds, and judge it again."""
        record = self._completed_here(run, "confirmed")
        self.seeds_and_controls.add_seeds(record, seeds)
        verdict = self.recorder.judge_again(run).verdict
        self.tracking.track()
        return Ending("confirmed", f"run {run}: {in_words(verdict.kind)}: {verdict.why}", 0)

    def _completed_here(self, run: int, what: str) -> Record:
        """The record of a run that can be `what`. Raises InputError."""
        records = self.opened.records
        if not self.recorder.has(run) or records[run].status != "completed" or records[run].given:
            raise InputError(f"run {run}: only a run that was completed here can be {what}.")
        return records[run]

    def score(self, run: int, evals: str) -> Ending:
        """Score a recorded run by other evals, from what it handed over."""
        record = self._completed_here(run, "scored")
        skipped = self.rescoring.score(record, evals)
        self.recorder.add_scores(run, evals, skipped)
        self.tracking.track()
        return Ending("scored", "; ".join([f"run {run}: scored by {evals}", *skipped]), 0)

    def close(self, ending: Ending) -> None:
        """Let go of the agent, and leave the folder as a person wants to find it."""
        self.dialogue.close()
        self.tracking.close()
        self.executions.close()
        self.recorder.close(ended=ending.exit_code == 0 and ending.reason != Waiting.reason)
