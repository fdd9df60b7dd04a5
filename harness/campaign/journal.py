"""The journal: a campaign's append-only list of events, JSON lines, fsynced, one writer.

A long one lies in several files: the last of them is `journal.jsonl`, those before it, which nobody writes any more, are
numbered in `journal.parts`. So what is committed with a run is as much with the thousandth as with the first.

It is also what makes a campaign survive anything. Every effect of the loop is a step with a name; `once` performs it and
writes its result down, or returns the result that is already there. So going on after a crash is the same code as going
on after a step: the loop is run again from its first line, and what is done is not done twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from shlex import quote
from typing import IO, Any

from .errors import CannotGoOn
from .files import sync
from .schema import current_events

Event = dict[str, Any]


def now() -> str:
    """UTC, ISO 8601, to the second. For people; durations are measured with a monotonic clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


PARTS = "journal.parts"
_PART = re.compile(rf"{re.escape(PARTS)}/\d{{4,}}\.jsonl")
_LONG = 200_000
"""Bytes from which on another file is begun."""


def parts(root: Path) -> list[Path]:
    """The files of the journal of the campaign in `root` before the last one, in order."""
    return sorted(path for path in (root / PARTS).glob("*.jsonl") if is_part(f"{PARTS}/{path.name}"))


def is_part(path: str) -> bool:
    """Whether a path in a campaign is that of such a file, and not of one that an editor, a copy or a person put beside."""
    return bool(_PART.fullmatch(path))


def part(root: Path, number: int) -> Path:
    return root / PARTS / f"{number:04}.jsonl"


def read_events(path: Path) -> list[Event]:
    """The events of the journal that ends with `path`. A last line that a crash left unfinished does not count; any other
    damage is an error."""
    while True:
        before = parts(path.parent)
        events = [event for file in (*before, path) for event in _events_in(file)]
        if parts(path.parent) == before:  # else another process began another file meanwhile
            break
    for number, file in enumerate(before, 1):
        if file != part(path.parent, number):
            raise CannotGoOn(f"{part(path.parent, number)}: is missing. {_put_back(part(path.parent, number))}")
    return current_events(events, str(path))


def _events_in(path: Path) -> list[Event]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CannotGoOn(f"{path}: cannot be read: {error.strerror}. {_put_back(path)}") from error
    del lines[-1]  # what follows the last newline was never finished
    events: list[Event] = []
    for number, (line, parsed) in enumerate(zip_longest(lines, _parsed(lines)), 1):
        try:
            event = parsed or json.loads(line)
            damage = _damage(event)
        except (ValueError, RecursionError) as error:
            damage = str(error)
        if damage:
            raise CannotGoOn(f"{path}: line {number} is damaged ({damage}). {_put_back(path)}")
        events.append(event)
    return events


def _parsed(lines: list[bytes]) -> list[Any]:
    """What whole lines hold, at once, which takes half as long as one by one; nothing where one of them is damaged."""
    try:
        events: list[Any] = json.loads(b"[%b]" % b",".join(lines).removeprefix(BOM_UTF8))
    except (ValueError, RecursionError):
        return []
    return events if len(events) == len(lines) else []


def _put_back(path: Path) -> str:
    root = path.parent.parent if path.parent.name == PARTS else path.parent
    return f"Put back the version in git: git -C {quote(str(root))} checkout main -- {path.relative_to(root)}"


_OF_ALL: dict[str, tuple[type, ...]] = {"event": (str,), "time": (str,)}
_SHAPES: dict[str, dict[str, tuple[type, ...]]] = {
    "started": {"step": (str,)},
    "done": {"step": (str,), "seconds": (int, float), "result": (dict, list, str, int, float, type(None))},
    "options": {"changes": (dict,)},
    "ended": {"reason": (str,), "message": (str,), "exit_code": (int,)},
    "turn_failed": {"step": (str,), "usage": (dict,)},
    "wrote": {"files": (dict,)},
    "forced": {"step": (str,), "commit": (str,), "origin": (str,)},
    "verified": {"at": (int,)},
}
"""What events hold that is read again, by their names."""
_CHECKS = {name: (tuple(_OF_ALL | shape), tuple((_OF_ALL | shape).values())) for name, shape in {"": {}, **_SHAPES}.items()}
_NUMBERS = ("seconds", "sent", "received", "cost", "requests", "cached")
"""Of a usage and an outcome: numbers, or nothing where they are unknown."""
_NUMBER = ((int, float, type(None)),) * len(_NUMBERS)


def _damage(event: Any) -> str:
    """What is wrong with a line of a journal, "" where it is whole."""
    if not isinstance(event, dict):
        return f"expected an object, found {type(event).__name__}"
    keys, kinds = _CHECKS.get(str(event.get("event")), _CHECKS[""])
    wrong = _other_kind(event, keys, kinds) or ("result" if "result" in keys and "result" not in event else "")
    if wrong:
        allowed = dict.fromkeys(kind.__name__ for kind in kinds[keys.index(wrong)])
        found = type(event[wrong]).__name__ if wrong in event else "nothing"
        return f"{wrong}: expected {' or '.join(allowed)}, found {found}"
    result = event.get("result")
    for part in (event, result) if isinstance(result, dict) else (event,):
        for name in ("usage", "outcome"):
            if name not in part:
                continue
            if not isinstance(part[name], dict):
                return f"{name}: expected dict, found {type(part[name]).__name__}"
            if wrong := _other_kind(part[name], _NUMBERS, _NUMBER):
                return f"{name}.{wrong}: expected a number, found {type(part[name][wrong]).__name__}"
    return ""


