"""An SAE as SAEBench wants it."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor

from .bench import Bench
from .negligible import Sizes


class ScoredSAE(Protocol):
    """Rows x [..., d_in] to codes f [..., d_sae] and back, in the dtype and on the device of what comes in.

    `W_dec` [d_sae, d_in] holds the latents' directions. `W_enc` [d_in, d_sae] and `b_enc` [d_sae] may be None.
    """

    d_in: int
    d_sae: int
    W_dec: Tensor
    b_dec: Tensor

    @property
    def W_enc(self) -> Tensor | None: ...  # noqa: N802

    @property
    def b_enc(self) -> Tensor | None: ...

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, f: Tensor) -> Tensor: ...


class BenchSAE:
    """A `ScoredSAE` with what SAEBench reads and calls besides.

    Where W_enc or b_enc is None they are NaN here: no score but core's on encoder weights rests on them, and those then come
    out as missing. It is made for one eval, which may have the sizes of codes looked at and lay by numbers of its own.
    """

    sizes: Sizes | None = None
    """Of the codes that the eval was given, where it wants them looked at."""
    _least: Tensor | None = None
    """Codes below it are given as 0."""

    def __init__(self, sae: ScoredSAE, bench: Bench, architecture: str = "") -> None:
        from sae_bench.custom_saes.custom_sae_config import CustomSAEConfig

        self._sae = sae
        self.own_scores: dict[str, float] = {}
        """What this eval says beside SAEBench's scores."""
        self.W_dec, self.b_dec = sae.W_dec, sae.b_dec
        self.W_enc = torch.full((sae.d_in, sae.d_sae), torch.nan) if sae.W_enc is None else sae.W_enc
        self.b_enc = torch.full((sae.d_sae,), torch.nan) if sae.b_enc is None else sae.b_enc
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.cfg = CustomSAEConfig(
            model_name=bench.name,
            d_in=sae.d_in,
            d_sae=sae.d_sae,
            hook_layer=bench.data.layer,
            hook_name=bench.hook,
            context_size=bench.data.context,
            architecture=architecture,
            dtype=bench.data.dtype,
            device=bench.device,
            dataset_path=bench.data.dataset,
        )
        self.to(torch.device(bench.device), getattr(torch, bench.data.dtype))

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> BenchSAE:
        self.device = torch.device(device) if device is not None else self.device
        self.dtype = dtype or self.dtype
        for name in ("W_dec", "b_dec", "W_enc", "b_enc"):
            setattr(self, name, getattr(self, name).to(self.device, self.dtype))
        return self

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        codes = self._sae.encode(x)
        if self.sizes:
            self.sizes.add(x, codes)
        return codes if self._least is None else codes.where(codes >= self._least.to(codes.device), 0)

    @torch.no_grad()
    def decode(self, f: Tensor) -> Tensor:
        return self._sae.decode(f)

    def without_negligible(self, sizes: Sizes) -> BenchSAE:
        """The same, with 0 in place of codes that are negligible by the sizes of others."""
        silenced = copy.copy(self)
        silenced.sizes, silenced._least = None, sizes.least
        return silenced


class Identity:
    """The SAE whose latents are the coordinates: what an eval prepares of the language model does not depend on the SAE."""

    def __init__(self, width: int) -> None:
        self.d_in = self.d_sae = width
        self.W_dec = self.W_enc = torch.eye(width)
        self.b_dec = self.b_enc = torch.zeros(width)

    def encode(self, x: Tensor) -> Tensor:
        return x.relu()

    def decode(self, f: Tensor) -> Tensor:
        return f
