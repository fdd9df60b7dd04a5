"""Activations of SynthSAEBench's generator, `sae_lens.synthetic` (arXiv 2602.14687), at any size.

The settings say how many features there are, how many of them stand in trees, and how often they fire; all else is as in
SynthSAEBench-16k: firing falls by Zipf's law (exponent 0.5); a child fires only where its parent does, siblings are mutually
exclusive, and the firing of parents is raised for what that takes away; firing is correlated by a matrix of low rank; mean
magnitudes fall from 5 to 4 with the feature's rank, their spread is folded normal; directions are pushed apart for a while.

torch's generator on a CPU keeps 32 bits of a seed, which somebody could try out. So directions are drawn by numpy from all
bits of the world, and every few thousand rows have a seed of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import CannotPrepare
from .settings import Settings

if TYPE_CHECKING:
    from sae_lens.synthetic import SyntheticModel
    from torch import Tensor

ZIPF_EXPONENT = 0.5
CORRELATION_RANK, CORRELATION_SCALE = 25, 0.1
FIRST_MAGNITUDE, LAST_MAGNITUDE = 5.0, 4.0
SPREAD_MEAN, SPREAD_DEVIATION = 0.5, 0.5
ORTHOGONAL_STEPS, ORTHOGONAL_RATE = 100, 3e-4
_STREAMS = {"world": 0, "train": 1, "eval": 2, "stream": 3}
_ROWS_AT_ONCE = 8192

Floats = npt.NDArray[np.float32]


def truth(settings: Settings, bits: str) -> dict[str, npt.NDArray[Any]]:
    """What scores are measured against: unit `directions` [F, d_in], and `magnitudes` [eval_rows, F], 0 where a feature does
    not fire."""
    return truth_of(build_model(settings, bits), settings, bits)


def generator_of(settings: Settings) -> Any:
    """`sae_lens.synthetic`. Raises CannotPrepare where it is not installed."""
    try:
        from sae_lens import synthetic
    except ImportError as error:
        raise CannotPrepare(
            f"profile {settings.profile}: sae-lens, whose generator makes its activations, is not installed: `make sae`."
        ) from error
    return synthetic


def truth_of(model: SyntheticModel, settings: Settings, bits: str) -> dict[str, npt.NDArray[Any]]:
    """Of a world's generator."""
    return {
        "directions": model.feature_dict.feature_vectors.detach().cpu().numpy(),
        "magnitudes": _magnitudes(model, settings, "eval", settings.synthsae.eval_rows, bits),
    }


def training_rows(settings: Settings, bits: str) -> Floats:
    """[train_rows, d_in]."""
    model = build_model(settings, bits)
    magnitudes = _magnitudes(model, settings, "train", settings.synthsae.train_rows, bits)
    rows: Floats = magnitudes @ model.feature_dict.feature_vectors.detach().numpy()
    return rows


def build_model(settings: Settings, bits: str, device: str = "cpu") -> SyntheticModel:
    """The generator of a profile's world, drawn from `data_seed` and `bits` (hexadecimal; a public world has none), and on
    `device`. Raises CannotPrepare where sae-lens is not installed."""
    synthetic = generator_of(settings)
    import torch

    data = settings.synthsae
    seeds = _seeds(settings, "world", bits)
    directions = np.random.default_rng(seeds).standard_normal((data.features, settings.d_in), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    dictionary = synthetic.FeatureDictionary(data.features, settings.d_in, initializer=None, device=device)
    dictionary.feature_vectors.data = synthetic.orthogonalize_embeddings(
        torch.from_numpy(directions).to(device), num_steps=ORTHOGONAL_STEPS, lr=ORTHOGONAL_RATE, show_progress=False
    )
    config = synthetic.SyntheticModelConfig(
        num_features=data.features,
        hidden_dim=settings.d_in,
        firing_probability=synthetic.ZipfianFiringProbabilityConfig(ZIPF_EXPONENT, data.most_firing, data.least_firing),
        hierarchy=synthetic.HierarchyConfig(
            total_root_nodes=data.roots,
            branching_factor=data.branching,
            max_depth=data.depth,
            mutually_exclusive_portion=1.0,
            compensate_probabilities=True,
        ),
        correlation=synthetic.LowRankCorrelationConfig(CORRELATION_RANK, CORRELATION_SCALE),
        mean_firing_magnitudes=synthetic.LinearMagnitudeConfig(FIRST_MAGNITUDE, LAST_MAGNITUDE),
        std_firing_magnitudes=synthetic.FoldedNormalMagnitudeConfig(SPREAD_MEAN, SPREAD_DEVIATION),
        bias=False,
        seed=int(seeds.generate_state(1)[0]),
    )
    return synthetic.SyntheticModel(config, feature_dict=dictionary, device=device)


def _magnitudes(model: SyntheticModel, settings: Settings, split: str, rows: int, bits: str) -> Floats:
    import torch

    starts = range(0, rows, _ROWS_AT_ONCE)
    seeds = _seeds(settings, split, bits).generate_state(len(starts))
    parts = []
    with torch.random.fork_rng(devices=[]):
        for start, seed in zip(starts, seeds, strict=True):
            torch.manual_seed(int(seed))
            parts.append(model.activation_generator.sample(min(_ROWS_AT_ONCE, rows - start)).cpu().numpy())
    return np.concatenate(parts)


def stream(model: SyntheticModel, settings: Settings, bits: str, sizes: Iterable[int]) -> Iterator[Tensor]:
    """Training rows [size, d_in], where the model is, for each of `sizes`. The run's seed decides which are drawn."""
    import torch

    sizes = list(sizes)
    seeds = _seeds(settings, "stream", bits, settings.seed).generate_state(len(sizes))
    for size, seed in zip(sizes, seeds, strict=True):
        torch.manual_seed(int(seed))
        yield model.sample(size)


def _seeds(settings: Settings, stream: str, bits: str, *more: int) -> np.random.SeedSequence:
    secret = [int(bits, 16)] if bits else []
    return np.random.SeedSequence([*secret, settings.synthsae.data_seed, _STREAMS[stream], *more])
