"""Rows as they come: an array, or a tensor, which stays on its device. Nothing here imports torch where there are arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]
Rows = TypeVar("Rows", Floats, "Tensor")


def to_array(rows: Floats | Tensor) -> Floats:
    """On the CPU, in float32."""
    if isinstance(rows, np.ndarray):
        return rows
    found: Floats = rows.detach().float().cpu().numpy()
    return found


def is_finite(rows: Floats | Tensor) -> bool:
    return bool(np.isfinite(rows).all() if isinstance(rows, np.ndarray) else rows.isfinite().all())


def joined(parts: list[Rows]) -> Rows:
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    import torch  # who has a tensor has it already

    return torch.cat(parts)


def largest(rows: Floats | Tensor) -> Floats:
    """Of each column."""
    return rows.max(axis=0) if isinstance(rows, np.ndarray) else to_array(rows.amax(dim=0))


def firing(codes: Floats | Tensor) -> Floats | Tensor:
    """How many codes of each row are not 0."""
    return np.count_nonzero(codes, axis=1) if isinstance(codes, np.ndarray) else codes.count_nonzero(dim=1)
