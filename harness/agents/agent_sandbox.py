"""The sandbox of an agent: it writes its workspace and a home folder of its own, and sees neither campaigns nor yours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from ..campaign.files import remove
from ..execution.executors.sandbox import MountPlan, Sandbox, available, control_sockets, make_tmp, remove_tmp
from ..execution.scoring import sealed_folders
from ..execution.visible import homes, way_to

_NO_PREFIX = frozenset({".local", "usr", ""})
"""Folders in which `bin` lies beside much that is no program's."""


class AgentSandbox:
    """Use as a context manager, as long as something runs in it: it has a temporary folder."""

    def __init__(
        self,
        folder: Path,
        home: Path,
        *,
        writable: Iterable[Path] = (),
        readable: Iterable[Path] = (),
        hidden: Iterable[Path] = (),
    ) -> None:
        """`folder` is the working directory; it and `home` can be written. What is in `hidden`, or in the home folder of the
        user, is not there but for what is `readable`; nor are what scores are made with and other programs' sockets."""
        self.parts = available()
        self._tmp = make_tmp(self.parts, home)
        plan = MountPlan(
            folder=folder,
            writable=(folder, home, *writable, *(() if self.parts.namespaces else (self._tmp,))),
            readable=tuple(readable),
            hidden=tuple(dict.fromkeys((*hidden, *homes(), *sealed_folders(), *control_sockets()))),
            tmp=self._tmp,
        )
        self.sandbox = Sandbox(plan, self.parts)

    @property
    def variables(self) -> dict[str, str]:
        return {"TMPDIR": self.sandbox.tmp}

    def close(self) -> None:
        remove_tmp(self._tmp)
        remove(self._tmp)

    def __enter__(self) -> AgentSandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@cache
def installation(program: str) -> tuple[Path, ...]:
    """What a program needs of the folders around it: the links that lead to it, its package, and its interpreter."""
    return tuple(dict.fromkeys(_parts_of(Path(program))))


def _parts_of(program: Path) -> Iterator[Path]:
    *links, path = way_to(Path(os.path.abspath(program)))  # noqa: PTH100 (links are looked at one by one)
    yield from links
    modules = next((each for each in reversed(path.parents) if each.name == "node_modules"), None)
    prefix = path.parents[1] if path.parent.name == "bin" else None
    if modules:
        yield modules
    elif prefix and prefix.name not in _NO_PREFIX and not any(home.is_relative_to(prefix) for home in homes()):
        yield prefix
    else:
        yield path
    try:
        with path.open("rb") as file:
            first = file.readline(1000)
    except OSError:
        return
    if first.startswith(b"#!"):
        words = os.fsdecode(first[2:]).split()
        named = [word for word in words[1:] if not word.startswith("-")]
        is_named = len(named) > 0 and Path(words[0]).name == "env"
        interpreter = shutil.which(named[0]) if is_named else next(iter(words), None)
        if interpreter:
            yield from _parts_of(Path(interpreter))
