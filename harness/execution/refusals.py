"""Why an execution could not do what works by hand: in a sentence, and what to do about it."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from ..campaign.text import shown
from .executors.sandbox.plan import TMP
from .visible import homes

_SAID = re.compile(
    r"(?P<how>Permission denied|Read-only file system|Operation not permitted|No such file or directory)"
    r": b?(['\"])(?P<path>.+?)\2"
)

_NOT_EXECUTABLE = re.compile(r"(\S+): Permission denied \(command: ")
_LACKS = {
    r"NameError: name 'get_ipython' is not defined": (
        "an execution is a script and no notebook: take out the lines with get_ipython(), or export without its magics"
    ),
    r"EOFError: EOF when reading a line": "an execution has no standard input: let the experiment ask nothing",
    r"Cannot load backend '|(couldn't|cannot|[Cc]ould not) (connect to|open) display|no display name": (
        'an execution has no display: let the experiment draw into files, as after matplotlib.use("Agg")'
    ),
}


def why_refused(said: str, own: tuple[Path, ...], runs: Path, home: Path) -> str:
    """`said` is how an execution ended; it may write to its `own` folders, and its home folder is `home`. "" where
    neither the sandbox is why nor what else an execution lacks. The first of its own is where it begins."""
    if not_started := _NOT_EXECUTABLE.match(said):
        name = not_started[1]
        is_script = (own[0] / name).is_file() and not os.access(own[0] / name, os.X_OK)
        return (
            f"{shown(name)} is not executable: chmod +x {shlex.quote(name)} in the experiment's folder" if is_script else ""
        )
    found = _SAID.search(said)
    if found is None:
        return next((sentence for sign, sentence in _LACKS.items() if re.search(sign, said)), "")
    path, is_missing = Path(os.path.normpath(own[0] / found["path"])), found["how"].startswith("No such file")
    name, is_relative = shown(found["path"]), not Path(found["path"]).is_absolute()
    is_read_only = found["how"].startswith("Read-only")  # nothing in an execution's own /tmp is but the experiment's
    refused = f"an execution writes to its working copy, to $HOME and to $TMPDIR only; the sandbox refuses {name}"
    if is_relative:
        return "" if is_missing or any(path.is_relative_to(folder) for folder in own) else refused
    # What its own home folder lacks is meant of its person's.
    persons = homes()[0] / path.relative_to(home) if homes() and path.is_relative_to(home) else path
    if is_missing and not persons.exists():
        return ""
    if not is_missing and any(path.is_relative_to(folder) for folder in (*own, *([] if is_read_only else [TMP]))):
        return ""
    if path.is_relative_to(runs) and persons == path:
        return f"{name} belongs to a campaign, and no execution sees what others left"
    for folder in homes():
        below = persons.relative_to(folder).parts if persons.is_relative_to(folder) else ()
        if below[:1] == (".cache",) and len(below) > 1:
            return f'an execution does not see ~/.cache/{below[1]}: name it in experiment.toml (caches = ["{below[1]}"])'
        if below and below[0].startswith("."):
            return (
                f"an execution does not see ~/{below[0]}, as nothing in your home folder whose name begins with a dot: keep "
                "what it needs elsewhere, and name it by its absolute path"
            )
    if path.is_relative_to(TMP) and not is_read_only:
        return "each execution has a /tmp of its own: keep what it needs elsewhere, and name it by its absolute path"
    return "" if is_missing else refused
