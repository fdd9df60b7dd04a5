"""The record of a held-out evaluation, `holdout_i/record.json`: what a selected run is worth where nothing was selected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from .contract import Setting
from .record import ComparisonRecord
from .schema import SCHEMA


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class HoldoutPair(_Part):
    """One execution of the run and one of its reference, under the same conditions: a seed, and what was held out."""

    seed: int
    settings: dict[str, Setting] = {}


class HoldoutMetric(_Part):
    """Numbers of a metric, one a pair."""

    run: list[float]
    reference: list[float]


class HoldoutRecord(_Part):
    """What came of one held-out evaluation."""

    number: int
    """From 1 on: a campaign that goes on after one is evaluated again."""
    status: Literal["confirmed", "not_confirmed", "not_evaluated"]
    why: str = ""
    run: int | None = None
    """The run that was selected."""
    accepted: bool = False
    """Whether it was accepted; else it was the best valid one."""
    after_run: int
    """The last recorded run then: every later one was made after these numbers were shown."""
    unit: str = ""
    """What the effect is the mean over: `seed`, or the setting that was drawn anew for each pair (`world`)."""
    pairs: list[HoldoutPair] = []
    comparison: ComparisonRecord | None = None
    """Paired, of the primary metric."""
    metrics: dict[str, HoldoutMetric] = {}
    guard_violations: list[str] = []
    uses: int | None = None
    """How often the experiment's fixed held-out settings were used before; None where there are none, or it is unknown."""
    seconds: float = 0.0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> HoldoutRecord:
        """A record as its file holds it."""
        return cls.model_validate({key: value for key, value in data.items() if key != "schema"})

    @property
    def content(self) -> bytes:
        """Of its file."""
        return f'{{\n "schema": {SCHEMA},{self.model_dump_json(indent=1)[1:]}\n'.encode()
