"""The folder of one execution: which files it has, and what was asked for.

`lock` is held (flock) by the supervisor from before it is started until it is gone, so whether an execution lives needs no
process id. Imports nothing heavy: each supervisor starts with this.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path

from ...campaign.protocols import AbortRule, Job, Limits, Outcome, Share, WarmStart
from .machine import Machine
from .sandbox import Parts

LOG = "log.txt"
_BEATS_WITHIN = 60.0
"""Seconds without a heartbeat that may pass though it lives."""

EXECUTION_MARK = "HARNESS_EXECUTION"
"""In the environment of every process of an execution; its value is unique to the execution."""
SUPERVISOR_MARK = "HARNESS_SUPERVISOR"
"""The same for its supervisor."""


@dataclass(frozen=True)
class Spec:
    """What was asked for. `submitted` is the monotonic clock of this boot, in seconds; `parts` are those of its sandbox,
    `tmp` is its folder for temporary files, `machine` is what it has its share of (None: of what it likes), `group` the
    folder of its control group, where it has one."""

    job: Job
    mark: str
    submitted: float
    parts: Parts
    tmp: Path
    machine: Machine | None = None
    group: Path | None = None


class Home:
    """Paths and contents of an execution's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / "lock"
        self.spec = path / "spec.json"
        self.wanted = path / "wanted"
        """Removed by whoever wants the execution to end: no signal to a wrong process, and a full disk allows it."""
        self.waiting = path / "waiting"
        """For what the execution waits, where it does, in a line."""
        self.gpu = path / "gpu"
        """The UUID of the one that it has for itself, where it has one."""
        self.outcome = path / "outcome.json"
        self.log = path / LOG
        self.heartbeat = path / "heartbeat"
        self.complaints = path / "supervisor.txt"
        """What the supervisor itself printed: empty unless it has a fault."""

    def is_alive(self) -> bool:
        """Whether the supervisor lives."""
        try:
            with self.lock.open("rb") as file:
                # Shared, so that two who ask at once do not take each other for the supervisor.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:  # on another machine, where no lock would be seen
            return time.time() - self.last_beat() < _BEATS_WITHIN
        except BlockingIOError:
            return True
        return False

    def last_beat(self) -> float:
        """When the last heartbeat of a supervisor on another machine was, by the file system's clock; 0 where none was."""
        try:
            return self.heartbeat.stat().st_mtime
        except OSError:
            return 0.0

    def write_spec(self, spec: Spec) -> None:
        """Without the job's secrets."""
        # The environment is in it, so it is for the person's eyes only.
        _write_whole(self.spec, replace(spec, job=replace(spec.job, secrets={})))

    def read_spec(self) -> Spec:
        content = json.loads(self.spec.read_text(encoding="utf-8"))
        job = content["job"]
        for key in ("folder", "out_dir", "scratch"):
            job[key] = Path(job[key])
        for key in ("writable", "readable", "hidden"):
            job[key] = tuple(Path(path) for path in job[key])
        if warm := job["warm"]:
            job["warm"] = WarmStart(Path(warm["folder"]), tuple(warm["imports"]), Path(warm["log"]))
        if job["share"]:
            job["share"] = Share(**job["share"])
        if machine := content["machine"]:
            machine = Machine(**machine | {"folder": Path(machine["folder"]), "cores": tuple(machine["cores"])})
        job["command"] = tuple(job["command"])
        job["limits"] = Limits(**job["limits"])
        job["abort"] = tuple(AbortRule(**rule) for rule in job["abort"])
        parts = Parts(**content["parts"] | {"held": tuple(content["parts"]["held"])})
        group = Path(content["group"]) if content.get("group") else None
        return Spec(Job(**job), content["mark"], content["submitted"], parts, Path(content["tmp"]), machine, group)

    def say_waiting(self, text: str) -> None:
        """For what the execution waits; "" when it does no longer."""
        if not text:
            self.waiting.unlink(missing_ok=True)
        elif self.waits_for() != text:
            self.waiting.write_text(text, encoding="utf-8")

    def waits_for(self) -> str:
        """For what the execution waits; "" where it does not."""
        try:
            return self.waiting.read_text(encoding="utf-8")
        except OSError:
            return ""

    def write_outcome(self, outcome: Outcome) -> None:
        _write_whole(self.outcome, outcome)

    def read_outcome(self) -> Outcome | None:
        """The outcome; None when there is none."""
        try:
            said = json.loads(self.outcome.read_text(encoding="utf-8"))
            lists = {name: tuple(said[name]) for name in ("not_guaranteed", "gpus") if said.get(name) is not None}
            return Outcome(**said | lists)
        except FileNotFoundError:
            return None


def _write_whole(path: Path, content: Spec | Outcome) -> None:
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(content, file, indent=1, default=_plain)
        file.flush()
        # Before the rename: after a power cut an outcome must be whole or not there, and never empty.
        os.fsync(file.fileno())
    beside.replace(path)


def _plain(part: object) -> object:
    """What JSON has no form for: a dataclass, by its fields (`asdict` copies all that is in them first), or a path."""
    return vars(part) if is_dataclass(part) else str(part)
