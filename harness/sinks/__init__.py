"""Sinks: trackers that are told of each run besides the record. They decide nothing, and their failure hurts no campaign."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import InputError

if TYPE_CHECKING:
    from ..record import Record
    from ..review.account import Curve

SINKS: dict[str, str] = {"wandb": "harness.sinks.wandb:WandbSink"}


@dataclass(frozen=True)
class Tracked:
    """A recorded run, as a tracker is told of it."""

    id: str
    """The same each time that this run is told of, and no other campaign's."""
    campaign: str
    title: str
    profile: str
    record: Record
    curves: Mapping[str, Curve]
    """Of its training log; empty when the run is told of again, with more seeds or scores."""
    folder: Path
    """Where the sink may keep files."""


class Sink(Protocol):
    """A kind of tracker."""

    def check(self) -> None:
        """Raises InputError with what to do where it cannot work. Asks no server and no person."""
        ...

    def log(self, run: Tracked) -> None:
        """Tell of a run, or tell again what is known of it now. May raise whatever it likes."""
        ...

    def close(self) -> None:
        """End every process that it started."""
        ...


def find_sink(name: str) -> type[Sink]:
    """The sink called `name`: a known short name or an import path. Raises InputError."""
    path = SINKS.get(name, name)
    module_name, _, attribute = path.partition(":")
    if not attribute:
        raise InputError(
            f"--track {name}: unknown. Known: {', '.join(SINKS)}; or an import path such as package.module:Class."
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--track {name}: cannot import {path}: {error}") from error
    return found  # type: ignore[no-any-return]
