"""What a search without a model may choose: for each name the values that it can take."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from .text import in_toml

_EXPECTED = "expected low and high, such as { low = 0.001, high = 0.1, log = true }, or choices = [...]"


class SearchSpec(BaseModel):
    """The values of one setting or constant: from `low` to `high`, whole numbers where both are, or one of `choices`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    low: int | float | None = None
    """The least value."""
    high: int | float | None = None
    """The greatest value."""
    log: bool = False
    """Equal ratios are equally likely, not equal differences."""
    step: int | float | None = None
    """Only `low`, `low` plus this, plus twice this, and so on, up to `high`, which must be one of them."""
    choices: list[bool | int | float | str] = []
    """All values that it can take, in place of a range."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_table(cls, spec: Any) -> Any:
        if not isinstance(spec, dict | SearchSpec):
            raise ValueError(f"found {in_toml(spec)}, {_EXPECTED}")
        return spec

    @model_validator(mode="after")
    def _is_a_range_or_a_choice(self) -> SearchSpec:
        if self.choices:
            if beside := [name for name in ("low", "high", "log", "step") if getattr(self, name) not in (None, False)]:
                raise ValueError(f"found {' and '.join(beside)} beside choices, which stand alone: leave out one of the two")
            if same := [each for place, each in enumerate(self.choices) if each in self.choices[:place]]:
                raise ValueError(f"found {in_toml(same[0])} more than once among choices, where each value stands once")
            if len(self.choices) < 2:
                raise ValueError(f"found {in_toml(self.choices)} as choices, and a choice needs two values at least")
            return self
        if self.low is None or self.high is None:
            given = {name: value for name, value in self.model_dump(exclude_unset=True).items() if value is not None}
            found = ", ".join(f"{name} = {in_toml(value)}" for name, value in given.items()) or "an empty table"
            raise ValueError(f"found {found}, {_EXPECTED}")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            found = f"low {self.low}" if self.low <= 0 else f"step {self.step}"
            raise ValueError(f"found {found}, and log needs low above 0 and takes no step")
        if self.step is not None:
            kind, longest = "a whole number" if self.is_whole else "a number", self.high - self.low
            if not 0 < self.step <= longest * (1 + 1e-9) or (self.is_whole and not isinstance(self.step, int)):
                no_step = f"step {self.step} is no step from {self.low} to {self.high}"
                raise ValueError(f"{no_step}: expected {kind} above 0 and at most {longest:g}")
            low, high, step = (Decimal(str(each)) for each in (self.low, self.high, self.step))
            if beyond := (high - low) % step:
                raise ValueError(
                    f"steps of {self.step} from low {self.low} end at {high - beyond}, and high is {self.high}: "
                    f"expected high = {high - beyond}, or another step"
                )
        return self

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(map(str, self.choices))
        return f"{self.low} to {self.high}{' (log)' if self.log else ''}{f' by {self.step}' if self.step else ''}"


def _in_quotes(specs: Any) -> Any:
    """Raises ValueError for a name with a dot that TOML has read as a table in a table."""
    for name, inner in specs.items() if isinstance(specs, dict) else ():
        while isinstance(inner, dict) and (tables := _tables(inner)):
            name, inner = f"{name}.{tables[0]}", inner[tables[0]]
        if name not in specs:
            raise ValueError(f'a name with a dot stands in quotes in TOML: "{name}" = {{ ... }}')
    return specs


def _tables(spec: dict[str, Any]) -> list[str]:
    return [key for key, each in spec.items() if isinstance(each, dict) and key not in SearchSpec.model_fields]


SearchSpecs = Annotated[dict[str, SearchSpec], BeforeValidator(_in_quotes)]
"""A search space, by name."""
