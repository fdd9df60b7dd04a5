"""Where an agent's workspaces lie: in a folder among the temporary ones, outside the campaign and its project.

No tool that looks for instructions or for a repository in the folders above finds those of the campaign or the project. The
campaign keeps the path: tools bind a conversation to it, and what a killed harness left is found by it.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..campaign import files
from ..campaign.errors import CannotGoOn
from ..campaign.files import write_atomically

PREFIX = "harness-agent-"
_MARKS = (".git", "CLAUDE.md", "AGENTS.md", "GEMINI.md")
"""What tools look for in the folders above the one that they work in."""


@dataclass(frozen=True)
class WorkspaceFolder:
    """The folder of a campaign's workspaces; `local` is the campaign's state on this machine."""

    local: Path

    def begin(self) -> Path:
        """Make the folder, without what an earlier process left in it, at the same path as before where that can be had.
        Raises CannotGoOn, OSError."""
        self.remove()
        path = self._recorded()
        if path is None or path.parent != _temporary() or os.path.lexists(path):
            path = _temporary() / f"{PREFIX}{secrets.token_hex(4)}"
        # Before it is made: else a crash would leave a folder that nobody knows.
        write_atomically(self._file, json.dumps({"path": str(path)}))
        path.mkdir(mode=0o700)
        return path

    def make_room(self, run: int) -> Path:
        """Where in it the workspace of `run` is to be made: neither that nor another run's is there. Raises CannotGoOn."""
        path = self._recorded()
        assert path is not None
        if why := files.remove(*path.glob("run_*")):
            raise CannotGoOn(f"{path}: what the agent left cannot be removed: {why} Remove the folder and resume.")
        return path / f"run_{run}"

    def left(self) -> Path | None:
        """The folder, while it is there."""
        path = self._recorded()
        return path if path and _is_ours(path) else None

    def remove(self) -> None:
        """Remove the folder with all that the agent left in it. Raises CannotGoOn."""
        left = self.left()
        if left and (why := files.remove(left)):
            raise CannotGoOn(f"{left}: what the agent left cannot be removed: {why} Remove the folder and resume.")

    @property
    def _file(self) -> Path:
        return self.local / "workspace.json"

    def _recorded(self) -> Path | None:
        try:
            path = Path(json.loads(self._file.read_text(encoding="utf-8"))["path"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return path if path.is_absolute() and path.name.startswith(PREFIX) else None


def _is_ours(path: Path) -> bool:
    """Whether it is a folder of this user's: everybody may make one among the temporary ones."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _temporary() -> Path:
    """A folder for temporary files in which, and above which, no tool finds instructions or a repository."""
    folders = [Path(folder).resolve() for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp")]
    for folder in folders:
        above = (folder, *folder.parents)
        if os.access(folder, os.W_OK | os.X_OK) and not any((each / mark).exists() for each in above for mark in _MARKS):
            return folder
    return folders[0]
