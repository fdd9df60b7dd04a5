"""A run's own code, which answers a scorer: where what it handed over is not all data, and the contract allows that.

It is executed like an experiment, from the run's commit: without keys, without results of others, and without a network,
where the system can hold it to that. The scorer asks through a socket in its folder and runs nothing of it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from ..campaign.files import remove
from ..campaign.protocols import HANDED, Executor, Job


class ServedCode:
    """Runs from when it is made to `end`."""

    def __init__(self, executor: Executor, place: Path, job: Job, make: Callable[[], None], handed: Path) -> None:
        """`place` is a folder for it alone, and the job's folder in it, which `make` makes. What is there already is gone on
        with."""
        self.folder, self._place = job.folder, place
        home = place / "job"
        execution = executor.attach(home) if home.exists() else None
        if execution is None:
            remove(place)
            make()
            # A copy: what is scored must stay as it was handed over, whatever the code does to its own.
            shutil.copytree(handed, job.folder / HANDED)
            (job.scratch / "home").mkdir(parents=True)
            execution = executor.submit(job, home)
        self._execution = execution

    def end(self, patience: float) -> str:
        """End it, unless it ends in `patience` seconds. Returns why it had ended by itself, in a sentence, "" where it had
        not."""
        until = time.monotonic() + patience
        outcome = self._execution.wait(lambda line: None, lambda: time.monotonic() >= until)
        remove(self._place)
        return "" if outcome.ended == "stopped" else outcome.why
