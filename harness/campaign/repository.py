"""The campaign's own git repository.

Commits are made from content, so that no hook, filter, signing or setting of the person's has a part in them, and each names
the step that made it: a commit whose step never finished is dropped when the campaign is opened again. The work tree is
written by the harness alone, so what differs from its last commit is a person's edit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote

from .errors import CannotGoOn
from .files import sync, write_atomically
from .git import EMAIL, NAME, Git, GitKilled
from .git_objects import EXECUTABLE, Entry, GitObjects
from .temporary import TemporaryFolder
from .text import clean, commands_terminal

_TRAILER = "Step: "
_MAIN = "main"
_BRANCH = f"refs/heads/{_MAIN}"
_LAST = "refs/harness/last"
"""The last commit of ours: where main lacks it, somebody has set main back, and what it holds is not lost for that."""
_RECORD = re.compile(r"run_(\d+)")
# NTFS takes `git~1`, a dot or space at the end and a stream (`.git::$INDEX_ALLOCATION`) for `.git`, so git refuses such
# paths on every system (core.protectNTFS); with one of them it would refuse a whole commit.
_REPOSITORY = re.compile(r"(\.git|git~1)[. ]*([:\\].*)?", re.IGNORECASE | re.DOTALL)
_DEEPEST = 200
"""Folders in each other that git's objects are written for."""
_AS_TEXT = ("--no-color", "--no-ext-diff", "--no-textconv")
_LOOSE = 100
"""Objects from which on they are packed."""
_ID = re.compile(r"[0-9a-f]{40}")
_HEAD = re.compile(rb"^([0-9a-f]{40})\n", re.MULTILINE)
"""Before each patch of several."""


