"""Training curves: the numbers that an experiment logs step by step, read from its training log (JSON lines)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ..campaign.files import read_bounded
from ..campaign.protocols import Curve

MAX_LOG_BYTES = 32 * 2**20
"""Of a training log, so much of its beginning is read."""
LARGEST = 1e100
"""A larger number of a training log is passed over: no axis holds it."""
COST_KEYS = frozenset({"time", "seconds", "timestamp", "elapsed"})
STEP_KEYS = ("step", "steps", "iteration", "epoch")


def read_curves(path: Path) -> dict[str, Curve]:
    """The numbers of a training log (JSON lines) by key. Lines that are no objects and values that are no finite numbers
    are passed over, and so are those beyond LARGEST; without a key for steps, the lines are counted."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    data, _ = read_bounded(path, MAX_LOG_BYTES)
    for number, entered in enumerate(data.split(b"\n"), 1):
        try:
            entry = json.loads(entered)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict):
            continue
        step = next((entry[key] for key in STEP_KEYS if _is_number(entry.get(key))), number)
        for key, value in entry.items():
            if key not in STEP_KEYS and key not in COST_KEYS and _is_number(value) and abs(value) <= LARGEST:
                steps, values = found.setdefault(key, ([], []))
                steps.append(float(step))
                values.append(float(value))
    return {key: Curve(tuple(steps), tuple(values)) for key, (steps, values) in found.items()}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False
