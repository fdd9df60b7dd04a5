"""Where a campaign stands: pure functions of its journal and records, also while another process runs it.

Records are read as plain JSON, because `status` and `log` answer at once and may not wait for their models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ...campaign.budget import spent
from ...campaign.journal import Event
from ...campaign.layout import Layout
from ...campaign.metric_names import telling
from ...campaign.schema import SCHEMA
from ...campaign.text import in_words, line
from ...campaign.usage import Usage
from ...statistics.noise import Noise, combine, squares_of
from .difference import beyond
from .held_out import HeldOut, held_out
from .remedies import remedies

State = Literal["new", "running", "waiting", "interrupted", "crashed", "ended"]

PHASES = {
    "start": "start",
    "environment": "environment",
    "turn": "agent",
    "pre_check": "pre-check",
    "smoke_test": "smoke test",
    "execute": "execution",
    "final": "final seed",
    "baseline": "baseline, final seed",
    "parent": "parent, final seed",
    "control": "matched control",
    "frontier": "baseline at another setting",
    "held_out": "held-out evaluation",
    "held_out_baseline": "baseline, held-out evaluation",
    "person_edit": "your edit",
    "plot": "plot.py",
    "record": "record",
    "review": "review",
}
"""What people call the steps of the journal."""

NO_EVIDENCE = ("baseline", "invalid", "not_comparable", "no_effect", "failed", "given")
"""Verdicts of runs that cannot be the best one."""

_TAIL = 4096  # bytes of an output in which its last line is looked for
_STEP = re.compile(r"(?:run_(\d+)/|holdout_\d+/)?(?:attempt_(\d+)/)?([a-z_]+?)\d*(?:_\d+)?")


@dataclass(frozen=True)
class Primary:
    """The metric that decides: its name in the results, its title for people, which way is better, and its unit."""

    name: str
    title: str
    better: str
    unit: str = ""


@dataclass(frozen=True)
class Row:
    """One run or, with `attempt`, one try at it. `seconds` and `usage` are of agent, experiment and reviewer."""

    run: int
    attempt: int | None
    status: str
    verdict: str = ""
    """Against the baseline, or what stands for it."""
    value: float | None = None
    """The primary metric, and its reference's."""
    baseline: float | None = None
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    description: str = ""
    """The hypothesis; of an attempt that failed, why."""
    error: float | None = None
    """Standard error of `value`, where the noise between seeds is known, and of `baseline`."""
    baseline_error: float | None = None
    seeds: int = 0
    difference: float | None = None
    """From the run's reference (the baseline, or a control), where the run was compared with it."""
    difference_error: float | None = None
    low: float | None = None
    """Limits of the difference, corrected for all runs."""
    high: float | None = None
    reference: str = ""
    parent: int | None = None
    parent_verdict: str = ""
    """Against the run that it started from, where that is not the baseline."""
    round: int | None = None
    """Where several runs were proposed from one parent: which round that was."""
    commit: str = ""
    given: bool = False
    """It was not executed here."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Where no metric is primary, those that are shown instead."""
    searched: Mapping[str, Any] = field(default_factory=dict)
    """The values of the search space, where a search proposes."""


@dataclass(frozen=True)
class Step:
    """A step of the journal in people's words. `run` is None for what belongs to the whole campaign."""

    name: str
    run: int | None
    attempt: int | None
    phase: str


