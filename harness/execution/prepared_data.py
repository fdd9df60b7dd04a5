"""What executions and scorings read besides what they are given: files with checksums, and whether they still are that.

A checksum is compared where a file's size, inode or time of change is another one than before; no process can set the last.
So a look costs next to nothing, whatever the size of the files, and a touched file is no changed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..campaign.errors import CannotGoOn

LEFT = (".new", ".removed", ".lock")
"""How names end that belong to somebody who is making or removing something."""

Stamp = tuple[int, int, int]


class PreparedData:
    """Files by path, as they are when this is made."""

    def __init__(self, checksums: Mapping[str, str]) -> None:
        """`checksums` are SHA-256 by absolute path."""
        self._checksums = {Path(path): checksum for path, checksum in checksums.items()}
        self._stamps = {path: _stamp(path) for path in self._checksums}
        self._names = {folder: _names(folder) for folder in {path.parent for path in self._checksums}}
        self._looking = threading.Lock()
        self._altered: Path | None = None
        self._scorers = 0

    @classmethod
    def read(cls, file: Path) -> PreparedData:
        """Those that a process has written down as JSON, path and checksum; none where it has written nothing. Raises
        CannotGoOn."""
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls({str(path): str(checksum) for path, checksum in found.items()})
        except FileNotFoundError:
            return cls({})
        except (ValueError, AttributeError) as error:
            raise CannotGoOn(f"{file.name}: expected a JSON object of paths and checksums: {error}") from error

    @property
    def digest(self) -> str:
        """Of all contents, wherever they lie; "" for no file."""
        contents = "".join(sorted(self._checksums.values()))
        return hashlib.sha256(contents.encode()).hexdigest() if contents else ""

    @contextmanager
    def scored(self) -> Iterator[None]:
        """While the block runs a scorer may be putting files beside these."""
        with self._looking:
            self._scorers += 1
        try:
            yield
        finally:
            with self._looking:
                self._scorers -= 1

    def altered(self, *, joined: bool) -> Path | None:
        """The first file that is another one now or is gone, or with `joined` one that has come into a folder with others:
        where no scorer is at work, only an experiment could put it there. It stays what is found once, because all that read
        these files at the time cannot be told apart."""
        with self._looking:
            new = self._joined() if not (joined and self._scorers) else None
            self._altered = self._altered or self._changed() or (new if joined else None)
            return self._altered

    def _changed(self) -> Path | None:
        for path, checksum in self._checksums.items():
            stamp = _stamp(path)
            if stamp is None or stamp != self._stamps[path]:
                if _sha256(path) != checksum:
                    return path
                # Touched and still the same: remembered, so that the next look costs nothing again.
                self._stamps[path] = stamp
        return None

    def _joined(self) -> Path | None:
        """The next time it is no new one."""
        found = [folder / name for folder, names in self._names.items() for name in sorted(_names(folder) - names)]
        self._names = {folder: _names(folder) for folder in self._names}
        return found[0] if found else None


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_ino, status.st_ctime_ns


def _names(folder: Path) -> set[str]:
    """Of what is in the folder and no folder itself."""
    try:
        with os.scandir(folder) as entries:
            return {e.name for e in entries if not e.is_dir(follow_symlinks=False) and not e.name.endswith(LEFT)}
    except OSError:
        return set()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
