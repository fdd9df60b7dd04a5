"""The record of one run, `run_i/record.json`: the facts, written whole or not at all.

What the harness measured, what the experiment reported about itself and what the agent said are kept apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from .contract import Setting
from .files import write_atomically
from .not_confined import author
from .schema import SCHEMA, current_record
from .text import answered_by
from .usage import Usage

RECORD_FILE = "record.json"

Source = Literal["harness", "artifact", "scorer", "reported"]

RunStatus = Literal["completed", "failed"]
AttemptStatus = Literal[
    "completed",
    "rejected",  # by the pre-check, before it cost a run
    "smoke_test_failed",
    "crashed",
    "timed_out",
    "stalled",
    "out_of_memory",
    "too_much_output",
    "too_much_disk",
    "too_many_processes",
    "aborted",
    "killed",
    "not_started",
    "left_no_result",  # it ended well and left no result that can be read
    "no_answer",  # the agent had none
]
VerdictKind = Literal[
    "baseline",
    "improved",
    "trade_off",
    "not_significant",
    "worse",
    "inconclusive",
    "not_comparable",
    "no_effect",
    "invalid",
    "failed",
    "given",  # by a loop that was observed; not executed here, so nothing is judged
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


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
    """One a seed, in the order of `Record.seeds`; where it is `self_reported`, one for each seed of the experiment's own."""
    stage_values: list[float] = []
    """Those of `Record.stage_seeds`."""
    self_reported: bool = False
    """The experiment ran several seeds itself and says what each gave."""
    reported_error: float | None = None
    """A standard error that it reports, of an unknown number of seeds: shown, and used for nothing."""
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
    searched: dict[str, Setting] = {}
    """What a search without a model proposed, by name."""
    by_person: bool = False
    forced: bool = False
    restored: list[str] = []
    usage: Usage = Usage()
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
    error: float | None = None
    """Standard error of the difference."""
    tested: bool = True
    """False at the seeds of the stages, which only decide whether a run goes on."""
    paired: bool = False
    """Seed by seed, at seeds that both were executed at."""
    estimate: float | None = None
    """The difference, shrunk where the run was picked for being better."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """One-sided, of a gain; not corrected."""
    p_adjusted: float | None = None
    """The same, corrected for all that the campaign may test."""
    p_worse_adjusted: float | None = None
    """One-sided, of a loss, corrected in the same way."""
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
    guard_violations: list[str] = []
    """Guard metrics that got worse by more than they may, against the parent or the baseline."""
    caveats: list[str] = []
    """Why it is not called improved, whatever its numbers say."""
    error_share: float = 0.0
    """Of the campaign's error, what this look at the run cost; 0 where nothing was tested."""


class ControlRecord(_Part):
    """The baseline's code executed at a run's settings, so that the comparison is fair."""

    name: str
    overrides: dict[str, Setting]
    run: int
    """The run that first needed it; its results are in that run's folder."""
    seeds: list[int] = []
    settings: dict[str, Setting] = {}
    metrics: dict[str, list[float]] = {}
    processor_seconds: list[float] = []
    """Of its executions, as far as they were measured."""
    device_seconds: list[float] = []
    """The same where they had a GPU to themselves."""
    why_none: str = ""
    """Why it is no reference."""

    def by_seed(self, metric: str) -> dict[int, float]:
        """Empty where a seed has none, or the experiment itself ran them."""
        values = self.metrics.get(metric, [])
        return dict(zip(self.seeds if len(self.seeds) == len(values) else range(len(values)), values, strict=True))


class ReviewRecord(_Part):
    """What the reviewer advised: advice, not evidence."""

    model: str
    text: str
    usage: Usage = Usage()


class ObservedRecord(_Part):
    """What is known of a run that a loop of somebody else made, besides what it left."""

    loop: str
    name: str
    """As its loop calls it."""
    kept: bool
    """The loop went on from it, where it says so."""
    has_code: bool
    """Its code is known; otherwise its commit holds a line that says so."""
    same_code_as: int | None = None
    """An earlier run that can behave no differently."""
    same_numbers_as: int | None = None
    """An earlier run with the same numbers, times aside."""


