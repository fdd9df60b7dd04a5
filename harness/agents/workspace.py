"""The workspace: the disposable working copy that an agent edits, made from a commit's files and read back after a turn.

What the agent says it edited counts for nothing; `collect` compares. It reads a folder in which a program had a free hand:
no symbolic link is followed, and number, size and depth are bounded. It does not judge the change: that is the pre-check's.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from ..campaign.contract import Contract
from ..campaign.errors import CannotGoOn
from ..campaign.files import remove
from ..campaign.notes_text import NOTES
from ..campaign.protocols import Workspace
from ..campaign.text import shown

MAX_EDITED = 10**6  # bytes of an edited file; it goes along in every turn
MAX_EVIDENCE_FILE = 10**5  # bytes kept of a file that is put back
MAX_EVIDENCE = 10**6  # bytes kept of all of them
MAX_ENTRIES = 10_000  # files and folders looked at beyond the known ones
MAX_DEPTH = 40  # folders below one another
MAX_NAMED = 10  # names in one sentence to the agent

CACHES = frozenset({"__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache"})
AIDERS_OWN = (".aider.tags.cache", ".aider.chat.history", ".aider.input.history", ".aider.llm.history")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not blocking: a FIFO would wait for a writer


@dataclass(frozen=True)
class Change:
    """What the agent did to its workspace in one turn.

    `files` are the new contents of the editable and auxiliary files that it changed, UTF-8, at most 1 MB each. `problems`
    are sentences about editable files that are no usable file any more: with one of them the change cannot be run.
    `restored` are sentences about everything else that it touched and that the harness undoes, for the next brief;
    `evidence` is what stood there, cut to a bounded size, by names that any file system takes. `words` are what it wrote
    into notes.txt: the workspace has none, since the brief tells what the campaign's notes tell.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    words: str = ""
    evidence: dict[str, bytes] = field(default_factory=dict)


def make_workspace(root: Path, files: Mapping[str, bytes], contract: Contract) -> Workspace:
    """Write `files` below `root`, which must not exist yet. Raises FileExistsError, OSError."""
    root.mkdir(mode=0o700, parents=True)
    workspace = Workspace(root=root, editable=tuple(dict.fromkeys(contract.code)), readable=tuple(contract.readable))
    _write(root, files, workspace.editable)
    return workspace


def restore(workspace: Workspace, files: Mapping[str, bytes]) -> None:
    """Make the workspace hold `files` and nothing else, whatever the agent left. The folder itself stays,
    because a conversation is bound to it. Raises CannotGoOn, OSError."""
    root = workspace.root
    if root.is_symlink() or not root.is_dir():
        root.unlink(missing_ok=True)
        root.mkdir(mode=0o700, parents=True)
    root.chmod(0o700)
    with os.scandir(root) as entries:
        left = list(entries)
    folders = [entry.path for entry in left if entry.is_dir(follow_symlinks=False)]
    for entry in left:
        if entry.path not in folders:
            Path(entry.path).unlink()
    if why := remove(*map(Path, folders)):
        raise CannotGoOn(f"{root}: what the agent left cannot be removed: {why} Remove the folder and resume.")
    _write(root, files, workspace.editable)


def _write(root: Path, files: Mapping[str, bytes], editable: Collection[str]) -> None:
    for name, content in files.items():
        if name == NOTES:
            continue
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without the byte order mark, at which linters stumble; `collect` puts it back.
        path.write_bytes(content.removeprefix(BOM_UTF8) if name in editable else content)


def collect(workspace: Workspace, files: Mapping[str, bytes], contract: Contract) -> Change:
    """What the agent changed in a workspace that was made or restored from `files`.

    Reads only. Never raises for anything that the agent left there.
    """
    try:
        top = os.open(workspace.root, _FOLDER)
    except OSError as error:
        return Change(problems=[f"The working folder itself was removed or replaced ({error.strerror}); leave it in place."])
    try:
        return _compare(top, files, contract)
    finally:
        os.close(top)


def _compare(top: int, files: Mapping[str, bytes], contract: Contract) -> Change:
    change = Change()
    told: defaultdict[str, list[str]] = defaultdict(list)
    own = dict.fromkeys(contract.code)
    may_edit = " and ".join(own)

    for path in own:
        before = files.get(path)
        try:
            content = _content(top, path, max(MAX_EDITED, len(before or b"")))
        except _NotAFile as found:
            if found.missing and before is None:
                continue
            fault = f"was {found}"
        else:
            if before and before.startswith(BOM_UTF8):
                content = BOM_UTF8 + content.removeprefix(BOM_UTF8)
            if content == before:
                continue
            fault = _fault(content)
            if not fault:
                change.files[path] = content
                continue
            _keep(change.evidence, path, content)
        if path in contract.editable:
            change.problems.append(f"{path} {fault}. Write it again, as an ordinary UTF-8 file of at most 1 MB.")
        else:
            told["Put back as before"].append(f"{path} (it {fault})")

    for path in files.keys() - own.keys() - {NOTES}:
        before = files[path]
        try:
            content = _content(top, path, max(len(before), MAX_EVIDENCE_FILE))
        except _NotAFile as found:
            told["Put back as before"].append(f"{shown(path)} (it was {found})")
            continue
        if content != before:
            told[f"Put back as before, because only {may_edit} may be edited"].append(shown(path))
            _keep(change.evidence, path, content)

    for path, kind in _strangers(top, files.keys() | own.keys() | {NOTES}):
        if kind == "link":
            told["Symbolic links, removed"].append(f"{shown(path)} -> {_target(top, path)}")
        elif kind == "git":
            told["Removed, because version control is not yours"].append(shown(path))
        elif kind == "other":
            told["Neither a file nor a folder that can be read, removed"].append(shown(path))
        elif kind == "more":
            told["Removed, with everything beyond"].append(f"{MAX_ENTRIES:,} files and folders")
        else:
            why = f"only {may_edit} may be edited; code that a run needs goes there"
            told[f"New files, removed ({why})"].append(shown(path))
            try:
                _keep(change.evidence, path, _content(top, path, MAX_EVIDENCE_FILE))
            except _NotAFile:
                continue  # gone or unreadable: it is told all the same

    words = ""
    try:
        words = _content(top, NOTES, MAX_EVIDENCE_FILE).decode(errors="replace").strip("\n")
    except _NotAFile as found:
        if not found.missing:
            told["Removed"].append(f"{NOTES} (it was {found})")
    sentences = [f"{what}: {_named(names)}." for what, names in told.items()]
    return replace(change, words=words, restored=sentences)


