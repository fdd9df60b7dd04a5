"""What a search without a model may choose: for each name the values that it can take."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


class SearchSpec(BaseModel):
    """The values of one setting or constant: from `low` to `high`, whole numbers where both are, or one of `choices`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    low: int | float | None = None
    """The least value."""
    high: int | float | None = None
    """The greatest value."""
    log: bool = False
    """Equal ratios are equally likely, not equal differences."""
    step: int | float | None = None
    """Only `low` and what is a multiple of this above it."""
    choices: list[bool | int | float | str] = []
    """All values that it can take, in place of a range."""

    @model_validator(mode="after")
    def _is_a_range_or_a_choice(self) -> SearchSpec:
        if self.choices:
            if self.log or not (self.low is self.high is self.step is None):
                raise ValueError("choices stand alone: neither low and high nor log and step go with them")
            if len(self.choices) < 2:
                raise ValueError("a choice needs two values at least")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected low and high, such as { low = 0.001, high = 0.1, log = true }, or choices = [...]")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0 and takes no step")
        if self.step is not None and (self.step <= 0 or (self.is_whole and not isinstance(self.step, int))):
            raise ValueError(f"step {self.step} is no step from {self.low} to {self.high}")
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
        while isinstance(inner, dict) and (tables := [key for key, each in inner.items() if isinstance(each, dict)]):
            name, inner = f"{name}.{tables[0]}", inner[tables[0]]
        if name not in specs:
            raise ValueError(f'a name with a dot stands in quotes in TOML: "{name}" = {{ ... }}')
    return specs


SearchSpecs = Annotated[dict[str, SearchSpec], BeforeValidator(_in_quotes)]
"""A search space, by name."""
