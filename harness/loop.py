"""The loop: an idea, an agent, an experiment, and a record that can be believed.

    brief -> agent -> change -> pre-check -> smoke test -> run -> results -> verdict -> record, notes, commit

Every step is durable (`Journal.once`): after a crash the loop runs again from its first line and does nothing twice.
What goes wrong inside a run is an `AttemptFailure` that goes back to the agent; only what no further run could survive ends
the campaign, as an `Ending` that says what to do.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import __version__
from .agents.brief import label
from .agents.dialogue import Dialogue
from .agents.joining import Waits, unfinished, waiting
from .agents.outside import OUTSIDE
from .agents.reviewer import Reviewer
from .agents.search import search_of
from .agents.submission import Ended, Source, Waiting, identity
from .campaign.campaign import Campaign, take_anew
from .campaign.errors import BaselineFailed, BudgetSpent, CannotGoOn, HarnessError, InputError, Interrupted
from .campaign.journal import BEGUN_ANEW, END, DryJournal, Journal, NotDone, locked
from .campaign.open_campaign import OpenCampaign
from .campaign.paths import PathNames
from .campaign.protocols import Silent, View
from .campaign.record import Record
from .campaign.repository import Repository
from .campaign.schema import SCHEMA
from .campaign.stop import Stop
from .campaign.text import in_words
from .campaign.turn import turn_key
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
from .report.terminal.status import step_of
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
            self.opened.view.say(f"{begun} of another try was not ended: that goes on first")
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


def go_on(
    campaign: Campaign,
    *,
    view: View,
    stop: Stop,
    changes: dict[str, object] | None = None,
    force: bool = False,
    confirm: tuple[int, int] | None = None,
    score: tuple[int, str] | None = None,
    hand_in: Source | None = None,
    end: bool = False,
    conclude: bool = False,
    jobs: int = 1,
) -> Ending:
    """Run `campaign` from where it stands until it ends. Raises CannotGoOn when another process runs it, and InputError for
    what cannot be done as it was asked: the campaign then stands where it stood.

    `changes` are options that a person changed on resuming. `force` sends the last rejected change of the run in hand
    through. `confirm`, a run and a number of seeds, adds seeds to a run that is recorded, and does nothing else;
    `score`, a run and names of evals, adds scores to it. `hand_in` is a change from outside; where another process runs
    the campaign, it is waited for, or given the change, and Tried is raised when that has tried it. `end` ends one that
    is driven from outside. `conclude` only writes the notes of an ended campaign again. Up to `jobs` executions that do
    not need each other are in hand at once.
    """
    campaign.check_can_go_on()
    change = identity(hand_in, campaign) if hand_in else ""
    waits = waiting(campaign, hand_in, change, view, stop) if hand_in else Waits(view, stop) if end else None
    with locked(campaign.lock, waits):
        # Read under the lock only: until it was free another process may have gone on writing.
        journal = Journal(campaign.journal)
        before, options = _ended(journal), campaign.options(journal.events)
        refused: InputError | None = None
        # The first event of a journal says in which schema all of it is to be read.
        journal.append("opened", schema=SCHEMA, harness=__version__)
        if changes:
            journal.append("options", changes=changes)
        loop: Loop | None = None
        mended: tuple[str, ...] = ()
        try:
            if _has_no_baseline(journal):
                view.say("the baseline had failed: the experiment is taken from its folder again")
                campaign = _taken_anew(campaign, journal)
            if force:
                _force(campaign, journal, view)
            loop = Loop(OpenCampaign.begin(campaign, journal, view, stop, jobs))
            mended = loop.recorder.recover()
            if hand_in:
                ending = loop.hand_in(hand_in, change)
            elif end:
                ending = loop.end()
            elif conclude and before:
                ending = before
            else:
                loop.dialogue.takes_all = True
                ending = loop.confirm(*confirm) if confirm else loop.score(*score) if score else loop.run()
        except HarnessError as error:
            ending = Ending(error.reason, str(error), error.exit_code)
            stood = loop.stands if loop and loop.stands else before
            if stood and isinstance(error, InputError):
                ending, refused = stood, error
        except KeyboardInterrupt:
            ending = Ending(Interrupted.reason, "Stopped by you.", Interrupted.exit_code)
        except OSError as error:
            problem = f"{error.filename or _full(campaign.root)}: {error.strerror or error}. Mend it, then `harness resume`."
            ending = Ending(CannotGoOn.reason, problem, CannotGoOn.exit_code)
        except BaseException:  # a mistake of ours: nothing more is written, and the agent leaves nothing all the same
            if loop:
                loop.dialogue.close()
            raise
        try:
            said = PathNames({Path.home(): "~", campaign.root: ""}).hide(ending.message)
            # Before `close`, which commits the journal: so the commit says how the campaign ended.
            journal.append("ended", reason=ending.reason, message=said, exit_code=ending.exit_code)
            if loop:
                loop.close(ending)
        except (OSError, HarnessError) as error:  # the disk that ended the campaign may not take this either
            view.say(f"{campaign.name}: {error}")
            if ending.exit_code == 0:  # what came after the last record is not committed
                ending = Ending(CannotGoOn.reason, str(error), CannotGoOn.exit_code)
        if refused:
            if changes:
                journal.append("options", changes={name: getattr(options, name) for name in changes})
            raise InputError(" ".join([str(refused), *mended]))
        return replace(ending, change=ending.change or change, put_back=mended)


def _ended(journal: Journal) -> Ending | None:
    """How the campaign ended; None where it has not, since it was opened last."""
    last = next((e for e in reversed(journal.events) if e["event"] in ("opened", "ended")), None)
    return Ending(last["reason"], last["message"], last["exit_code"]) if last and last["event"] == "ended" else None


def _full(campaign: Path) -> Path:
    """Of the campaign's folder and that for temporary files, which two can lie on two disks, the one with less space."""
    return min((campaign, Path(tempfile.gettempdir())), key=lambda folder: shutil.disk_usage(folder).free)


