"""Scores of an SAE on a world of SynthSAEBench's generator, by the benchmark's own code: `sae_lens.synthetic.evals`.

Each latent is the detector of the feature that its direction is most like; `precision`, `recall` and `f1` are means over the
latents. `mcc`, `uniqueness`, `shrinkage` (the norm of a reconstruction as a share of the row's), `explained_variance` and
`l0` are as there; `dead_latents` is a share, not a number. Of ours are `mse` and `cosine`, and, as in `scoring`,
`bought_by_negligible_codes`, by how much F1 falls without codes that are too small to do anything, and `negligible_share`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sae_lens.synthetic import FeatureDictionary
from sae_lens.synthetic.evals import eval_sae_on_synthetic_data
from torch import Tensor

from .scoring import SAE, fidelity, without_negligible
from .synthetic import Floats


class _Given(torch.nn.Module):
    """Codes that were computed already, in the shape that sae_lens expects of an SAE. A batch is all rows."""

    def __init__(self, codes: Floats, reconstruction: Floats, directions: Floats) -> None:
        super().__init__()
        self.codes, self.reconstruction, self.W_dec = map(torch.from_numpy, (codes, reconstruction, directions))

    def encode(self, x: Tensor) -> Tensor:
        return self.codes

    def decode(self, f: Tensor) -> Tensor:
        return self.reconstruction


class _Stored:
    """The evaluation rows of a world, where sae_lens would draw some."""

    def __init__(self, magnitudes: Floats) -> None:
        self._magnitudes = torch.from_numpy(magnitudes)

    def sample(self, rows: int) -> Tensor:
        return self._magnitudes


def score_rows(sae: SAE, directions: Floats, magnitudes: Floats, bias: Floats | None = None) -> dict[str, float]:
    """The metrics of `sae` on rows of a world: directions [F, d_in], magnitudes [n, F], and what is added to each row,
    [d_in]. Raises ValueError for codes that cannot be scored."""
    dictionary = dictionary_of(directions)
    if bias is not None:
        dictionary.bias.data = torch.from_numpy(bias)
    rows: Floats = dictionary(torch.from_numpy(magnitudes)).numpy()
    codes = sae.encode(rows)
    if not np.isfinite(codes).all():
        raise ValueError("encode: codes hold NaN or infinity; the SAE cannot be scored")
    reconstruction = sae.decode(codes)
    unit = np.eye(codes.shape[1], dtype=np.float32)
    latents = sae.decode(unit) - sae.decode(np.zeros_like(unit[:1]))

    def measured(codes: Floats) -> Any:
        given: Any = _Given(codes, reconstruction, latents)
        stored: Any = _Stored(magnitudes)
        return eval_sae_on_synthetic_data(given, dictionary, stored, num_samples=len(magnitudes))

    found, large = measured(codes), without_negligible(codes, latents, rows)
    f1 = found.classification.f1_score
    return {
        "f1": f1,
        "precision": found.classification.precision,
        "recall": found.classification.recall,
        "mcc": found.mcc,
        "uniqueness": found.uniqueness,
        "dead_latents": found.dead_latents / codes.shape[1],
        "shrinkage": found.shrinkage,
        "explained_variance": found.explained_variance,
        "l0": found.sae_l0,
        "true_l0": found.true_l0,
        **{name: value for name, value in fidelity(rows, reconstruction).items() if name != "explained_variance"},
        "bought_by_negligible_codes": max(0.0, f1 - measured(large).classification.f1_score),
        "negligible_share": 1 - np.count_nonzero(large) / max(np.count_nonzero(codes), 1),
    }


def dictionary_of(directions: Floats) -> FeatureDictionary:
    """sae_lens's own, with these directions [F, d_in]."""
    dictionary = FeatureDictionary(*directions.shape, initializer=None)
    dictionary.feature_vectors = torch.nn.Parameter(torch.from_numpy(directions), requires_grad=False)
    return dictionary
