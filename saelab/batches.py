"""Activations to train on, in batches."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from .settings import LanguageModelData, Settings, StreamedData
from .worlds import activations as rows_of_world

_AHEAD = 2
"""Slots of a stream that are taken while the one before is trained on."""


def activations(settings: Settings, dtype: torch.dtype = torch.float32) -> Iterator[torch.Tensor]:
    """The training data: `settings.steps` batches x [batch_size, d_in] on the settings' device.

    The rows are the profile's, the same for each seed; `settings.seed` decides their order. Each pass over the data takes a
    new order and leaves out the rows that do not fill a batch. Of a streamed world the seed decides which rows are drawn,
    and each comes once. Evaluation rows are never among them. Raises CannotPrepare where they are not there and cannot be
    made from here.
    """
    if isinstance(settings.data, StreamedData):
        return _streamed(settings, dtype)
    if isinstance(settings.data, LanguageModelData):
        return _harvested(settings, dtype)
    return _synthetic(settings, dtype)


def _synthetic(settings: Settings, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    from .models import torch_device

    rows = torch.from_numpy(rows_of_world(settings)).to(torch_device(settings.device), dtype)
    order = torch.Generator().manual_seed(settings.seed)
    per_pass = len(rows) // settings.batch_size
    chosen = torch.empty(0, dtype=torch.long)
    for step in range(settings.steps):
        start = step % per_pass * settings.batch_size
        if start == 0:
            chosen = torch.randperm(len(rows), generator=order)
        yield rows[chosen[start : start + settings.batch_size]]


def _streamed(settings: Settings, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    from .feed import reader
    from .models import torch_device

    device = torch_device(settings.device)
    with reader(settings) as source, ThreadPoolExecutor(1) as ahead:
        slots = source.slots()

        def load() -> torch.Tensor | None:
            rows = next(slots, None)
            return None if rows is None else torch.tensor(rows).to(device, dtype)  # copied: the slot goes back

        coming: deque[Future[torch.Tensor | None]] = deque(ahead.submit(load) for _ in range(_AHEAD))
        while (rows := coming.popleft().result()) is not None:
            coming.append(ahead.submit(load))
            yield from torch.split(rows, settings.batch_size)


def _harvested(settings: Settings, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    from .models import torch_device
    from .prepare import harvested

    harvest = harvested(settings, print)
    batches = harvest.batches(settings.batch_size, settings.seed, torch_device(settings.device), dtype)
    yield from itertools.islice(batches, settings.steps)
