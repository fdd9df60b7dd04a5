"""Whether a campaign's files are what the harness wrote: what is lost or edited is said, and git's version stands in for it.

The journal has the ids of idea and contract, of each record, of each file of results and of the notes (`wrote`), git has
their contents. A file of a run that has no record yet is not looked at: its step is not done and makes it again. Of the
notes only the harness's own lines count.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from .errors import CannotGoOn
from .journal import BEGUN_ANEW, PARTS, is_part, part, parts
from .notes_text import NOTES, NOTES_PARTS, generated_lines, person_section, with_persons_words
from .text import decoded

if TYPE_CHECKING:
    from .repository import Repository

START = "start"
_FINAL = re.compile(rf"{START}|(run|holdout)_\d+/record")
"""The steps that commit what is compared from then on."""
_JOURNAL = "journal.jsonl"
WROTE = "wrote"
"""The event of what was written: `files`, git's id of the content by path."""
VERIFIED = "verified"
"""The event of all files having been as they were written: `at`, in the clock of their file system, and `files`, what told
those apart from others that were last changed before. In a copy of the campaign they are others, whatever its clock says."""
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
    """Of the run's record, or of the start."""

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
        if event["event"] == BEGUN_ANEW:
            found.clear()
        if event["event"] == WROTE:
            found |= event["files"]
    return found


def differences(root: Path, events: list[dict[str, Any]]) -> list[Difference]:
    """What the campaign in `root` has lost of what it began with and of its recorded runs, or somebody changed there."""
    check_not_set_back(root)
    commits, expected = _expected(events)
    verified = next((e for e in reversed(events) if e["event"] == VERIFIED), {"at": 0})
    unchanged, told = _last_changed_before(root, expected, verified["at"])
    unchanged = unchanged if told == verified.get("files") else set()
    runs = commits.keys() - {START}
    notes = [event["files"][NOTES] for event in events if event["event"] == WROTE and NOTES in event["files"]]
    found = []
    for path, blob in expected.items():
        if path in unchanged:
            continue
        content = _read(f"{root}/{path}")  # of thousands: a Path of each takes longer than to read it
        if content is not None and (blob_id(content) == blob if blob else content):
            continue
        owner = path.split("/")[0]
        found.append(Difference(path, _how(content), blob, commits[owner if owner in runs else START]))
    content = _read(root / NOTES)
    # The last two: a process that was killed between the journal and the file left the one before, and that is no edit.
    if runs and notes and not any(_are_notes(root, content, blob) for blob in reversed(notes[-2:])):
        found.append(Difference(NOTES, _how(content), notes[-1], next(reversed(commits.values()))))
    return found


def _expected(events: list[dict[str, Any]]) -> tuple[dict[str, str], dict[str, str | None]]:
    """The commits of the start and of what is recorded, by its folder, and git's id of each file that is to be there, None
    where the journal does not say; without the notes."""
    commits: dict[str, str] = {}
    for event in events:
        if event["event"] == BEGUN_ANEW:
            commits.clear()
        elif event["event"] == "done" and _FINAL.fullmatch(event["step"]) and isinstance(event["result"], dict):
            commits[event["step"].removesuffix("/record")] = str(event["result"].get("commit", ""))
    runs, wrote = {each: None for each in commits if each != START}, written(events)
    expected: dict[str, str | None] = {f"{run}/record.json": None for run in runs}
    expected |= {path: blob for path, blob in wrote.items() if path.split("/")[0] in runs}
    if START in commits:
        expected |= {path: blob for path, blob in wrote.items() if path != NOTES and is_own(path)}
    return commits, expected


def recorded_files(events: list[dict[str, Any]]) -> set[str]:
    """The files that the harness wrote or of whose run it has the record, and no others."""
    return {*written(events), *_expected(events)[1]}


def identities(root: Path, events: list[dict[str, Any]], at: int) -> str:
    """What tells the files that are to be there from others, as far as they were last changed before a time."""
    return _last_changed_before(root, _expected(events)[1], at)[1]


