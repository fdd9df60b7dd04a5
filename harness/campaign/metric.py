"""A metric, as a contract describes it, and the spread between seeds that was once measured of it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_TIME = re.compile(r"(.*/ ?)?([numµ]?s|sec|seconds?|min|minutes?|h|hours?)")
"""A metric's unit that is a time, or a rate (`tokens/s`)."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Metric(_Part):
    """A metric of the results."""

    name: str = Field(min_length=1)
    """Its name in `final_info.json`; `mnist.loss` for that of a data set."""
    sources: list[str] = []
    """Flat names in result files that mean this metric, so that it has one name in all profiles; the first found counts. One
    with a `*` (`*.loss`) means the mean over all that fit it: runs with others (another data set) are not comparable. Where
    the contract names a scorer, it is read from the scorer's files only."""
    label: str = ""
    """What it is called in tables and figures."""
    unit: str = ""
    """`ms`: shown behind the name in tables and figures. Where the primary metric is a time or a rate, nothing else of yours
    is executed on the machine beside an execution."""
    better: Literal["lower", "higher"] | None = None
    """`lower` or `higher`. Without it the metric is shown as context."""
    target: float | None = None
    """A value to reach, which the agent is told and every page shows."""
    primary: bool = False
    """Whether it decides which run is better: one metric does."""
    required: bool = True
    """A run without it is invalid. Metrics that only some profiles have are not required."""
    minimum: float | None = None
    """The least possible value: a run below it is invalid."""
    maximum: float | None = None
    """The greatest possible value: a run above it is invalid."""
    guard: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How much it may get worse in a run that is called improved, in its own unit; without a direction, how much it may
    change."""
    moves_with: str | None = None
    """A metric that this one depends on (L0): runs are compared only where it is the same within 10 %."""

    @model_validator(mode="after")
    def _can_be_something(self) -> Metric:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self

    @property
    def title(self) -> str:
        return self.label or self.name

    @property
    def is_time(self) -> bool:
        """Whether it depends on what else the machine does."""
        return _TIME.fullmatch(self.unit.strip()) is not None

    @property
    def over(self) -> str | None:
        """The setting that says what this metric is the mean over; None where it is no mean."""
        return f"{self.name}.over" if any("*" in source for source in self.sources) else None


class NoiseSpec(_Part):
    """The spread of a metric between seeds of the unmodified experiment, as once measured."""

    sd: float = Field(gt=0, allow_inf_nan=False)
    """The standard deviation between seeds."""
    seeds: int = Field(ge=2)
    """From how many seeds."""
    skew: float = Field(default=0.0, allow_inf_nan=False)
    """The skewness between seeds."""
