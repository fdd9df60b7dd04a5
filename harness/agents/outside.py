"""The agent `outside`: somebody else edits, a person or an agent of theirs, and hands each change in (`harness try`).

To the loop it is an agent like any other, whose turn is there already: its edits go into the workspace, where they are
compared as all edits are, and what was said beside them is its answer. It runs no process, and nothing holds whoever drives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..campaign.not_confined import NOT_CONFINED
from ..campaign.protocols import AgentConfig, Reply, Workspace
from .submission import Submission, Waiting

OUTSIDE = "outside"


class OutsideAgent:
    """Answers with what was handed in."""

    def __init__(self, config: AgentConfig) -> None:
        self._file = config.submission

    def check(self) -> str:
        return "driven from outside: each change is handed in (`harness try`); whoever makes it is not in the sandbox"

    def open(self, workspace: Workspace, history: Any = None) -> _Handover:
        return _Handover(workspace, self._file)

    def close(self) -> None:
        """There is no process."""


class _Handover:
    def __init__(self, workspace: Workspace, file: Path | None) -> None:
        self._workspace, self._file = workspace, file

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        submission = Submission.read(self._file) if self._file else None
        if submission is None:
            raise Waiting("Nothing is handed in.")
        for path, content in submission.files.items():
            file = self._workspace.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        words = submission.words
        said = words.text
        may_edit = " and ".join(self._workspace.editable)
        said_of = "new, and no run has it; code that a run needs goes into"
        left_out = tuple(f"{path}: {said_of} {may_edit}" for path in submission.left_out)
        driver = words.driver or OUTSIDE
        return Reply(said, words.usage, replies=(said,), agent=driver, sandbox=NOT_CONFINED, warnings=left_out)

    def close(self) -> None:
        """There is no conversation."""
