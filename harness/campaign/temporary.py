"""Folders for temporary files, of which none stays for good: what a process that was killed left is removed by the next."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .files import remove

_PREFIX = "harness-temporary-"
_YOUNG = 60.0
"""Seconds in which whoever made a folder has surely locked it."""


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """One among the temporary files, or in `place`, that is locked for as long as its process lives."""

    def __init__(self, place: Path | None = None) -> None:
        super().__init__(prefix=_PREFIX, dir=place)
        self._lock = os.open(self.name, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: it is left alone then
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def cleanup(self) -> None:
        super().cleanup()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def remove_left(place: Path | None = None) -> None:
    """Remove those that nobody holds any more."""
    for folder in (place or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > _YOUNG and _is_free(folder):
                remove(folder)


def _is_free(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
