"""Whether a campaign's files are what the harness wrote: what is lost or edited is said, and git's version stands in for it.

The journal has the id of each record and of each file of results (`wrote`), git has their contents. A file of a run that has
no record yet is not looked at: its step is not done and makes it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import CannotGoOn

WROTE = "wrote"
"""The event of what was written: `files`, git's id of the content by path."""
EDITED_FOLDER = "edited"
"""In the campaign's local folder: what somebody had made of a file that was put back."""


@dataclass(frozen=True)
class Difference:
    """A file that is not what the harness wrote."""

    path: str
    how: Literal["missing", "empty", "changed"]
    blob: str | None
    """Git's id of what it is to hold, None where the journal does not say."""
    commit: str
    """Of the run's record."""

    def __str__(self) -> str:
        said = "was changed since the harness wrote it" if self.how == "changed" else f"is {self.how}"
        return f"{self.path} {said}. Git's version is used; `harness resume` puts it back."


def blob_id(content: bytes) -> str:
    """The id that git gives to a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def written(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The id of each file that the harness wrote, by path, as it wrote it last."""
    found: dict[str, str] = {}
    for event in events:
        if event["event"] == WROTE:
            found |= event["files"]
    return found


def differences(root: Path, events: list[dict[str, Any]]) -> list[Difference]:
    """What the campaign in `root` has lost of its recorded runs, or somebody changed there."""
    commits: dict[str, str] = {}
    for event in events:
        if event["event"] == "done" and event["step"].endswith("/record") and isinstance(event["result"], dict):
            commits[event["step"].removesuffix("/record")] = str(event["result"].get("commit", ""))
    expected: dict[str, str | None] = {f"{run}/record.json": None for run in commits}
    known = written(events)
    expected |= {path: blob for path, blob in known.items() if path.split("/")[0] in commits}
    found = []
    for path, blob in expected.items():
        try:
            content = (root / path).read_bytes()
        except OSError:
            content = None
        if content is not None and (blob_id(content) == blob if blob else content):
            continue
        how: Literal["missing", "empty", "changed"] = "missing" if content is None else "changed" if content else "empty"
        found.append(Difference(path, how, blob, commits[path.split("/")[0]]))
    notes = root / "notes.txt"
    if commits and known and not (notes.is_file() and notes.stat().st_size):
        last = list(commits.values())[-1]
        found.append(Difference(notes.name, "empty" if notes.exists() else "missing", None, last))
    return found


def content_of(root: Path, difference: Difference) -> bytes:
    """What the file is to hold. Raises CannotGoOn where git has it no more."""
    from .repository import Repository  # here, because most that look at a campaign need no git

    repository = Repository(root, root / ".harness")
    try:
        if difference.blob:
            return repository.content(difference.blob)
        return repository.files(difference.commit, [difference.path])[difference.path]
    except (CannotGoOn, KeyError, ValueError, IndexError) as error:
        raise CannotGoOn(
            f"{root / difference.path}: {difference.how}, and git has no version of it. Put it back from a copy."
        ) from error


def put_back(root: Path, difference: Difference) -> str:
    """Write what the file is to hold; what somebody made of it is kept aside. Returns what was done, in a sentence."""
    from .files import write_atomically

    content, file = content_of(root, difference), root / difference.path
    kept = ""
    if difference.how == "changed":
        aside = root / ".harness" / EDITED_FOLDER / difference.path
        aside.parent.mkdir(parents=True, exist_ok=True)
        file.replace(aside)
        kept = f"; the edited one is {aside.relative_to(root)}"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)
    said = "was changed since the harness wrote it" if difference.how == "changed" else f"was {difference.how}"
    return f"{difference.path} {said}: git's version is back{kept}."
