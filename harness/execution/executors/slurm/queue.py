"""What Slurm says of jobs: one question for all that this process waits for, whatever campaigns they are of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .commands import NoAnswer, Refused, ask

_FORMAT = "%j|%i|%T|%N|%r"
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
    "REVOKED",
}
"""Of states, those of a job that is over. One that is still completing, or requeued, is not."""
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
"""Those of a job that has not begun, or is to begin again."""


@dataclass(frozen=True)
class QueuedJob:
    """What Slurm says of one job. `state` is its word in full, `reason` why it is in that."""

    name: str
    number: str
    state: str
    node: str = ""
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def order(self) -> int:
        """Of two jobs of one name the one with the larger was submitted later."""
        digits = self.number.partition("_")[0]
        return int(digits) if digits.isdecimal() else -1


def read(lines: str) -> dict[str, QueuedJob]:
    """What `squeue` or `sacct` printed, by name; of several jobs of one name one that goes on, else the last."""
    found: dict[str, QueuedJob] = {}
    for line in lines.splitlines():
        cells = [cell.strip() for cell in line.split("|", 4)]
        if len(cells) < 5 or not cells[2]:
            continue
        name, number, state, node, reason = cells
        node = "" if node.startswith(("(", "None")) else node
        # sacct says who cancelled it ("CANCELLED by 1000"), and a state in short has a sign behind it.
        job = QueuedJob(name, number, state.split()[0].rstrip("+"), node, reason if reason != "None" else "")
        before = found.get(name)
        if before is None or (not job.has_ended, job.order) > (not before.has_ended, before.order):
            found[name] = job
    return found


@dataclass(frozen=True)
class Answer:
    """What was known of one job when Slurm was asked last; `asked` is by the monotonic clock, before it was asked."""

    asked: float
    job: QueuedJob | None
    silence: str = ""
    """Why Slurm has not answered since, "" where it did."""


class Queue:
    """Asks for all jobs at once, and not more often than it is told. Several threads share it."""

    def __init__(self, listed: Callable[[Iterable[str]], str] | None = None) -> None:
        self._listed = listed or _listed
        self._names: dict[str, int] = {}
        self._asking = threading.Lock()
        self._changing = threading.Lock()
        self._asked = self._tried = float("-inf")
        self._asked_for: frozenset[str] = frozenset()
        self._jobs: dict[str, QueuedJob] = {}
        self._silence = ""

    def watch(self, name: str) -> None:
        with self._changing:
            self._names[name] = self._names.get(name, 0) + 1

    def forget(self, name: str) -> None:
        with self._changing:
            self._names[name] -= 1
            if not self._names[name]:
                del self._names[name]

    def look(self, name: str, every: float) -> Answer:
        """What is known of a job that is watched, at most `every` seconds old where Slurm answers. While another thread
        asks, what was known before."""
        if self._asking.acquire(blocking=False):
            try:
                if time.monotonic() - self._tried >= every:
                    self._ask()
            finally:
                self._asking.release()
        with self._changing:
            asked = self._asked if name in self._asked_for else float("-inf")
            return Answer(asked, self._jobs.get(name), self._silence)

    def _ask(self) -> None:
        with self._changing:
            names = frozenset(self._names)
        begun = time.monotonic()
        try:
            found, silence = read(self._listed(sorted(names))), ""
        except (NoAnswer, Refused) as error:
            found, silence = {}, str(error)
        with self._changing:
            self._tried = time.monotonic()
            self._silence = silence
            if not silence:
                self._asked, self._asked_for, self._jobs = begun, names, found


def _listed(names: Iterable[str]) -> str:
    return ask(["squeue", "--noheader", "--states=all", f"--name={','.join(names)}", f"--format={_FORMAT}"])


def from_accounting(name: str) -> QueuedJob | None:
    """What the accounting has of a job that the controller has forgotten; None where there is none, or it knows nothing."""
    fields = "JobName%64,JobID,State%32,NodeList%256,Reason"
    try:
        said = ask(["sacct", f"--name={name}", "--noheader", "--allocations", "--parsable2", f"--format={fields}"])
    except (NoAnswer, Refused):
        return None
    return read(said).get(name)


QUEUE = Queue()
"""That of this process."""
