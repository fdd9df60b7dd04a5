"""The folder of a campaign as `status` and `log` see it: names and places, read without a model of any of them.

These commands answer at once, so nothing here may import pydantic; `Campaign` adds what a process needs to take it on.
Nothing is ever written: the folder may belong to another machine or to another person.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import CannotGoOn, InputError
from .integrity import Difference, content_of, differences, recorded_files, written
from .journal import Event, read_events
from .notes_text import NOTES, NOTES_PARTS
from .schema import current_facts, current_record
from .text import decoded

RUNS = Path("runs")
"""Where campaigns are, in the folder that a command is typed in."""
BIBLIOGRAPHY = "experiment.bib"
"""Beside an experiment's contract."""
HOLDOUT = "holdout_"
"""What the folders of held-out evaluations are called, before their number; so are the steps that make them."""

REPORT = "report.html"
"""Beside the campaigns: of several; that of one is called `NAME-report.html`."""


def is_report(path: Path) -> bool:
    """Whether a file beside campaigns is called as a report is, which has the results of each."""
    return path.name.endswith(REPORT)


class Layout:
    """Where things are in the campaign's folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = root / "journal.jsonl"
        self.options_file = root / "campaign.json"
        self.idea_file = root / "idea.json"
        self.bibliographies = (root / "idea.bib", root / BIBLIOGRAPHY)
        """Works that the idea and the experiment cite, where these have any; where both have a key it is the idea's."""
        self.notes = root / NOTES
        self.local = root / ".harness"
        """State of this machine only: locks, working copies, running executions. Never in git."""
        self.lock = self.local / "lock"
        self._events: tuple[tuple[int, int], list[Event]] = ((-1, -1), [])
        self._differences: tuple[list[Event], list[Difference]] | None = None

    @property
    def name(self) -> str:
        return self.root.resolve().name

    def execution(self, step: str) -> Path:
        """Where a step of the journal is executed."""
        return self.local / "executions" / step.replace("/", ".")

    def output(self, step: str) -> Path:
        """The output of what is executed now as `step`."""
        return self.execution(step) / "job" / "log.txt"

    def record_file(self, run: int) -> Path:
        return self.root / f"run_{run}" / "record.json"

    def facts(self) -> dict[str, Any]:
        """What `campaign.json` holds: the contract and the options that the campaign was made with."""
        try:
            return current_facts(parse_object(self.content(self.options_file), self.options_file), str(self.options_file))
        except OSError as error:
            raise _unreadable(self.options_file, error) from error

    def title(self) -> str:
        """Of the idea; "" where the folder has none."""
        try:
            return str(self.read_idea().get("Title", ""))
        except FileNotFoundError:
            return ""

    def read_idea(self) -> dict[str, Any]:
        """What `idea.json` holds."""
        return parse_object(self.content(self.idea_file), self.idea_file)

    def events(self) -> list[Event]:
        """The journal's, read once for all who ask until it is another."""
        try:
            status = self.journal.stat()
            state = (status.st_mtime_ns, status.st_size)
        except OSError:
            state = (0, 0)
        if self._events[0] != state:
            self._events = (state, read_events(self.journal))
        return self._events[1]

    def record(self, run: int) -> dict[str, Any]:
        """The record of a run, as its file holds it; git's version where that is not what the harness wrote."""
        return self._record(self.record_file(run), self._lost())

    def _record(self, file: Path, lost: Mapping[str, Difference]) -> dict[str, Any]:
        try:
            return current_record(parse_object(self._content(file, lost), file), str(file))
        except OSError as error:
            raise _unreadable(file, error) from error

    def content(self, file: Path) -> bytes:
        """What a file that the harness wrote holds; git's version where that is not what the harness wrote."""
        return self._content(file, self._lost())

    def _content(self, file: Path, lost: Mapping[str, Difference]) -> bytes:
        found = lost.get(self._path(file)) if lost else None
        return file.read_bytes() if found is None else content_of(self.root, found)

    def all_notes(self) -> bytes:
        """The notes, and after them what they tell of runs long before the last ones."""
        parts = sorted(path for path in written(self.events()) if path.startswith(f"{NOTES_PARTS}/"))
        return b"".join(self.content(file) for file in (self.notes, *(self.root / path for path in parts)))

    def _path(self, file: Path) -> str:
        return str(file.relative_to(self.root))

    def _lost(self) -> dict[str, Difference]:
        return {each.path: each for each in self.differences()}

    def records(self) -> list[dict[str, Any]]:
        """The records of all runs so far, in order: where the journal tells of any, only those that it tells of."""
        lost, known = self._lost(), recorded_files(self.events())
        contents: list[bytes] = []
        is_told = self._path(self.record_file(0)) in known
        while self._path(file := self.record_file(len(contents))) in known or not is_told:
            try:
                contents.append(self._content(file, lost))
            except FileNotFoundError:
                break
            except OSError as error:
                raise _unreadable(file, error) from error
        files = [self.record_file(run) for run in range(len(contents))]
        try:
            # At once, which takes half as long as one by one.
            found: list[Any] = json.loads(b"[%b]" % b",".join(contents))
        except (ValueError, RecursionError):
            found = []
        if len(found) != len(contents) or not all(isinstance(each, dict) for each in found):
            found = [parse_object(content, file) for content, file in zip(contents, files, strict=True)]
        return [current_record(data, str(file)) for data, file in zip(found, files, strict=True)]

    def holdouts(self) -> list[dict[str, Any]]:
        """The records of all held-out evaluations so far, in order; git's version of one that is not what was written."""
        lost = self._lost()
        found: list[dict[str, Any]] = []
        while (file := self.root / f"{HOLDOUT}{len(found) + 1}" / "record.json").exists() or self._path(file) in lost:
            found.append(parse_object(self._content(file, lost), file))
        return found

    def differences(self) -> list[Difference]:
        """What of the campaign is lost or was edited. Nothing while a process runs the campaign: that one writes."""
        if self.is_running():
            return []
        events = self.events()
        if self._differences is None or self._differences[0] is not events:
            self._differences = (events, differences(self.root, events))
        return self._differences[1]

    def is_running(self) -> bool:
        """Whether a process of this machine holds the campaign's lock."""
        try:
            with self.lock.open("rb") as file:
                # Shared, so that two who look at once do not take each other for the holder.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # no lock file, or one that cannot be read: nothing here that this process could wait for
        return False


