"""Why an execution could not read or write a file that is there: in a sentence, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

from ..campaign.text import shown
from .executors.sandbox.plan import TMP
from .visible import homes

_SAID = re.compile(
    r"(?P<how>Permission denied|Read-only file system|Operation not permitted|No such file or directory)"
    r": b?(['\"])(?P<path>/.+?)\2"
)


def why_refused(said: str, own: tuple[Path, ...], runs: Path, home: Path) -> str:
    """`said` is how an execution ended; it may write to its `own` folders, and its home folder is `home`. "" where the
    sandbox is not why."""
    found = _SAID.search(said)
    if found is None:
        return ""
    path, is_missing = Path(found["path"]), found["how"].startswith("No such file")
    name = shown(str(path))
    # What its own home folder lacks is meant of its person's.
    persons = homes()[0] / path.relative_to(home) if homes() and path.is_relative_to(home) else path
    if is_missing and not persons.exists():
        return ""
    if not is_missing and any(path.is_relative_to(folder) for folder in (*own, TMP)):
        return ""
    if path.is_relative_to(runs) and persons == path:
        return f"{name} belongs to a campaign, and no execution sees what others left"
    for folder in homes():
        below = persons.relative_to(folder).parts if persons.is_relative_to(folder) else ()
        if below[:1] == (".cache",) and len(below) > 1:
            return f'an execution does not see ~/.cache/{below[1]}: name it in experiment.toml (caches = ["{below[1]}"])'
        if below and below[0].startswith("."):
            return (
                f"an execution does not see ~/{below[0]}, as nothing in your home folder whose name begins with a dot: keep "
                "what it needs elsewhere, and name it by its absolute path"
            )
    if path.is_relative_to(TMP):
        return "each execution has a /tmp of its own: keep what it needs elsewhere, and name it by its absolute path"
    if is_missing:
        return ""
    return f"an execution writes to its working copy, to $HOME and to $TMPDIR only; the sandbox refuses {name}"
