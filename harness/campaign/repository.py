"""The campaign's own git repository.

Commits are made from content (`hash-object`, `write-tree`, `commit-tree`), so that no hook, filter, signing or setting of
the person's has a part in them, and each names the step that made it: a commit whose step never finished is dropped when
the campaign is opened again. The work tree is written by the harness alone, so what differs from its last commit is a
person's edit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .errors import CannotGoOn
from .files import sync, write_atomically
from .git import EMAIL, Git
from .text import clean, commands_terminal

_TRAILER = "Step: "
_BRANCH = "refs/heads/main"
# NTFS takes `git~1`, a dot or space at the end and a stream (`.git::$INDEX_ALLOCATION`) for `.git`, so git refuses such
# paths on every system (core.protectNTFS); with one of them it would refuse a whole commit.
_REPOSITORY = re.compile(r"(\.git|git~1)[. ]*([:\\].*)?", re.IGNORECASE | re.DOTALL)
_AS_TEXT = ("--no-color", "--no-ext-diff", "--no-textconv")
_ID = re.compile(r"[0-9a-f]{40}")
_EXECUTABLE = "100755"
_AT_ONCE = 20 * 10**6  # bytes of contents that are in memory at a time
_REMEMBERED = 100_000  # bytes of a file: code is read again and again, data is not


class _Entry(NamedTuple):
    """A file in a commit."""

    mode: str
    blob: str
    size: int


class Repository:
    """The repository in `root`. `local` is a folder for the harness's own state that git never sees."""

    def __init__(self, root: Path, local: Path) -> None:
        root = root.absolute()
        self._root = root
        # An index of the harness's own: the other one is whoever's looks at the folder while a campaign runs.
        self._index, self._persons_index = local / "index", root / ".git" / "index"
        self._pending = local / "checkout.json"
        self._trees: dict[tuple[str, tuple[str, ...]], dict[str, _Entry]] = {}
        self._known: dict[str, bytes] = {}
        self._git = Git(root, self._index.absolute())

    def create(self) -> None:
        """An empty repository whose branch is `main`, in place of one that a crash left half made."""
        shutil.rmtree(self._root / ".git", ignore_errors=True)
        self._remove_stale_locks()
        self._git.text("init", "--quiet", "--initial-branch=main", "--template=")
        exclude = self._root / ".git" / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text("/.harness/\n", encoding="utf-8")

    @property
    def head(self) -> str | None:
        """The id of the last commit, None before the first."""
        found = self._git.text("for-each-ref", "--format=%(objectname)", _BRANCH)
        return found or None

    def commit(
        self,
        step: str,
        message: str,
        files: Mapping[str, bytes | None],
        on_disk: Iterable[str] = (),
        keep: Container[str] = (),
    ) -> str:
        """Commit `files` (content, written to the work tree too but for those in `keep`; None removes a file) and the files
        `on_disk` (paths). Returns the id.

        Of those on the disk what git does not take is left out: see `takes`, and what cannot be read.
        """
        head = self.head
        before = self._entries(head, files) if head else {}
        # From the last commit and not from the work tree: what a person edited there gets in only by its name.
        self._git.text("read-tree", head or "--empty")
        rows = [
            (_mode(self._root / path, before.get(path)), self._git.text("hash-object", "-w", "--stdin", stdin=content), path)
            for path, content in files.items()
            if content is not None
        ]
        gone = [path for path, content in files.items() if content is None and path in before]
        rows += [("0", "0" * 40, path) for path in gone]
        paths = [path for path in on_disk if takes(path) and os.access(self._root / path, os.R_OK)]
        if paths:
            quoted = "".join(f"{_quoted(path)}\n" for path in paths)
            blobs = self._git.text("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=quoted)
            modes = [_mode(self._root / path, None) for path in paths]
            rows += zip(modes, blobs.splitlines(), paths, strict=True)
        listed = "".join(f"{mode} {blob}\t{path}\0" for mode, blob, path in rows)
        self._git.text("update-index", "-z", "--index-info", stdin=listed)
        parent = ["-p", head] if head else []
        # Until `_check_out` no branch names the commit: a crash leaves objects that nothing refers to.
        new = self._git.text(
            "commit-tree", self._git.text("write-tree"), *parent, stdin=f"{clean(message)}\n\n{_TRAILER}{step}\n"
        )
        self._check_out(new, [path for path in files if path not in keep and (files[path] is not None or path in before)])
        return new

    def tag(self, name: str, commit: str) -> None:
        self._git.text("update-ref", f"refs/tags/{name}", commit)

    def commit_of(self, name: str) -> str:
        """The commit that a tag or an abbreviation names."""
        return (
            self._git.output("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", pauses=()).decode().removesuffix("\n")
        )

    def files(self, commit: str, paths: Iterable[str]) -> dict[str, bytes]:
        """The content at `commit` of `paths`: files, or folders with all that is below them."""
        blobs = self.blobs(commit, paths)
        contents = {blob: self._known[blob] for blob in blobs.values() if blob in self._known}
        missing = [blob for blob in dict.fromkeys(blobs.values()) if blob not in contents]
        contents |= self._contents(missing)
        self._known |= {blob: contents[blob] for blob in missing if len(contents[blob]) <= _REMEMBERED}
        return {path: contents[blob] for path, blob in blobs.items()}

    def store(self, content: bytes) -> str:
        """Keep `content`, whether a commit ever holds it or not. Returns its id."""
        return self._git.text("hash-object", "-w", "--stdin", stdin=content)

    def content(self, blob: str) -> bytes:
        """What is kept under an id."""
        return self._contents([blob])[blob]

    def blobs(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """The id of the content at `commit` of each file in `paths` (files or folders): equal ids are equal contents."""
        return {path: entry.blob for path, entry in self._entries(commit, paths).items()}

    def write_to(self, folder: Path, commit: str, paths: Iterable[str]) -> None:
        """Write `paths` (files or folders) as they are at `commit` into `folder`; not all are in memory at a time."""
        made: set[Path] = set()
        for batch in _batches(self._entries(commit, paths)):
            contents = self._contents(list({entry.blob: None for entry in batch.values()}))
            for path, entry in batch.items():
                target = folder / path
                if target.parent not in made:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.add(target.parent)
                target.write_bytes(contents[entry.blob])
                if entry.mode == _EXECUTABLE:
                    target.chmod(0o755)

    def _entries(self, commit: str, paths: Iterable[str]) -> dict[str, _Entry]:
        wanted = tuple(paths)
        if not wanted:
            return {}
        if (commit, wanted) in self._trees:
            return dict(self._trees[commit, wanted])
        rows = self._git.text("ls-tree", "-r", "-l", "-z", commit, "--", *wanted).split("\0")
        split = ((about.split(), path) for about, _, path in (row.partition("\t") for row in rows if row))
        found = {path: _Entry(about[0], about[2], int(about[3])) for about, path in split}
        if _ID.fullmatch(commit):  # what an id names never changes
            self._trees[commit, wanted] = found
        return dict(found)

    def _contents(self, blobs: Sequence[str]) -> dict[str, bytes]:
        """The content of each blob, by one process for all."""
        data = self._git.output("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs)) if blobs else b""
        found, place = {}, 0
        for blob in blobs:  # a line with id, kind and size, then the content and a newline
            begin = data.index(b"\n", place) + 1
            size = int(data[place:begin].split()[2])
            found[blob] = data[begin : begin + size]
            place = begin + size + 1
        return found

    def diff(self, old: str, new: str | None, paths: Iterable[str] = (), *options: str) -> str:
        """The unified diff of `paths` between two commits, or from a commit to the work tree, for reading."""
        return self.patch(old, new, paths, *options).decode(errors="replace")

    def patch(self, old: str, new: str | None, paths: Iterable[str] = (), *options: str) -> bytes:
        """The same as it is, byte by byte."""
        if new is not None:
            return self._git.output("diff", *_AS_TEXT, *options, old, new, "--", *paths)
        # Other than `git diff` it writes no index: who looks at a campaign writes nothing in it.
        index = str(self._persons_index)
        return self._git.output("diff-index", *_AS_TEXT, "-p", *options, old, "--", *paths, GIT_INDEX_FILE=index)

    def patch_in_letters(self, old: str, new: str, paths: Iterable[str]) -> bytes:
        """The same for a pipe: git applies it, and where a file's change holds what commands a terminal, it is in git's
        binary form, which is letters."""
        changed = self.patch(old, new, paths, "--name-only", "-z").decode(errors="surrogateescape").split("\0")
        return b"".join(self._in_letters(old, new, path) for path in filter(None, changed))

    def _in_letters(self, old: str, new: str, path: str) -> bytes:
        plain = self.patch(old, new, [path])
        if not commands_terminal(plain):
            return plain
        with tempfile.TemporaryDirectory() as place:
            Path(place, ".gitattributes").write_text("* -diff\n", encoding="ascii")
            options = ["--no-color", "--no-ext-diff", "--no-renames", "--binary"]
            command = ("-C", place, "-c", "core.quotePath=true", "diff", *options, old, new, "--", path)
            return self._git.output(*command, GIT_WORK_TREE=place)

    def edited(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Those of `paths` that a person changed: whose content in the work tree is not that of the last commit of a step,
        whether they committed it or not. A missing file or a link is no edit."""
        ours = self.files(self.before(self.head or "HEAD", lambda step: step is None), paths)
        on_disk = {path: _content(self._root / path) for path in ours}
        return {path: data for path, data in on_disk.items() if data is not None and data != ours[path]}

    def before(self, commit: str, passed: Callable[[str | None], bool]) -> str:
        """`commit`, or the first before it whose step is not `passed`: None is that of a commit that a person made."""
        while passed(self.step(commit)):
            commit = self.commit_of(f"{commit}^")
        return commit

    def recover(self, is_done: Callable[[str], bool], code: list[str]) -> None:
        """Finish a checkout that a crash cut off, then drop the commits whose step never finished.

        A person's edit of `code` made since then stays in the work tree. Only the holder of the campaign's lock may call it:
        what else is locked then was locked by a process that was killed.
        """
        self._remove_stale_locks()
        if self._pending.exists():
            pending = json.loads(self._pending.read_text(encoding="utf-8"))
            self._check_out(pending["commit"], pending["paths"])
        while (head := self.head) and (step := self.step(head)) and not is_done(step):
            before = self._git.text("log", "-1", "--format=%P", head)
            if not before:
                break
            # Asked while the head is still there: beside the commit before it the whole change would look like a person's.
            by_person = self.edited(code)
            self._check_out(before, [path for path in self.files(head, code) if path not in by_person])

    def step(self, commit: str) -> str | None:
        """The step of the journal that made `commit`, None where somebody else made it, whatever its message says."""
        lines = self._git.text("log", "-1", "--format=%ce%n%B", commit).rstrip().splitlines()
        ours = lines[0:1] == [EMAIL] and lines[-1].startswith(_TRAILER)
        return lines[-1].removeprefix(_TRAILER) if ours else None

    def _check_out(self, commit: str, paths: list[str]) -> None:
        """Make `commit` the head and write `paths` to the work tree. `recover` finishes it after a crash."""
        sync(self._root)  # a branch must never name what a power cut can still take
        # Before the branch moves: from then on, until all is written, the work tree looks as if a person had edited it.
        write_atomically(self._pending, json.dumps({"commit": commit, "paths": paths}))
        self._git.text("update-ref", _BRANCH, commit)
        contents = self.files(commit, paths)
        for path in paths:
            if path not in contents:
                (self._root / path).unlink(missing_ok=True)
        for path, content in contents.items():
            file = self._root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            beside = file.with_name(f".{file.name}.new")
            beside.write_bytes(content)
            if file.exists():
                shutil.copymode(file, beside)
            beside.replace(file)
        # The one that `git status` looks at. Who holds its lock for long, an editor of a commit's message, has it as it was.
        with suppress(CannotGoOn):
            self._git.output("read-tree", commit, GIT_INDEX_FILE=str(self._persons_index))
        sync(self._root)
        self._pending.unlink()

    def _remove_stale_locks(self) -> None:
        """That of the person's index is ours where a checkout was cut off."""
        self._git.remove_locks(self._index, *([self._persons_index] if self._pending.exists() else []))


def takes(path: str) -> bool:
    """Whether git takes a file at `path`: no part of it may be what some system takes for a repository."""
    return not any(_REPOSITORY.fullmatch(part) for part in path.split("/"))


def _quoted(path: str) -> str:
    """`path` as git reads it among lines, whatever its bytes."""
    return '"' + "".join(chr(b) if chr(b).isalnum() and b < 128 else f"\\{b:03o}" for b in os.fsencode(path)) + '"'


def _batches(entries: Mapping[str, _Entry]) -> Iterator[dict[str, _Entry]]:
    batch: dict[str, _Entry] = {}
    size = 0
    for path, entry in entries.items():
        if batch and size + entry.size > _AT_ONCE:
            yield batch
            batch, size = {}, 0
        batch[path] = entry
        size += entry.size
    yield batch


def _mode(file: Path, known: _Entry | None) -> str:
    """The mode that git keeps of a file: that of the file, or of the one committed before it."""
    if file.is_file() and not file.is_symlink():
        return _EXECUTABLE if file.stat().st_mode & 0o111 else "100644"
    return known.mode if known else "100644"


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() and not file.is_symlink() else None
