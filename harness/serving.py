"""A run's own code, which answers a scorer: where what it handed over is not all data, and the contract allows that.

It is executed like an experiment, from the run's commit: without keys, without results of others, and without a network,
where the system can hold it to that. The scorer asks through a socket in its folder and runs nothing of it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from .executors import Executor, Job
from .folders import remove

NOT_EXPORTED = "not_exported.txt"
"""A file with this name says in what is handed over that something of it is not data, and why."""
SERVES = "HARNESS_SERVES"
"""Tells an experiment that its code may be served."""
SERVER = "HARNESS_SERVER"
"""Tells a scorer the folder with the socket."""
HANDED = "handed"
"""What was handed over, in the folder of the code."""


class Serving:
    """Runs from when it is made to `end`."""

    def __init__(self, executor: Executor, place: Path, job: Job, code: Mapping[str, bytes], handed: Path) -> None:
        """`place` is a folder for it alone, and the job's folder in it. One that is there already is gone on with."""
        self.folder, self._place = job.folder, place
        home = place / "job"
        execution = executor.attach(home) if home.exists() else None
        if execution is None:
            remove(place)
            for path, content in code.items():
                file = job.folder / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            shutil.copytree(handed, job.folder / HANDED)
            for name in ("home", "tmp"):
                (job.scratch / name).mkdir(parents=True)
            execution = executor.submit(job, home)
        self._execution = execution

    def end(self, patience: float) -> str:
        """End it, unless it ends in `patience` seconds. Returns why it had ended by itself, in a sentence, "" where it had
        not."""
        until = time.monotonic() + patience
        outcome = self._execution.wait(lambda line: None, lambda: time.monotonic() >= until)
        remove(self._place)
        return "" if outcome.ended == "stopped" else outcome.why
