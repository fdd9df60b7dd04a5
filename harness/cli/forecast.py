"""What further executions of a run will take, from those that it has had."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..campaign.journal import Event
from ..campaign.numbers import counted
from ..campaign.text import duration

ASK_ABOVE = 600.0
"""Seconds above which a person at a terminal is asked first."""


@dataclass(frozen=True)
class Forecast:
    """`seconds` of one execution, scoring included; None where the run was not executed here. `gpu` is what the record's
    environment says, empty where it names none."""

    executions: int
    seconds: float | None
    gpu: str = ""

    @property
    def total(self) -> float | None:
        return None if self.seconds is None else self.executions * self.seconds

    def __str__(self) -> str:
        if not self.executions:
            return "nothing is left to execute"
        count = counted(self.executions, "more execution")
        if self.seconds is None or self.total is None:
            return f"{count}; how long they take is not known"
        each = f" of about {duration(self.seconds)} each" if self.executions > 1 else ""
        said = f"{count}{each}, about {duration(self.total)}{' in all' if self.executions > 1 else ''}"
        return f"{said}; {self.total / 3600:.2g} GPU hours (one {self.gpu})" if self.gpu else said


def forecast(events: Iterable[Event], record: Mapping[str, Any], seeds: Sequence[int], *, final: bool = False) -> Forecast:
    """Executing a recorded run until it has all of `seeds`; `final`: until it has as many final ones, its references too."""
    run, taken, done = record["run"], [], set()
    own = re.compile(rf"run_{run}/(?:attempt_\d+/)?(?:execute|{'final' if final else 'seed'}_(\d+))")
    for event in events:
        if event["event"] != "done" or not (step := own.fullmatch(event["step"])):
            continue
        result = event["result"]
        if step[1]:
            done.add(int(step[1]))
        if result["failure"] is None and not result.get("from_cache"):
            scoring = result.get("scoring") or {}
            taken.append(result["outcome"]["seconds"] + scoring.get("seconds", 0.0))
    if final:
        left = max(0, len(seeds) - len(done)) * (3 if record["parent"] else 2)  # the baseline's, and the parent's
    else:
        left = len({*seeds} - {record["seed"], *record.get("seeds", []), *done})
    gpu = record["environment"].get("gpu", "none").partition(";")[0].partition(",")[0]
    return Forecast(left, fmean(taken) if taken else None, "" if gpu in ("none", "unknown") else gpu)
