"""The folder of an execution that is a job of Slurm's, on a file system that the nodes share.

Locks do not hold over NFS, so nothing here is one: a rename, which is atomic there too, says who executes, and a file that
is touched again and again says that it goes on.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..home import Home

BEAT = 5.0
"""Seconds between two heartbeats."""
_NAME = "harness-"


class SlurmHome(Home):
    """Paths of one. `mark` is unique to the submission."""

    def __init__(self, path: Path, mark: str) -> None:
        super().__init__(path)
        self.mark = mark
        self.name = f"{_NAME}{mark}"
        """Of the job: by it alone the execution is found in Slurm."""
        self.script = path / "sbatch.sh"
        self.number = path / "job"
        """Of the job, once Slurm has told it."""
        self.node = path / "node.json"
        self.put_back = path / "put_back"
        """Is there where Slurm put the job back into its queue, and had it begin a second time."""
        self._unclaimed = path / f"unclaimed-{mark}"
        self._claimed = path / f"claimed-{mark}"

    @classmethod
    def found(cls, path: Path) -> SlurmHome | None:
        """That of the job that was submitted, or was about to be; None where there is none."""
        if not (path / "spec.json").exists() or not (path / "sbatch.sh").exists():
            return None
        return cls(path, Home(path).read_spec().mark)

    def offer(self) -> None:
        """Let a job claim the execution."""
        self._unclaimed.touch()

    def claim(self) -> bool:
        """Take the execution for this process; False where another has it, or nobody is to have it."""
        try:
            self._unclaimed.rename(self._claimed)
        except FileNotFoundError:
            return False
        return True

    def is_claimed(self) -> bool:
        return self._claimed.exists()

    def give_up(self) -> bool:
        """Let no job claim the execution; False where one had it before."""
        with suppress(FileNotFoundError):
            self._unclaimed.unlink()
        return not self.is_claimed()

    def beat(self) -> None:
        with suppress(OSError):  # a full disk must not end what may free it
            self.heartbeat.touch()

    def read_node(self) -> dict[str, Any]:
        """Where it is executed, as the job says: `node`, `job` and `gpus`; empty where it has not said it yet."""
        try:
            found: dict[str, Any] = json.loads(self.node.read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError):
            return {}

    def seconds(self) -> float:
        """For how long it has been executed, as far as heartbeats tell."""
        try:
            return max(0.0, self.last_beat() - self._claimed.stat().st_ctime)
        except OSError:
            return 0.0

    def complaint(self) -> str:
        """The last line that the job itself printed."""
        try:
            text = self.complaints.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return re.sub(r"^slurmstepd: error: ", "", lines[-1]) if lines else ""
