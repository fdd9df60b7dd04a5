"""A command at a terminal, as a person has one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.waiting import HANGS

MAIN = "from harness.cli.main import main; main()"


def at_terminal(*arguments: object, answer: str = "", code: str = MAIN, **environment: str) -> tuple[int, str]:
    """`harness` with these arguments, and `answer` typed: its exit code and what the terminal was sent."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = str(Path(__file__).parent.parent)
    unset = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PAGER", "GIT_PAGER", "LESS")}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=unset | {"PYTHONPATH": root, "TERM": "xterm", "GIT_CONFIG_GLOBAL": os.devnull} | environment,
    )
    os.close(theirs)
    if answer:
        os.write(ours, f"{answer}\n".encode())
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:
        pass  # nobody has the other end any more
    os.close(ours)
    return process.wait(timeout=HANGS), said.decode().replace("\r\n", "\n")
