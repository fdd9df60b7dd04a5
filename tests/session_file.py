"""Recorded sessions for tests, written turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.agents.chat_history import render_turn


def append_turn(path: Path, label: str | None, prompt: str, replies: Sequence[str]) -> None:
    """Add a turn to the session in `path`, which is made where it is missing."""
    with path.open("ab") as file:
        file.write(render_turn(label, prompt, replies).encode("utf-8", "replace"))
