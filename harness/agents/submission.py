"""A change from outside: what somebody else, a person or an agent of theirs, edited and hands in as the next change.

It is written to the campaign's folder before anything is done with it, so that a try which is cut off can go on without who
typed it. Where it comes from (the campaign's own files, a folder, a patch) matters until then only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from ..campaign.campaign import Campaign
from ..campaign.errors import HarnessError, InputError
from ..campaign.files import files_below, write_atomically
from ..campaign.repository import Repository
from ..campaign.temporary import TemporaryFolder
from ..campaign.usage import Usage
from .answer import composed
from .workspace import MAX_EDITED

_NAMED = 5
"""Of files in a message."""
UNKNOWN = Usage(cost=None)
"""What a driver used that says nothing of it."""


class Waiting(HarnessError):
    """A campaign that is driven from outside, and nothing is handed in: it waits."""

    exit_code = 0
    reason = "waiting"


class Ended(Waiting):
    """Whoever drives it has said that it is over."""

    reason = "all_completed"


@dataclass(frozen=True)
class Words:
    """What is said of a change beside it."""

    hypothesis: str = ""
    notes: str = ""
    start_from: str = ""
    """Where the try after this one starts: `baseline`, `best` or `run_N`."""
    varies: tuple[str, ...] = ()
    usage: Usage = UNKNOWN
    driver: str = ""
    """Who made the change, in its own words."""

    @property
    def text(self) -> str:
        """As an agent answers."""
        return composed(self.hypothesis, self.notes, self.start_from, self.varies)


@dataclass(frozen=True)
class Patch:
    """A patch, and where it was read from, as that was typed. A pipe is read once, so its content is here."""

    file: str
    content: bytes

    def __str__(self) -> str:
        return f"--patch {self.file}"


@dataclass(frozen=True)
class Source:
    """What was typed: words, and where the change is. Without a folder or a patch it is in the campaign's own files."""

    words: Words
    folder: Path | None = None
    patch: Patch | None = None
    width: int = 1
    """Of how many changes at once a round may be that this one joins; 1: it joins none."""


@dataclass(frozen=True)
class Base:
    """The code that a change was edited from, where that is not what is in place when it is taken up."""

    commit: str
    run: int
    """Whose code it is."""


@dataclass(frozen=True)
class Submission:
    """A change as it was handed in. `files` are those that differ from the code before it, whoever may edit them."""

    id: str
    words: Words
    files: dict[str, bytes] = field(default_factory=dict)
    base: Base | None = None
    width: int = 1
    """Of how many changes the round may be that takes it in."""
    left_out: tuple[str, ...] = ()
    """Files beside the code that look like a part of it and are new, which no run has."""

    def write(self, file: Path) -> None:
        files = {path: base64.b64encode(content).decode() for path, content in self.files.items()}
        write_atomically(file, json.dumps(asdict(replace(self, files={})) | {"files": files}))

    @classmethod
    def read(cls, file: Path) -> Submission | None:
        """What is handed in and not taken up yet; None where nothing is."""
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        words: dict[str, Any] = data["words"]
        words |= {"varies": tuple(words["varies"]), "usage": Usage(**words["usage"])}
        files = {path: base64.b64decode(text) for path, text in data["files"].items()}
        base = Base(**data["base"]) if data["base"] else None
        return cls(data["id"], Words(**words), files, base, data["width"], tuple(data["left_out"]))


def identity(source: Source, campaign: Campaign) -> str:
    """What tells a change from another one: the same command, typed again, has the same. To be asked before the campaign
    goes on, which may put other code into its files. Raises InputError."""
    words = hashlib.sha256(json.dumps(asdict(source.words), sort_keys=True).encode()).hexdigest()
    if source.patch is not None:
        parts = [source.patch.content]
    else:
        root = source.folder or campaign.root
        if not root.is_dir():
            raise InputError(f"--from {root}: no such folder.")
        found = {path: _content(root / path) for path in campaign.code}
        if source.folder is not None and not any(found[path] is not None for path in campaign.contract.editable):
            raise InputError(f"--from {root}: holds no {' and no '.join(campaign.contract.editable)}.")
        parts = [part for path, content in found.items() for part in (path.encode(), content or b"")]
    code = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return f"{words[:20]}.{code[:20]}"


def same_words(one: str, other: str) -> bool:
    """Whether two identities are of changes of which the same was said."""
    return one.partition(".")[0] == other.partition(".")[0]


def submission(
    source: Source, identity: str, campaign: Campaign, repository: Repository, base: Base | None = None
) -> Submission:
    """What is handed in, beside the code that is in place or that of `base`. Raises InputError."""
    before = repository.files(base.commit if base else repository.last_of_a_step(), campaign.experiment_files)
    known = dict.fromkeys([*campaign.code, *before])
    place, new = source.folder or campaign.root, list[str]()
    if source.patch is not None:
        files = _patched(before, source.patch)
    else:
        files, new = _found(place, known), _new(place, campaign.contract.editable, known)
        _check_files(source, campaign, before)
    changed = {path: content for path, content in files.items() if content != before.get(path)}
    if (source.folder or source.patch) and base is None:
        own = {path for path, content in repository.edited(campaign.code).items() if content != changed.get(path)}
        if own:
            raise InputError(
                f"{', '.join(sorted(own))} in {campaign.root} was edited too, and would be lost. Hand that in first "
                f"(without --from and --patch), or put it back: git -C {quote(str(campaign.root))} checkout "
                f"{' '.join(map(quote, sorted(own)))}"
            )
    editable = campaign.contract.editable
    if not any(path in editable for path in changed):
        raise InputError(f"{source.patch or place}: {_no_change(editable, [*changed, *new])}")
    return Submission(identity, source.words, changed, base, source.width, tuple(new))


