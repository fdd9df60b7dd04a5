"""Whether an execution whose results are complete does nothing any more: a thread or a process that hangs at the exit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from .process_tree import descendants

_SLEEPS = 0.02
"""Share of a processor's time below which processes wait."""
_LARGEST = 100 * 10**6


class Idleness:
    """Looked at now and then. `since` is when the last thing happened, None while results are not complete."""

    def __init__(self, results: Path, folders: Iterable[Path]) -> None:
        self.since: float | None = None
        self.is_busy = True
        """Whether anything had happened at the last look."""
        self._results, self._folders = results, tuple(folders)
        self._looked = time.monotonic()
        self._written: tuple[int, int] | None = None
        self._processor = 0.0

    def look(self, heard: float) -> float:
        """Seconds for which nothing has happened since results were complete. `heard` is when there was output."""
        now = time.monotonic()
        written, processor = _last_write(self._folders), _processor_seconds()
        worked = abs(processor - self._processor) > _SLEEPS * (now - self._looked)
        happened = worked or written != self._written or heard > self._looked
        self._looked, self._written, self._processor = now, written, processor
        if not _is_whole(self._results):
            self.since = None
            self.is_busy = True
        else:
            self.is_busy = happened or _graphics_cards_work()
            if self.is_busy or self.since is None:
                self.since = now
        return now - self.since if self.since is not None else 0.0


def _is_whole(results: Path) -> bool:
    try:
        if results.is_symlink() or not results.is_file() or results.stat().st_size > _LARGEST:
            return False
        return bool(json.loads(results.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return False


def _last_write(folders: Iterable[Path]) -> tuple[int, int]:
    """The latest time of a file or folder below, and how many there are."""
    latest, number = 0, 0
    waiting = [str(folder) for folder in folders]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    latest = max(latest, entry.stat(follow_symlinks=False).st_mtime_ns)
                    number += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
    return latest, number


def _processor_seconds() -> float:
    """Of all processes of the execution that run now: one that ends is a change, too."""
    import psutil  # here, because it takes a third of the time in which a supervisor starts

    total = 0.0
    for process in descendants(os.getpid()):
        try:
            times = psutil.Process(process.pid).cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _graphics_cards_work() -> bool:
    """Whether any does, of whomever: who waits for one has no need of a processor."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    query = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return any(line.strip().isdigit() and int(line) > 0 for line in said.splitlines())
