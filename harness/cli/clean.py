"""`harness clean`: what campaigns and working copies take on disk, and removing what a person names.

Nothing outside the folders listed here is touched: links are removed, never followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..agents.workspace_folder import WorkspaceFolder
from ..campaign import files as folders
from ..campaign.errors import CannotGoOn
from ..campaign.journal import locked
from ..campaign.layout import RUNS, Layout, layouts
from ..execution.executors.disk import disk_usage
from ..execution.executors.home import Home

Kind = Literal["campaign", "working copies"]

ABOUT: dict[Kind, str] = {
    "campaign": "the record of an idea, which cannot be made again",
    "working copies": "what an interrupted step left; `harness resume` begins that step again without it",
}
"""What is lost with an item, for the person who is asked."""


@dataclass(frozen=True)
class Item:
    """Something on disk that can be removed. `size` in bytes, `changed` in seconds since the epoch."""

    kind: Kind
    name: str
    path: Path
    """The folder of the campaign, also for its working copies."""
    size: int
    changed: float

    @property
    def parts(self) -> list[Path]:
        """The folders that are removed, or what is left of them."""
        copies = _working_copies(self.path)
        return copies if self.kind == "working copies" else [*copies, self.path]

    @property
    def in_use(self) -> str:
        """Who needs it now, for a person; empty when it can be removed."""
        if self.path.is_symlink():
            return f"is a link to {self.path.resolve()}; remove it there"
        if (self.path / ".harness").is_symlink():
            return "its .harness is a link, which the harness never makes"
        if Layout(self.path).is_running():
            return "a process runs this campaign; `harness status` shows where it is"
        for home in (copy / "job" for copy in _working_copies(self.path)):
            if Home(home).is_alive():
                return "its experiment still runs; `harness resume` goes on with it"
        return ""


def usage(runs: Path = RUNS) -> list[Item]:
    """What there is: the campaigns in `runs` and the working copies in them. Reads only."""
    return [item for campaign in layouts(runs) for item in items_of(campaign)]


def items_of(campaign: Layout) -> list[Item]:
    """The campaign, and its working copies where it has some."""
    changed = (campaign.journal if campaign.journal.exists() else campaign.options_file).stat().st_mtime
    is_link = campaign.root.is_symlink()
    size = 0 if is_link else disk_usage([campaign.root])
    copies = [] if is_link else _working_copies(campaign.root)
    whole = Item("campaign", campaign.name, campaign.root, size, changed)
    return [whole, *([Item("working copies", campaign.name, campaign.root, disk_usage(copies), changed)] if copies else [])]


def remove(item: Item) -> None:
    """Remove `item`. Raises CannotGoOn when it is in use, or cannot be removed; then what is left stays listed."""
    if reason := item.in_use:
        raise CannotGoOn(f"{item.path}: not removed: {reason}.")
    try:
        why = _remove_locked(item)
    except OSError as error:
        why = f"{error.filename}: {error.strerror}"
    if why:
        raise CannotGoOn(f"{item.path}: cannot be removed: {why}")


def _remove_locked(item: Item) -> str:
    """Returns why it could not be removed."""
    with locked(Layout(item.path).lock):
        # A campaign's options go last: what is left of it stays listed.
        is_campaign = item.kind == "campaign"
        parts = item.parts
        first = [each for each in item.path.iterdir() if each.name != "campaign.json"] if is_campaign else []
        return folders.remove(*first) or folders.remove(*parts)


def _working_copies(root: Path) -> list[Path]:
    """The folders of executions and of the agent's workspace that a campaign still has."""
    local = root / ".harness"
    if local.is_symlink() or (local / "executions").is_symlink():
        return []
    workspace = WorkspaceFolder(local).left()
    found = [*local.glob("executions/*"), *([workspace] if workspace else [])]
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())
