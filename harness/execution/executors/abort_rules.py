"""The training log of an execution, JSON lines, read while it grows, and the abort rules on it."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path, PurePosixPath

from ...campaign.protocols import AbortRule

_AT_ONCE = 1_000_000
_SHOWN = 40
_AS_IT_IS = os.O_RDONLY | os.O_NOFOLLOW


class TrainingLog:
    """Follows the file. Lines that are no JSON object, or lack a rule's key, say nothing about that rule."""

    def __init__(self, out_dir: Path, name: str, rules: tuple[AbortRule, ...]) -> None:
        self._out_dir, self._path = out_dir, PurePosixPath(name)
        self._bad = dict.fromkeys(rules, 0)
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._line = 0
        self._unfinished = b""

    def read(self) -> tuple[bool, str]:
        """Read what was added: whether anything was, and which rule is broken, in a sentence ("" for none)."""
        added = self._read()
        *lines, self._unfinished = (self._unfinished + added).split(b"\n")
        # A line without end must not fill the supervisor's memory.
        if len(self._unfinished) > _AT_ONCE:
            self._unfinished = b""
        for line in lines:
            self._line += 1
            if broken := self._judge(line):
                return True, broken
        return bool(added), ""

    def _read(self) -> bytes:
        try:
            descriptor = self._open()
        except OSError:
            return b""
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return b""
            # Begun anew: the place in the old file says nothing about this one.
            if status.st_size < self._offset or self._file not in (None, (status.st_dev, status.st_ino)):
                self._offset, self._line, self._unfinished = 0, 0, b""
                self._bad = dict.fromkeys(self._bad, 0)
            self._file = (status.st_dev, status.st_ino)
            file.seek(self._offset)
            # In bounded pieces, because output and limits wait for the supervisor's one thread.
            added = file.read(_AT_ONCE)
        self._offset += len(added)
        return added

    def _open(self) -> int:
        """The experiment can make it anything: a named pipe must not block, and no link on the way lead elsewhere."""
        folder = os.open(self._out_dir, _AS_IT_IS | os.O_DIRECTORY)
        try:
            for part in self._path.parts[:-1]:
                outer, folder = folder, os.open(part, _AS_IT_IS | os.O_DIRECTORY, dir_fd=folder)
                os.close(outer)
            return os.open(self._path.name, _AS_IT_IS | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)

    def _judge(self, line: bytes) -> str:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            return ""
        if not isinstance(values, dict):
            return ""
        for rule in self._bad:
            if rule.key not in values:
                continue
            value = values[rule.key]
            self._bad[rule] = 0 if _is_finite(value) else self._bad[rule] + 1
            if self._bad[rule] >= rule.steps:
                shown = json.dumps(value)
                shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
                where = f"{self._path.name}, line {self._line}: {shown}"
                if rule.steps == 1:
                    return f"{rule.key} is not finite ({where})"
                return f"{rule.key} is not finite in {rule.steps} consecutive lines ({where})"
        return ""


def _is_finite(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