@dataclass(frozen=True)
class CampaignStatus:
    """Everything that `status` says."""

    name: str
    folder: Path
    title: str
    state: State
    reason: str
    """Of the last ending: runs_spent, all_completed, session_over, budget, cannot_go_on, baseline_failed, interrupted, or
    waiting (for a change from outside); or empty."""
    message: str
    exit_code: int | None
    step: Step | None
    """What is in hand or was when it stopped; None between two steps."""
    since: str
    """UTC, ISO 8601: when that step, or else the last event, was."""
    expected: float | None
    """Seconds that the last step of this kind took."""
    last_line: str
    """The end of the output of what is executed now."""
    waits: str
    """For what the step in hand waits: a provider's limit, a slot; empty where it does not."""
    rows: tuple[Row, ...]
    primary: Primary | None
    best: Row | None
    options: Mapping[str, Any]
    usage: Usage
    seconds: float
    schema: int = SCHEMA
    held_out: HeldOut | None = None
    """None where the contract holds nothing out."""
    remedies: tuple[str, ...] = ()
    """What keeps runs from being judged, or costs time without a use, and what to do about it."""

    @property
    def runs(self) -> int:
        """Runs that are recorded, the baseline not counted."""
        return sum(row.attempt is None and row.run > 0 and row.status in ("completed", "failed") for row in self.rows)

    @property
    def max_runs(self) -> int:
        return int(self.options["max_runs"])


def read_status(layout: Layout) -> CampaignStatus:
    """Where the campaign in `layout` stands now. Raises CannotGoOn for a file of it that is damaged."""
    running = layout.is_running()  # before the journal is read: what ends meanwhile has said so there
    events = layout.events()
    facts = layout.facts()
    records = layout.records()
    primary = primary_metric(facts)
    options = options_in_force(facts, events)
    state, ending = state_of(events, running)
    step, since = pending(events)
    found, used = rows(records, events, primary), spent(events)
    return CampaignStatus(
        name=layout.name,
        folder=layout.root,
        title=layout.title(),
        state=state,
        reason=ending.get("reason", ""),
        message=ending.get("message", ""),
        exit_code=ending.get("exit_code"),
        step=step,
        since=since or str(facts["created"]),
        expected=expected_seconds(events, step),
        last_line=last_line(layout.output(step.name).parent) if step else "",
        waits=waits(layout, events, step) if running else "",
        rows=found,
        primary=primary,
        best=best([row for row in found if row.attempt is None], primary),
        options=options,
        usage=used.usage,
        seconds=used.seconds,
        schema=facts["schema"],
        held_out=held_out(facts, options, layout.holdouts(), len(records) - 1),
        remedies=tuple(remedies(records, primary.name if primary else None)),
    )


def state_of(events: Sequence[Event], running: bool) -> tuple[State, Event]:
    """The state, and the `ended` event that is still true (or an empty one)."""
    if running:
        return "running", {}
    if not events:
        return "new", {}
    last = next((event for event in reversed(events) if event["event"] in ("opened", "ended")), events[-1])
    if last["event"] != "ended":
        return "crashed", {}
    stands: dict[str, State] = {"interrupted": "interrupted", "waiting": "waiting"}
    return stands.get(last["reason"], "ended"), last


def pending(events: Sequence[Event]) -> tuple[Step | None, str]:
    """The step that was begun and is not done, and when it began; else None and the time of the last event."""
    begun: dict[str, Event] = {}  # steps can lie in another: the last one begun is what happens
    for event in events:
        if event["event"] == "opened":
            begun.clear()
        elif event["event"] == "started":
            begun[event["step"]] = event
        elif event["event"] == "done":
            begun.pop(event["step"], None)
    if begun:
        last = list(begun.values())[-1]
        return step_of(last["step"]), str(last["time"])
    return None, str(events[-1]["time"]) if events else ""


def step_of(name: str) -> Step:
    """`run_2/attempt_1/turn` in people's words."""
    found = _STEP.fullmatch(name)
    if found is None:
        return Step(name, None, None, line(name))
    run, attempt, phase = found.groups()
    return Step(name, int(run) if run else None, int(attempt) if attempt else None, PHASES.get(phase, in_words(phase)))


def expected_seconds(events: Sequence[Event], step: Step | None) -> float | None:
    """How long the last finished step of the kind of `step` took."""
    if step is None:
        return None
    done = (e for e in reversed(events) if e["event"] == "done" and step_of(e["step"]).phase == step.phase)
    return next((float(event["seconds"]) for event in done), None)