def _other_kind(part: Event, keys: tuple[str, ...], kinds: tuple[tuple[type, ...], ...]) -> str:
    """The first of these keys under which something of another kind stands, "" where there is none. Asked of each line of a
    journal, so without a loop in Python."""
    if all(map(isinstance, map(part.get, keys), kinds)):
        return ""
    return next(key for key, each in zip(keys, kinds, strict=True) if not isinstance(part.get(key), each))


# Steps and events are found by their names in journals of earlier versions: whoever renames one raises SCHEMA and
# translates the old name there.
CLOSE = "close"
"""The step of commits that no step waits for: nothing is redone without them, and nothing drops them."""
BEGUN_ANEW = "begun_anew"
"""The event after which no step from before it counts: the experiment was mended after its baseline had failed."""
END = "end"
"""The event of who drives a campaign from outside having said that it is over; a turn after it goes on."""
PERSON_STEP = "person_edit_"
"""What the steps begin with that commit a person's edits."""


class Journal:
    """The events of one campaign. Only the holder of the campaign's lock makes one; its threads may share it."""

    is_dry = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._done: dict[str, Any] = {}
        self.events: list[Event] = []
        self._named: dict[tuple[str, str], list[Event]] = {}
        for event in read_events(path):
            self._take(event)
        self._drop_unfinished_line()

    def append(self, event: str, **facts: Any) -> None:
        """Write one event to the disk before returning; of a step that was begun nobody is told, so the next event has that
        written too."""
        record: Event = {"time": now(), "event": event, **facts}
        line = _line(record)
        # Unbuffered, so that the file is as long as what was written, and `truncate` cuts off exactly this line.
        with self._writing, self._path.open("ab", buffering=0) as file:
            whole = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
                # The caller acts on what is written here, and a power cut must not take it back after that.
                if event != "started":
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)  # half a line would damage what is appended next
                raise
            self._take(record)

    def turn_over(self) -> None:
        """Begin another file where this one has become long."""
        with self._writing:
            if self._path.exists() and self._path.stat().st_size >= _LONG:
                root = self._path.parent
                (root / PARTS).mkdir(exist_ok=True)
                self._path.rename(part(root, len(parts(root)) + 1))

    def _take(self, event: Event) -> None:
        """Take in an event, so that who asks for it later need not look at all of them."""
        if event["event"] == BEGUN_ANEW:
            self._done.clear()
            self._named.clear()
        self.events.append(event)
        step = event.get("step", "")
        for where in ("", f"{step.partition('/')[0]}/", f"/{step.rpartition('/')[2]}") if step else ("",):
            self._named.setdefault((event["event"], where), []).append(event)
        if event["event"] == "done":
            self._done[event["step"]] = event["result"]

    def is_done(self, step: str) -> bool:
        return step in self._done

    def result(self, step: str) -> Any:
        """The result of a finished step, None when it is not finished."""
        return self._done.get(step)

    def once(self, step: str, effect: Callable[[], Any], *, leaves_files: bool = True) -> Any:
        """The result of `step`: of an earlier time, or of `effect`, JSON-like, written down with its seconds.

        An effect that was interrupted is begun again, so it must be safe to repeat. What it leaves beside its result is on
        the disk before it is done.
        """
        if step not in self._done:
            if leaves_files:  # else it takes no time, and is not seen in hand
                self.append("started", step=step)
            begun = time.monotonic()
            result = effect()
            if leaves_files:
                sync(self._path.parent)
            # After the effect and never before it: a crash in between repeats the effect, and nothing is lost.
            self.append("done", step=step, seconds=round(time.monotonic() - begun, 3), result=result)
        return self._done[step]

    def of(self, event: str, where: str = "") -> list[Event]:
        """Those of a kind since the campaign was begun, or begun anew; `where`: how their steps begin, "run_3/", or how they
        end, "/turn"."""
        return [*self._named.get((event, where), [])]

    def begin_anew(self) -> None:
        """No step is done any more; what they cost stays written."""
        self.append(BEGUN_ANEW)

    def _drop_unfinished_line(self) -> None:
        if self._path.exists():
            data = self._path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                with self._path.open("r+b") as file:
                    file.truncate(whole)


def _line(record: Event) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:  # an experiment can give a file a name that is no text
        return json.dumps(record, default=str).encode() + b"\n"


class NotDone(Exception):
    """A dry journal was asked for a step that has no result yet."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


class DryJournal(Journal):
    """Reads and never writes: the loop run on it stops at the first step that is not done (NotDone)."""

    is_dry = True

    def append(self, event: str, **facts: Any) -> None:
        raise NotDone(event)

    def once(self, step: str, effect: Callable[[], Any], *, leaves_files: bool = True) -> Any:
        if not self.is_done(step):
            raise NotDone(step)
        return self.result(step)

    def _drop_unfinished_line(self) -> None:
        """Another process may be writing that line."""


@contextmanager
def locked(path: Path, waits: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the campaign's lock. When another process holds it: `waits` is told its number before each further try, and
    without it CannotGoOn is raised. A dead process holds nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Opened to append, or opening would wipe out the holder's pid. The file stays for good: who made it anew would lock
    # another file. Children do not inherit the descriptor (PEP 446), so a supervisor does not keep the lock.
    with path.open("a+", encoding="utf-8") as file:
        while not _took(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if waits is None:
                raise CannotGoOn(
                    f"{path.parent.parent}: another process (pid {holder}) is running this campaign. "
                    f"`harness status {path.parent.parent.name}` shows where it is."
                )
            waits(holder)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _took(file: IO[str]) -> bool:
    """`status` holds the lock for an instant when it looks whether somebody does, so one refusal is not believed."""
    for pause in (0.2, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(pause)
    return False
