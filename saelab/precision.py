"""Products of matrices in float32 as they are, whatever a library switched on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 on a GPU, no bfloat16 on a CPU. By the settings of each, which can be read however they were made: torch's
    `get_float32_matmul_precision` raises where a library has used the newer of its two ways."""
    backends: Any = torch.backends
    products = backends.cuda.matmul, backends.mkldnn.matmul
    before = [each.fp32_precision for each in products]
    for each in products:
        each.fp32_precision = "ieee"
    try:
        yield
    finally:
        for each, precision in zip(products, before, strict=True):
            each.fp32_precision = precision


@contextlib.contextmanager
def as_sealed(device: str) -> Iterator[None]:
    """The same without autocast on that kind of device and without gradients: how an artifact is computed in scoring."""
    with full_float32(), torch.no_grad(), torch.autocast(device, enabled=False):
        yield