def waits(layout: Layout, events: Sequence[Event], step: Step | None) -> str:
    """For what `step` waits, in a line."""
    if events and events[-1]["event"] == "waits":
        return line(events[-1]["why"])
    from ...execution.executors.home import Home  # here, as below, because of a campaign that has ended nothing is executed

    return line(Home(layout.output(step.name).parent).waits_for()) if step else ""


def last_line(home: Path) -> str:
    """The last line of the output of an execution, running or not, that holds anything; empty where there is none."""
    from ...execution.executors.output import end_of_output

    try:
        text = end_of_output(home, _TAIL).decode(errors="replace")
    except OSError:
        return ""
    return next((shown for each in reversed(text.split("\n")) if (shown := line(each))), "")


def options_in_force(facts: Mapping[str, Any], events: Sequence[Event]) -> dict[str, Any]:
    """The options that the campaign was made with, changed by each resume."""
    options = dict(facts["options"])
    for event in events:
        options |= event.get("changes", {})
    return options


def primary_metric(facts: Mapping[str, Any]) -> Primary | None:
    """The contract's primary metric."""
    for metric in facts["contract"]["metric"]:
        if metric["primary"]:
            return Primary(metric["name"], metric["label"] or metric["name"], metric["better"], metric.get("unit", ""))
    return None


def row(record: Mapping[str, Any], primary: Primary | None, shown: Sequence[str] = ()) -> Row:
    """A record as a row; `shown` are metrics in place of a primary one."""
    metric = record["metrics"].get(primary.name) if primary else None
    review = record["review"]
    usage = _usage(record["usage"]) + (_usage(review["usage"]) if review else Usage())
    values = values_of(metric) if metric else []
    compared = record["verdict"].get("against_baseline") or {}
    sd, reference_sd = compared.get("sd"), compared.get("reference_sd")
    if sd is None:
        own = combine([squares_of(values)]) if values else None
        sd = own.sd if isinstance(own, Noise) else None
    error = sd / math.sqrt(len(values)) if sd is not None and values else None
    reference_error = None if reference_sd is None else reference_sd / math.sqrt(compared["reference_seeds"])
    between = None  # of a record that does not say it
    if error is not None and reference_error is not None:
        between = math.hypot(error, reference_error)
    return Row(
        run=record["run"],
        attempt=None,
        status=record["status"],
        verdict=baseline_verdict(record["verdict"], primary.better if primary else None),
        parent_verdict=parent_verdict(record["verdict"]),
        value=metric["value"] if metric else None,
        baseline=metric["baseline"] if metric else None,
        baseline_error=reference_error,
        error=error,
        seeds=0 if record["given"] else len(values or max(map(values_of, record["metrics"].values()), key=len, default=[])),
        given=record["given"],
        difference=compared["mean"] - compared["reference_mean"] if compared else None,
        difference_error=compared.get("error") or between,
        low=compared.get("low"),
        high=compared.get("high"),
        reference=compared.get("reference", ""),
        parent=record["parent"],
        round=record.get("round"),
        commit=record["commit"],
        metrics={name: record["metrics"][name]["value"] for name in shown if name in record["metrics"]},
        usage=usage,
        seconds=record["seconds"] + usage.seconds,
        searched=record.get("searched", {}),
        description="the unmodified experiment" if record["verdict"]["kind"] == "baseline" else tested(record),
    )


def tested(record: Mapping[str, Any]) -> str:
    """What a run tested: its hypothesis, or what the loop that made it says."""
    return str(record["hypothesis"] or (record["description"] if record["given"] else ""))


def baseline_verdict(verdict: Mapping[str, Any], better: str | None) -> str:
    """The verdict on a run against the baseline, or the control or place on the frontier that stands for it. The one that is
    on record is against the parent, which is often the same."""
    found, kind = verdict.get("against_baseline"), str(verdict["kind"])
    if not found or kind in NO_EVIDENCE or better is None or not parent_verdict(verdict):
        return kind
    if found.get("low") is None or found.get("high") is None:
        return "inconclusive"
    word = beyond(found["low"], found["high"], better)
    if word == "better" and not found.get("tested", True):
        return "inconclusive"
    if word == "better":
        return "inconclusive" if verdict.get("caveats") else "trade_off" if verdict.get("guard_violations") else "improved"
    return "worse" if word == "worse" else "not_significant"


