"""How a campaign is taken on from where it stands, by one process at a time, to an ending.

Whatever was killed before, this is the only way in: under the campaign's lock, from its journal, by the loop. What it is
asked for besides (more seeds, a change from outside, an end) is done on the same way.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from . import __version__
from .agents.brief import label
from .agents.joining import Waits, waiting
from .agents.outside import OUTSIDE
from .agents.search import search_of
from .agents.submission import Source, identity
from .campaign.campaign import Campaign, take_anew
from .campaign.errors import BaselineFailed, CannotGoOn, HarnessError, InputError, Interrupted
from .campaign.journal import BEGUN_ANEW, DryJournal, Journal, NotDone, locked
from .campaign.open_campaign import OpenCampaign
from .campaign.paths import PathNames
from .campaign.protocols import Silent, View
from .campaign.repository import Repository
from .campaign.schema import SCHEMA
from .campaign.stop import Stop
from .campaign.turn import turn_key
from .loop import Ending, Loop
from .report.terminal.status import step_of


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
        restored: tuple[str, ...] = ()
        try:
            if _has_no_baseline(journal):
                view.say("the baseline had failed: the experiment is taken from its folder again")
                campaign = _taken_anew(campaign, journal)
            if force:
                _force(campaign, journal, view)
            loop = Loop(OpenCampaign.begin(campaign, journal, view, stop, jobs))
            restored = loop.recorder.recover()
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
            problem = f"{error.filename or _full(campaign.root)}: {error.strerror or error}. Fix it, then `harness resume`."
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
            raise InputError(" ".join([str(refused), *restored]))
        return replace(ending, change=ending.change or change, put_back=restored)


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
