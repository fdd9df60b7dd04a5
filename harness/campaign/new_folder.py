"""The folder of a new campaign: there is a campaign in it, or there is no folder, whatever ended who made it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .files import remove
from .journal import locked
from .layout import Layout

_TRIES = 100
"""With a hundredth of a second between them."""


@contextmanager
def new_folder(out: Path, name: str) -> Iterator[Path]:
    """A folder in `out`, called `name` or, where that is taken, with a number behind it; the campaign's lock is held while
    the block makes a campaign of it, whose `campaign.json` it writes last.

    Where the block fails nothing is left, nor of the folders above that were made for it.
    """
    above = [folder for folder in (out, *out.parents) if not folder.exists()]
    root: Path | None = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            with _alone(out):
                root = _first_free(out, name)
                stack.enter_context(locked(Layout(root).lock))
            yield root
    except BaseException:
        if root is not None:
            remove(root)
        for folder in above:
            with suppress(OSError):  # another campaign is in it by now
                folder.rmdir()
        raise


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """While the block runs, an instant, nobody else begins a folder in `out`, where its file system has locks. For somebody
    who holds that lock for longer nobody waits: it is no campaign of ours that is begun."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        for _ in range(_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


def _first_free(out: Path, name: str) -> Path:
    number = 1
    while True:
        root = out / (name if number == 1 else f"{name}-{number}")
        try:
            root.mkdir()
            return root
        except FileExistsError:
            if not _is_unfinished(root) or remove(root):
                number += 1


def _is_unfinished(root: Path) -> bool:
    """Whether who made a campaign there was killed before there was one."""
    there = Layout(root)
    begun = (there.options_file, there.journal, root / ".git")
    try:
        is_empty = {path.name for path in root.iterdir()} <= {there.local.name}
    except OSError:  # a file, or somebody else's
        return False
    return (is_empty or there.lock.exists()) and not any(path.exists() for path in begun) and not there.is_running()