def _unreadable(path: Path, error: OSError) -> CannotGoOn:
    return CannotGoOn(f"{path}: cannot be read: {error.strerror}. Git has the version of the last commit.")


def parse_object(content: bytes, path: Path) -> dict[str, Any]:
    """The object that a file holds. Raises CannotGoOn that names `path`."""
    try:
        data = json.loads(decoded(content))
    except (ValueError, RecursionError) as error:
        raise CannotGoOn(f"{path}: cannot be read: {error}. Git has the version of the last commit.") from error
    if not isinstance(data, dict):
        raise CannotGoOn(f"{path}: expected an object, found {type(data).__name__}.")
    return data


def find_layout(name: str, runs: Path = RUNS) -> Layout:
    """The campaign that `name` means: a path, the name of a folder in `runs`, or `latest`. Raises InputError."""
    known = layouts(runs)
    if name == "latest":
        if not known:
            raise InputError(f"{runs}: no campaign yet. `harness run IDEA.json` starts one.")
        return max(known, key=lambda layout: (not _control_of(layout), *_age(layout)))
    for candidate in (runs / name, Path(name)):
        if _is_campaign(candidate):
            return Layout(candidate)
    names = ", ".join(layout.name for layout in known) or "none yet"
    raise InputError(f"{name}: no such campaign. In {runs}: {names}.")


def layouts(runs: Path = RUNS) -> list[Layout]:
    """The campaigns in `runs`, by name."""
    return [Layout(path) for path in sorted(runs.iterdir()) if _is_campaign(path)] if runs.is_dir() else []


def _is_campaign(folder: Path) -> bool:
    """Also where one of the two was lost: git has it."""
    try:
        return any((folder / name).is_file() for name in ("campaign.json", "journal.jsonl"))
    except OSError:  # of somebody else
        return False


def find_control(layout: Layout) -> Layout | None:
    """The control of a campaign, beside it: a search with as many runs; None where there is none."""
    if not layout.facts()["options"].get("control"):
        return None
    beside = [each for each in layouts(layout.root.resolve().parent) if _control_of(each) == layout.name]
    return max(beside, key=_age, default=None)


def _control_of(layout: Layout) -> str:
    """The name of the campaign that this one is the control of, "" of any other."""
    try:
        return str(json.loads(layout.options_file.read_text(encoding="utf-8"))["options"].get("control_of", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _age(layout: Layout) -> tuple[datetime, float]:
    """When it was created, then when its options were written: two campaigns can begin in the same second."""
    try:
        created = json.loads(layout.options_file.read_text(encoding="utf-8"))["created"]
        return datetime.fromisoformat(created), layout.options_file.stat().st_mtime
    except (OSError, ValueError, KeyError):
        return datetime.fromtimestamp(0).astimezone(), 0.0
