"""Rounds: runs that were proposed from one parent before any of them was recorded.

A round is what the journal says that it was: runs that began between the same two records belong together. So a round that
was cut short, by a crash, by the agent or by another width, is one all the same, and where one proposal is asked for at a
time each run is a round of its own. One that joined others, was rejected, and is not recorded with them begins anew: who
proposes its next attempt knows what came of them.
"""

from __future__ import annotations

import re
import threading
from typing import Any, NamedTuple

from ..campaign.journal import BEGUN_ANEW, Event
from ..campaign.open_campaign import CampaignPart, OpenCampaign

_OF_A_RUN = re.compile(r"run_(\d+)/(.*)", re.DOTALL)


class _Begin(NamedTuple):
    """What there was when a run began: steps that were done, and records among them."""

    steps: int
    records: int


class Rounds(CampaignPart):
    """Looks up rounds of one campaign. Changes nothing."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self._looking = threading.Lock()
        self._seen = self._records = 0
        self._done: list[Event] = []
        self._begun: dict[int, _Begin] = {}
        self._open: set[int] = set()
        """Runs whose last attempt was rejected or failed, with another one left."""

    def has_begun(self, run: int) -> bool:
        """Whether the agent has proposed something for `run`."""
        self._look()
        return run in self._begun

    def first(self, run: int) -> int:
        """The first run of the round of `run`; of the round that it would belong to, where it has not begun."""
        return self._begin(run).records

    def members(self, run: int) -> list[int]:
        """The runs of the round of `run` that have begun, in order."""
        first = following = self.first(run)
        while self.has_begun(following) and self.first(following) == first:
            following += 1
        return [*range(first, following)]

    def siblings(self, run: int) -> list[int]:
        """The others of them."""
        return [each for each in self.members(run) if each != run]

    def recorded_with(self, run: int) -> list[int]:
        """Those of them that are recorded with it."""
        return [each for each in self.siblings(run) if each != self._last_open()]

    def number(self, run: int) -> int:
        """Of the round of `run`, counted from 1."""
        return len({self.first(each) for each in range(1, run + 1)})

    def has_room(self, first: int, run: int) -> bool:
        """Whether `run` belongs to the round that begins with `first`, or may still be asked for in it."""
        if self.has_begun(run):
            return self.first(run) == first
        is_over = self._journal.is_done(f"run_{first}/record")
        return run == first or (not is_over and run - first < self._options.width)

    def start_of(self, run: int) -> dict[str, Any]:
        """What put the code in place that `run` starts from: its `commit`, and the number of the run that it is `from`."""
        begin = self._begin(run)
        parents = f"run_{begin.records - 1}/record"
        # In the order of the journal, so the last one says what was in place when the run began.
        before = reversed(self._done[: begin.steps])
        found: dict[str, Any] = next(e for e in before if e["step"] == parents or e["step"].startswith(start_step(run)))
        return dict(found["result"])

    def _begin(self, run: int) -> _Begin:
        """As it was when `run` began, or is, where it has not."""
        self._look()
        return self._begun.get(run) or _Begin(len(self._done), self._records)

    def _look(self) -> None:
        """Take in what was done since the last look: who read all of it again for each run would take longer with each."""
        with self._looking:
            new = self._journal.events[self._seen :]
            self._seen += len(new)
            for event in new:
                if event["event"] == BEGUN_ANEW:
                    self._done, self._begun, self._records, self._open = [], {}, 0, set()
                elif event["event"] == "done":
                    self._take(event)

    def _take(self, event: Event) -> None:
        """To say that no run is wanted is no beginning."""
        found = _OF_A_RUN.fullmatch(event["step"])
        if found and (found[2] == "record" or (found[2].endswith("/turn") and _proposes(event["result"]))):
            self._begun.setdefault(int(found[1]), _Begin(len(self._done), self._records))
        if found and found[2] == "record":
            self._records += 1
            if (last := self._last_open()) and last > int(found[1]):
                del self._begun[last]
        elif found:
            attempt, _, phase = found[2].rpartition("/")
            self._look_at_attempt(int(found[1]), attempt, phase, event["result"])
        self._done.append(event)

    def _look_at_attempt(self, run: int, attempt: str, phase: str, result: Any) -> None:
        """Whether it was the end of an attempt that another may mend."""
        if phase == "turn":
            self._open.discard(run)
        elif attempt == f"attempt_{self._options.max_attempts}":
            return
        elif (phase == "pre_check" and result["rejected"]) or (phase in ("smoke_test", "execute") and result["failure"]):
            self._open.add(run)

    def _last_open(self) -> int:
        """The last run that has begun, where its last attempt was in vain and another is left; 0 where it is not so."""
        last = max(self._begun, default=0)
        return last if last in self._open else 0


def _proposes(turn: dict[str, Any]) -> bool:
    return bool(turn["commit"]) or not turn["all_completed"]


def start_step(run: int) -> str:
    """What the names of the steps begin with that put code in place for a run, after the record before it did."""
    return f"start_code/run_{run}/"
