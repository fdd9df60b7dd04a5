"""Files that an execution without a /dev/shm of its own makes in this machine's, which nobody else would count or remove."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ...campaign.files import files_below
from .open_files import Inode, mapped_below, opened
from .sandbox.plan import SHARED_MEMORY


class SharedFiles:
    """Those that were not there before and that a process of the execution was seen to have open or mapped.

    What it makes and closes between two looks is nobody's: other programs of this user make files there too.
    """

    def __init__(self, folder: Path = SHARED_MEMORY) -> None:
        self._folder = folder
        self._before = frozenset(inode for inode, _, _ in self._there())
        self._seen: set[Inode] = set()

    def look(self, told: Collection[str], open_now: Mapping[Inode, os.stat_result]) -> dict[Inode, int]:
        """The bytes that those take which are there, at a look at the processes `told`, of which these files are open."""
        self._seen |= {*open_now, *mapped_below(self._folder, told)} - self._before
        return {inode: status.st_blocks * 512 for inode, _, status in self._there() if inode in self._seen}

    def remove(self) -> None:
        """When no process of the execution is left: those that are this user's and nobody has open."""
        mine = [
            (inode, path) for inode, path, status in self._there() if inode in self._seen and status.st_uid == os.geteuid()
        ]
        if not mine:
            return
        others = [f"/proc/{each.name}" for each in os.scandir("/proc") if each.name.isdigit()]
        used = {*opened(others), *mapped_below(self._folder, others)}
        for inode, path in mine:
            if inode not in used:
                with suppress(OSError):
                    path.unlink()

    def _there(self) -> Iterator[tuple[Inode, Path, os.stat_result]]:
        for path in files_below(self._folder):
            with suppress(OSError):
                status = path.stat(follow_symlinks=False)
                yield Inode(status.st_dev, status.st_ino), path, status
