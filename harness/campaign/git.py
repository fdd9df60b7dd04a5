"""git as a process: in an environment in which no setting, hook, filter or variable of a person's has a part."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import CannotGoOn

NAME = "harness"
EMAIL = f"{NAME}@localhost"
"""The author of each commit of ours, by which it is told from a person's."""
_PAUSES = (0.05, 0.2, 0.5)
"""Seconds before each further try of a call that failed: an editor's `git status` holds a lock for an instant."""
_SETTINGS = {"core.hooksPath": os.devnull, "core.fsmonitor": "false", "core.quotePath": "false", "core.fsync": "reference"}


class Git:
    """The git of the repository in `root`, which uses the index in `index`."""

    def __init__(self, root: Path, index: Path) -> None:
        self._root = root
        folder = root / ".git"
        # Otherwise a person's hook, editor or shell could send git elsewhere, or have it run a program of theirs.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
            "GIT_DIR": str(folder),
            "GIT_WORK_TREE": str(root),
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
            **{f"GIT_CONFIG_KEY_{i}": key for i, key in enumerate(_SETTINGS)},
            **{f"GIT_CONFIG_VALUE_{i}": value for i, value in enumerate(_SETTINGS.values())},
            "GIT_AUTHOR_NAME": NAME,
            "GIT_AUTHOR_EMAIL": EMAIL,
            "GIT_COMMITTER_NAME": NAME,
            "GIT_COMMITTER_EMAIL": EMAIL,
            "GIT_LITERAL_PATHSPECS": "1",  # a file may be called `:(glob)x.txt`
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C.UTF-8",
        }

    def text(self, *arguments: str, stdin: str | bytes | None = None) -> str:
        """What a command prints, without the last newline."""
        return self.output(*arguments, stdin=stdin).decode(errors="surrogateescape").removesuffix("\n")

    def output(
        self, *arguments: str, stdin: str | bytes | None = None, pauses: Sequence[float] = _PAUSES, **environment: str
    ) -> bytes:
        """What a command prints. One that fails is tried again: each that the harness uses may be. Raises CannotGoOn."""
        done = self.once(*arguments, stdin=stdin, **environment)
        for pause in pauses:
            if done.returncode == 0:
                break
            time.sleep(pause)
            done = self.once(*arguments, stdin=stdin, **environment)
        if done.returncode == 0:
            return done.stdout
        problem = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise CannotGoOn(f"{self._root}: git {arguments[0]} failed: {problem}")

    def once(
        self, *arguments: str, stdin: str | bytes | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """A command, tried once."""
        # A file and no pipe: git can write before it has read all, and two full pipes would wait for each other.
        with tempfile.TemporaryFile() as file:
            if stdin is not None:
                file.write(stdin if isinstance(stdin, bytes) else stdin.encode(errors="surrogateescape"))
                file.seek(0)
            try:
                return subprocess.run(
                    ["git", *arguments],
                    cwd=self._root,
                    env=self._environment | environment,
                    stdin=file,
                    capture_output=True,
                    check=False,
                )
            except FileNotFoundError:
                raise CannotGoOn("git is not installed or not on PATH; install git 2.28 or newer.") from None
