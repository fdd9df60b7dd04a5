"""The sealed SAE with tensors, as SAEBench wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .graph import Floats
from .sealed import Sealed


class SealedSAE:
    """Rows x [..., d_in] to codes f [..., d_sae] and back, on any device and in any dtype, which the result keeps.

    No gradients. What SAEBench reads besides: `W_dec` [d_sae, d_in] is what decode really does (`Sealed`), `W_enc`
    [d_in, d_sae] and `b_enc` [d_sae] are what the weights file says, None where it has none of that shape.
    """

    def __init__(self, sealed: Sealed) -> None:
        self._sealed = sealed
        self.d_in, self.d_sae = sealed.d_in, sealed.d_sae
        self.settings: dict[str, Any] = sealed.settings
        self.W_dec = torch.from_numpy(sealed.W_dec.copy())
        self.b_dec = torch.from_numpy(sealed.b_dec.copy())
        self.W_enc = self._named("W_enc", (self.d_in, self.d_sae))
        self.b_enc = self._named("b_enc", (self.d_sae,))

    def encode(self, x: Tensor) -> Tensor:
        return self._through(self._sealed.encode, x)

    def decode(self, f: Tensor) -> Tensor:
        return self._through(self._sealed.decode, f)

    def _named(self, name: str, shape: tuple[int, ...]) -> Tensor | None:
        found = self._sealed.weights.get(name)
        return torch.from_numpy(found.copy()) if found is not None and found.shape == shape else None

    @staticmethod
    def _through(function: Callable[[Floats], Floats], rows: Tensor) -> Tensor:
        flat = rows.detach().reshape(-1, rows.shape[-1]).to("cpu", torch.float32).numpy()
        found = torch.from_numpy(function(flat))
        return found.reshape(*rows.shape[:-1], -1).to(rows.device, rows.dtype)


def is_cuda(device: str) -> bool:
    """Whether the setting `device` means a GPU here."""
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())
