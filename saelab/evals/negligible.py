"""Codes that are too small to do anything (`scoring.least_codes`), where an eval asks for them batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..scoring import Moments, least_codes

NEGLIGIBLE = 0.01
"""As `scoring.NEGLIGIBLE`, a share of what is typical of a latent. SAEBench asks whether a letter's latent fires in single
words: without codes below a 32nd an honest ReLU SAE of the profile `tiny-lm` (L0 41) would lose 0.02 of absorption."""
NO_EFFECT = 1e-4
_ROWS_AT_ONCE = 4096


class Sizes:
    """How large the codes of each latent are in the rows so far, and how many were negligible beside those.

    A code is held against what its own batch and all before it showed: what more rows would have shown of a latent is
    missing in the first batches alone.
    """

    def __init__(self, directions: Tensor) -> None:
        """Directions of the latents, [d_sae, d_in]."""
        self._directions = directions.detach().float().cpu().numpy()
        self.fired = self.negligible = self._rows = 0
        self._squares, self._cubes = np.zeros((2, len(self._directions)))
        self._sum, self._sum_of_squares = np.zeros((2, self._directions.shape[1]))

    def add(self, x: Tensor, codes: Tensor) -> None:
        """Rows [..., d_in] and their codes [..., d_sae]."""
        rows, found = _in_parts(x), _in_parts(codes)
        for part in rows:
            self._rows += len(part)
            self._sum += _moment(part, 1)
            self._sum_of_squares += _moment(part, 2)
        for part in found:
            self._squares += _moment(part, 2)
            self._cubes += _moment(part, 3)
        least = self.least.to(codes.device)
        for part in found:
            fires = part > 0
            self.fired += int(fires.sum())
            self.negligible += int((fires & (part < least)).sum())

    @property
    def least(self) -> Tensor:
        """The smallest code of each latent [d_sae] that is not negligible."""
        rows = max(self._rows, 1)
        scatter = float((self._sum_of_squares / rows - (self._sum / rows) ** 2).sum())
        least = least_codes(self._squares, self._cubes, self._directions, max(scatter, 0.0), NEGLIGIBLE, NO_EFFECT)
        return torch.from_numpy(least).float()

    @property
    def share(self) -> float:
        """Of the codes that fired, that of those that are negligible."""
        return self.negligible / max(self.fired, 1)


def _in_parts(rows: Tensor) -> list[Tensor]:
    flat = rows.detach().reshape(-1, rows.shape[-1])
    return [flat[start : start + _ROWS_AT_ONCE].float() for start in range(0, len(flat), _ROWS_AT_ONCE)]


def _moment(rows: Tensor, power: int) -> Moments:
    """Of each column, summed over rows."""
    found: Moments = rows.pow(power).sum(dim=0).double().cpu().numpy()
    return found