def _no_change(editable: Sequence[str], others: Sequence[str]) -> str:
    """Why nothing was tried where none of the `editable` files differs, and perhaps `others` do."""
    named = ", ".join(editable)
    if not others:
        return f"nothing differs from the code that is in place ({named}), so nothing was tried."
    said = f"{', '.join(others[:_NAMED])}{f' and {len(others) - _NAMED} more' if others[_NAMED:] else ''}"
    return (
        f"nothing was tried: {said} differ{'s' * (len(others) == 1)} from what is in place, and {named} "
        f"do{'es' * (len(editable) == 1)} not. A run executes what stands in {' and '.join(editable)}; put it there."
    )


def _check_files(source: Source, campaign: Campaign, before: Mapping[str, bytes]) -> None:
    """Raises InputError for what would be taken for no change: a link, and in the campaign a file that is gone."""
    root = source.folder or campaign.root
    for path in campaign.code:
        if (root / path).is_symlink():
            raise InputError(f"{root / path}: a link. Put the file itself there.")
        if source.folder is None and path in before and not (root / path).is_file():
            raise InputError(f"{root / path}: is gone. `git -C {quote(str(root))} checkout {quote(path)}` puts it back.")


def put_back(submission: Submission, campaign: Campaign, before: Mapping[str, bytes]) -> None:
    """Put those of the campaign's files back that nobody may edit, where they still are as the submission has them."""
    for path, content in submission.files.items():
        if path not in campaign.code and path in before and _content(campaign.root / path) == content:
            write_atomically(campaign.root / path, before[path])


def _new(root: Path, editable: Iterable[str], known: Container[str]) -> list[str]:
    """Files beside the editable ones and of their kind that the experiment does not have."""
    places = dict.fromkeys((Path(path).parent, Path(path).suffix) for path in editable)
    found = [str(folder / each.name) for folder, kind in places for each in sorted((root / folder).glob(f"*{kind or '.'}"))]
    return [path for path in found if path not in known and (root / path).is_file()]


def _found(root: Path, paths: Iterable[str]) -> dict[str, bytes]:
    read = {path: _content(root / path) for path in paths}
    return {path: content for path, content in read.items() if content is not None}


def _content(file: Path) -> bytes | None:
    """What is no file, or a link, is no edit. Of what is far too large to be a change its beginning is enough."""
    if file.is_symlink() or not file.is_file():
        return None
    try:
        with file.open("rb") as opened:
            return opened.read(20 * MAX_EDITED)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}.") from error


_IN_THE_WAY = (
    (r"patch failed: (.+):(\d+)$", r"\1 differs around line \2 from what the patch changes there"),
    (r"No valid patches in input|lacks filename information", "no change of a file was found in it"),
    (r"corrupt patch at (?:.*:)?(?:line )?(\d+)", r"line \1 of it breaks the format of a patch (is it whole?)"),
    (r"patch fragment without header at (?:.*:)?(?:line )?(\d+)", r"line \1 of it changes a file that is not named before"),
    (r"(.+): (?:No such file or directory|does not exist in index)$", r"it changes \1, which is not there"),
    (r"(.+): already exists in (?:working directory|index)$", r"it makes \1, which is there already"),
    (r"invalid path '(.+)'", r"invalid path '\1', outside the experiment"),
)
"""What `git apply` says, and the same for somebody who called `harness try`."""


def _in_the_way(said: str) -> str:
    """Why a patch does not apply, of which git says `said`."""
    for line in said.splitlines():
        for words, ours in _IN_THE_WAY:
            if match := re.search(words, line.removeprefix("error: ")):
                return match.expand(ours)
    return "git does not take it for a patch of these files"


def _patched(before: Mapping[str, bytes], patch: Patch) -> dict[str, bytes]:
    """The code in place with a patch applied to it."""
    with TemporaryFolder() as place:
        folder = Path(place)
        for path, held in before.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(held)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
        }
        done = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", "-"],
            cwd=folder,
            input=patch.content,
            capture_output=True,
            env=environment,
            check=False,
        )
        if done.returncode:
            why = _in_the_way(done.stderr.decode(errors="replace"))
            raise InputError(
                f"{patch}: does not apply to the code that is in place: {why}. "
                f"Paths in a patch begin in the experiment's folder ({', '.join(list(before)[:3])}); --from DIR takes whole "
                "files instead."
            )
        links = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()]
        if links:
            raise InputError(f"{patch}: makes a link, {', '.join(links)}. Put the file itself there.")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files_below(folder)}
