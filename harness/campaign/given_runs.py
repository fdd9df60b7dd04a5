"""Runs that a campaign begins with because a loop of somebody else made them: given, and not executed here.

They lie in the campaign's folder from its beginning: what a run left in `run_i/`, what its loop said of it, and its code, in
one file beside them. `Recorder.record_given` makes records of them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import write_atomically
from .layout import parse_object

FILE = "observed.json"
"""In the campaign's folder."""
THEIR_BASELINE = "baseline_of_the_loop"
"""The folder of what their baseline left, where it is executed here too."""


@dataclass(frozen=True)
class GivenRun:
    """A run as its loop left it. `code` is None where it is not known; the first run is the baseline."""

    name: str
    """As its loop calls it."""
    kept: bool
    """The loop went on from it, where it says so."""
    claim: str
    code: bytes | None
    completed: bool = True
    results: Path | None = None
    """The folder of what it left, while it is taken in."""


@dataclass(frozen=True)
class GivenRuns:
    """Those of one loop, the baseline first. `code_file` is what it edits."""

    loop: str
    code_file: str
    runs: tuple[GivenRun, ...]

    def code_of(self, run: int) -> bytes:
        """What stands in a commit for the run's code."""
        each = self.runs[run]
        return f"# The loop left no code of {each.name}.\n".encode() if each.code is None else each.code

    def write(self, folder: Path) -> None:
        runs = [
            {
                "name": each.name,
                "kept": each.kept,
                "claim": each.claim,
                "completed": each.completed,
                "code": None if each.code is None else base64.b64encode(each.code).decode(),
            }
            for each in self.runs
        ]
        write_atomically(folder / FILE, json.dumps({"loop": self.loop, "code_file": self.code_file, "runs": runs}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> GivenRuns:
        """Raises CannotGoOn."""
        data = parse_object((folder / FILE).read_bytes(), folder / FILE)
        return cls(data["loop"], data["code_file"], tuple(_run(**each) for each in data["runs"]))


def _run(code: str | None, **facts: object) -> GivenRun:
    return GivenRun(code=None if code is None else base64.b64decode(code), **facts)  # type: ignore[arg-type]


def earlier_kept(runs: Sequence[GivenRun], run: int) -> int:
    """The number of the run that the loop had gone on from before this one."""
    return next((number for number in range(run - 1, 0, -1) if runs[number].kept), 0)
