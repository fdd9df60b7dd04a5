"""Rounds: runs that were proposed from one parent before any of them was recorded.

A round is what the journal says that it was: runs that began between the same two records belong together. So a round that
was cut short, by a crash, by the agent or by another width, is one all the same, and where one proposal is asked for at a
time each run is a round of its own.
"""

from __future__ import annotations

from typing import Any

from ..campaign.journal import Event
from ..campaign.open_campaign import CampaignPart


class Rounds(CampaignPart):
    """Looks up rounds of one campaign. Changes nothing."""

    def has_begun(self, run: int) -> bool:
        """Whether the agent has proposed something for `run`."""
        return self._before(run)[1]

    def first(self, run: int) -> int:
        """The first run of the round of `run`; of the round that it would belong to, where it has not begun."""
        return sum(e["step"].startswith("run_") and e["step"].endswith("/record") for e in self._before(run)[0])

    def members(self, run: int) -> list[int]:
        """The runs of the round of `run` that have begun, in order."""
        first = following = self.first(run)
        while self.has_begun(following) and self.first(following) == first:
            following += 1
        return [*range(first, following)]

    def siblings(self, run: int) -> list[int]:
        """The others of them."""
        return [each for each in self.members(run) if each != run]

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
        before, _ = self._before(run)
        parents = f"run_{self.first(run) - 1}/record"
        # In the order of the journal, so the last one says what was in place when the run began.
        found: dict[str, Any] = [e for e in before if e["step"] == parents or e["step"].startswith(start_step(run))][-1]
        return dict(found["result"])

    def _before(self, run: int) -> tuple[list[Event], bool]:
        """The steps that were done before `run` began, and whether it has: to say that no run is wanted is no beginning."""
        done = [*self._journal.of("done")]
        for place, event in enumerate(done):
            own, _, what = event["step"].partition("/")
            if own == f"run_{run}" and (what == "record" or (what.endswith("/turn") and _proposes(event["result"]))):
                return done[:place], True
        return done, False


def _proposes(turn: dict[str, Any]) -> bool:
    return bool(turn["commit"]) or not turn["all_completed"]


def start_step(run: int) -> str:
    """What the names of the steps begin with that put code in place for a run, after the record before it did."""
    return f"start_code/run_{run}/"
