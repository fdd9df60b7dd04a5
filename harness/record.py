"""The record of one run, `run_i/record.json`: the facts, written whole or not at all.

What the harness measured, what the experiment reported about itself and what the agent said are kept apart.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from .contract import Setting
from .evidence import Comparison
from .results import Source

FILE_NAME = "record.json"

RunStatus = Literal["completed", "failed"]
AttemptStatus = Literal[
    "completed",
    "refused",  # by the gate, before it cost a run
    "smoke_failed",
    "crashed",
    "timed_out",
    "stalled",
    "out_of_memory",
    "too_much_output",
    "too_much_disk",
    "aborted",
    "killed",
    "not_started",
    "wrong_result",  # it ended well and left no result that can be read
    "no_answer",  # the agent had none
]
VerdictKind = Literal[
    "baseline",
    "improved",
    "traded_off",
    "within_noise",
    "worse",
    "undecided",
    "not_comparable",
    "no_effect",
    "unhealthy",
    "failed",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class UsageRecord(_Part):
    """Tokens, dollars (None: unknown) and seconds."""

    sent: int = 0
    received: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    requests: int = 0


class SettingRecord(_Part):
    """A setting that the run used, the baseline's, and who says so."""

    value: Setting
    baseline: Setting
    source: Source

    @property
    def differs(self) -> bool:
        return self.value != self.baseline


class MetricRecord(_Part):
    """A number of the run, the mean over its seeds, beside the baseline's; `file` and `key` say where it was read."""

    value: float
    values: list[float] = []
    """One a seed, in the order of `Record.seeds`."""
    baseline: float | None = None
    difference: float | None = None
    file: str = ""
    key: str = ""


class AttemptRecord(_Part):
    """One try at a run."""

    number: int
    status: AttemptStatus
    why: str = ""
    commit: str | None = None
    by_person: bool = False
    forced: bool = False
    put_back: list[str] = []
    usage: UsageRecord = UsageRecord()
    seconds: float = 0.0


class PointRecord(_Part):
    """The baseline's code at one place of the frontier."""

    name: str
    at: float
    variance: float
    """Of `at`."""
    mean: float | None
    """Of the primary metric, None where a seed has none."""
    seeds: int


class FrontierRecord(_Part):
    """Where a run stands between points that were measured; `metric` moves the primary one."""

    metric: str
    at: float
    variance: float
    points: list[PointRecord]


class ComparisonRecord(_Part):
    """The primary metric of a run beside that of what it is compared with."""

    reference: str
    """`run_0`, `run_2`, `control k=80`, or a place on the frontier."""
    mean: float
    reference_mean: float
    seeds: int
    reference_seeds: int
    difference: float | None = None
    """None, and all below, where nothing can be said; `why` then says why."""
    estimate: float | None = None
    """The difference, shrunk where the run was picked for being better."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """One-sided, not corrected."""
    p_corrected: float | None = None
    sd: float | None = None
    """Standard deviation between seeds that the comparison took for the run, and below for the reference; over the root
    of its seeds it is the standard error."""
    reference_sd: float | None = None
    method: str = ""
    why: str = ""
    frontier: FrontierRecord | None = None


class VerdictRecord(_Part):
    """The harness's judgement and its reason in plain words.

    Against the parent it is accepted or not; against the baseline it says what the idea is worth.
    """

    kind: VerdictKind
    why: str = ""
    against_parent: ComparisonRecord | None = None
    against_baseline: ComparisonRecord | None = None
    falls: list[str] = []
    """Guard metrics that got worse by more than they may, against the parent or the baseline."""
    doubts: list[str] = []
    """Why it is not called improved, whatever its numbers say."""
    share: float = 0.0
    """Of the campaign's error, what this look at the run cost; 0 where nothing was tested."""
    tested: Comparison | None = None
    """The comparison with the baseline as it was tested then. The conclusion rests on it, whatever was measured since."""


class ControlRecord(_Part):
    """The baseline's code executed at a run's settings, so that the comparison is fair."""

    name: str
    overrides: dict[str, Setting]
    run: int
    """The run that first needed it; its results are in that run's folder."""
    seeds: list[int] = []
    settings: dict[str, Setting] = {}
    metrics: dict[str, list[float]] = {}
    why_none: str = ""
    """Why it is no reference."""


class ReviewRecord(_Part):
    """What the reviewer advised: advice, not evidence."""

    model: str
    text: str
    usage: UsageRecord = UsageRecord()


class Record(_Part):
    """Everything about one run."""

    run: int
    status: RunStatus
    verdict: VerdictRecord
    commit: str
    """The commit whose code was executed."""
    parent: int | None = None
    """The run that this run's code started from."""
    hypothesis: str = ""
    """As the agent stated it before the run."""
    plan: str = ""
    description: str = ""
    """The agent's words about the change, before the run."""
    interpretation: str = ""
    """The agent's words about this run's results, after it."""
    command: str = ""
    given: bool = False
    """A baseline that was given with the experiment, not executed here."""
    seed: int | None = None
    """That of the run itself; None where it is unknown."""
    seeds: list[int] = []
    """All that the metrics are means over."""
    looks: list[VerdictRecord] = []
    """Its earlier verdicts; `harness confirm` adds seeds and looks again."""
    control: ControlRecord | None = None
    frontier: list[ControlRecord] = []
    """Controls at other settings, executed for this run so that it has a reference at its L0."""
    settings: dict[str, SettingRecord] = {}
    metrics: dict[str, MetricRecord] = {}
    attempts: list[AttemptRecord] = []
    warnings: list[str] = []
    advice: list[str] = []
    """What may help to explain the results, and is no evidence."""
    usage: UsageRecord = UsageRecord()
    seconds: float = 0.0
    started: str = ""
    """UTC, ISO 8601."""
    fingerprint: dict[str, str] = {}
    """Python, packages, GPU, host, model: what a number depends on besides the code."""
    review: ReviewRecord | None = None
    told: list[str] = []
    """A person's words that went into this run's briefs."""

    @classmethod
    def read(cls, run_folder: Path) -> Record:
        return cls.model_validate_json((run_folder / FILE_NAME).read_text(encoding="utf-8"))

    def write(self, run_folder: Path) -> None:
        write_atomically(run_folder / FILE_NAME, self.model_dump_json(indent=1) + "\n")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside and rename: a reader sees the old file or the new one, also after a power cut. Text becomes UTF-8."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=False, default=str)
