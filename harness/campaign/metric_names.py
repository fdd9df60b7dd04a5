"""Names of metrics: which are costs, which say most where no contract names any, and how one is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

MOST = 5
"""Metrics that are shown where none is primary."""

_COST = frozenset(
    [
        *("time", "timestamp", "seconds", "second", "secs", "sec", "ms", "minutes", "hours", "duration", "elapsed"),
        *("runtime", "walltime", "fps", "latency", "throughput", "speed", "speedup", "overhead", "cost"),
        *("memory", "mem", "vram", "ram", "bytes", "mb", "mib", "gb", "gib"),
    ]
)
_FALLS = frozenset("loss losses err error errors nll kl divergence perplexity ppl mse rmse mae fid bpc bpb regret".split())  # noqa: SIM905


_LETTERS = frozenset("auc bpb bpc ce cs f1 fid iou kl l0 l1 l2 lr mae mcc mse nll r2 rmse".split())  # noqa: SIM905
_OF_TRAINING = frozenset({"train", "training"})


def as_written(name: str) -> str:
    """A key as the field writes it, on an axis or in a title: `explained variance` of `explained_variance`, `L0` of `l0`."""
    return " ".join(word.upper() if word in _LETTERS else word for word in name.replace("_", " ").split(" "))


def words_of(name: str) -> list[str]:
    """The words of the last part of a name: `["val", "loss", "mean"]` of `text8.val_loss_mean`."""
    return re.split(r"[^a-z0-9]+", name.rpartition(".")[2].lower())


@lru_cache(maxsize=10_000)  # asked for each metric of each run that a new one is compared with
def is_cost(name: str) -> bool:
    """Time, memory and money, which differ between two executions of the same code."""
    return not _COST.isdisjoint(words_of(name))


def telling(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of the metrics of these runs, the baseline's first, the first five that the baseline and another run both have, costs
    last."""
    if not runs:
        return []
    baseline, *others = runs
    shared = [name for name in baseline if name and (not any(others) or any(name in other for other in others))]
    return sorted(shared, key=is_cost)[:MOST]


def how_to_name(names: Iterable[str]) -> str:
    """What to write so that runs are judged by one of these metrics."""
    known = list(names)
    if not known:
        return ""
    name = next((each for each in known if _OF_TRAINING.isdisjoint(words_of(each))), known[0])
    better = "higher" if _FALLS.isdisjoint(words_of(name)) else "lower"
    return (
        f'To have runs judged, name the metric that decides in experiment.toml, for example: metric = [{{ name = "{name}", '
        f'better = "{better}", primary = true }}].'
    )
