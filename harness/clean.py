"""`harness clean`: what campaigns, working copies and caches take on disk, and removing what a person names.

Nothing outside the folders listed here is touched: links are removed, never followed.
"""

from __future__ import annotations

import fcntl
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from .agents.environment import cache_folder
from .errors import CannotGoOn
from .executors.disk import disk_usage
from .executors.home import Home
from .journal import locked
from .layout import RUNS, Layout, layouts

Kind = Literal["campaign", "working copies", "environment"]

ABOUT: dict[Kind, str] = {
    "campaign": "the record of an idea: nothing makes it again",
    "working copies": "what a step left that was cut off; `harness resume` begins that step again without them",
    "environment": "an agent's packages; made again when they are needed",
}
"""What is lost with an item, for the person who is asked."""


@dataclass(frozen=True)
class Item:
    """Something on disk that can be removed. `size` in bytes, `changed` in seconds since the epoch."""

    kind: Kind
    name: str
    path: Path
    """The folder of the campaign (also for its working copies) or of the environment."""
    size: int
    changed: float

    @property
    def parts(self) -> list[Path]:
        """The folders that are removed, or what is left of them."""
        return _working_copies(self.path) if self.kind == "working copies" else [self.path]

    @property
    def in_use(self) -> str:
        """Who needs it now, for a person; empty when it can be removed."""
        if self.path.is_symlink():
            return f"is a link to {self.path.resolve()}; remove it there"
        if self.kind == "environment":
            return _environment_in_use(self.path)
        if (self.path / ".harness").is_symlink():
            return "its .harness is a link, which the harness never makes"
        if Layout(self.path).is_running():
            return "a process runs this campaign; `harness status` shows where it is"
        for home in (copy / "job" for copy in _working_copies(self.path)):
            if Home(home).is_alive():
                return "its experiment still runs; `harness resume` goes on with it"
        return ""


def usage(runs: Path = RUNS) -> list[Item]:
    """What there is: the campaigns in `runs`, the working copies in them, the environments in the cache. Reads only."""
    items: list[Item] = []
    for campaign in layouts(runs):
        changed = (campaign.journal if campaign.journal.exists() else campaign.options_file).stat().st_mtime
        is_link = campaign.root.is_symlink()
        size = 0 if is_link else disk_usage([campaign.root])
        items.append(Item("campaign", campaign.name, campaign.root, size, changed))
        copies = [] if is_link else _working_copies(campaign.root)
        if copies:
            items.append(Item("working copies", campaign.name, campaign.root, disk_usage(copies), changed))
    for folder in sorted(cache_folder().glob("aider-*")):
        if folder.is_dir() and not folder.is_symlink():
            items.append(Item("environment", folder.name, folder, disk_usage([folder]), folder.stat().st_mtime))
    return items


def remove(item: Item) -> None:
    """Remove `item`. Raises CannotGoOn when it is in use, or cannot be removed; then what is left stays listed."""
    if reason := item.in_use:
        raise CannotGoOn(f"{item.path}: not removed: {reason}.")
    with ExitStack() as held:
        if item.kind != "environment":
            held.enter_context(locked(Layout(item.path).lock))
        try:
            for part in item.parts:
                _remove(part)
        except OSError as error:
            raise CannotGoOn(f"{error.filename or item.path}: cannot be removed: {error.strerror}.") from error


def _remove(folder: Path) -> None:
    # What makes it count as whole: an environment's mark goes first, a campaign's options last.
    (folder / "complete").unlink(missing_ok=True)
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child.name != "campaign.json":
            child.unlink()
    (folder / "campaign.json").unlink(missing_ok=True)
    folder.rmdir()


def _working_copies(root: Path) -> list[Path]:
    """The folders of executions and of the agent's workspaces that a campaign still has."""
    local = root / ".harness"
    if local.is_symlink() or (local / "executions").is_symlink():
        return []
    found = [*local.glob("executions/*"), *local.glob("workspace_*")]
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _environment_in_use(folder: Path) -> str:
    try:
        with folder.with_name(folder.name + ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        return "another process is making it"
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = process.info["cmdline"]
        if command and Path(command[0]).is_relative_to(folder):
            return f"process {process.info['pid']} uses it"
    return ""
