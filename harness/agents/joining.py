"""Several tries at once: one process runs the campaign, the others wait for it, or hand their changes in to it.

A change that is handed in is a file, written before its maker waits for what comes of it: so nothing is lost with either
process. Who runs the campaign takes it into the round in hand; where it does not, its maker does when the campaign is free,
or `harness resume`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..campaign.campaign import Campaign
from ..campaign.errors import HarnessError, Interrupted
from ..campaign.journal import DryJournal, Journal
from ..campaign.open_campaign import OpenCampaign
from ..campaign.protocols import Silent, View
from ..campaign.stop import Stop
from ..campaign.turn import turn_key
from ..execution.rounds import Rounds
from .brief import label
from .submission import Base, Source, Submission, submission


class HandedIn:
    """The changes that were handed in while another process ran the campaign, oldest first, each with its maker's name."""

    def __init__(self, campaign: Campaign) -> None:
        self._folder = campaign.handed_in

    def add(self, change: Submission) -> None:
        if not self._files(change.id):
            self._folder.mkdir(parents=True, exist_ok=True)
            change.write(self._folder / f"{time.time_ns():020}.{change.id}.json")

    def oldest(self) -> Submission | None:
        return next((Submission.read(file) for file in self._files()), None)

    def move(self, place: Path, name: str = "") -> bool:
        """Have the oldest, or that of a name, at `place` in the place of the file here. Whether there is one."""
        files = self._files(name)
        for file in files[:1]:
            file.replace(place)
        return bool(files)

    def withdraw(self, name: str) -> None:
        for file in self._files(name):
            file.unlink()

    def __len__(self) -> int:
        return len(self._files())

    def _files(self, name: str = "*") -> list[Path]:
        return sorted(self._folder.glob(f"[0-9]*.{name or '*'}.json"))


class Tried(HarnessError):
    """What was handed in has been tried by another process; its text is what tells the change from others."""

    exit_code = 0


class Waits:
    """Waits for another process, says once for whom, and lets a person stop waiting."""

    def __init__(self, view: View, stop: Stop) -> None:
        self._view, self._stop, self._said = view, stop, False

    def __call__(self, holder: str) -> None:
        self._say(f"waits for another process (pid {holder}), which runs this campaign")
        self._stop.check()

    def _say(self, sentence: str) -> None:
        if not self._said:
            self._view.say(sentence)
        self._said = True


class Joins(Waits):
    """Hands the change in meanwhile. Raises Tried when it is known what came of it."""

    def __init__(self, campaign: Campaign, source: Source, name: str, view: View, stop: Stop) -> None:
        super().__init__(view, stop)
        self._campaign, self._source, self._name = campaign, source, name
        self._is_handed_in = False
        self._seen = 0

    def __call__(self, holder: str) -> None:
        size = self._campaign.journal.stat().st_size if self._campaign.journal.exists() else 0
        if size != self._seen:
            self._seen = size
            journal = DryJournal(self._campaign.journal)
            if is_over(journal, self._name):
                raise Tried(self._name)
            if not self._is_handed_in:
                self._hand_in(journal)
        if self._is_handed_in:
            self._say(f"handed in to another process (pid {holder}), which runs this campaign; waits for what comes of it")
            if self._stop.soon:
                raise Interrupted("Stopped waiting. The change stays handed in; the same command says what came of it.")
        else:
            super().__call__(holder)

    def _hand_in(self, journal: Journal) -> None:
        """As soon as there is a run that it could start from, and one is left."""
        opened = OpenCampaign.begin(self._campaign, journal, Silent(), self._stop)
        recorded = sum(e["step"].startswith("run_") for e in journal.of("done", "/record"))
        if not opened.options.observed < recorded <= opened.options.max_runs:
            return
        if turn_of(journal, self._name) is None:
            start = Rounds.of(opened).start_of(recorded)
            base = Base(start["commit"], start["from"])
            made = submission(self._source, self._name, self._campaign, opened.repository, base)
            HandedIn(self._campaign).add(made)
        self._is_handed_in = True


def waiting(campaign: Campaign, source: Source, name: str, view: View, stop: Stop) -> Waits:
    """What is done while another process runs the campaign. What is edited in the campaign's own files joins nothing: there
    they can hold one change."""
    joins = source.width > 1 and (source.folder or source.patch)
    return Joins(campaign, source, name, view, stop) if joins else Waits(view, stop)


def turn_of(journal: Journal, name: str) -> dict[str, Any] | None:
    """The last turn that took up a change."""
    turns = [e["result"] for e in journal.of("done", "/turn")]
    return next((turn for turn in reversed(turns) if turn.get("submission") == name), None)


def is_over(journal: Journal, name: str) -> bool:
    """Whether a change was recorded, rejected, or executed and failed."""
    turn = turn_of(journal, name)
    if turn is None:
        return False
    key = turn_key(turn["run"], turn["attempt"])
    rejected = (journal.result(f"{key}/pre_check") or {}).get("rejected")
    failed = any((journal.result(f"{key}/{step}") or {}).get("failure") for step in ("smoke_test", "execute"))
    return bool(rejected or failed) or journal.is_done(f"run_{turn['run']}/record")


def unfinished(journal: Journal, name: str) -> list[str]:
    """The attempts at other changes that a try began and did not see to their end."""
    turns = [e["result"] for e in journal.of("done", "/turn")]
    others = [turn for turn in turns if turn.get("submission") not in (None, "", name)]
    return [label(turn["run"], turn["attempt"]) for turn in others if not is_over(journal, turn["submission"])]
