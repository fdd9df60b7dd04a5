"""What an execution, or an agent, sees of a person's folders: all but what begins with a dot in the home folder, where keys
and settings lie; of that what its interpreter and its libraries need, found by asking the interpreter.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..campaign.protocols import CACHE, SERVER
from .executors.sandbox.plan import TMP

LIBRARY_CACHES = {"HF_HOME": ".cache/huggingface", "TORCH_HOME": ".cache/torch"}
"""Folders of libraries, by the variable that names them, and where they lie in a home folder where it does not."""
_PATH_LISTS = ("PYTHONPATH", "LD_LIBRARY_PATH")
_ASKED = (*_PATH_LISTS, "PATH", "HOME", "PYTHONUSERBASE", "LANG")
_PROBE = """
import json, site, sys
paths = [sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path)]
for finder in sys.meta_path:  # of packages that are installed as editable
    module = sys.modules.get(getattr(finder, "__module__", ""))
    paths += map(str, getattr(module, "MAPPING", {}).values())
print(json.dumps([paths, site.getuserbase() if site.ENABLE_USER_SITE else ""]))
"""
_ANSWERS_WITHIN = 60


@dataclass(frozen=True)
class Interpreter:
    """A Python: its own program, which a script may start, what it reads, links on the way among it, and where packages of
    its user lie ("" for one without)."""

    program: str
    paths: tuple[Path, ...]
    user_base: str


@cache
def interpreter(python: str) -> Interpreter:
    """Found by asking it. What does not start is all that is needed of it."""
    environment = {name: os.environ[name] for name in _ASKED if name in os.environ}
    try:
        said = subprocess.run(
            [python, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=_ANSWERS_WITHIN, check=True
        ).stdout
        found, user_base = json.loads(said)
    except (OSError, ValueError, subprocess.SubprocessError):
        found, user_base = [python], ""
    paths = dict.fromkeys(path for each in found if Path(each).is_absolute() for path in way_to(Path(each)))
    return Interpreter(found[0] or python, tuple(path for path in paths if not _holds_a_home(path)), user_base)


def needed(python: str, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """What a process with this environment reads besides its own folder, wherever it lies."""
    lists = [path for name in _PATH_LISTS for path in environment.get(name, "").split(os.pathsep)]
    named = [environment[name] for name in (*LIBRARY_CACHES, CACHE, SERVER) if name in environment]
    paths = [Path(path) for path in (*lists, *named) if path]
    return (*interpreter(python).paths, *(path for path in paths if path.is_absolute() and not _holds_a_home(path)))


def named_in(settings: Mapping[str, object]) -> tuple[Path, ...]:
    """Files and folders that settings name by absolute paths, as `--set model=PATH` does, and links on the way to them."""
    named = [Path(value) for value in settings.values() if isinstance(value, str) and value.startswith("/")]
    paths = dict.fromkeys(path for each in named for path in way_to(Path(os.path.normpath(each))))
    return tuple(path for path in paths if not _holds_a_home(path))


def way_to(path: Path) -> Iterator[Path]:
    """Each link on the way to `path`, and last what is at its end."""
    for _ in range(40):  # as often as the kernel follows links
        link = next((each for each in (*reversed(path.parents), path) if each.is_symlink()), None)
        if link is None:
            break
        yield link
        path = Path(os.path.normpath(link.parent / link.readlink() / path.relative_to(link)))
    yield path


def homes() -> tuple[Path, ...]:
    """The home folders of this user: where HOME says, and where the system does."""
    return _homes(Path.home())


@cache
def _homes(home: Path) -> tuple[Path, ...]:
    found = [home]
    with suppress(KeyError):  # a container's user may have no name
        found.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return tuple(dict.fromkeys(home.resolve() for home in found if home.is_dir() and home.resolve() != Path("/")))


def project_around(experiment: Path, levels: int) -> tuple[Path, ...]:
    """The experiment's own folder and as many above it, below a home folder or the place of temporary files."""
    for number, folder in enumerate(experiment.parents[:levels]):
        if _holds_a_home(folder) or folder == TMP:
            return (experiment, *experiment.parents[:number])
    return (experiment, *experiment.parents[:levels])


def plainly_there(folder: Path) -> list[Path]:
    """The members of a folder whose names do not begin with a dot."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def make_home(folder: Path) -> None:
    """Make a home folder for one execution: it may write there, and finds what its person has there, to read."""
    folder.mkdir(parents=True)
    for home in homes()[:1]:
        for path in plainly_there(home):
            (folder / path.name).symlink_to(path)


def _holds_a_home(path: Path) -> bool:
    return any(home.is_relative_to(path) for home in homes())