class Repository:
    """The repository in `root`. `local` is a folder for the harness's own state that git never sees."""

    def __init__(self, root: Path, local: Path) -> None:
        root = root.absolute()
        self._root = root
        # A commit is made without an index: this is whoever's looks at the folder while a campaign runs.
        self._index = root / ".git" / "index"
        self._indexed: str | None = None
        """The commit that it is known to hold."""
        self._pending = local / "checkout.json"
        self._git = Git(root)
        self._objects = GitObjects(root / ".git", self._git)

    def create(self) -> None:
        """An empty repository whose branch is `main`, in place of one that a crash left half made."""
        shutil.rmtree(self._root / ".git", ignore_errors=True)
        self._remove_stale_locks()
        self._git.text("init", "--quiet", f"--initial-branch={_MAIN}", "--template=")
        exclude = self._root / ".git" / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text("/.harness/\n", encoding="utf-8")

    @property
    def head(self) -> str | None:
        """The id of the last commit, None before the first."""
        return self._named(_BRANCH)

    @property
    def last(self) -> str | None:
        """The id of the last commit of ours, whatever somebody has done to the branch since."""
        return self._named(_LAST) or self.head

    def _named(self, reference: str) -> str | None:
        with suppress(OSError, UnicodeDecodeError):
            name = (self._root / ".git" / reference).read_text(encoding="ascii").strip()
            if _ID.fullmatch(name):
                return name
        return self._git.text("for-each-ref", "--format=%(objectname)", reference) or None  # packed, or not there

    def commit(
        self,
        step: str,
        message: str,
        files: Mapping[str, bytes | None],
        on_disk: Iterable[str] = (),
        keep: Container[str] = (),
        tag: str = "",
    ) -> str:
        """Commit `files` (content, written to the work tree too but for those in `keep`; None removes a file) and the files
        `on_disk` (paths), as `tag` where one is given. Returns the id.

        Of those on the disk what git does not take is left out: see `takes`, and what cannot be read.
        """
        head = self.head
        before = self._objects.entries(head, files) if head else {}
        changes: dict[str, Entry | None] = {
            path: None if content is None else self._entry(path, self.store(content), before.get(path))
            for path, content in files.items()
        }
        # From the last commit and not from the work tree: what a person edited there gets in only by its name.
        for path in on_disk:
            if takes(path) and os.access(self._root / path, os.R_OK):
                changes[path] = self._entry(path, self._objects.write_file(self._root / path), None)
        new = self._objects.write_commit(
            self._objects.changed(self._objects.header(head)["tree"][0] if head else None, changes),
            head,
            f"{NAME} <{EMAIL}> {int(time.time())} +0000",
            f"{clean(message)}\n\n{_TRAILER}{step}\n",
        )
        # Until then no branch names the commit: a crash leaves objects that nothing refers to.
        written = [path for path in files if path not in keep and (files[path] is not None or path in before)]
        self._check_out(new, written, [f"refs/tags/{tag}"] if tag else [], changes if head == self._indexed else None)
        return new

    def _entry(self, path: str, blob: str, before: Entry | None) -> Entry:
        """With the mode of the file on the disk, or of the one committed before it."""
        file = self._root / path
        if file.is_file() and not file.is_symlink():
            return Entry(EXECUTABLE if file.stat().st_mode & 0o111 else "100644", blob)
        return Entry(before.mode if before else "100644", blob)

    def pack(self) -> None:
        """Pack what was written since, where that is much: a loose object takes a block of the disk, however small it is,
        and has notes and journal whole, of which a pack keeps what is new."""
        if sum(1 for _ in (self._root / ".git" / "objects").glob("??/*")) < _LOOSE:
            return
        # Synced, before the loose ones go; and no more memory and cores than an agent's turn leaves.
        settings = {"core.fsync": "default", "pack.threads": "1", "pack.windowMemory": "32m"}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        # Each pack at least twice as large as the next: few, and seldom written again. A git before 2.32 only adds one.
        for how in ("--geometric=2", "-l"):
            with suppress(CannotGoOn):  # the next time
                self._git.output(*options, "repack", how, "-d", "-l", "-q", pauses=())
                return

    def commit_of(self, name: str) -> str:
        """The commit that a tag or an abbreviation names."""
        return (
            self._git.output("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", pauses=()).decode().removesuffix("\n")
        )

    def files(self, commit: str, paths: Iterable[str]) -> dict[str, bytes]:
        """The content at `commit` of `paths`: files, or folders with all that is below them."""
        blobs = self.blobs(commit, paths)
        return dict(zip(blobs, self._objects.contents([*blobs.values()]), strict=True))

    def mentioning(self, commit: str, texts: Iterable[str], paths: Sequence[str]) -> list[str]:
        """The files in `paths` that have one of these texts at `commit`."""
        wanted = [part for text in texts for part in ("-e", text)]
        _, found, _ = self._git.once("grep", "-l", "-z", "--fixed-strings", *wanted, commit, "--", *paths)
        return [each.partition(":")[2] for each in found.decode(errors="surrogateescape").split("\0") if each]

    def store(self, content: bytes) -> str:
        """Keep `content`, whether a commit ever holds it or not. Returns its id."""
        return self._objects.write("blob", content)

    def content(self, blob: str) -> bytes:
        """What is kept under an id."""
        return self._objects.read(blob)

    def blobs(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """The id of the content at `commit` of each file in `paths` (files or folders): equal ids are equal contents."""
        return {path: entry.id for path, entry in self._objects.entries(commit, paths).items()}

    def write_to(self, folder: Path, commit: str, paths: Iterable[str]) -> None:
        """Write `paths` (files or folders) as they are at `commit` into `folder`; some of them are in memory at a time."""
        entries = self._objects.entries(commit, paths)
        contents = self._objects.contents([entry.id for entry in entries.values()])
        for (path, entry), content in zip(entries.items(), contents, strict=True):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            if entry.mode == EXECUTABLE:
                target.chmod(0o755)

    def diff(self, old: str, new: str | None, paths: Iterable[str] = (), *options: str) -> str:
        """The unified diff of `paths` between two commits, or from a commit to the work tree, for reading."""
        return self.patch(old, new, paths, *options).decode(errors="replace")

    def patch(self, old: str, new: str | None, paths: Iterable[str] = (), *options: str) -> bytes:
        """The same as it is, byte by byte."""
        if new is not None:
            return self._git.output("diff", *_AS_TEXT, *options, old, new, "--", *paths)
        # Other than `git diff` it writes no index: who looks at a campaign writes nothing in it.
        return self._git.output("diff-index", *_AS_TEXT, "-p", *options, old, "--", *paths)

    def diffs(self, pairs: Sequence[tuple[str, str]], paths: Iterable[str]) -> dict[tuple[str, str], str]:
        """`diff` of many pairs of commits, by one process of git; without those that git cannot compare."""
        asked = list(dict.fromkeys(pairs))
        code, out, _ = self._git.once(
            *("diff-tree", "--stdin", "--always", "-p", "-M", *_AS_TEXT, "--", *paths),
            stdin="".join(f"{new} {old}\n" for old, new in asked),  # a commit, and what stands for its parent
        )
        # No line of a patch begins with a commit's id: each has a mark, or one of git's words, before it.
        found = _HEAD.split(out)[1:]
        if code or [name.decode() for name in found[::2]] != [new for _, new in asked]:
            return {}
        return {pair: text.decode(errors="replace") for pair, text in zip(asked, found[1::2], strict=True)}

    def patch_in_letters(self, old: str, new: str, paths: Iterable[str]) -> bytes:
        """The same for a pipe: git applies it, and where a file's change holds what commands a terminal, it is in git's
        binary form, which is letters."""
        changed = self.patch(old, new, paths, "--name-only", "-z").decode(errors="surrogateescape").split("\0")
        return b"".join(self._in_letters(old, new, path) for path in filter(None, changed))

    def _in_letters(self, old: str, new: str, path: str) -> bytes:
        plain = self.patch(old, new, [path])
        if not commands_terminal(plain):
            return plain
        with TemporaryFolder() as place:
            Path(place, ".gitattributes").write_text("* -diff\n", encoding="ascii")
            options = ["--no-color", "--no-ext-diff", "--no-renames", "--binary"]
            command = ("-C", place, "-c", "core.quotePath=true", "diff", *options, old, new, "--", path)
            return self._git.output(*command, GIT_WORK_TREE=place)

    def edited(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Those of `paths` that a person changed: whose content in the work tree is not that of the last commit of a step,
        whether they committed it or not. A missing file or a link is no edit."""
        ours = self.files(self.last_of_a_step(), paths)
        on_disk = {path: _content(self._root / path) for path in ours}
        return {path: data for path, data in on_disk.items() if data is not None and data != ours[path]}

    def is_in_place(self, commit: str, paths: Iterable[str]) -> bool:
        """Whether the work tree has the files `paths` as they are at a commit, and no other of them."""
        wanted, there = self.files(commit, paths), [path for path in paths if os.path.lexists(self._root / path)]
        return set(there) <= set(wanted) and all(_content(self._root / path) == data for path, data in wanted.items())

    def last_of_a_step(self) -> str:
        """The last commit that is the harness's own."""
        return self.before(self.head or "HEAD", lambda step: step is None)

    def before(self, commit: str, passed: Callable[[str | None], bool]) -> str:
        """`commit`, or the first before it whose step is not `passed`: None is that of a commit that a person made."""
        while passed(self.step(commit)):
            commit = self._parent(commit) or self.commit_of(f"{commit}^")
        return commit

    def recover(self, is_done: Callable[[str], bool], code: list[str]) -> None:
        """Finish a checkout that a crash cut off, then drop the commits whose step never finished.

        A person's edit of `code` made since then stays in the work tree. Only the holder of the campaign's lock may call it:
        what else is locked then was locked by a process that was killed.
        """
        if self._is_away():
            raise CannotGoOn(
                f"{self._root}: another commit or branch than the campaign's, {_MAIN}, is checked out. To go back to it: "
                f"{self.way_back('.')}"
            )
        self._remove_stale_locks()
        self._objects.remove_unfinished()
        for left in self._pending.parent.glob("*.new"):
            left.unlink(missing_ok=True)
        if self._pending.exists():
            pending = json.loads(self._pending.read_text(encoding="utf-8"))
            self._check_out(pending["commit"], pending["paths"])
        while (head := self.head) and (step := self.step(head)) and not is_done(step):
            before = self._parent(head)
            if before is None:
                break
            # Asked while the head is still there: beside the commit before it the whole change would look like a person's.
            by_person = self.edited(code)
            self._check_out(before, [path for path in self.files(head, code) if path not in by_person])

    def is_set_back(self) -> bool:
        """Whether somebody has set main back to a commit before the last of ours."""
        head, last = self.head, self.last
        if head is None or last is None or head == last or self._pending.exists():  # the last: a checkout was cut off
            return False
        return not self._git.output("rev-list", "--max-count=1", f"{last}..{head}")

    def recorded(self, commit: str) -> set[int]:
        """The runs whose records a commit holds."""
        folders = self._objects.folder(self._objects.header(commit)["tree"][0])
        runs = {name: int(found[1]) for name in folders if (found := _RECORD.fullmatch(name))}
        records = self._objects.entries(commit, [f"{name}/record.json" for name in runs])
        return {runs[path.split("/")[0]] for path in records}

    def way_back(self, path: str, commit: str = _MAIN) -> str:
        """The command that brings the campaign's version of a file back, or all of the campaign where somebody has gone
        elsewhere with git."""
        git = f"git -C {quote(str(self._root))}"
        if any((self._root / ".git" / name).is_dir() for name in ("rebase-merge", "rebase-apply")):
            return f"{git} rebase --abort"
        return f"{git} checkout {_MAIN}" if self._is_away() else f"{git} checkout {commit} -- {quote(path)}"

    def _is_away(self) -> bool:
        """Whether somebody has another commit or branch in the folder."""
        try:
            return (self._root / ".git" / "HEAD").read_text(encoding="utf-8").strip() != f"ref: {_BRANCH}"
        except (OSError, UnicodeDecodeError):
            return False

    def step(self, commit: str) -> str | None:
        """The step of the journal that made `commit`, None where somebody else made it, whatever its message says."""
        [committer] = self._objects.header(commit)["committer"]
        last = self._objects.message(commit).rstrip().rpartition("\n")[2]
        return last.removeprefix(_TRAILER) if f"<{EMAIL}>" in committer and last.startswith(_TRAILER) else None

    def _parent(self, commit: str) -> str | None:
        return next(iter(self._objects.header(commit).get("parent", [])), None)

    def _check_out(
        self, commit: str, paths: list[str], tags: Iterable[str] = (), changes: Mapping[str, Entry | None] | None = None
    ) -> None:
        """Make `commit` the head and write `paths` to the work tree. `recover` finishes it after a crash. `changes`: from
        the commit that the index holds, where it is known."""
        sync(self._root)  # a branch must never name what a power cut can still take
        # Before the branch moves: from then on, until all is written, the work tree looks as if a person had edited it.
        write_atomically(self._pending, json.dumps({"commit": commit, "paths": paths}))
        moved = "".join(f"update {each} {commit}\n" for each in (_BRANCH, _LAST, *tags))
        self._git.output("update-ref", "--stdin", stdin=moved)
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
        self._write_index(commit, changes)
        sync(self._root)
        self._pending.unlink()

    def _write_index(self, commit: str, changes: Mapping[str, Entry | None] | None) -> None:
        """The one that `git status` looks at: what changed, because to read all of it again takes longer with each run. Who
        holds its lock for long, an editor of a commit's message, has it as it was."""
        self._indexed = None
        try:
            if changes is None or not self._index.exists():
                self._git.output("read-tree", commit)
            else:
                lines = [
                    f"{each.mode} {each.id}\t{path}" if each else f"0 {'0' * 40}\t{path}" for path, each in changes.items()
                ]
                self._git.output("update-index", "-z", "--index-info", stdin="".join(f"{line}\0" for line in lines))
            self._indexed = commit
        except GitKilled:
            raise
        except CannotGoOn:
            pass

    def _remove_stale_locks(self) -> None:
        """That of the index is ours where a checkout was cut off."""
        self._git.remove_locks(*([self._index] if self._pending.exists() else []))


def takes(path: str) -> bool:
    """Whether git takes a file at `path`: no part of it may be what some system takes for a repository, and some part
    folders by a backslash."""
    return path.count("/") <= _DEEPEST and not any(_REPOSITORY.fullmatch(part) for part in re.split(r"[/\\]", path))


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() and not file.is_symlink() else None
