"""git as a process: in an environment in which no setting, hook, filter or variable of a person's has a part."""

from __future__ import annotations

import os
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
_LOCK_ENDS = 0.8
"""Seconds in which a git that lives, a person's own, has let go of a lock."""
_SETTINGS = {"core.hooksPath": os.devnull, "core.fsmonitor": "false", "core.quotePath": "false", "core.fsync": "reference"}

NO_FETCH = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""For any git in a repository of somebody else: of an object that is missing its settings could name a remote that has it,
and the program that git then starts (the second needs git 2.44)."""


class GitKilled(CannotGoOn):
    """A git was killed, and so was each that tried again."""


class Git:
    """The git of the repository in `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        folder = root / ".git"
        # Otherwise the environment and settings of a person could send git elsewhere, or have it run a program of theirs.
        self._environment = {
            "GIT_DIR": str(folder),
            "GIT_WORK_TREE": str(root),
            "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_PARAMETERS": "",
            "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
            **{f"GIT_CONFIG_KEY_{i}": key for i, key in enumerate(_SETTINGS)},
            **{f"GIT_CONFIG_VALUE_{i}": value for i, value in enumerate(_SETTINGS.values())},
            "GIT_AUTHOR_NAME": NAME,
            "GIT_AUTHOR_EMAIL": EMAIL,
            "GIT_COMMITTER_NAME": NAME,
            "GIT_COMMITTER_EMAIL": EMAIL,
            "GIT_LITERAL_PATHSPECS": "1",  # a file may be called `:(glob)x.txt`
            "GIT_TERMINAL_PROMPT": "0",
            **NO_FETCH,
        }

    def text(self, *arguments: str) -> str:
        """What a command prints, without the last newline."""
        return self.output(*arguments).decode(errors="surrogateescape").removesuffix("\n")

    def output(
        self, *arguments: str, stdin: str | None = None, pauses: Sequence[float] = _PAUSES, **environment: str
    ) -> bytes:
        """What a command prints. One that fails is tried again: each that the harness uses may be.

        Raises CannotGoOn, and GitKilled.
        """
        code, out, problem = self.once(*arguments, stdin=stdin, **environment)
        for pause in pauses:
            if code == 0:
                break
            if code < 0:  # it was killed, and what it had locked is locked still
                self.remove_locks(
                    *([self._environment["GIT_INDEX_FILE"]] if arguments[0] in ("read-tree", "update-index") else [])
                )
            time.sleep(pause)
            code, out, problem = self.once(*arguments, stdin=stdin, **environment)
        if code == 0:
            return out
        if not Path(self._environment["GIT_DIR"]).is_dir():
            raise CannotGoOn(f"{self._root}: its git repository, .git, is missing. Put it back from a copy of the campaign.")
        raise (GitKilled if code < 0 else CannotGoOn)(
            f"{self._root}: git {arguments[0]} failed: {problem.strip() or f'exit code {code}'}"
        )

    def remove_locks(self, *indexes: str | Path) -> None:
        """Remove what a git that was killed had locked: branches and these indexes."""
        folder = self._root / ".git"
        branches = [lock for lock in (*folder.glob("*.lock"), *folder.glob("refs/**/*.lock")) if lock.name != "index.lock"]
        locks = [*branches, *(Path(f"{index}.lock") for index in indexes)]
        until = time.monotonic() + _LOCK_ENDS
        while any(lock.exists() for lock in locks) and time.monotonic() < until:
            time.sleep(0.05)
        for lock in locks:
            lock.unlink(missing_ok=True)

    def once(self, *arguments: str, stdin: str | None = None, **environment: str) -> tuple[int, bytes, str]:
        """A command, tried once: its exit code, what it printed and what it complained of."""
        # Here, because its import takes a third of what a command may take that looks at a campaign and needs no git.
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # without git the message is ours, not a traceback on import
        try:
            import git
        except ModuleNotFoundError:
            raise
        except ImportError as error:  # it calls git once when it is imported, and that one can be killed like any other
            return 1, b"", str(error)
        # A person's hook, editor or shell may have set more of them than can be named, for another repository than this one.
        others = [name for name in os.environ if name.startswith("GIT_") and not name.startswith("GIT_PYTHON_")]
        foreign = [name for name in others if name not in self._environment]
        without = ["env", *(part for name in foreign for part in ("-u", name))] if foreign else []
        # A file and no pipe: git can write before it has read all, and two full pipes would wait for each other.
        with tempfile.TemporaryFile() as file:
            if stdin is not None:
                file.write(stdin.encode(errors="surrogateescape"))
                file.seek(0)
            try:
                found: tuple[int, bytes, str] = git.Git(str(self._root)).execute(
                    [*without, "git", *arguments],
                    istream=file,
                    env=self._environment | environment,
                    with_extended_output=True,
                    with_exceptions=False,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                )
            except git.GitCommandNotFound:
                raise CannotGoOn("git is not installed or not on PATH; install git 2.28 or newer.") from None
        return found
