"""What of an experiment's folder goes along into a campaign, and how: copied, linked, or not at all.

A working copy is to be the experiment. What is large is not copied but linked to where it lies, and so is what a link leads
to outside; an execution can read both and write neither. What stays behind is named.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from .errors import InputError
from .layout import Layout, layouts
from .text import shown

MAX_FILE = 10 * 10**6  # bytes; a larger file is linked
MAX_FOLDER = 100 * 10**6  # bytes of the smaller files of a folder; a larger folder is linked
MAX_ENTRIES = 20_000  # of a folder
MAX_NAMED = 5  # names in one sentence

RUN_FOLDER = re.compile(r"run_\d+")
_CACHES = frozenset(
    {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".cache", ".DS_Store"}
)
_FOR_AGENTS = frozenset({"AGENTS.md", "CLAUDE.md", "GEMINI.md", ".agents", ".claude"})
"""What tells a coding agent how to work in the folder: no number depends on it."""
OF_A_CAMPAIGN = frozenset(
    {"campaign.json", "idea.json", "journal.jsonl", "notes.txt", "session.md", "replayed.md", "memory.json", "observed.json"}
    | {"journal.parts", "notes.parts"}
)
"""Files that a campaign has beside those of its experiment: one in the place of the other would be believed."""
_REPOSITORIES = frozenset({".git", ".hg", ".svn"})
_SECRET = re.compile(
    r"\.env(\..*)?|\.envrc|\.netrc|\.pypirc|\.npmrc|\.git-credentials|\.aider.*|\.ssh|\.aws|\.azure|\.gnupg|\.docker|\.kube"
    r"|\.kaggle|\.huggingface|\.claude(\.json)?|\.codex|\.gemini|id_(rsa|dsa|ecdsa|ed25519)|.*\.pem"
)
_POINTER = b"version https://git-lfs."
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")  # what a folder holds that is an environment of packages

SECRETS, ENVIRONMENTS, SPECIAL, UNREADABLE, TAKEN = (
    "may hold keys",
    "environments of packages",
    "neither files nor folders",
    "cannot be read",
    "since a campaign has a file of its own of that name (rename what the experiment reads)",
)


@dataclass
class Inventory:
    """What goes along; all paths are relative to the experiment's folder. `links` are links inside the folder, with what
    they say; `linked` what is linked to where it lies, a real path; `left_out` what stays behind, by the reason."""

    files: list[str] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    linked: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    large: dict[str, int] = field(default_factory=dict)
    """Of `linked`, what is so because of its size in bytes."""
    pointers: list[str] = field(default_factory=list)
    """Of `files`, those that only say which file Git LFS has."""

    @property
    def sentences(self) -> list[str]:
        """What is not as in the folder itself, for you."""
        said = []
        if self.large:
            sizes = [f"{shown(path)} ({size / 1e6:,.0f} MB)" for path, size in self.large.items()]
            said.append(f"Too large to be copied, so linked; an execution can read and not write: {_some(sizes)}.")
        if outside := [path for path in self.linked if path not in self.large]:
            ways = [f"{shown(path)} -> {shown(self.linked[path])}" for path in outside]
            said.append(f"Links that lead out of the folder; an execution can read there and not write: {_some(ways)}.")
        if self.pointers:
            paths = _some(list(map(shown, self.pointers)))
            said.append(f"Pointers of Git LFS and not the files themselves, which `git lfs pull` fetches: {paths}.")
        said += [f"Not copied, {why}: {_some(list(map(shown, paths)))}." for why, paths in self.left_out.items()]
        return said

    def copy(self, source: Path, target: Path) -> None:
        """Make `target`, a folder, hold all that goes along of `source`."""
        for name in self.files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
            (target / name).chmod(0o755 if (source / name).stat().st_mode & 0o111 else 0o644)
        self.put_links(target)

    def put_links(self, target: Path) -> None:
        """What git does not hold: empty folders, and links."""
        put_links(target, self.empty_folders, self.links | self.linked)


def put_links(target: Path, empty_folders: Iterable[str], links: dict[str, str]) -> None:
    """Make empty folders and links in `target`, and the folders that they lie in."""
    for name in empty_folders:
        (target / name).mkdir(parents=True, exist_ok=True)
    for name, to in links.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).unlink(missing_ok=True)
        (target / name).symlink_to(to)


def top_level(folder: Path, code: Collection[str], out: Path | None) -> list[str]:
    """The names in `folder` that go along where nobody named any: all but `code`, runs, campaigns, `out`, caches, and what
    is there for coding agents."""
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.name not in code
        and path.name not in _CACHES | _REPOSITORIES | _FOR_AGENTS | {"runs"}
        and not (RUN_FOLDER.fullmatch(path.name) and path.is_dir())
        # Not `resolve`, which fails at a link that leads to itself.
        and not (out is not None and os.path.realpath(path) == os.path.realpath(out))
        and not (path.is_dir() and (Layout(path).options_file.exists() or layouts(path)))
    ]


def take_inventory(
    folder: Path, names: Iterable[str], code: Collection[str] = (), wanted: Collection[str] = ()
) -> Inventory:
    """What goes along of what is called `names` in `folder`. A file named in `code` is copied whatever its size, and one
    named in `wanted` too whatever it is called."""
    return _Walk(folder.resolve(), frozenset(code), frozenset(wanted)).inventory(dict.fromkeys(names))


@dataclass
class _Part:
    """A file or a folder that could be copied: its bytes and entries, and the inventory of what is in it."""

    inventory: Inventory
    size: int = 0
    entries: int = 1
    has_code: bool = False


class _Walk:
    def __init__(self, folder: Path, code: frozenset[str], wanted: frozenset[str]) -> None:
        self._folder, self._code, self._named = folder, code, code | wanted

    def inventory(self, names: Iterable[str]) -> Inventory:
        named = [name for name in names if os.path.lexists(self._folder / name)]
        self._taken = frozenset(named)
        parts = {name: part for name in named if (part := self._part(name)) is not None}
        # The largest are linked until the rest can be copied.
        for name in sorted(parts, key=lambda name: parts[name].size, reverse=True):
            if sum(each.size for each in parts.values()) <= MAX_FOLDER:
                break
            if parts[name].has_code:
                raise InputError(
                    f"{self._folder / name}: {parts[name].size / 1e6:.0f} MB with files that the agent may edit, so it "
                    "cannot be linked as large data are. Put the data into a folder of their own."
                )
            parts[name] = self._linked(name, parts[name].size)
        return _joined(part.inventory for part in parts.values())

    def _part(self, name: str) -> _Part | None:
        """The inventory of a file or folder; None for what does not go along and need not be named."""
        path = self._folder / name
        last = path.name
        if last in _CACHES | _REPOSITORIES:
            return None
        if name in OF_A_CAMPAIGN:
            if name in self._code:
                raise InputError(
                    f"{path}: a campaign has a file of its own of that name. Rename it, here and in experiment.toml."
                )
            return _left_out(name, TAKEN)
        if _SECRET.fullmatch(last) and name not in self._named:
            return _left_out(name, SECRETS)
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                return self._link(name)
            if stat.S_ISREG(status.st_mode):
                return self._file(name, status)
            if not stat.S_ISDIR(status.st_mode):
                return _left_out(name, SPECIAL)
            if any((path / each).exists() for each in _ENVIRONMENT):
                return _left_out(name, ENVIRONMENTS)
            return self._folder_part(name, sorted(entry.name for entry in os.scandir(path)))
        except OSError:
            return _left_out(name, UNREADABLE)

    def _file(self, name: str, status: os.stat_result) -> _Part:
        if not os.access(self._folder / name, os.R_OK):
            return _left_out(name, UNREADABLE)
        has_code = name in self._code
        if status.st_size > MAX_FILE and not has_code:
            return self._linked(name, status.st_size)
        inventory = Inventory(files=[name])
        if 100 < status.st_size < 200 and (self._folder / name).read_bytes().startswith(_POINTER):
            inventory.pointers = [name]
        return _Part(inventory, status.st_size, has_code=has_code)

    def _folder_part(self, name: str, members: list[str]) -> _Part:
        parts = [part for each in members if (part := self._part(f"{name}/{each}")) is not None]
        whole = _Part(
            _joined(part.inventory for part in parts),
            sum(part.size for part in parts),
            1 + sum(part.entries for part in parts),
            any(part.has_code for part in parts),
        )
        if not parts:
            whole.inventory.empty_folders.append(name)
        if (whole.size > MAX_FOLDER or whole.entries > MAX_ENTRIES) and not whole.has_code:
            return self._linked(name, whole.size)
        return whole

    def _link(self, name: str) -> _Part:
        """Inside the folder a link leads to the same place of each copy; elsewhere to where it leads."""
        path = self._folder / name
        try:
            to = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return _Part(Inventory(links={name: str(path.readlink())}))  # leads nowhere, and does so in the copy
        if to.is_relative_to(self._folder) and self._goes_along(to.relative_to(self._folder)):
            start = path.parent.resolve()
            return _Part(Inventory(links={name: os.path.relpath(to, start)}))
        return _Part(Inventory(linked={name: str(to)}))

    def _goes_along(self, to: PurePath) -> bool:
        return to.parts[:1] == () or any(to.is_relative_to(each) for each in self._taken)

    def _linked(self, name: str, size: int) -> _Part:
        return _Part(Inventory(linked={name: str(self._folder / name)}, large={name: size}))


def _left_out(name: str, why: str) -> _Part:
    return _Part(Inventory(left_out={why: [name]}))


def _joined(parts: Iterable[Inventory]) -> Inventory:
    joined = Inventory()
    for part in parts:
        joined.files += part.files
        joined.empty_folders += part.empty_folders
        joined.links |= part.links
        joined.linked |= part.linked
        joined.large |= part.large
        joined.pointers += part.pointers
        for why, paths in part.left_out.items():
            joined.left_out.setdefault(why, []).extend(paths)
    return joined


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED:,} more" if names[MAX_NAMED:] else ""
    return ", ".join(names[:MAX_NAMED]) + more


def fingerprint(links: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    """What tells that linked data changed, without reading them: paths, sizes and times of all files."""
    for name, to in sorted(links.items()):
        path = Path(to)
        found = [path, *(p for p in path.rglob("*") if not p.is_symlink())] if path.is_dir() else [path]
        for each in sorted(found):
            if each.is_file():
                status = each.stat()
                yield f"{name}/{each.relative_to(path)}", status.st_size, status.st_mtime_ns
