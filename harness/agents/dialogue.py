"""The dialogue with the agent: brief, answer, change, commit.

The agent works in a disposable working copy. What it changed is taken from there, committed whether or not it will be
rejected, and everything that it may not change is put back and told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..campaign.campaign import SESSION
from ..campaign.errors import BudgetSpent, CannotGoOn, SessionOver
from ..campaign.files import write_atomically
from ..campaign.journal import END, PERSON_STEP, Event
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.paths import PathNames
from ..campaign.protocols import Conversation, Reply, Waits, Workspace
from ..campaign.turn import AttemptFailure, Turn, turn_key
from ..campaign.usage import Usage
from ..execution.rounds import Rounds
from . import answer as answers
from .aider_environment import installed
from .brief import brief, label, repair_brief, shortened
from .chat_history import render_turn
from .joining import HandedIn, turn_of
from .listing import find_agent, is_search
from .outside import OUTSIDE
from .patience import Patience, advice
from .search import EXHAUSTED
from .situation import Situations
from .submission import Base, Ended, Source, Submission, Waiting, put_back, same_words, submission
from .workspace import Change, collect, make_workspace, restore
from .workspace_folder import WorkspaceFolder


class Dialogue(CampaignPart):
    """Asks the agent, one conversation a run."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self._situations = Situations(opened)
        self._rounds = Rounds.of(opened)
        self._folder = WorkspaceFolder(opened.campaign.local)
        workspaces = None if opened.journal.is_dry else self._folder.begin()
        config = replace(opened.agent_config, workspaces=workspaces, turn_left=self._turn_left)
        try:
            self._agent = find_agent(opened.options.agent)(config)
        except BaseException:
            self._folder.remove()
            raise
        self._is_checked = False
        self._turn_ends = 0.0
        self._conversation: Conversation | None = None
        self._conversation_run = 0
        self._workspace = Workspace(opened.campaign.local, ())
        self._pending: tuple[int, int, AttemptFailure | None] | None = None
        self._others = HandedIn(opened.campaign)
        self.takes_all = False
        """Whether what others handed in is taken up one after the other, with nobody waiting for a change of their own."""

    def take(self, run: int, attempt: int, failure: AttemptFailure | None) -> Turn:
        """The turn of this attempt, taken now or earlier."""
        self._pending = (run, attempt, failure)
        step = f"{turn_key(run, attempt)}/turn"
        if not self._journal.is_done(step):
            self._stop.check()
            forced = next((e for e in self._journal.of("forced") if e["step"] == step), None)
            if forced is None:
                self._check_handed_in()
                self._budget.check_turn()
                if self._options.max_cost is not None and not self._is_checked:
                    self.prepare()
            self._view.begin(run, self._options.max_runs, attempt, "change" if self._is_outside else "agent")
        turn = Turn.model_validate(self._journal.once(step, lambda: self._take(run, attempt, failure).model_dump()))
        # Only now that the journal has the turn: before that a crash would lose what a person said, or handed in.
        for name in turn.message_files:
            (self._campaign.inbox / name).unlink(missing_ok=True)
        if turn.submission and (handed := self._handed_in()) and handed.id == turn.submission:
            self._campaign.submission.unlink()
        return turn

    def hand_in(self, source: Source, identity: str) -> None:
        """Have the next turn take up this change."""
        submission(source, identity, self._campaign, self._repository).write(self._campaign.submission)

    def receive(self, name: str = "") -> bool:
        """Have the next turn take up what was handed in to another process: the change of that name, or the oldest."""
        if self._handed_in() is not None:
            return False
        while (found := self._others.oldest()) and turn_of(self._journal, found.id):  # typed twice, tried already
            self._others.withdraw(found.id)
        return self._others.move(self._campaign.submission, name)

    def joins(self, beside: int) -> bool:
        """Have the next turn take up the oldest change that others handed in, where it joins a round of so many."""
        found = None if self._journal.is_dry else self._others.oldest()
        if found is None or found.width <= beside:
            return False
        try:
            self.check_budget()
        except BudgetSpent:  # its maker is told
            return False
        return self.receive()

    def withdraw(self, name: str) -> None:
        """Nothing can come of a change that was handed in."""
        self._others.withdraw(name)
        if (handed := self._handed_in()) and handed.id == name:
            self._campaign.submission.unlink()

    def check_budget(self) -> None:
        """Before a change is taken up. Raises BudgetSpent."""
        self._budget.check_turn()

    def was_taken(self, name: str) -> bool:
        """Whether a turn took a change up."""
        return turn_of(self._journal, name) is not None

    def base_of_next(self) -> Base | None:
        """The code that the next change was edited from, where that was another than is in place."""
        if not self._is_outside or self._journal.is_dry:
            return None
        if self.takes_all:
            self.receive()
        handed = self._handed_in()
        return handed.base if handed else None

    def is_asked(self, run: int, attempt: int, beside: bool) -> bool:
        """Whether there is, or was, somebody to ask for this attempt. `Beside` other runs of its round nobody is waited for
        who has not handed a change in."""
        if not (self._is_outside and beside) or self._journal.is_done(f"{turn_key(run, attempt)}/turn"):
            return True
        return self._handed_in() is not None

    def was_tried(self, source: Source, identity: str) -> str:
        """The change that a turn took up, where it is this very one; also where its code was put away since, and nothing
        was edited. Else nothing."""
        if self.was_taken(identity):
            return identity
        turns = [e["result"] for e in self._journal.of("done", "/turn")]
        last = str(turns[-1].get("submission", "")) if turns else ""
        in_place = source.folder is None and source.patch is None
        if not last or not in_place or not same_words(last, identity) or self._repository.edited(self._campaign.code):
            return ""
        return last

    def pending_brief(self) -> str:
        """The text of the turn that comes next."""
        assert self._pending is not None
        person_diff = None if self._is_outside else self._opened.person_diff()
        return next(self._texts(*self._pending, [text for _, text in self._inbox()], person_diff))

    def why_no_more(self, turn: Turn) -> str:
        """Why whoever proposes wants no further run."""
        return EXHAUSTED if is_search(self._options.agent) else "The agent said ALL_COMPLETED."

    def has_message_for(self, run: int, attempt: int = 0) -> bool:
        """The agent has said ALL_COMPLETED, in this attempt or before this run, and a person has said something since."""
        following = f"{turn_key(run, attempt + 1)}/turn"
        return attempt < self._options.max_attempts and (self._journal.is_done(following) or bool(self._inbox()))

    @property
    def needs_installation(self) -> bool:
        """Whether the agent, or a reviewer, is one that is installed first when it is needed."""
        return (self._options.agent in ("aider", "replay") or self._options.reviewer is not None) and installed() is None

    def prepare(self) -> None:
        """Have the agent ready before anything is spent: its environment, its key. Raises what to do."""
        if self._journal.is_dry:
            return
        if not self._is_outside:
            self._view.begin(0, self._options.max_runs, 0, "agent")
        self._view.say(self._agent.check())
        rehearse = getattr(self._agent, "rehearse", None)
        if rehearse is not None and not self._journal.of("done", "/turn"):
            files = self._repository.files(self._repository.head or "", self._campaign.experiment_files)
            self._begin_turn()
            failure = rehearse(make_workspace(self._folder.make_room(0), files, self._campaign.contract))
            if failure is not None:
                raise CannotGoOn(advice(failure))
        self._is_checked = True

    def close(self) -> None:
        """End the conversation and the agent's processes."""
        self._end_conversation()
        self._agent.close()
        if not self._journal.is_dry:
            with suppress(CannotGoOn):  # the next start says so
                self._folder.remove()

    def _end_conversation(self) -> None:
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None

    def _take(self, run: int, attempt: int, failure: AttemptFailure | None) -> Turn:
        forced = next((e for e in self._journal.of("forced") if e["step"] == f"{turn_key(run, attempt)}/turn"), None)
        if forced is not None:
            return self._forced(run, attempt, forced)
        handed = self._handed_in() if self._is_outside else None
        person_diff = None if handed else self._opened.person_diff()
        if handed is None:
            self._commit_person_edit()
        base = self._repository.last_of_a_step()
        inbox = self._inbox()
        messages = [text for _, text in inbox]
        files = self._repository.files(base, self._campaign.experiment_files)
        folder = self._campaign.attempt_folder(run, attempt)
        folder.mkdir(parents=True, exist_ok=True)
        remembered = self._remembered(run)
        text, reply = self._ask(run, attempt, self._texts(run, attempt, failure, messages, person_diff), files)
        write_atomically(folder / "reply.md", _all_of(reply))
        write_atomically(folder / SESSION, render_turn(label(run, attempt), text, reply.replies))
        change = collect(self._workspace, files, self._campaign.contract)
        for name, content in change.evidence.items():
            kept = folder / "restored" / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(content)
        commit = None
        if change.files or reply.overrides:  # a commit of its own, so that it says with which settings it is executed
            code = {path: content for path, content in files.items() if path in self._campaign.code}
            title = f"Run {run}, attempt {attempt}: change {'from outside' if handed else 'by the agent'}"
            # What is edited now, after the change was taken, is the next one.
            edited = self._repository.edited(self._campaign.code)
            commit = self._repository.commit(f"{turn_key(run, attempt)}/turn", title, code | change.files, keep=edited)
        elif person_diff:
            commit = base
        # With the memory before it: after a crash that comes before the journal has this turn, that one holds.
        memory = {"turn": turn_key(run, attempt), "history": reply.history, "before": remembered}
        write_atomically(self._campaign.history, json.dumps({**self._memories(run), f"run_{run}": memory}))
        turn = self._turn(run, attempt, base, commit, bool(person_diff), inbox, reply, change)
        if handed is not None:
            put_back(handed, self._campaign, files)
            turn = turn.model_copy(update={"submission": handed.id})
        return turn

    def _turn(
        self,
        run: int,
        attempt: int,
        base: str,
        commit: str | None,
        by_person: bool,
        inbox: list[tuple[str, str]],
        reply: Reply,
        change: Change,
    ) -> Turn:
        answer = answers.parse_all(reply.replies or (reply.text,))
        if run == self._rounds.first(run):  # what it says after that of the same results, it says again
            self._keep_interpretation(run - 1, answer.interpretation)
        refused = [f"{path}: you may not write there; nothing was written." for path in reply.refused_writes]
        return Turn(
            run=run,
            attempt=attempt,
            base=base,
            commit=commit or (base if self._stands_by(run, attempt, answer.all_completed, change, reply) else None),
            by_person=by_person,
            restored=[*change.restored, *refused],
            notices=list(reply.warnings),
            problems=list(change.problems),
            words="\n".join(filter(None, (change.words, reply.notes))),
            messages=[text for _, text in inbox],
            message_files=[name for name, _ in inbox],
            **asdict(answer),
            overrides=dict(reply.overrides),
            searched=dict(reply.searched),
            no_answer=reply.failure.message if reply.failure else "",
            usage=reply.usage,
            agent=reply.agent,
            models=reply.models,
            sandbox=reply.sandbox,
        )

    def _stands_by(self, run: int, attempt: int, wants_no_run: bool, change: Change, reply: Reply) -> bool:
        """The agent was told what came of the same code before, and leaves it as it is: it is to be executed."""
        before = self._journal.result(f"{turn_key(run, attempt - 1)}/pre_check") or {}
        return bool(before.get("told")) and not (wants_no_run or change.problems or reply.refused_writes or reply.failure)

    def _keep_interpretation(self, run: int, words: str) -> None:
        """Add the agent's words on a run's results to its record."""
        if run >= 0 and words:
            self._opened.write_record(self._opened.records[run].model_copy(update={"interpretation": words}))

    def _forced(self, run: int, attempt: int, forced: dict[str, Any]) -> Turn:
        origin = Turn.model_validate(self._journal.result(f"{forced['origin']}/turn"))
        files = self._repository.files(forced["commit"], self._campaign.code)
        title = f"Run {run}, attempt {attempt}: the change of {forced['origin']}, forced by you"
        commit = self._repository.commit(f"{turn_key(run, attempt)}/turn", title, files)
        return origin.model_copy(
            update={
                "run": run,
                "attempt": attempt,
                "commit": commit,
                "forced": True,
                "messages": [],
                "message_files": [],
                "restored": [],
                "notices": [],
                "problems": [],
                "all_completed": False,
                "usage": Usage(),
            }
        )

    def _without_local_paths(self, reply: Reply) -> Reply:
        """What the agent said, with its working copy as the folder where paths begin."""
        places = PathNames({Path.home(): "~", self._campaign.root: "", self._workspace.root: ""})
        failure = replace(reply.failure, message=places.hide(reply.failure.message)) if reply.failure else None
        return replace(
            reply,
            text=places.hide(reply.text),
            replies=tuple(map(places.hide, reply.replies)),
            failure=failure,
            refused_writes=tuple(map(places.hide, reply.refused_writes)),
            warnings=tuple(map(places.hide, reply.warnings)),
            notes=places.hide(reply.notes),
        )

    def _ask(self, run: int, attempt: int, texts: Iterator[str], files: dict[str, bytes]) -> tuple[str, Reply]:
        """Ask until there is an answer; returns the text that was answered, too. `texts` are the brief and shorter ones.

        Raises CannotGoOn when no further run would get an answer either, BudgetSpent when there is nothing left for a try.
        """
        self._begin_turn()
        patience = Patience(self._options.wait_for_limits)
        text = next(texts)
        while True:
            write_atomically(self._campaign.attempt_folder(run, attempt) / "brief.md", text)
            reply = self._try(run, attempt, text, files)
            failure = reply.failure
            if failure is None:
                return text, reply
            if failure.kind == "session_over":
                self._view.say(failure.message)
                raise SessionOver("The recorded session has no further turn.")
            if failure.kind in ("timeout", "cut"):
                if collect(self._workspace, files, self._campaign.contract).files:
                    said = "Your turn was ended before you were: what you had edited by then is the change that is tried."
                    self._view.say(f"{failure.message}\nWhat it had edited by then is tried.")
                    # Where it had said nothing yet, its memory may have nothing of the turn.
                    history = reply.history if reply.replies else None
                    if history is None:
                        self._forget_conversation(run)
                    warnings = (*reply.warnings, f"{failure.message} {said}")
                    return text, replace(reply, failure=None, history=history, warnings=warnings)
                if failure.kind == "cut" or time.monotonic() >= self._turn_ends:
                    return text, self._given_up(run, reply)
            self._budget.check_turn()
            if failure.kind == "context" and (shorter := next(texts, "")):
                self._view.say(f"{failure.message}\nA new conversation begins, with a shorter brief.")
                self._forget_conversation(run)
                text = shorter
            else:
                pause = patience.after(failure, time.time())  # who ends the campaign says why
                self._view.say(f"{failure.message}\n{pause.why}")
                if failure.kind == "died":
                    self._end_conversation()
                if pause.limit:
                    self._journal.append("waits", step=f"{turn_key(run, attempt)}/turn", why=pause.why)
                    self._turn_ends += pause.seconds
                self._sleep(pause.seconds, Waits(pause.why if pause.limit else ""))

    def _try(self, run: int, attempt: int, text: str, files: dict[str, bytes]) -> Reply:
        """One try of a turn. The journal counts what it used, also where a person interrupts it."""
        # A forced turn asked nobody, so it is none of the turns of a recorded session.
        turn = sum(not e["result"]["forced"] for e in self._journal.of("done", "/turn"))
        conversation, begun = self._converse(run, files), time.monotonic()
        try:
            reply = self._without_local_paths(conversation.ask(text, turn=turn, label=label(run, attempt)))
        except KeyboardInterrupt:
            used = Usage(cost=None, seconds=time.monotonic() - begun, lost=1)
            self._failed(run, attempt, "interrupted", "interrupted by you", used)
            raise
        if reply.failure is not None:
            self._failed(run, attempt, reply.failure.kind, reply.failure.message, reply.usage)
            reply = replace(reply, usage=Usage())  # counted
        return reply

    def _failed(self, run: int, attempt: int, kind: str, message: str, usage: Usage) -> None:
        step = f"{turn_key(run, attempt)}/turn"
        self._journal.append("turn_failed", step=step, kind=kind, message=message, usage=asdict(usage))

    def _given_up(self, run: int, reply: Reply) -> Reply:
        """A turn that ended at its limit without an edit costs the attempt. Raises CannotGoOn at the second in a row."""
        assert reply.failure is not None
        turns = self._journal.of("done", "/turn")
        failed = {e["step"] for e in self._journal.of("turn_failed") if e["kind"] == reply.failure.kind}
        if turns and turns[-1]["result"]["no_answer"] and turns[-1]["step"] in failed:
            raise CannotGoOn(advice(reply.failure))
        self._view.say(reply.failure.message)
        self._forget_conversation(run)
        return replace(reply, history=None)

    def _begin_turn(self) -> None:
        self._turn_ends = time.monotonic() + self._options.turn_timeout * 60

    def _turn_left(self) -> float:
        """Seconds that the turn in hand may still take."""
        left, hours = self._turn_ends - time.monotonic(), self._budget.seconds_left()
        return max(left if hours is None else min(left, hours), 1.0)

    def _converse(self, run: int, files: dict[str, bytes]) -> Conversation:
        """The conversation of this run: the one at hand, or a new one that remembers what was said before a crash."""
        if self._conversation is not None and self._conversation_run == run:
            restore(self._workspace, files)
            return self._conversation
        self._end_conversation()
        root = self._folder.make_room(run)
        self._workspace = make_workspace(root, files, self._campaign.contract)
        self._conversation = self._agent.open(self._workspace, self._remembered(run))
        self._conversation_run = run
        return self._conversation

    def _remembered(self, run: int) -> Any:
        """The agent's memory after the last turn of this run that the journal has; None where there is none."""
        kept = self._memories(run).get(f"run_{run}")
        if kept is None:
            return None
        return kept["history"] if self._journal.is_done(f"{kept['turn']}/turn") else kept["before"]

    def _memories(self, run: int) -> dict[str, Any]:
        """Those of this run and its siblings."""
        try:
            kept = json.loads(self._campaign.history.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        names = [f"run_{each}" for each in (run, *self._rounds.siblings(run))]
        return {name: kept[name] for name in names if name in kept}

    def _forget_conversation(self, run: int) -> None:
        self._end_conversation()
        memories = self._memories(run)
        memories.pop(f"run_{run}", None)
        write_atomically(self._campaign.history, json.dumps(memories))

    def _texts(
        self, run: int, attempt: int, failure: AttemptFailure | None, messages: list[str], person_diff: str | None
    ) -> Iterator[str]:
        """What the agent is told: a whole brief at the start of a conversation, a short one inside it; then, for a context
        that is too small, what begins a new conversation with less."""
        goes_on = attempt > 1 and not person_diff and self._remembered(run) is not None
        if failure is not None and failure.status != "no_answer" and goes_on:
            yield repair_brief(run, attempt, self._options.max_attempts - attempt + 1, failure, tuple(messages))
        situation = self._situations.before(run, attempt, tuple(messages), person_diff, failure)
        yield brief(situation)
        if shortened(situation) != situation:
            yield brief(shortened(situation))

    def _commit_person_edit(self) -> None:
        edited = self._repository.edited(self._campaign.code)
        if edited:
            number = sum(e["step"].startswith(PERSON_STEP) for e in self._journal.of("done"))
            step = f"{PERSON_STEP}{number}"
            self._journal.once(step, lambda: {"commit": self._repository.commit(step, "Your change", edited)})

    @property
    def _is_outside(self) -> bool:
        return self._options.agent == OUTSIDE

    def _handed_in(self) -> Submission | None:
        return Submission.read(self._campaign.submission)

    def _check_handed_in(self) -> None:
        """Raises Waiting where somebody else is to make the next change, and has not; Ended where they want no more."""
        if not self._is_outside or self._handed_in() is not None:
            return
        last = next((e for e in reversed(self._journal.events) if e["event"] == END or _is_turn(e)), None)
        if last and last["event"] == END:
            raise Ended("You ended it.")
        if not self._journal.is_dry:
            if self.takes_all:  # a try is told when it hands a change in
                self.check_budget()
            others = f" Handed in and not tried yet: {len(self._others)}; `harness resume {self._campaign.name}` does."
            raise Waiting(
                f"Waits for a change: edit {' or '.join(self._campaign.contract.editable)}, then "
                f'`harness try {self._campaign.name} --hypothesis "..."`.{others if len(self._others) else ""}'
            )

    def _inbox(self) -> list[tuple[str, str]]:
        """What people said that no finished turn has carried: file names and texts, oldest first."""
        if not self._campaign.inbox.is_dir():
            return []
        carried = {name for e in self._journal.of("done", "/turn") for name in e["result"]["message_files"]}
        files = [f for f in sorted(self._campaign.inbox.glob("*.txt")) if f.name not in carried]
        return [(f.name, f.read_text(encoding="utf-8", errors="replace").strip()) for f in files]

    def _sleep(self, seconds: float, waits: Waits) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._stop.check()
            if waits:
                self._view.tick(waits)
            time.sleep(0.2)


def _is_turn(event: Event) -> bool:
    return event["event"] == "done" and str(event["step"]).endswith("/turn")


def _all_of(reply: Reply) -> str:
    """Everything that the model said in a turn: a plan stands in the first reply, a repaired edit in the last."""
    return "\n\n".join(reply.replies) or reply.text
