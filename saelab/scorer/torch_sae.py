"""The sealed SAE with tensors, as SAEBench wants it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..precision import as_sealed
from .rows import Floats, is_finite, to_array
from .sealed import Sealed


class SealedSAE:
    """Rows x [..., d_in] to codes f [..., d_sae] and back, on any device and in any dtype, which the result keeps.

    No gradients. What SAEBench reads besides: `W_dec` [d_sae, d_in] is what decode really does (`Sealed`), `W_enc`
    [d_in, d_sae] and `b_enc` [d_sae] are what the weights file says, None where the codes do not obey it.
    """

    def __init__(self, sealed: Sealed) -> None:
        self._sealed = sealed
        self.d_in, self.d_sae = sealed.d_in, sealed.d_sae
        self.settings: dict[str, Any] = sealed.settings
        self.W_dec = torch.from_numpy(sealed.W_dec.copy())
        self.b_dec = torch.from_numpy(sealed.b_dec.copy())
        self.W_enc, self.b_enc = _tensor(sealed.W_enc), _tensor(sealed.b_enc)
        self._decoder = self.W_dec, self.b_dec  # SAEBench may change what it is given

    def encode(self, x: Tensor) -> Tensor:
        codes = self._sealed.encode(x.detach().reshape(-1, self.d_in).float())
        return codes.reshape(*x.shape[:-1], -1).to(x.dtype)

    def decode(self, f: Tensor) -> Tensor:
        """Computed where `f` is, in float32."""
        if self._decoder[0].device != f.device:
            self._decoder = self._decoder[0].to(f.device), self._decoder[1].to(f.device)
        directions, constant = self._decoder
        flat = f.detach().reshape(-1, self.d_sae).float()
        with as_sealed(f.device.type):
            rows = flat @ directions + constant
        some = self._sealed.some(len(flat))
        self._sealed.look_at_rows(to_array(rows[some]), to_array(flat[some]), is_finite(rows))
        return rows.reshape(*f.shape[:-1], -1).to(f.dtype)


def _tensor(array: Floats | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array.copy())
