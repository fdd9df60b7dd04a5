"""Put in front of an experiment's smoke test as `sitecustomize`: notes which of the watched statements run.

It runs in the experiment's Python, with the standard library alone, and leaves the process as it found it but for a trace
function. Each note is in the file at once, so a process that ends by `os._exit` or is killed has left what it ran.
Subprocesses are not watched, nor is Python before 3.10, nor what runs after another trace function took this one's place.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from types import CodeType, FrameType
from typing import Any

WANTED = "wanted.json"
RAN = "ran"
SEEN = "seen"


class Watch:
    """Notes the first time that each statement runs, and ends when all have."""

    def __init__(self, folder: str) -> None:
        with open(os.path.join(folder, WANTED), encoding="utf-8") as file:
            wanted = json.load(file)  # absolute path: [[first line, last line], ...]
        self.number = {path: i for i, path in enumerate(wanted)}
        self.left = {path: set(range(len(statements))) for path, statements in wanted.items()}
        self.owner = {
            path: {line: i for i, (first, last) in enumerate(statements) for line in range(first, last + 1)}
            for path, statements in wanted.items()
        }
        self.names = {os.path.basename(path) for path in wanted}
        self.paths: dict[str, str] = {}
        self.codes: dict[CodeType, set[int]] = {}
        self.seen: set[str] = set()
        self.ran = os.path.join(folder, RAN)
        self.os = os  # a module's names are gone before the last frames are

    def begin(self) -> None:
        threading.settrace(self.call)
        sys.settrace(self.call)

    def end(self) -> None:
        threading.settrace(None)
        sys.settrace(None)

    def call(self, frame: FrameType, event: str, arg: Any) -> Any:
        path = self.path_of(frame.f_code.co_filename)
        if not path:
            return None
        if path not in self.seen:
            self.seen.add(path)
            self.note(path, SEEN)
        code = frame.f_code
        if code not in self.codes:
            owner = self.owner[path]
            self.codes[code] = {owner[line] for _, _, line in code.co_lines() if line in owner}
        return None if self.codes[code].isdisjoint(self.left[path]) else self.line

    def line(self, frame: FrameType, event: str, arg: Any) -> Any:
        path = self.path_of(frame.f_code.co_filename)
        left, statement = self.left[path], self.owner[path].get(frame.f_lineno)
        if event == "line" and statement in left:
            left.discard(statement)
            self.note(path, statement)
            if self.codes[frame.f_code].isdisjoint(left):
                frame.f_trace_lines = False
            if not any(self.left.values()):
                self.end()
        return self.line

    def path_of(self, name: str) -> str:
        """The watched file that code is of, or ""."""
        if name not in self.paths:
            real = self.os.path.realpath(name) if self.os.path.basename(name) in self.names else ""
            self.paths[name] = real if real in self.owner else ""
        return self.paths[name]

    def note(self, path: str, what: str | int) -> None:
        try:
            file = self.os.open(self.ran, self.os.O_WRONLY | self.os.O_APPEND | self.os.O_CREAT, 0o600)
            try:
                self.os.write(file, f"{self.number[path]} {what}\n".encode("ascii"))
            finally:
                self.os.close(file)
        except OSError:
            self.end()


def leave_no_trace(folder: str) -> None:
    """Give the process the search path, the environment and the `sitecustomize` that it would have had."""
    rest = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path != folder]
    os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    if not rest:
        del os.environ["PYTHONPATH"]
    sys.path.remove(folder)
    mine = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", mine)


if __name__ == "sitecustomize":
    place = os.path.dirname(os.path.abspath(__file__))
    leave_no_trace(place)
    if sys.version_info >= (3, 10):
        Watch(place).begin()
