"""A private home folder for a command-line agent, made for a campaign, with the tool's configuration in it.

Of the person's configuration only the login is shared, as a copy, and the settings that say which provider is asked, unless
they want all of it to be taken. A login that the tool renewed goes back; a copy in which anything else changed does not.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..campaign.files import read_bounded, remove, write_atomically
from .configuration import MAX_SIZE, Configuration, object_of, persons, text_of

_RENEWED = re.compile(r"token|expir|^expires|last_?refresh|^access$|^refresh$", re.IGNORECASE)
"""Fields of a login that a tool renews."""


class PrivateHome:
    """A home folder with the configuration of one tool in it, which the campaign keeps as long as its conversations."""

    def __init__(self, root: Path, configuration: Configuration, *, whole: bool = False) -> None:
        """`whole`: all of the person's configuration goes along."""
        self.root = root
        self._configuration = configuration
        self._whole = whole
        self._lent = b""
        self.model = ""
        """The one that the person's settings name."""
        self.variables: dict[str, str] = {}
        """Of the environment: where things are, and what the person's settings say about the provider."""

    def prepare(self) -> None:
        """Before a turn: the login, and settings as they are meant, whatever the tool made of them. Raises OSError."""
        own = self._configuration
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        folder = self._made(own.folder)
        self.variables = {"HOME": str(self.root)}
        if own.variable:
            self.variables[own.variable] = str(folder)
        if self._whole:
            self._take_all(folder)
        else:
            text = next((text for name in own.settings if (text := text_of(persons(name)))), "")
            carried = own.carry(text)
            self._write(own.settings[0], carried.settings)
            self.model = carried.model
            self.variables |= {
                name: value or os.environ[name] for name, value in carried.variables.items() if value or name in os.environ
            }
        self._lend()
        if own.key and not self._lent and own.key[0] not in os.environ and own.key[1] in os.environ:
            self.variables[own.key[0]] = os.environ[own.key[1]]

    def take_back(self) -> None:
        """After a turn: a login that was renewed is the person's again. Where they renewed it themselves, theirs stays."""
        theirs, mine = persons(self._configuration.login), self.root / self._configuration.login
        content, _ = read_bounded(mine, MAX_SIZE)
        if not self._lent or content == self._lent or theirs.is_symlink():
            return
        if read_bounded(theirs, MAX_SIZE)[0] == self._lent and _is_renewed(self._lent, content):
            mode = theirs.stat().st_mode & 0o777
            write_atomically(theirs, content)
            theirs.chmod(mode)
            self._lent = content

    def forget_login(self) -> None:
        """Leave no copy of the login."""
        (self.root / self._configuration.login).unlink(missing_ok=True)

    @property
    def secrets(self) -> dict[str, str]:
        """The tokens of the login, by names that may stand in a message."""
        return {f"{name} of the login": value for name, value in _leaves(object_of(self._lent)) if len(value) >= 20}

    def _lend(self) -> None:
        login = persons(self._configuration.login)
        content = read_bounded(login.resolve(), MAX_SIZE)[0]
        if content == self._lent and (self.root / self._configuration.login).exists():
            return
        self._lent = content
        if content:
            self._write(self._configuration.login, content)
        else:
            self.forget_login()

    def _take_all(self, folder: Path) -> None:
        own = self._configuration
        source = persons(f"{own.folder}/x").parent
        left_out = shutil.ignore_patterns(*own.conversations, Path(own.login).name)
        if source.is_dir():
            names = os.listdir(source)  # noqa: PTH208
            remove(*(folder / name for name in set(names) - left_out(str(source), names)))
            shutil.copytree(source, folder, ignore=left_out, dirs_exist_ok=True, ignore_dangling_symlinks=True)
        if own.beside and not os.environ.get(own.variable):
            self._write(f"{own.folder}/{own.beside}", text_of(Path.home() / own.beside))

    def _made(self, folder: str) -> Path:
        """The folder below the home, where no link leads elsewhere: whatever ran here could have made one."""
        path = self.root
        for part in Path(folder).parts:
            path /= part
            if path.is_symlink() or not path.is_dir():
                remove(path)
            path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _write(self, name: str, content: str | bytes) -> None:
        path = self._made(str(Path(name).parent)) / Path(name).name
        remove(path, path.with_name(f"{path.name}.new"))
        if content:
            write_atomically(path, content)
            path.chmod(0o600)


def _is_renewed(before: bytes, after: bytes) -> bool:
    """Whether nothing but tokens and their times differs."""
    old, new = dict(_leaves(object_of(before))), dict(_leaves(object_of(after)))
    return (
        bool(new)
        and old.keys() == new.keys()
        and all(old[name] == new[name] or _RENEWED.search(name.rpartition(".")[2]) for name in old)
    )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{name}.{number}")
    elif value is not None:
        yield name, str(value)
