"""Executors: where an experiment runs, under which limits, and how it ended.

An execution has a folder of its own, `home`, that holds everything about it (`spec.json`, its output, `outcome.json`), so
that a harness that was killed can go on with it: `attach` finds an execution that still runs, or its outcome.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ..errors import InputError

EXECUTORS: dict[str, str] = {"local": "harness.executors.local:LocalExecutor"}

Ended = Literal[
    "ok",
    "crashed",
    "timed_out",
    "stalled",  # no output for `Limits.silence`
    "out_of_memory",
    "too_much_output",
    "too_much_disk",
    "aborted",  # an abort rule on the training log
    "killed",  # by a signal from outside
    "stopped",  # by the person (Ctrl-C)
    "not_started",  # the command could not be started
]


@dataclass(frozen=True)
class Limits:
    """What an execution may use; None is no limit. Seconds and bytes."""

    time: float | None = None
    silence: float | None = None
    memory: int | None = None
    output: int | None = None
    disk: int | None = None


@dataclass(frozen=True)
class AbortRule:
    """End an execution early: `key` of the training log is not finite in `steps` consecutive lines."""

    key: str
    steps: int


@dataclass(frozen=True)
class WarmStart:
    """What a job takes long to import: it may be forked from a process that has imported it before.

    `imports` are modules, or `module:function` to call, found in `folder` first. `log` is that process's own output.
    """

    folder: Path
    imports: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Job:
    """One execution of a command.

    `folder` is its working copy and working directory, `out_dir` a folder inside it that is empty at the start.
    `environment` is the whole environment, nothing is inherited. Where the system can hold it to that, the process may write
    to `folder`, `scratch` and what is in `writable` only, and read no file in a folder of `hidden` (nor one named there)
    but in those. `training_log` is a JSON-lines file (relative to `out_dir`) for `abort`.
    """

    command: tuple[str, ...]
    folder: Path
    out_dir: Path
    scratch: Path
    environment: dict[str, str]
    limits: Limits = field(default_factory=Limits)
    abort: tuple[AbortRule, ...] = ()
    training_log: str | None = None
    writable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    network: bool = True
    """Without it no TCP, where the system can hold it to that (Linux 6.7)."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further variables of the environment, written nowhere."""
    warm: WarmStart | None = None
    """Of a job whose command is a Python's `-c CODE ARGUMENTS`; an executor need not make use of it."""


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. `why` is one sentence for a person ("no output for 60 s").

    `log` is the output (stdout and stderr together) relative to the execution's home, head and tail kept when it is huge.
    `peak_memory` in bytes over the whole process tree, None when unknown. `confined` says whether writes outside
    `folder` and `scratch` were refused by the system.
    """

    ended: Ended
    exit_code: int | None
    why: str
    seconds: float
    peak_memory: int | None
    log: str
    confined: bool


class Execution(Protocol):
    """A submitted job."""

    home: Path

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        """Block until it has ended. Calls `tick` with the last line of output a few times a second; ends the whole process
        tree and returns `stopped` when `stop()` becomes true."""
        ...


class Executor(Protocol):
    """A place to execute."""

    def submit(self, job: Job, home: Path) -> Execution:
        """Start `job`. `home` must not exist yet. The process outlives this one if this one is killed."""
        ...

    def warm_up(self, job: Job) -> None:
        """Begin with what jobs like this one take long to import (`job.warm`), where this executor makes use of it."""
        ...

    def attach(self, home: Path) -> Execution | None:
        """The execution in `home` that an earlier process submitted: still running or ended with an outcome. None when
        there is none, or when it died without an outcome (then nothing of it runs any more)."""
        ...


def find_executor(name: str) -> Executor:
    """The executor called `name`: a known short name or an import path."""
    path = EXECUTORS.get(name, name)
    module_name, _, attribute = path.partition(":")
    if not attribute:
        raise InputError(f"executor {name}: unknown. Known: {', '.join(EXECUTORS)}; or package.module:Class.")
    return getattr(importlib.import_module(module_name), attribute)()  # type: ignore[no-any-return]
