"""What an eval wrote, held against what a result must be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .bench import Skip


def take(written: Path, since: float, main: tuple[str, ...], errors: list[str]) -> dict[str, Any]:
    """The one result that SAEBench wrote into the folder `written` after `since` (seconds of the epoch). Raises Skip.

    Numbers that are none become null: NaN and infinity, and -1, which SAEBench writes for a missing one. Without those that
    `main` names (`category.metric`) there is no result. `errors` are what SAEBench logged instead of raising.
    """
    files = sorted(written.rglob("*_eval_results.json"))
    if len(files) != 1:
        said = f": {errors[-1]}" if errors else ""
        raise Skip(f"SAEBench wrote {len(files) or 'no'} results{said}")
    result: dict[str, Any] = json.loads(files[0].read_text(encoding="utf-8"))
    # Whole milliseconds: the time of the result may be rounded down.
    if result["datetime_epoch_millis"] < math.floor(since * 1000) - 1:
        raise Skip("SAEBench gave a result that is older than this scoring")
    for part in ("eval_result_metrics", "eval_result_details", "eval_result_unstructured"):
        if part in result:
            result[part] = _numbers(result[part])
    missing = [name for name in main if _at(result["eval_result_metrics"], name) is None]
    if missing:
        raise Skip(f"SAEBench gave no number for {', '.join(missing)}")
    return result


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    if isinstance(value, float) and (not math.isfinite(value) or value == -1):
        return None
    return None if type(value) is int and value == -1 else value


def _at(metrics: Any, name: str) -> Any:
    for step in name.split("."):
        metrics = metrics.get(step) if isinstance(metrics, dict) else None
    return metrics
