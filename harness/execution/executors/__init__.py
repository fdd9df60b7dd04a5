"""Executors: where an experiment runs, under which limits, and how it ended. `local` is this machine.

An execution has a folder of its own, `home`, that holds everything about it (`spec.json`, its output, `outcome.json`), so
that a harness that was killed can go on with it: `attach` finds an execution that still runs, or its outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...campaign.protocols import Execution, Executor, Outcome, find_class

EXECUTORS: dict[str, str] = {"local": "harness.execution.executors.local:LocalExecutor"}


def find_executor(name: str) -> Executor:
    """The executor called `name`: a known short name or an import path. Raises InputError."""
    found: Executor = find_class("executor", "--executor", name, EXECUTORS)()
    return found


class RepeatedExecution:
    """The execution in `home`, gone on with or begun, which is begun once more where it was lost: what watched it was ended
    from outside (a session's end, a system without memory), which says nothing of what was executed."""

    def __init__(self, executor: Executor, home: Path, begin: Callable[[], Execution]) -> None:
        """`begin` submits it to `home`, in place of what may be there."""
        self._begin = begin
        self._is_second = home.with_name("begun_again")
        self._execution = (executor.attach(home) if home.exists() else None) or begin()

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        """See the protocol. What is lost a second time was killed."""
        outcome = self._execution.wait(tick, stop)
        if outcome.ended == "lost" and not stop() and not self._is_second.exists():
            self._execution = self._begin()
            self._is_second.touch()  # last, because `begin` may remove it
            outcome = self._execution.wait(tick, stop)
        if outcome.ended != "lost":
            return outcome
        return replace(outcome, ended="stopped" if stop() else "killed")
