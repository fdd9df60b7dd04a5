"""What a file's content is, in a short form, without reading a large one in each process anew."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from .cache import lab_cache

WORTH_KEEPING = 50_000_000
"""Bytes of a file from which on its hash is kept: reading fewer takes no time that anybody notices."""


def content_hash(files: Iterable[Path]) -> str:
    """A digest of the names and contents of `files`."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name}\0{file_hash(file.absolute())}\0".encode())
    return whole.hexdigest()


def file_hash(file: Path) -> str:
    """SHA-256 of a file's content.

    That of a large file is kept in the cache, with its size and the time of its last change, and taken from there as long as
    these are the same. Raises OSError.
    """
    status = file.stat()
    if status.st_size < WORTH_KEEPING:
        return _read(file)
    state = [str(file), status.st_size, status.st_mtime_ns]
    kept = lab_cache() / "hashes" / f"{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]}.txt"
    try:
        return kept.read_text(encoding="ascii")
    except OSError:
        digest = _read(file)
    with contextlib.suppress(OSError):  # a cache that is read-only here: it is only slower
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(f".{os.getpid()}.new")
        beside.write_text(digest, encoding="ascii")
        beside.rename(kept)
    return digest


def _read(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
