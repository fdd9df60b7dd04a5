"""What decides a world of known features (see `worlds`): the settings of its generator, its size, its name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Self

Setting = str | int | float | bool | None

PUBLIC = "public"
"""The world that everybody can make."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


class SettingsError(ValueError):
    """A setting that is missing, unknown or of the wrong type; the message names it and where it came from."""


@dataclass(frozen=True)
class WorldData:
    """Activations whose features are known, by whichever generator."""

    train_rows: int
    eval_rows: int
    world: str
    """`public`, or a name of one that is drawn on this machine."""
    data_seed: int
    """Seeds the features and the data, with the world's own random bits. It belongs to the profile: all seeds of all runs
    see the same data."""

    def __post_init__(self) -> None:
        at_least_one(self, "train_rows", "eval_rows")
        if not _NAME.fullmatch(self.world):
            raise SettingsError(f"world {self.world!r}: expected {PUBLIC}, or a name of letters, digits, `.`, `-` and `_`")

    @property
    def rows(self) -> int:
        """Different rows that there are to train on."""
        return self.train_rows

    @property
    def scale(self) -> dict[str, Setting]:
        """What a result on these data can be compared by."""
        return {"world": self.world, "data_seed": self.data_seed}

    def cut_for_smoke(self) -> Self:
        return replace(self, train_rows=min(self.train_rows, 2048), eval_rows=min(self.eval_rows, 512))


@dataclass(frozen=True)
class SyntheticData(WorldData):
    """The laboratory's own generator (see `synthetic`)."""

    roots: int
    """Features of the first level."""
    children: int
    """Features of the second level under each of the first."""
    grandchildren: int
    """Features of the third level under each of the second."""
    active_roots: float
    """How many features of the first level fire in one row, on average."""
    child_share: float
    """How often a feature that fires has a child that fires too."""
    kinship: float
    """Cosine between the direction of a feature and its parent's, before chance adds to it."""
    noise: float
    """Standard deviation of the noise in each of the `d_in` coordinates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "roots")
        not_negative(self, "active_roots", "child_share", "kinship", "noise")
        for name in ("child_share", "kinship"):
            if getattr(self, name) > 1:
                raise SettingsError(f"{name} {getattr(self, name)}: expected at most 1")


@dataclass(frozen=True)
class SynthSAEData(WorldData):
    """SynthSAEBench's generator (see `synthsae`)."""

    features: int
    roots: int
    """Trees of features; features that are in no tree fire by themselves."""
    branching: int
    """Children of each feature that has some, mutually exclusive."""
    depth: int
    """Levels below a root."""
    most_firing: float
    """Share of the rows in which the first feature fires; it falls by Zipf's law."""
    least_firing: float
    """The same of the last feature."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "features", "roots", "depth")
        if self.branching < 2:
            raise SettingsError(f"branching {self.branching}: expected at least 2")
        in_trees = self.roots * sum(self.branching**level for level in range(self.depth + 1))
        if in_trees > self.features:
            raise SettingsError(
                f"features {self.features}: {self.roots} trees with {self.branching} children a feature and {self.depth} "
                f"levels below the root have {in_trees}"
            )
        if not 0 < self.least_firing < self.most_firing <= 1:
            raise SettingsError(
                f"least_firing {self.least_firing}, most_firing {self.most_firing}: expected shares of rows, rising"
            )


@dataclass(frozen=True)
class StreamedData(SynthSAEData):
    """The same generator, whose training rows are made while it trains and never stored (see `feed`): `train_rows` is the
    most that there are, and each comes once."""

    public_model: str
    """A world that is public, as the hub names it: the world `public` is that one where the hub has it."""


def at_least_one(part: object, *names: str) -> None:
    for name in names:
        if getattr(part, name) < 1:
            raise SettingsError(f"{name} {getattr(part, name)}: expected at least 1")


def not_negative(part: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(part, name) < math.inf:
            raise SettingsError(f"{name} {getattr(part, name)}: expected a finite number from 0 on")
