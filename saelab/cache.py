"""The laboratory's cache: what is made once and read by all executions (harvests, models, probes)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
"""In each folder that is made here: a JSON object that says under `what` what it is, and under CHECKSUMS what is in it."""
CHECKSUMS = "sha256"
"""By the path of each file in the folder but the manifest."""
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


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in `folder` but the manifest, as it was made; none where it was not made here, or not whole."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))[CHECKSUMS]
        return {str(name): str(digest) for name, digest in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_made(folder: Path) -> bool:
    """Whether `folder` was made here. Looks at no content."""
    return bool(checksums(folder))


def is_as_made(folder: Path) -> bool:
    """Whether what is in `folder` is what was made, no more and no less. Reads all of it."""
    expected = checksums(folder)
    return (
        bool(expected)
        and _files(folder) == sorted(expected)
        and all(sha256(folder / name) == digest for name, digest in expected.items())
    )


def make_once(
    target: Path, make: Callable[[Path], None], say: Say, *, what: str, is_whole: Callable[[Path], bool] = is_made
) -> Path:
    """`target`, which `make` fills first where it is missing: in a folder beside it that is renamed when it is whole.

    Two processes never make it at once: the second waits and finds it. What a killed process left is removed, and so is a
    `target` that `is_whole` says no to. What it is stands in its manifest, for `harness cache`, and checksums of all files.
    Raises OSError where the cache cannot be written, and what `make` raises; then nothing is left.
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
            _complete_manifest(beside, what)
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


def sha256(file: Path) -> str:
    """Of a file's content; "" where it cannot be read."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return ""


def _complete_manifest(folder: Path, what: str) -> None:
    """Write checksums into the manifest, which whoever filled the folder may have begun."""
    manifest = folder / MANIFEST
    facts = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {"what": what}
    facts[CHECKSUMS] = {name: sha256(folder / name) for name in _files(folder)}
    manifest.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _files(folder: Path) -> list[str]:
    """Of `folder`, all but the manifest, with those below."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for name in (str(path.relative_to(folder)) for path in paths) if name != MANIFEST)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
