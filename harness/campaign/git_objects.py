"""git's objects, read and written in this process: a git process for each takes a hundred times as long.

Written as git writes them: "loose", a compressed file each. What git has packed since is read by git itself, many at once.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .errors import CannotGoOn
from .git import Git

FOLDER = "40000"
EXECUTABLE = "100755"
_REPOSITORY = "160000"  # another repository's commit in place of a folder: a submodule
_ID = re.compile(r"[0-9a-f]{40}")
_CHUNK = 1 << 20
_FOLDERS = 16  # of git's that are remembered: the root of a campaign of a thousand runs has a thousand entries
_REMEMBERED = 100_000  # bytes of an object that git reads for us: code is read again and again, data is not
_LONGEST_LINE = 100  # bytes before an object that git prints, its name aside
_AT_ONCE = 200  # objects that are in memory together


class Entry(NamedTuple):
    """A file or folder in a folder of git's."""

    mode: str
    id: str


class GitObjects:
    """The objects of the repository whose git folder is `folder`."""

    def __init__(self, folder: Path, git: Git) -> None:
        self._folder = folder / "objects"
        self._git = git
        self._packed: dict[str, bytes] = {}
        self._folders: dict[str, dict[str, Entry]] = {}

    def write(self, kind: str, content: bytes) -> str:
        """Keep an object. Returns its id."""
        return self.write_from(kind, io.BytesIO(content), len(content))

    def write_file(self, file: Path) -> str:
        """Keep what a file holds, not all of it in memory. Returns its id."""
        with file.open("rb") as source:
            return self.write_from("blob", source, os.fstat(source.fileno()).st_size)

    def write_from(self, kind: str, source: BinaryIO, size: int) -> str:
        header = f"{kind} {size}\0".encode()
        digest, pack = hashlib.sha1(header), zlib.compressobj(1)
        # So named, git removes it with other leavings where a crash does not let us.
        descriptor, name = tempfile.mkstemp(prefix="tmp_obj_", dir=self._folder)
        beside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pack.compress(header))
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    size -= len(chunk)
                    file.write(pack.compress(chunk))
                file.write(pack.flush())
            if size:
                raise CannotGoOn(f"{getattr(source, 'name', 'a file')}: it was changed while it was read. Try again.")
            beside.chmod(0o444)
            place = self._place(digest.hexdigest())
            place.parent.mkdir(exist_ok=True)
            beside.replace(place)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        return digest.hexdigest()

    def remove_unfinished(self) -> None:
        """Remove what a process was writing that was killed: this one, or a git that packed."""
        for left in (*self._folder.glob("tmp_obj_*"), *self._folder.glob("pack/tmp_*"), *self._folder.glob("pack/.tmp-*")):
            left.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """The content of an object, by its id or another name that git knows it by."""
        (content,) = self.contents([name])
        return content

    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """The contents of objects, in this order: one git for many of those that are packed."""
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            found = {name: self._loose(name) for name in some}
            packed = self._read_by_git([name for name, content in found.items() if content is None])
            for name in some:
                content = found[name]
                yield packed[name] if content is None else content

    def _loose(self, name: str) -> bytes | None:
        """The content of an object with a file of its own, or of one that git has read for us before."""
        if _ID.fullmatch(name):
            try:
                return zlib.decompress(self._place(name).read_bytes()).partition(b"\0")[2]
            except (OSError, zlib.error):
                pass
        return self._packed.get(name)

    def _read_by_git(self, names: Sequence[str]) -> dict[str, bytes]:
        if not names:
            return {}
        found, rest = {}, memoryview(self._git.output("cat-file", "--batch", stdin="".join(f"{name}\n" for name in names)))
        for name in names:
            line = bytes(rest[: _LONGEST_LINE + len(name)]).partition(b"\n")[0]
            about = line.split()
            if len(about) != 3:
                raise CannotGoOn(f"{self._folder}: git has no object {name}. Put it back from a copy of the repository.")
            begin = len(line) + 1
            found[name] = bytes(rest[begin : begin + int(about[2])])
            rest = rest[begin + int(about[2]) + 1 :]
            # Another name can come to mean something else, and many that are asked for together are data.
            if about[0].decode() == name and len(found[name]) <= _REMEMBERED and len(names) < _AT_ONCE:
                self._packed[name] = found[name]
        return found

    def entries(self, commit: str, paths: Iterable[str]) -> dict[str, Entry]:
        """The files at `commit` in `paths`: files, or folders with all that is below them. What is not there is left out."""
        root = Entry(FOLDER, self.header(commit)["tree"][0])
        found: dict[str, Entry] = {}
        for path in paths:
            at: Entry | None = root
            for part in filter(None, path.split("/")):
                inside = self.folder(at.id) if at and at.mode == FOLDER else {}
                at = inside.get(part)
            if at:
                found |= self._below(path.rstrip("/"), at)
        return found

    def _below(self, path: str, at: Entry) -> Iterator[tuple[str, Entry]]:
        if at.mode == FOLDER:
            for name, entry in self.folder(at.id).items():
                yield from self._below(f"{path}/{name}", entry)
        elif at.mode != _REPOSITORY:
            yield path, at

    def header(self, commit: str) -> dict[str, list[str]]:
        """The lines above a commit's message, by their first word."""
        found: dict[str, list[str]] = {}
        for line in self.read(commit).partition(b"\n\n")[0].decode(errors="replace").splitlines():
            key, _, value = line.partition(" ")
            found.setdefault(key, []).append(value)
        return found

    def message(self, commit: str) -> str:
        return self.read(commit).partition(b"\n\n")[2].decode(errors="replace")

    def folder(self, tree: str) -> Mapping[str, Entry]:
        """The entries of a folder of git's, by name."""
        if tree not in self._folders:
            self._remember(tree, self._parsed(self.read(tree)))
        return self._folders[tree]

    def _remember(self, tree: str, entries: dict[str, Entry]) -> None:
        if len(self._folders) >= _FOLDERS:
            self._folders.clear()
        self._folders[tree] = entries

    @staticmethod
    def _parsed(data: bytes) -> dict[str, Entry]:
        place, found = 0, {}
        while place < len(data):  # mode, name, and the id's 20 bytes
            end = data.index(b"\0", place)
            mode, _, name = data[place:end].partition(b" ")
            found[name.decode(errors="surrogateescape")] = Entry(mode.decode(), data[end + 1 : end + 21].hex())
            place = end + 21
        return found

    def changed(self, tree: str | None, changes: Mapping[str, Entry | None]) -> str | None:
        """The folder that `tree` is with these files in it, by path; None takes one away. Returns its id, None where nothing
        is left in it."""
        entries = dict(self.folder(tree)) if tree else {}
        below: dict[str, dict[str, Entry | None]] = {}
        for path, entry in changes.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = entry
            elif entry is None:
                entries.pop(name, None)
            else:
                entries[name] = entry
        for name, inside in below.items():
            old = entries.get(name)
            new = self.changed(old.id if old and old.mode == FOLDER else None, inside)
            if new is not None:
                entries[name] = Entry(FOLDER, new)
            elif old and old.mode == FOLDER:
                del entries[name]
        if not entries:
            return None
        written = self._write_folder(entries)
        self._remember(written, entries)
        return written

    def _write_folder(self, entries: Mapping[str, Entry]) -> str:
        rows = [(name.encode(errors="surrogateescape"), entry) for name, entry in entries.items()]
        # git's order: a folder stands where its name with a slash would.
        rows.sort(key=lambda row: row[0] + (b"/" if row[1].mode == FOLDER else b""))
        return self.write(
            "tree", b"".join(b"%s %s\0%s" % (each.mode.encode(), name, bytes.fromhex(each.id)) for name, each in rows)
        )

    def write_commit(self, tree: str | None, parent: str | None, author: str, message: str) -> str:
        """`author` as git writes it: name, address, seconds since 1970 and time zone."""
        lines = [f"tree {tree or self.write('tree', b'')}"]
        lines += [f"parent {parent}"] if parent else []
        lines += [f"author {author}", f"committer {author}", "", message]
        return self.write("commit", "\n".join(lines).encode(errors="surrogateescape"))

    def _place(self, name: str) -> Path:
        return self._folder / name[:2] / name[2:]
