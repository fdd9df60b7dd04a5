"""The process that makes rows for one execution while that trains: a profile's `feed`.

It runs from the campaign's first commit and sees what only scorers see; the execution sees the folder that it runs in. It
has no share of the machine but the execution's, and ends with it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..campaign.contract import Profile
from ..campaign.errors import InputError
from ..campaign.files import remove, write_atomically
from ..campaign.protocols import Executor, Job, Outcome

COUNT = "fed.json"
"""What it leaves in its folder: {"rows": how many it has handed over, "planned": how many it was to hand over}."""
_KEPT = "feed.json"
_LAST_WORDS = 5.0
"""Seconds in which it has found out that the execution is gone."""


def check_executor(spec: Profile, profile: str, executor: str) -> None:
    """Raises InputError where what makes a profile's rows cannot be started beside executions."""
    if spec.feed and executor != "local":
        raise InputError(
            f"--executor {executor}: under the profile {profile} a process beside each execution makes its rows, which only "
            "--executor local starts on the same machine. Begin the campaign inside a job of the cluster."
        )


class Feed:
    """Begun with an execution and ended with it, by whichever process of the harness has it in hand."""

    def __init__(self, executor: Executor, place: Path, job: Job, make: Callable[[], None]) -> None:
        """`place` is a folder for it alone, and the job's folder is in it, which `make` makes."""
        self._executor, self._place, self._job, self._make = executor, place, job, make

    def begin(self) -> None:
        """What is there already is ended."""
        self._end(0.0)
        remove(self._place)
        self._make()
        self._executor.submit(self._job, self._place / "job")

    def end(self, of: Path, outcome: Outcome) -> Outcome:
        """It has no more to do: the execution in the folder `of` has ended. The outcome of both."""
        if not (of / _KEPT).exists():  # else it was ended before a crash
            failed = self._end(_LAST_WORDS)
            write_atomically(of / _KEPT, json.dumps({"failed": failed, "said": self._count()}))
            remove(self._place)
        failed = json.loads((of / _KEPT).read_text(encoding="utf-8"))["failed"]
        if not failed or outcome.ended not in ("ok", "crashed"):
            return outcome
        # Even where it ended well: it did not have what was planned for it.
        before = "" if outcome.ended == "ok" else f"{outcome.why}; "
        return replace(outcome, ended="crashed", why=f"{before}what makes its rows ended: {failed}")

    def _end(self, patience: float) -> str:
        """End it, unless it ends in `patience` seconds. Why it had failed by then, "" where it had not."""
        home = self._place / "job"
        execution = self._executor.attach(home) if home.exists() else None
        if execution is None:
            return "it was ended from outside" if home.exists() else ""
        until = time.monotonic() + patience
        outcome = execution.wait(lambda line: None, lambda: time.monotonic() >= until)
        return "" if outcome.ended in ("ok", "stopped") else outcome.why

    def _count(self) -> str:
        try:
            found = json.loads((self._job.folder / COUNT).read_text(encoding="utf-8"))
            rows, planned = int(found["rows"]), int(found["planned"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return f"{rows:,} of {planned:,} planned rows were handed over to it" if rows < planned else ""


def said(of: Path) -> tuple[str, ...]:
    """What is to be known of the rows of the execution in `of`."""
    try:
        found = str(json.loads((of / _KEPT).read_text(encoding="utf-8"))["said"])
    except FileNotFoundError:
        return ()
    return (found,) if found else ()
