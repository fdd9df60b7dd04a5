"""The output of an execution: any bytes, kept in bounded space, its beginning and its end.

While it grows, `log.txt` holds the first HEAD bytes and segments of SEGMENT bytes beside it hold the end; a segment's name
tells where in the output it starts. When all is over `join` makes one file of them.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .home import LOG

HEAD = 1_000_000
SEGMENT = 2_000_000
_SEGMENTS = 2

_NEAR_END = 64 * 1024
_LAST_WORDS = 4000
_LONGEST_LINE = 1000

_ERASE = re.compile(r"\x1b\[[012]?K")
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]")
_RAISED = re.compile(r"^(?:\[\w+\]: ?)?[A-Za-z_][\w.]*(?::.*)?$", re.M)


class OutputWriter:
    """Writes what arrives. `total` counts all of it, also what is not kept; `fault` says why nothing is kept any more."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = os.open(home / LOG, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._full_at = HEAD
        self.total = 0
        self.fault = ""

    def write(self, data: bytes) -> None:
        self.total += len(data)
        start = self.total - len(data)
        while data and not self.fault:
            try:
                if start == self._full_at:
                    self._next_segment()
                written = os.write(self._file, data[: self._full_at - start])
            except OSError as error:
                self.fault = error.strerror or str(error)
                return
            start += written
            data = data[written:]

    def close(self) -> None:
        os.close(self._file)
        try:
            join(self._home)
        except OSError as error:
            self.fault = error.strerror or str(error)

    def _next_segment(self) -> None:
        # Before the next is begun, so that never more than HEAD and two segments are on the disk.
        for old in _segments(self._home)[: 1 - _SEGMENTS]:
            old.unlink()
        os.close(self._file)
        segment = self._home / f"{LOG}.{self._full_at}"
        self._file = os.open(segment, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._full_at += SEGMENT


def join(home: Path) -> None:
    """Make one `log.txt` of beginning and end, with a line between them that says how many bytes are left out.

    Safe to repeat after it was interrupted.
    """
    segments = _segments(home)
    log = home / LOG
    # A longer one was joined already, and only the removal of its segments was cut off.
    if segments and log.stat().st_size <= HEAD:
        beside = home / f"{LOG}.new"
        with beside.open("wb") as whole:
            for part in (log, *segments):
                if part == segments[0] and (left_out := _start(part) - HEAD):
                    whole.write(f"\n[... {left_out} bytes of output are left out here ...]\n".encode())
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole)
        beside.replace(log)
    for segment in segments:
        segment.unlink()


def end_of_output(home: Path, size: int = _NEAR_END) -> bytes:
    """The last bytes of the output, at any time."""
    end = b""
    try:
        for part in reversed([home / LOG, *_segments(home)]):
            with part.open("rb") as file:
                file.seek(max(0, part.stat().st_size - (size - len(end))))
                end = file.read() + end
            if len(end) >= size:
                break
    except FileNotFoundError:
        # It is being joined, or a segment has just been replaced: what was read so far is the end all the same.
        return end
    return end


def last_line(output: bytes) -> str:
    """The last line that is not empty, as a terminal would show it."""
    for raw in reversed(output.decode("utf-8", "replace").split("\n")):
        shown = ""
        for part in raw.split("\r"):
            # A carriage return goes back to the start of the line; what is written then covers only as much as it is long.
            erases = _ERASE.search(part) is not None
            text = _ESCAPE.sub("", part)
            shown = text if erases else text + shown[len(text) :]
        shown = "".join(char if char.isprintable() else " " for char in shown).strip()
        if shown:
            return shown[:_LONGEST_LINE]
    return ""


def last_error(output: bytes) -> str:
    """The exception that a Python program ended with, or else the last line."""
    text = output.decode("utf-8", "replace")
    _, traceback, after = text.rpartition("Traceback (most recent call last):")
    # Its first line: what follows is the rest of a long message, or was printed later.
    if traceback and (raised := _RAISED.search(after)) and len(after) - raised.start() < _LAST_WORDS:
        return last_line(raised[0].encode())
    return last_line(output)


def _segments(home: Path) -> list[Path]:
    return sorted((path for path in home.glob(f"{LOG}.*") if path.suffix[1:].isdigit()), key=_start)


def _start(segment: Path) -> int:
    return int(segment.suffix[1:])