def _last_changed_before(root: Path, paths: Iterable[str], at: int) -> tuple[set[str], str]:
    """Those of these files that were last changed before a time, in the clock of their file system, and what tells them from
    others: nobody can set a change time, but a clock can be set, and another file can have been changed earlier."""
    found, told = set(), hashlib.sha1()
    for path in sorted(paths) if at else ():
        try:
            status = os.stat(f"{root}/{path}")  # noqa: PTH116 - of what a link leads to: that is what is read
        except OSError:
            continue
        if status.st_ctime_ns < at:
            found.add(path)
            each = (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            told.update(repr(each).encode(errors="backslashreplace"))
    return found, told.hexdigest()


def is_own(path: str) -> bool:
    """Whether a file is the campaign's and no run's."""
    return "/" not in path or path.startswith(f"{NOTES_PARTS}/")


def check_not_set_back(root: Path) -> None:
    """Raises CannotGoOn where somebody has set the campaign's branch back, or where the journal does not begin with what git
    has of it, line by line: else a campaign would do again in silence what is done, and tell of fewer runs. Whoever edits a
    record could have edited the journal too, and a campaign whose journal is lost would begin again."""
    from .repository import Repository

    if not (root / ".git").is_dir():
        return
    repository = Repository(root, root / ".harness")
    try:
        head, last = repository.head, repository.last
        file, how = _edited_journal(root, repository, last) if last else (root / _JOURNAL, "")
        set_back = repository.is_set_back()
        gone = sorted(repository.recorded(last) - repository.recorded(head)) if set_back and head and last else []
    except (CannotGoOn, KeyError, ValueError, IndexError):
        return  # nothing to compare it with
    if set_back and head and last:
        lacks = f"run{'s' * (len(gone) > 1)} {', '.join(map(str, gone))}" if gone else "the last steps"
        # Where the files are those of the last commit, moving the branch is all, and it touches nothing of a person's.
        reset = "keep" if how else "soft"
        raise CannotGoOn(
            f"{root}: somebody has set main back with git from {last[:10]} to {head[:10]}, which lacks {lacks}. "
            "Nothing is lost, but no command shows the campaign without them. To bring them back: "
            f"git -C {quote(str(root))} reset --{reset} {last[:10]}. To try something else from an "
            "earlier run, begin a new campaign."
        )
    if how:
        way = repository.way_back(str(file.relative_to(root)), "main" if head == last else str(last)[:10])
        raise CannotGoOn(f"{file}: {how}. Put git's version back, then the steps after it are done again: {way}")


def _edited_journal(root: Path, repository: Repository, commit: str) -> tuple[Path, str]:
    """The first file of the journal that does not begin with what `commit` has of it, and what became of it; "" where all
    do."""
    ids = repository.blobs(commit, [PARTS, _JOURNAL])
    whole = sum(map(is_part, ids))
    for number in range(1, whole + 1):
        file, blob = part(root, number), ids.get(str(part(Path(), number)))
        content = _read(file)
        if content is None or blob_id(content) != blob:
            committed = repository.content(blob) if blob else b""
            if content is None or not blob or _lines(content) != _lines(committed):
                return file, _became(content)
    file = root / _JOURNAL
    content = _read(file)
    # What was the last file then may be one of those before it now; asked after it was read, when it may have become that.
    if len(parts(root)) > whole:
        file = part(root, whole + 1)
        content = _read(file)
    committed = repository.content(ids[_JOURNAL]) if _JOURNAL in ids else b""
    return file, "" if _lines(content or b"").startswith(_lines(committed)) else _became(content)


def _became(content: bytes | None) -> str:
    return "was edited: lines that git has of it are gone or differ" if content else f"is {_how(content)}"


def _lines(journal: bytes) -> bytes:
    """The whole lines: an editor may have marked the file as UTF-8, or ended its lines as another system does."""
    return journal[: journal.rfind(b"\n") + 1].removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")


def _read(path: Path | str) -> bytes | None:
    try:
        with FileIO(path) as file:
            return file.read()
    except OSError:
        return None


def _how(content: bytes | None) -> Literal["missing", "empty", "changed"]:
    return "missing" if content is None else "changed" if content else "empty"


def _are_notes(root: Path, content: bytes | None, blob: str) -> bool:
    """Whether the harness's lines of the notes are those that it wrote."""
    if not content or blob_id(content) == blob:
        return bool(content)
    try:
        wrote = _stored(root, blob)
    except CannotGoOn:
        return False
    return generated_lines(decoded(content, "replace")) == generated_lines(decoded(wrote, "replace"))


def _stored(root: Path, blob: str) -> bytes:
    from .repository import Repository  # here, because most that look at a campaign need no git

    return Repository(root, root / ".harness").content(blob)


def content_of(root: Path, difference: Difference) -> bytes:
    """What the file is to hold, with a person's words in notes. Raises CannotGoOn where git has it no more."""
    from .repository import Repository

    try:
        if not difference.blob:
            repository = Repository(root, root / ".harness")
            return repository.files(difference.commit, [difference.path])[difference.path]
        content = _stored(root, difference.blob)
    except (CannotGoOn, KeyError, ValueError, IndexError) as error:
        raise CannotGoOn(
            f"{root / difference.path}: {difference.how}, and git has no version of it. Put it back from a copy."
        ) from error
    if difference.path == NOTES and difference.how == "changed":
        person = person_section(decoded((root / NOTES).read_bytes(), "replace"))
        return with_persons_words(decoded(content, "replace"), person).encode()
    return content


def put_back(root: Path, difference: Difference) -> str:
    """Write what the file is to hold; what somebody made of it is kept aside. Returns what was done, in a sentence."""
    from .files import write_atomically

    content, file = content_of(root, difference), root / difference.path
    kept = put_aside(root, difference.path) if difference.how == "changed" or os.path.lexists(file) else ""
    for folder in reversed(file.relative_to(root).parents[:-1]):
        if os.path.lexists(root / folder) and not (root / folder).is_dir():
            kept = put_aside(root, str(folder), str(folder / folder.name))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)
    said = "was changed since the harness wrote it" if difference.how == "changed" else f"was {difference.how}"
    return f"{difference.path} {said}: git's version is back{kept}."


def put_aside(root: Path, path: str, to: str = "") -> str:
    """Keep what somebody made of a file, beside what was kept before. Returns where, as the end of a sentence."""
    first = aside = root / ".harness" / EDITED_FOLDER / (to or path)
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = first.with_name(f"{first.name}.{number}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    (root / path).rename(aside)
    return f"; the edited one is {aside.relative_to(root)}"