def _fault(content: bytes) -> str:
    if len(content) > MAX_EDITED:
        return "is now larger than 1 MB"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return f"is not UTF-8 text any more (line {line})"
    return ""


class _NotAFile(Exception):
    """What stands at a path instead of an ordinary file: `deleted`, `replaced by …`."""

    def __init__(self, what: str, missing: bool = False) -> None:
        super().__init__(what)
        self.missing = missing


def _open_folder(top: int, folders: Iterable[str]) -> int:
    # Folder by folder: O_NOFOLLOW heeds the last part of a path alone, and a link before it would be followed.
    here = os.dup(top)
    for folder in folders:
        try:
            below = os.open(folder, _FOLDER, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def _content(top: int, path: str, limit: int) -> bytes:
    """The first `limit` + 1 bytes of the file at `path` below the open folder `top`. Raises _NotAFile."""
    *folders, name = PurePosixPath(path).parts
    try:
        here = _open_folder(top, folders)
        try:
            file = os.open(name, _FILE, dir_fd=here)
        finally:
            os.close(here)
        with os.fdopen(file, "rb") as opened:
            mode = os.fstat(file).st_mode
            if stat.S_ISREG(mode):
                return opened.read(limit + 1)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise _NotAFile("deleted", missing=True) from error
        if error.errno == errno.ELOOP:
            raise _NotAFile(f"replaced by a symbolic link to {_target(top, path)}") from error
        if error.errno == errno.ENOTDIR:
            raise _NotAFile("deleted: a folder on its path is none any more") from error
        if error.errno == errno.EISDIR:
            raise _NotAFile("replaced by a folder") from error
        raise _NotAFile(f"made unreadable ({error.strerror})") from error
    raise _NotAFile("replaced by a special file")


def _target(top: int, path: str) -> str:
    *folders, name = PurePosixPath(path).parts
    try:
        here = _open_folder(top, folders)
        try:
            return shown(os.readlink(name, dir_fd=here))
        finally:
            os.close(here)
    except OSError:
        return "?"


_Kind = Literal["file", "link", "git", "other", "more"]


def _strangers(top: int, known: Iterable[str]) -> Iterator[tuple[str, _Kind]]:
    """What is in the workspace besides `known`, a path and its kind, in the order of the paths; caches aside."""
    known = set(known)
    found: list[tuple[str, _Kind]] = []
    # The known files are met as well, and the folders that they lie in.
    left = MAX_ENTRIES + 2 * len(known)
    folders = [""]
    while folders:
        prefix = folders.pop()
        parts = PurePosixPath(prefix).parts
        try:
            here = _open_folder(top, parts)
        except OSError:
            found.append((prefix, "other"))
            continue
        try:
            with os.scandir(here) as entries:
                listed = sorted(itertools.islice(entries, left + 1), key=lambda entry: entry.name)
            left -= len(listed)
            for entry in listed:
                path = f"{prefix}/{entry.name}" if prefix else entry.name
                if entry.name.startswith(AIDERS_OWN):
                    continue
                if entry.name == ".git":
                    found.append((path, "git"))
                elif entry.is_dir(follow_symlinks=False):
                    if entry.name in CACHES:
                        continue
                    if len(parts) < MAX_DEPTH:
                        folders.append(path)
                    else:
                        found.append((path, "other"))
                elif path in known:
                    continue
                elif entry.is_symlink():
                    found.append((path, "link"))
                else:
                    found.append((path, "file" if entry.is_file(follow_symlinks=False) else "other"))
        finally:
            os.close(here)
        if left < 0:
            found.append(("", "more"))
            break
    yield from sorted(found)


def _keep(evidence: dict[str, bytes], path: str, content: bytes) -> None:
    room = MAX_EVIDENCE - sum(map(len, evidence.values()))
    if room > 0:
        name = shown(path)
        if len(path) > 200 or any(len(part.encode()) > 200 for part in name.split("/")):
            name = f"long_name_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
        evidence[name] = content[: min(room, MAX_EVIDENCE_FILE)]


def _named(names: list[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
