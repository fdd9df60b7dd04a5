"""Folders in which a program had a free hand: looked through, made readable and removed, whatever it left there.

No link is followed, and nothing here recurses: folders thousands deep would end that, as they end shutil.rmtree.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """The regular files, in order, without those that `look_through` does not come to."""
    return look_through(folder)[0]


def look_through(folder: Path) -> tuple[list[Path], list[Path]]:
    """The regular files, in order, and the folders that cannot be looked into, because their path is too long."""
    found: list[Path] = []
    closed: list[Path] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        found.append(Path(entry.path))
        except OSError:
            closed.append(place)
    return sorted(found), closed


def unlock(*folders: Path) -> None:
    """Let the owner read and write again what somebody took the permissions of."""
    own = [str(folder) for folder in folders if not folder.is_symlink()]
    subprocess.run(["chmod", "-R", "u+rwX", "--", *own], check=False, stderr=subprocess.DEVNULL)


def remove(*folders: Path) -> str:
    """Remove folders with all that is in them. Returns why one could not be, "" where all are gone."""
    there = [folder for folder in folders if os.path.lexists(folder)]
    if not there or not _rm(there):
        return ""
    unlock(*there)
    return _rm(there)


def _rm(folders: list[Path]) -> str:
    done = subprocess.run(["rm", "-rf", "--", *map(str, folders)], check=False, stderr=subprocess.PIPE)
    return done.stderr.decode(errors="replace").strip()[:500] if done.returncode else ""
