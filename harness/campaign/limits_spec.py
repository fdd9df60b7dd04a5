"""The limits of an execution, as a contract names them, with the times and sizes that they are written in."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_TIMES, _SIZES = ("s", "m", "h"), ("KB", "MB", "GB", "TB")


def _quantity(text: Any, units: tuple[str, ...]) -> Any:
    """`"10m"` -> 600, `"4GB"` -> 4e9; numbers pass."""
    if isinstance(text, bool):
        raise ValueError(f"expected a number, found {text}")
    if isinstance(text, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
        if not match or match[2] not in units:
            raise ValueError(f"expected a number with a unit of {', '.join(units)}, such as 10{units[0]}; found {text!r}")
        return float(match[1]) * _UNITS[match[2]]
    return text


def _size(value: Any) -> Any:
    value = _quantity(value, _SIZES)
    return int(value) if isinstance(value, float) else value


def _written(units: tuple[str, ...]) -> WithJsonSchema:
    """What an editor takes for such a quantity."""
    text = {"type": "string", "pattern": rf"^\s*\d+(\.\d+)?\s*({'|'.join(units)})\s*$"}
    return WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, text]})


Seconds = Annotated[float, BeforeValidator(lambda value: _quantity(value, _TIMES)), Field(gt=0), _written(_TIMES)]
Bytes = Annotated[int, BeforeValidator(_size), Field(gt=0), _written(_SIZES)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class LimitsSpec(_Part):
    """What one execution may use. Times as `"90s"`, `"10m"`, `"2h"`, sizes as `"500MB"`, `"4GB"`."""

    time: Seconds = 7200
    """Time of one execution."""
    silence: Seconds | None = None
    """Time without output after which the execution is ended."""
    memory: Bytes | None = None
    """Anonymous and shared memory of the whole process tree; pages of mapped files do not count."""
    output: Bytes = 10**9
    """Bytes of standard output and error together."""
    disk: Bytes | None = 50 * 10**9
    """What it may write: files and folders, at least 4 kB each."""
    processes: int = Field(default=4096, gt=0)
    """Processes at once."""
    smoke_time: Seconds = 120
    """The time limit of a smoke test."""
    scoring_time: Seconds | None = None
    """The time limit of the scorer; that of the execution where it is not given."""
    scoring_memory: Bytes | None = None
    """The memory limit of the scorer; that of the execution where it is not given."""


class AbortSpec(_Part):
    """End an execution whose training log has a `key` that is not finite in `steps` consecutive lines."""

    key: str
    """A key of the training log's lines, such as `loss`."""
    steps: int = Field(default=1, ge=1)
    """How many lines in a row."""
