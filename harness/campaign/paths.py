"""Places of this machine, and what a campaign's files call them: a campaign is looked at on other machines too, where a
path of this one is nobody's. What an experiment writes into its own result files is left as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .protocols import Job, Outcome

_LIBRARY = re.compile(r"(?<![\w.-])(?:~|\$\w+)?/(?:[^\s\"'<>:,;()\[\]]*/)?(?=lib(?:64)?/python3)")
"""What stands before a Python's own library and the packages in it."""


class PathNames:
    """Folders, and the names that stand for them in a text."""

    def __init__(self, names: Mapping[Path, str]) -> None:
        """An empty name makes what is inside a relative path. Folders that do not say much (`/`) are left out."""
        known: dict[str, str] = {}
        for folder, name in names.items():
            for each in (folder.absolute(), folder.resolve()):
                if len(each.parts) > 1:
                    known.setdefault(str(each), name)
        self._names = known

    def hide(self, text: str) -> str:
        """`text` with the names in place of the folders, and the paths of Python's libraries from `lib/` on."""
        # A pattern of long paths takes longer to make than most texts to look through, which hold none of them.
        if there := [folder for folder in self._names if folder in text]:
            longest_first = sorted(there, key=len, reverse=True)
            folders = "|".join(map(re.escape, longest_first))
            text = re.sub(rf"(?<![\w.-])({folders})(?![\w-]|\.\w)(/?)", self._name, text)
        return _LIBRARY.sub("", text)

    def hide_in(self, file: Path) -> None:
        """The same for what is in a file, of any bytes. The file is read whole."""
        before = file.read_bytes()
        after = self.hide(before.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        if after != before:
            beside = file.with_name(f"{file.name}.hidden")
            beside.write_bytes(after)
            beside.replace(file)

    def _name(self, found: re.Match[str]) -> str:
        name = self._names[found[1]]
        return name + found[2] if name else "" if found[2] else "."


def without_local_paths(outcome: Outcome, log: Path, job: Job) -> Outcome:
    """The outcome of an execution, without the places that it knew, and `log` rewritten so. Safe to repeat.

    Its own folder is where paths begin; another place has the name of the variable that told the execution of it.
    """
    told = {
        Path(value): f"${name}"
        for name, value in job.environment.items()
        if value.startswith("/") and ":" not in value and name not in ("HOME", "PATH")
    }
    environment = Path(job.command[0]).parent.parent
    packages = {environment: ""} if (environment / "pyvenv.cfg").exists() else {}
    places = PathNames({Path.home(): "~", **told, **packages, job.scratch: "scratch", job.folder: ""})
    if log.exists():
        places.hide_in(log)
    return replace(outcome, why=places.hide(outcome.why))


def absolute(text: str) -> str:
    """A path that begins where the person is or at a home (`../models/x`, `~/models/x`), from the root on: where an
    experiment is executed both are other folders. Any other text as it is."""
    if not text.startswith((".", "~")):
        return text
    try:
        place = Path(text).expanduser()
    except RuntimeError:  # `~name` of nobody
        return text
    is_path = text.startswith(("~/", "../")) or place.exists()  # what is not there may be what an experiment will write
    return os.path.normpath(place.absolute()) if is_path else text


def near(path: Path) -> Path:
    """`path` from the folder that the person is in, where it is below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def cache_folder() -> Path:
    """Where the harness keeps what can be made again: $HARNESS_CACHE, else the user's cache folder."""
    import platformdirs  # here: only who has a cache needs it

    chosen = os.environ.get("HARNESS_CACHE")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("harness"))
