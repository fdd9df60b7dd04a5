"""Caches of libraries in an execution's own home folder: links to what its person's caches hold, in folders of its own.

So what is cached is read, locks and new files find room, and nothing that an execution writes reaches the next. What the
baseline's code compiled is kept for those that follow: no agent had a part in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_OF_LIBRARIES = {
    "HF_HOME": ("huggingface", ".cache/huggingface"),
    "TORCH_HOME": ("torch", ".cache/torch"),
    "TORCH_EXTENSIONS_DIR": ("torch_extensions", ".cache/torch_extensions"),
    "TRITON_CACHE_DIR": ("triton", ".triton/cache"),
    "TORCHINDUCTOR_CACHE_DIR": ("torchinductor", ".cache/torchinductor"),
}
"""By the variable that names it: its name in an execution's `.cache`, and where it lies in a home folder unless set."""
_PARTS = {
    "HF_HUB_CACHE": "huggingface/hub",
    "HUGGINGFACE_HUB_CACHE": "huggingface/hub",
    "TRANSFORMERS_CACHE": "huggingface/hub",
    "HF_DATASETS_CACHE": "huggingface/datasets",
}
"""Those that lie in another unless they are set."""
_COMPILED = ("triton", "torchinductor", "torch_extensions")
_MOST_LINKS = 1_000
"""Beyond that a folder is linked as a whole, the deepest first: it can be read, and nothing be added to it."""
_NOT_LINKED = ("token", "stored_tokens")


class Cache(NamedTuple):
    """`source` is seen as `place` in the folder of caches; `variable` tells of it, "" where none does."""

    variable: str
    place: str
    source: Path


def find(person: Mapping[str, str], named: Iterable[str]) -> list[Cache]:
    """The caches of libraries of a person with this environment, and those `named`, there or not."""
    base = Path(person.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = []
    for variable, (place, default) in _OF_LIBRARIES.items():
        usual = base / place if default.startswith(".cache/") else Path.home() / default
        found.append(Cache(variable, place, Path(person.get(variable) or usual)))
    found += [Cache(name, place, Path(person[name])) for name, place in _PARTS.items() if person.get(name)]
    return [*found, *(Cache("", name, base / name) for name in named)]


def variables(caches: Iterable[Cache], home: Path) -> dict[str, str]:
    """What an execution is told whose home folder is `home`."""
    told = {cache.variable: str(home / ".cache" / cache.place) for cache in caches if cache.variable}
    return told | {"XDG_CACHE_HOME": str(home / ".cache")}


def make(caches: Iterable[Cache], home: Path, kept: Path) -> None:
    """Make them in a new home folder, with what `keep` kept."""
    for place, source in (*((each.place, each.source) for each in caches), *((name, kept / name) for name in _COMPILED)):
        (home / ".cache" / place).mkdir(parents=True, exist_ok=True)
        _link(source, home / ".cache" / place)


def keep(home: Path, kept: Path) -> None:
    """Keep what was compiled in a home folder, once."""
    for name in _COMPILED:
        made, target = home / ".cache" / name, kept / name
        if made.is_dir() and not target.exists() and any(made.iterdir()):
            kept.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # another seed, executed at the same time, was first
                made.replace(target)


def _link(source: Path, target: Path) -> None:
    """Folder by folder, the upper ones first. Locks are made anew."""
    left, folders = _MOST_LINKS, [(source, target)]
    for here, there in folders:
        try:
            members = list(os.scandir(here))
        except OSError:
            continue
        for each in members:
            place = there / each.name
            if each.name in _NOT_LINKED or each.name.endswith(".lock") or os.path.lexists(place):
                if place.is_dir() and not place.is_symlink():
                    folders.append((Path(each.path), place))
                continue
            left -= 1
            if left > 0 and each.is_dir(follow_symlinks=False):
                place.mkdir()
                folders.append((Path(each.path), place))
            else:
                place.symlink_to(each.path)
