"""The laboratory's cache: what is made once and read by all executions (harvests, models, probes)."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
"""In each folder that is made here: a JSON object that says under `what` what it is."""
Say = Callable[[str], None]
"""Tells a person how far it is, a line each."""


def lab_cache() -> Path:
    """The folder: $HARNESS_LAB_CACHE, which the harness sets; by hand `lab` in the harness's own cache folder."""
    chosen = os.environ.get("HARNESS_LAB_CACHE")
    if chosen:
        return Path(chosen).absolute()
    harness = os.environ.get("HARNESS_CACHE")
    if harness:
        return Path(harness).absolute() / "lab"
    import platformdirs

    return Path(platformdirs.user_cache_dir("harness")) / "lab"


def make_once(
    target: Path, make: Callable[[Path], None], say: Say, *, what: str, is_whole: Callable[[Path], bool] = Path.is_dir
) -> Path:
    """`target`, which `make` fills first where it is missing: in a folder beside it that is renamed when it is whole.

    Two processes never make it at once: the second waits and finds it. What a killed process left is removed, and so is a
    `target` that `is_whole` says no to. What it is stands in its manifest, for `harness cache`. Raises OSError where the
    cache cannot be written, and what `make` raises; then nothing is left.
    """
    if is_whole(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target, say):
        if is_whole(target):
            return target
        beside = target.with_name(target.name + ".new")
        for left in (target, beside):
            if left.is_dir():
                shutil.rmtree(left)
        beside.mkdir()
        try:
            make(beside)
            if not (beside / MANIFEST).exists():
                (beside / MANIFEST).write_text(json.dumps({"what": what}) + "\n", encoding="utf-8")
            for file in beside.rglob("*"):
                if file.is_file():
                    _to_disk(file)
            _to_disk(beside)
            beside.rename(target)
            _to_disk(target.parent)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return target


@contextmanager
def locked(target: Path, say: Say) -> Iterator[None]:
    """Only one process at a time is in here with the same `target`. The lock ends with the process, however it ends."""
    with target.with_name(target.name + ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making {target.name}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
