"""Activations to train on, in batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .settings import Settings
from .synthetic import sample_split


def activations(settings: Settings) -> Iterator[torch.Tensor]:
    """The training data: `settings.steps` batches x [batch_size, d_in], float32 on the CPU.

    The rows are the profile's, the same for each seed; `settings.seed` decides their order. Each pass over the data takes a
    new order and leaves out the rows that do not fill a batch. Evaluation rows are never among them.
    """
    rows = torch.tensor(sample_split(settings, "train")[1])
    order = torch.Generator().manual_seed(settings.seed)
    per_pass = len(rows) // settings.batch_size
    chosen = torch.empty(0, dtype=torch.long)
    for step in range(settings.steps):
        start = step % per_pass * settings.batch_size
        if start == 0:
            chosen = torch.randperm(len(rows), generator=order)
        yield rows[chosen[start : start + settings.batch_size]]
