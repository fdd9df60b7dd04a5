"""How much folders take on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_LEAST = 4096


def disk_usage(folders: Iterable[Path]) -> int:
    """Bytes that files and folders beneath take on disk, each once, and each at least what a file of one byte takes: a file
    without content costs as well. Links are not followed; what cannot be read counts nothing."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting: list[str] = [str(folder) for folder in folders]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    # A file with several names, and a folder inside another of `folders`, are met more than once.
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    # Units of 512 bytes whatever the file system's own (stat(2)); holes of sparse files take none.
                    total += max(status.st_blocks * 512, _LEAST)
        except OSError:
            continue
    return total
