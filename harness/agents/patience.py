"""What follows a try of a turn that failed: another one after a pause, or the end of the campaign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from ..campaign.errors import CannotGoOn
from ..campaign.protocols import Failure
from ..campaign.text import duration
from .failure_kinds import PASSING

PAUSES = (15.0, 60.0)
"""Seconds before each further try; the agent itself has already repeated each request."""
SHORT = 120.0
"""Seconds that a limit which a provider names is waited for without being asked to."""
SEARCH = (300.0, 900.0, 1800.0, 3600.0)
"""Seconds between tries while a limit is waited for whose end nobody names; the last one again and again."""
MARGIN = 5.0
"""Seconds after the end of a limit: the clocks of two machines differ."""


@dataclass(frozen=True)
class Pause:
    """Before the next try. `why` is for a person; the time of a `limit` is none of the turn's."""

    seconds: float
    why: str
    limit: bool = False


class Patience:
    """Counts the tries of one turn."""

    def __init__(self, wait_for_limits: bool) -> None:
        self._wait_for_limits = wait_for_limits
        self._pauses = list(PAUSES)
        self._searched = 0
        self._died = False

    def after(self, failure: Failure, now: float) -> Pause:
        """The pause before the next try; `now` is in seconds since 1970. Raises CannotGoOn when there is to be none."""
        if failure.kind == "died" and not self._died:
            self._died = True  # a process that dies twice does not die by chance
            return Pause(0.0, "It is started again.")
        if failure.kind == "rate" and failure.until is not None and failure.until - now > SHORT:
            ends = f"The limit ends {_when(failure.until, now)}"
            if not self._wait_for_limits:
                raise CannotGoOn(
                    f"{failure.message.rstrip('.')}. {ends}: `harness resume` then; --wait-for-limits waits for it."
                )
            return Pause(failure.until - now + MARGIN, f"{ends}; the next try comes then (--wait-for-limits).", limit=True)
        if failure.kind in PASSING and self._pauses:
            seconds = self._pauses.pop(0)
            if failure.kind == "rate" and failure.until is not None:
                seconds = max(failure.until - now + MARGIN, 0.0)
            return Pause(seconds, f"The model does not answer; next try in {duration(round(seconds))}.")
        if failure.kind == "rate" and self._wait_for_limits:
            seconds = SEARCH[min(self._searched, len(SEARCH) - 1)]
            self._searched += 1
            return Pause(
                seconds, f"Waiting for the provider's limit to end; next try {_when(now + seconds, now)}.", limit=True
            )
        raise CannotGoOn(advice(failure))


def advice(failure: Failure) -> str:
    """What happened and what to do about it, in the agent's words where it has some."""
    if failure.todo:
        return str(failure)
    todo = {
        "auth": "Fix the login or the key, then `harness resume`.",
        "quota": "The account cannot pay for the request; fix that, or resume with another --model.",
        "context": "The brief does not fit this model; resume with a --model that has a larger context.",
        "diverged": "The recorded session does not fit this campaign. The campaign replays a copy of it, replayed.md in its "
        "folder: fix it there, then `harness resume`.",
        "setup": "Fix it, then `harness resume`.",
    }.get(failure.kind, "`harness resume` goes on when the model answers again.")
    return str(replace(failure, todo=todo))


def _when(until: float, now: float) -> str:
    there, here = datetime.fromtimestamp(until), datetime.fromtimestamp(now)
    date = "" if there.date() == here.date() else f"{there:%Y-%m-%d }"
    return f"at {date}{there:%H:%M} (in {duration(round(until - now))})"
