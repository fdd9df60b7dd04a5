"""Tables of numbers: rounded so that they can be read, and so that numbers that differ do not look the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from .text import WIDTH, clip, line

if TYPE_CHECKING:  # `status` and `log` answer at once, without the models
    from .contract import Setting

MISSING = "-"
_MOST_DIGITS = 8
_LONGEST_CELL = 160


def number(value: float | None, digits: int = 4) -> str:
    """`value` with `digits` significant digits; whole numbers below ten million in full."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 1e7 and value == int(value):
        return str(int(value))
    if 10**digits <= abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def row(values: Sequence[float | None], digits: int = 4) -> list[str]:
    """`values` with as few digits, from `digits` on, as keep different values different (to eight digits)."""
    shown: list[str] = []
    different = len({value for value in values if value is not None})
    for count in range(digits, _MOST_DIGITS + 1):
        shown = [number(value, count) for value in values]
        if len({text for text, value in zip(shown, values, strict=True) if value is not None}) == different:
            break
    return shown


def percent(share: float) -> str:
    """`90 %`."""
    return f"{100 * share:.0f} %"


def counted(count: int, noun: str) -> str:
    """`1 run`, `1,200 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def p_in_words(p: float) -> str:
    """A p-value with two digits, so that 0.046 is not taken for 0.05: `0.012`, `below 0.0001`."""
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}"


def titled(name: str, unit: str) -> str:
    """`memory (GB)`: the head of a column, the label of an axis. A name that ends in its unit says it once: `step (ms)` of
    `step ms`; a key stays as one types it."""
    if unit and name.endswith(f"_{unit}"):
        return name
    return f"{name.removesuffix(f' {unit}')} ({unit})" if unit else name


def setting(value: Setting) -> str:
    """A setting as one would write it in JSON, strings bare."""
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    return number(value, _MOST_DIGITS) if isinstance(value, float) else clip(line(str(value)), _LONGEST_CELL)


def compact(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a model: no padding, since each blank is paid for."""
    return "\n".join("|".join(cell.replace("|", "/") for cell in cells) for cells in _cells(header, rows))


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """A table for a person, numbers to the right; a first cell for which there is no room gets a line of its own."""
    table = _cells(header, rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [">" if all(map(_is_number, column[1:])) else "<" for column in zip(*table, strict=True)]
    room = WIDTH - len(indent) - sum(width + 2 for width in widths[1:])
    first = min(widths[0], max(room, 12))
    lines: list[str] = []
    for cells in table:
        rest = "".join(f"  {cells[i]:{sides[i]}{widths[i]}}" for i in range(1, len(cells)))
        if len(cells[0]) > first:
            lines.append(f"{indent}{cells[0]}")
        name = "" if len(cells[0]) > first else cells[0]
        lines.append(f"{indent}{name:{first}}{rest}".rstrip())
    return "\n".join(lines)


def _cells(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Header and rows; names come from result files, so each cell is made one line of bounded length."""
    return [[_cell(text) for text in cells] for cells in [header, *rows]]


@lru_cache(maxsize=20_000)  # the notes' table of runs is made anew for each run
def _cell(text: str) -> str:
    return clip(line(text), _LONGEST_CELL)


def _is_number(cell: str) -> bool:
    return cell == MISSING or cell.lstrip("+-−")[:1].isdigit() or cell in ("inf", "-inf", "nan")
