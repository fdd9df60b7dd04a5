"""Activations with a known hierarchy of features.

A forest with three levels: each of `roots` features has `children` features under it and each of those
`grandchildren`. A row of data is drawn level by level:

- a root fires independently of the others, with a probability that falls with its rank as rank^-0.5 (a mild Zipf law:
  with the exponent 1 of word frequencies most of so few rows would show nothing but the first roots);
- where a feature with children fires, one child at most fires with it: with probability `child_share` exactly one,
  chosen in proportion to 1/rank. So a child never fires without its parent, and siblings never fire together;
- a feature that fires has the magnitude exp(0.2 g), g standard normal.

The activation is the sum of magnitude times direction over the features that fire, plus Gaussian noise. Directions have
unit norm in `d_in` dimensions, fewer than there are features; a child's is drawn towards its parent's (`kinship`).

Not covered: features that are not linear, firing that is correlated across trees, magnitudes that depend on the parent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from .settings import Settings, SyntheticData

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

ROOT_EXPONENT = 0.5
MAGNITUDE_SPREAD = 0.2
_STREAMS = {"world": 0, "train": 1, "eval": 2}  # independent random streams under one data seed


@dataclass(frozen=True)
class World:
    """The ground truth: F features in `d_in` dimensions, parents before their children."""

    directions: Floats
    """[F, d_in], unit norm."""
    parent: Ints
    """[F], the index of each feature's parent, -1 for a root."""
    level: Ints
    """[F], 0 for a root, 1, 2."""
    low: Floats
    """[F]; a child fires when its parent does and the parent's uniform draw is in [low, high). A root: its own draw."""
    high: Floats
    noise: float

    def ancestors(self, feature: int) -> list[int]:
        """The parent of `feature`, its parent's parent and so on."""
        chain = []
        while (feature := int(self.parent[feature])) >= 0:
            chain.append(feature)
        return chain

    @property
    def parents(self) -> Ints:
        """The features that have children, in order."""
        found: Ints = np.unique(self.parent[self.parent >= 0])
        return found

    def sample(self, rows: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw `rows` rows: magnitudes [rows, F] (0 where a feature does not fire) and activations [rows, d_in]."""
        n_features = len(self.parent)
        fires = np.empty((n_features, rows), dtype=bool)
        which_child: dict[int, Floats] = {}
        for feature, parent in enumerate(self.parent):
            draw = rng.random(rows, dtype=np.float32) if parent < 0 else which_child[parent]
            fires[feature] = (draw >= self.low[feature]) & (draw < self.high[feature])
            if parent >= 0:
                fires[feature] &= fires[parent]
            if feature in self.parents:
                which_child[feature] = rng.random(rows, dtype=np.float32)
        magnitudes = np.zeros((rows, n_features), dtype=np.float32)
        where = fires.T.nonzero()
        magnitudes[where] = np.exp(MAGNITUDE_SPREAD * rng.standard_normal(len(where[0]), dtype=np.float32))
        noise = rng.standard_normal((rows, self.directions.shape[1]), dtype=np.float32) * np.float32(self.noise)
        return magnitudes, magnitudes @ self.directions + noise


def build_world(settings: Settings, bits: str) -> World:
    """The forest of a profile, drawn from `data_seed` and from `bits` (hexadecimal), which a public world has none of; the
    same for every seed of a run."""
    data = settings.synthetic
    rng = _rng(data, "world", bits)
    weight = np.arange(1, data.roots + 1, dtype=np.float64) ** -ROOT_EXPONENT
    root_chance = np.minimum(weight * data.active_roots / weight.sum(), 0.9)

    directions: list[npt.NDArray[np.float64]] = []
    parent: list[int] = []
    level: list[int] = []
    low: list[float] = []
    high: list[float] = []

    def add(above: int, depth: int, start: float, end: float) -> int:
        own = _unit(rng.standard_normal(settings.d_in))
        if above >= 0:
            own = _unit(data.kinship * directions[above] + np.sqrt(1 - data.kinship**2) * own)
        directions.append(own)
        parent.append(above)
        level.append(depth)
        low.append(start)
        high.append(end)
        return len(parent) - 1

    def add_children(above: int, depth: int, number: int) -> list[int]:
        share = 1 / np.arange(1, number + 1)
        edges = np.concatenate([[0.0], np.cumsum(share / share.sum() * data.child_share)])
        return [add(above, depth, edges[i], edges[i + 1]) for i in range(number)]

    for chance in root_chance:
        root = add(-1, 0, 0.0, float(chance))
        for child in add_children(root, 1, data.children):
            add_children(child, 2, data.grandchildren)
    return World(
        directions=np.asarray(directions, dtype=np.float32),
        parent=np.asarray(parent),
        level=np.asarray(level),
        low=np.asarray(low, dtype=np.float32),
        high=np.asarray(high, dtype=np.float32),
        noise=data.noise,
    )


def truth(settings: Settings, bits: str) -> dict[str, npt.NDArray[Any]]:
    """What scores are measured against: what `world_of` reads, and `magnitudes` and `activations` of the evaluation rows."""
    magnitudes, rows = sample_split(settings, "eval", bits)
    arrays = {**asdict(build_world(settings, bits)), "magnitudes": magnitudes, "activations": rows}
    del arrays["noise"]  # a setting
    return arrays


def training_rows(settings: Settings, bits: str) -> Floats:
    """[train_rows, d_in]."""
    return sample_split(settings, "train", bits)[1]


def world_of(arrays: Mapping[str, npt.NDArray[Any]], settings: Settings) -> World:
    """The forest in what `truth` gave."""
    parts = {field.name: arrays[field.name] for field in fields(World) if field.name != "noise"}
    return World(**parts, noise=settings.synthetic.noise)


def sample_split(settings: Settings, split: str, bits: str) -> tuple[Floats, Floats]:
    """Magnitudes [rows, F] and activations [rows, d_in] of `train` or `eval`, two independent draws from one world."""
    if split not in ("train", "eval"):
        raise ValueError(f"split {split!r}: expected train or eval")
    data = settings.synthetic
    rows = data.train_rows if split == "train" else data.eval_rows
    return build_world(settings, bits).sample(rows, _rng(data, split, bits))


def _rng(data: SyntheticData, stream: str, bits: str) -> np.random.Generator:
    secret = [int(bits, 16)] if bits else []
    return np.random.default_rng([*secret, data.data_seed, _STREAMS[stream]])


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit: npt.NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit
