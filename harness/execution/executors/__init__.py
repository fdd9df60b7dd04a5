"""Executors: where an experiment runs, under which limits, and how it ended. `local` is this machine, `slurm` a cluster.

An execution has a folder of its own, `home`, that holds everything about it (`spec.json`, its output, `outcome.json`), so
that a harness that was killed can go on with it: `attach` finds an execution that still runs, or its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...campaign.errors import InputError
from ...campaign.protocols import Execution, Executor, Outcome, find_class

EXECUTORS: dict[str, str] = {
    "local": "harness.execution.executors.local:LocalExecutor",
    "slurm": "harness.execution.executors.slurm.executor:SlurmExecutor",
}


def find_executor(name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> Executor:
    """The executor called `name`: a known short name or an import path, made with its `settings` as keyword arguments.
    Raises InputError."""
    found = find_class("executor", "--executor", name, EXECUTORS)
    try:
        made: Executor = found(**settings)
    except TypeError as error:
        raise InputError(f"--executor {name}: {error} (settings: {', '.join(settings) or 'none'}).") from error
    return made


class RepeatedExecution:
    """The execution in `home`, gone on with or begun, which is begun once more where it was lost: what watched it was ended
    from outside (a session's end, a system without memory), which says nothing of what was executed. One that is preempted
    is begun again however often that happens."""

    def __init__(self, executor: Executor, home: Path, begin: Callable[[], Execution]) -> None:
        """`begin` submits it to `home`, in place of what may be there."""
        self._begin = begin
        self._is_second = home.with_name("begun_again")
        self._execution = (executor.attach(home) if home.exists() else None) or begin()

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        """See the protocol. What is lost a second time was killed."""
        while True:
            outcome = self._execution.wait(tick, stop)
            if outcome.ended not in ("lost", "preempted"):
                return outcome
            was_lost = self._is_second.exists()
            if stop() or (outcome.ended == "lost" and was_lost):
                return replace(outcome, ended="stopped" if stop() else "killed")
            self._execution = self._begin()
            if outcome.ended == "lost" or was_lost:
                self._is_second.touch()  # last, because `begin` may remove it
