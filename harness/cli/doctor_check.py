"""One check of `harness doctor`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "warning", "fail"]


@dataclass(frozen=True)
class Check:
    """What was found. `todo` says what a person does about it, where there is something to do."""

    name: str
    state: State
    detail: str
    todo: str = ""


def output(
    command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None, seconds: float = 120
) -> str:
    """What a command prints. Raises OSError and subprocess.SubprocessError."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=True,
    )
    return done.stdout
