"""Single values of result files: what is a number, what is a setting, and what is neither, with file and key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..campaign.contract import Setting
from .result_files import Twice

MAX_VALUES = 5000
"""Metrics and settings of one run; details are not counted."""
MAX_TEXT = 500
"""Characters of a setting."""
ROUNDING = 1e-3
"""Relative; numbers of one thing that are nearer than this do not disagree."""


class Value(NamedTuple):
    """A metric and where it was read; `key` is the path inside `file`."""

    name: str
    value: float
    file: str
    key: str
    seeds: tuple[float, ...] = ()
    """The values that it is the mean of, one for each seed that the experiment itself ran, as it reports them."""
    error: float | None = None
    """A standard error that the experiment reports without saying of how many seeds: shown, and used for nothing."""


class Row(NamedTuple):
    """A number of the table. Details of one kind have one metric name and differ in key."""

    file: str
    eval: str
    key: str
    metric: str
    value: float


@dataclass(frozen=True)
class Finding:
    """Something that is not evidence. `name` is the metric's or setting's, "" where more than one value is meant."""

    file: str
    key: str
    problem: str
    name: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.problem) if part)


class Values:
    """Gathers the values of one run; what cannot be believed becomes a finding."""

    def __init__(self) -> None:
        self.metrics: dict[str, Value] = {}
        self.settings: dict[str, Setting] = {}
        self.findings: list[Finding] = []
        self.rows: list[Row] = []
        self.file = ""
        self._reported: dict[str, str] = {}
        self._room = MAX_VALUES

    def detail(self, name: str, value: Any, evaluation: str, key: str) -> None:
        number = as_number(value)
        if isinstance(number, float):
            self.rows.append(Row(self.file, printable(evaluation), printable(key), printable(name), number))

    def metric(
        self, name: str, value: Any, evaluation: str, key: str, *, seeds: Sequence[Any] = (), error: Any = None
    ) -> None:
        """`seeds` and `error` as in `Value`; seeds count where they are several numbers, and `value` is their mean."""
        name, key = printable(name), printable(key)
        if not self._has_room():
            return
        number = as_number(value)
        if isinstance(number, str):
            self.find(key, number, name)
            return
        self.rows.append(Row(self.file, printable(evaluation), key, name, number))
        read = [one for each in seeds if isinstance(one := as_number(each), float)]
        own = tuple(read) if len(read) == len(seeds) > 1 else ()
        if own and not math.isclose(math.fsum(own) / len(own), number, rel_tol=ROUNDING, abs_tol=1e-9):
            self.find(key, f"{number!r}, which is not the mean of its {len(own)} values; they are not used")
            own = ()
        spread = as_number(error)
        new = Value(name, number, self.file, key, own, spread if isinstance(spread, float) and not own else None)
        known = self.metrics.setdefault(name, new)
        if known.value != number:
            self.find(key, f"{number!r} here, {known.value!r} in {known.file} at {known.key}", name)

    def setting(self, name: str, value: Any, key: str, *, of_library: bool = False) -> None:
        """`of_library`: a library's configuration also has lists, which become text, and objects, which are not read."""
        name, key = printable(name), printable(key)
        if of_library and isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            value = ", ".join(str(item) for item in value)
        if (of_library and isinstance(value, list | dict)) or not self._has_room():
            return
        value = printable(value) if isinstance(value, str) else value
        problem = _why_no_setting(value)
        if problem:
            self.find(key, problem, name)
            return
        known = self.settings.setdefault(name, value)
        if known != value:
            self.find(key, f"{value!r} here, {known!r} in {self._reported[name]}", name)
        self._reported.setdefault(name, f"{self.file} at {key}")

    def _has_room(self) -> bool:
        self._room -= 1
        if self._room == -1:
            self.find("", f"more than {MAX_VALUES} metrics and settings; the rest is not read")
        return self._room >= 0

    def find(self, key: str, problem: str, name: str = "") -> None:
        self.findings.append(Finding(self.file, printable(key), problem, name))


def as_number(value: Any) -> float | str:
    """The number, or in words why it is none."""
    if value is None:
        return "null, not a number"
    if isinstance(value, bool):
        return f"{str(value).lower()}, not a number"
    if isinstance(value, str):
        return f"the text {printable(value[:40])!r}, not a number"
    if isinstance(value, Twice):
        return "there more than once, and which was meant is unknown"
    if not isinstance(value, int | float):
        return f"{'an object' if isinstance(value, dict) else 'a list'}, not a number"
    try:
        number = float(value)
    except OverflowError:
        return "too large for a number"
    if math.isfinite(number):
        return number
    return "NaN, not a number" if math.isnan(number) else "infinite, not a number"


def _why_no_setting(value: Any) -> str:
    if isinstance(value, str):
        return f"a text of {len(value)} characters, too long for a setting" if len(value) > MAX_TEXT else ""
    if value is None or isinstance(value, bool):
        return ""
    number = as_number(value)
    return number.replace("not a number", "not a setting") if isinstance(number, str) else ""


def reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def printable(text: str) -> str:
    """What an experiment wrote goes to terminals and into records, which are UTF-8."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
