"""What in an experiment or its contract keeps runs from being judged, or costs time without a use, and what to do about it.

Records are plain JSON here, as they are in `status`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...campaign.protocols import HOW_TO_EXIT, HOW_TO_READ_SEED, NOT_EXITED, SEED

_WAITED = re.compile(r"nothing for ([\d.]+ s)")


def remedies(records: Sequence[Mapping[str, Any]], primary: str | None) -> list[str]:
    """A sentence for each; none for what the records do not show."""
    return [*_noise(records, primary), *_exits(records)]


def _noise(records: Sequence[Mapping[str, Any]], primary: str | None) -> Iterator[str]:
    """Why the noise is unknown where every run is inconclusive for that."""
    if primary is None or all(record["verdict"]["kind"] != "inconclusive" for record in records) or records[0]["given"]:
        return
    metrics = [record["metrics"][primary] for record in records if primary in record["metrics"]]
    if records[0].get("ignores_seed") and not any(metric.get("self_reported") for metric in metrics):
        yield (
            f"No run could be judged: {SEED} changes nothing in this experiment, so its noise is unknown. To have it "
            f"measured, {HOW_TO_READ_SEED} and begin anew with `harness run`."
        )
    elif all(len(metric.get("values") or [0]) < 2 for metric in metrics):
        judged = [(record["verdict"].get("against_baseline") or {}).get("low") for record in records[1:]]
        if all(low is None for low in judged):
            yield (
                "No run could be judged: one seed each, so the noise is unknown. Give a profile in experiment.toml "
                "baseline_seeds = 3 and run_seeds = [1, 3] (below [profiles.NAME]) and begin anew with `harness run`."
            )


def _exits(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Executions that were ended because they did nothing after their results."""
    found = {
        record["run"]: waited[1]
        for record in records
        for warning in record["warnings"]
        if warning.startswith(NOT_EXITED) and (waited := _WAITED.search(warning))
    }
    if found:
        runs = f"run{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"
        yield (
            f"The process did not exit after its results ({runs}): each execution waited {[*found.values()][-1]} until it "
            f"was ended. {HOW_TO_EXIT}"
        )