class NothingToTell(HarnessError):
    """There is no next turn of the agent, or it is not known yet what that begins with."""


def next_brief(campaign: Campaign) -> str:
    """Exactly what the agent would be told next, as far as the journal goes. Changes nothing. Raises NothingToTell.
    Of a search, which reads none: what it knows and proposes."""
    search = search_of(campaign)
    journal = DryJournal(campaign.journal)
    loop = _dry(campaign, journal)
    try:
        loop.run()
    except NotDone as pending:
        if search:
            return search.in_words()
        if pending.step.endswith("/turn"):
            return loop.dialogue.pending_brief()
        step = step_of(pending.step)
        place = label(step.run, step.attempt) if step.run and step.attempt else f"run {step.run or 0}"
        raise NothingToTell(
            f"No brief yet: {place}, {step.phase}, comes first. `harness status {campaign.name}` says where it is."
        ) from None
    raise NothingToTell(
        f"{campaign.name} has ended: there is no next turn. `harness status {campaign.name}` says how it goes on."
    )


def _dry(campaign: Campaign, journal: DryJournal) -> Loop:
    """A loop that goes as far as the journal does and changes nothing."""
    return Loop(OpenCampaign.begin(campaign, journal, Silent(), Stop()))


def _has_no_baseline(journal: Journal) -> bool:
    """Whether the campaign ended because its baseline failed, and was not begun anew since."""
    last = next((e for e in reversed(journal.events) if e["event"] in ("ended", BEGUN_ANEW)), None)
    return last is not None and last.get("reason") == BaselineFailed.reason


def _taken_anew(campaign: Campaign, journal: Journal) -> Campaign:
    try:
        campaign = take_anew(campaign.root)
    except HarnessError as error:  # what is in the way now is in the way of the baseline, as before
        raise BaselineFailed(str(error)) from error
    journal.begin_anew()
    return campaign


def _force(campaign: Campaign, journal: Journal, view: View) -> None:
    """Write down that the last rejected change of the run in hand is to be executed, as its next attempt."""
    repository = Repository(campaign.root, campaign.local)
    if campaign.options(journal.events).agent == OUTSIDE and (own := sorted(repository.edited(campaign.code))):
        raise InputError(
            f"--force: {', '.join(own)} in {campaign.root} was edited since, and would be lost. Hand that in instead "
            f"(`harness try {campaign.name}`), or put it back: {repository.way_back(own[0], 'HEAD')}"
        )
    try:
        # On a dry journal the loop itself says what comes next, and nothing is written or executed.
        _dry(campaign, DryJournal(campaign.journal)).run()
    except NotDone as pending:
        following = re.fullmatch(r"run_(\d+)/attempt_(\d+)/turn", pending.step)
        if following is None:
            raise InputError(
                f"--force: {pending.step} comes before the next attempt; `harness resume {campaign.name}` first."
            ) from None
    else:
        raise InputError("--force: no attempt is left for a forced change; raise --max-runs.")
    run, attempt = map(int, following.groups())
    for earlier in range(attempt - 1, 0, -1):
        key = turn_key(run, earlier)
        pre_check, smoke = journal.result(f"{key}/pre_check"), journal.result(f"{key}/smoke_test")
        rejected = (pre_check and pre_check["rejected"]) or (smoke and smoke["failure"] and smoke["failure"]["why"])
        commit = journal.result(f"{key}/turn")["commit"]
        if rejected and commit:
            journal.append("forced", commit=commit, step=f"{turn_key(run, attempt)}/turn", origin=key)
            view.say(f"forced: the change of {label(run, earlier)}, which was rejected: {rejected}")
            return
    raise InputError(f"--force: run {run}, the one in hand, has no rejected change.")