def parent_verdict(verdict: Mapping[str, Any]) -> str:
    """The verdict on a run against the run that its code started from; empty where that is the baseline."""
    found, parent = verdict.get("against_baseline"), verdict.get("against_parent")
    return str(verdict["kind"]) if found and parent and parent["reference"] != found["reference"] else ""


def values_of(metric: Mapping[str, Any]) -> list[float]:
    """The numbers of a metric in a record, one a seed."""
    return metric.get("values") or [metric["value"]]


def rows(records: Sequence[Mapping[str, Any]], events: Sequence[Event], primary: Primary | None) -> tuple[Row, ...]:
    """All runs and attempts in order, with those of the runs in hand, which have no record yet."""
    found: list[Row] = []
    shown = telling([record["metrics"] for record in records]) if primary is None else []
    for record in records:
        found += [
            Row(
                run=record["run"],
                attempt=attempt["number"],
                status=attempt["status"],
                usage=_usage(attempt["usage"]),
                seconds=attempt["seconds"] + attempt["usage"]["seconds"],
                description=attempt["why"] or record["hypothesis"],
                searched=attempt.get("searched", {}),
            )
            for attempt in record["attempts"]
        ]
        found.append(row(record, primary, shown))
    run = len(records)
    while in_hand := _in_hand(run, events):
        found += in_hand
        run += 1
    return tuple(found)


def best(found: Sequence[Row], primary: Primary | None) -> Row | None:
    """The run with the best primary metric of those that improved on the baseline, else of those that did at the cost of
    another metric, else among those that are evidence, which does not say that it is better."""
    if primary is None:
        return None
    sound = [r for r in found if r.status == "completed" and r.verdict not in NO_EVIDENCE and r.value is not None]
    sign = 1 if primary.better == "lower" else -1
    ranks = {"improved": 0, "trade_off": 2}

    def place(row: Row) -> tuple[int, float]:
        adds_nothing = row.verdict == "improved" and row.parent_verdict not in ("", "improved")
        return ranks.get(row.verdict, 3) + adds_nothing, sign * (row.value or 0.0)

    return min(sound, key=place, default=None)


def seconds_since(time: str) -> float:
    """Seconds from `time` (ISO 8601) until now; 0 where a clock went backwards or `time` cannot be read."""
    try:
        then = datetime.fromisoformat(time)
        return max(0.0, (datetime.now(UTC) - then).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _in_hand(run: int, events: Sequence[Event]) -> list[Row]:
    """The attempts at `run`, from the journal."""
    results = {e["step"]: e["result"] for e in events if e["event"] == "done"}
    found: list[Row] = []
    while (turn := results.get(key := f"run_{run}/attempt_{len(found) + 1}/turn")) is not None:
        key = key.removesuffix("/turn")
        pre_check, smoke, executed = (results.get(f"{key}/{phase}") for phase in ("pre_check", "smoke_test", "execute"))
        status, why = "in_hand", ""
        if pre_check is None and turn["all_completed"]:
            status = "all_completed"
        elif pre_check and pre_check["rejected"]:
            status, why = ("no_answer" if turn["no_answer"] else "rejected"), pre_check["rejected"]
        elif executed and not executed["failure"]:
            status = "completed"
        for result in (smoke, executed):
            if result and result["failure"]:
                status, why = result["failure"]["status"], result["failure"]["why"]
        usage = _usage(turn["usage"])
        executions = sum(result["outcome"]["seconds"] for result in (smoke, executed) if result)
        seconds = executions + usage.seconds
        said, searched = why or turn["hypothesis"], turn.get("searched", {})
        row = Row(run, len(found) + 1, status, usage=usage, seconds=seconds, description=said, searched=searched)
        found.append(row)
    return found


def _usage(data: Mapping[str, Any]) -> Usage:
    return Usage(**data)