class Record(_Part):
    """Everything about one run."""

    run: int
    status: RunStatus
    verdict: VerdictRecord
    commit: str
    """The commit whose code was executed."""
    parent: int | None = None
    """The run that this run's code started from."""
    round: int | None = None
    """Where several runs were proposed from one parent: which round that was."""
    siblings: list[int] = []
    """The other runs of it."""
    hypothesis: str = ""
    """As the agent stated it before the run."""
    plan: str = ""
    description: str = ""
    """The agent's words about the change, before the run."""
    interpretation: str = ""
    """The agent's words about this run's results, after it."""
    command: str = ""
    given: bool = False
    """A baseline that was given with the experiment, or a run of a loop that was observed: not executed here."""
    observed: ObservedRecord | None = None
    seed: int | None = None
    """That of the run itself; None where it is unknown."""
    seeds: list[int] = []
    """All that the metrics are means over: the final seeds, where the run was executed at such."""
    stage_seeds: list[int] = []
    """Where it has final seeds: those before them, which only decided whether to go on."""
    final_references: list[ControlRecord] = []
    """The baseline, or the control in its place, and the parent, as they were executed at the final seeds."""
    ignores_seed: bool = False
    """A baseline whose seeds all gave the same numbers: HARNESS_SEED changes nothing."""
    varying_settings: list[str] = []
    """Of a baseline: settings that differ between its seeds (a path, a time), so that they may in a run's too."""
    earlier_verdicts: list[VerdictRecord] = []
    """Its earlier verdicts; `harness confirm` adds seeds and looks again."""
    overrides: dict[str, Setting] = {}
    """Settings that its code is executed with, on top of those of the campaign."""
    searched: dict[str, Setting] = {}
    """Where a search without a model proposes: its values of the search space, settings and constants of the code; of the
    baseline those to begin with."""
    control: ControlRecord | None = None
    frontier: list[ControlRecord] = []
    """Controls at other settings, executed for this run so that it has a reference at its L0."""
    settings: dict[str, SettingRecord] = {}
    metrics: dict[str, MetricRecord] = {}
    attempts: list[AttemptRecord] = []
    warnings: list[str] = []
    advice: list[str] = []
    """What may help to explain the results, and is no evidence."""
    usage: Usage = Usage()
    agent: str = ""
    """Name and version of the agent that answered, and the models that did."""
    models: list[str] = []
    agent_sandbox: str = ""
    """In which the agent ran."""
    seconds: float = 0.0
    processor_seconds: list[float] = []
    """Of the executions that its numbers are means over, as far as they were measured."""
    device_seconds: list[float] = []
    """The same where they used a GPU that each had to itself."""
    peak_memory: int | None = None
    """Bytes, the most of these executions."""
    started: str = ""
    """UTC, ISO 8601."""
    environment: dict[str, str] = {}
    """Python, packages, GPU, host, model: what a number depends on besides the code."""
    review: ReviewRecord | None = None
    messages: list[str] = []
    """A person's words that went into this run's briefs."""

    @property
    def answered_by(self) -> str:
        """The agent's name and version with its models; "" where nobody answered or an earlier harness did not note it."""
        return answered_by(self.agent, self.models)

    @property
    def author(self) -> str:
        """Whose the change and the words are: the agent's, or those of an author outside."""
        return author(self.agent_sandbox)

    @property
    def own_seeds(self) -> int:
        """How many seeds the experiment itself ran in each execution, by its own account; 0 where it says nothing of it."""
        found = 0
        for metric in self.metrics.values():  # asked of every record before each run
            if metric.self_reported:
                found = max(found, len(metric.values))
        return found

    def by_seed(self, metric: str) -> dict[int, float]:
        """The values that the metric is the mean of, by seed; numbered from 0 where their seeds are not known."""
        found = self.metrics.get(metric)
        values = (found.values or [found.value]) if found else []
        known = self.seeds or ([] if self.seed is None else [self.seed])
        return dict(zip(known if len(known) == len(values) else range(len(values)), values, strict=True))

    def at_stages(self, metric: str) -> dict[int, float]:
        """The values at the seeds that decided whether to go on."""
        found = self.metrics[metric].stage_values if metric in self.metrics else []
        return dict(zip(self.stage_seeds, found, strict=False)) if found else self.by_seed(metric)

    @property
    def looks(self) -> int:
        """How many looks at the run have cost error."""
        return sum(each.error_share > 0 for each in (*self.earlier_verdicts, self.verdict))

    @property
    def has_other_seeds(self) -> bool:
        """Of a baseline: whether it was executed here, and HARNESS_SEED changes its numbers."""
        return not (self.given or self.ignores_seed or self.own_seeds > 0)

    @property
    def seed_count(self) -> int:
        """How many seeds its numbers are means over, 0 where that is unknown."""
        return self.own_seeds or len(self.seeds) or int(self.seed is not None)

    @property
    def seeds_in_words(self) -> str:
        """`0, 1, 2`, or how many of its own the experiment reports."""
        if self.own_seeds:
            return f"{self.own_seeds} of the experiment's own (self-reported)"
        if self.stage_seeds:
            return f"{', '.join(map(str, self.seeds))} (final; stages: {', '.join(map(str, self.stage_seeds))})"
        return ", ".join(map(str, self.seeds)) or ("unknown" if self.seed is None else str(self.seed))

    @classmethod
    def read(cls, run_folder: Path) -> Record:
        file = run_folder / RECORD_FILE
        return cls.of(current_record(json.loads(file.read_text(encoding="utf-8")), str(file)))

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Record:
        """A record as its file holds it, in today's schema."""
        return cls.model_validate({key: value for key, value in data.items() if key != "schema"})

    @property
    def content(self) -> bytes:
        """Of its file."""
        return f'{{\n "schema": {SCHEMA},{self.model_dump_json(indent=1)[1:]}\n'.encode()

    def write(self, run_folder: Path) -> None:
        write_atomically(run_folder / RECORD_FILE, self.content)
