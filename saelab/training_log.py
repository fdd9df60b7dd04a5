"""The training log of an execution, and progress for a person."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import torch

from . import layers
from .settings import Settings

LOG = "train_log.jsonl"
_PROGRESS_SECONDS = 2.0
_BAR = 24  # characters


class TrainingLog:
    """One JSON line every `settings.log_every` steps and after the last; a progress line at times, or a bar on a terminal.

    Counts the steps that were logged (`steps`) and the seconds since it was opened (`seconds`), so that what is reported is
    what was done.
    """

    def __init__(self, out_dir: Path, settings: Settings) -> None:
        self.steps = 0
        self._settings = settings
        place, _ = layers.now() or (0, 1)
        self._before = place * settings.steps
        """Steps of the layers before this one, which the log has."""
        self._file = (out_dir / LOG).open("a" if place else "w", encoding="utf-8")
        self._start = self._last_progress = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def step(self, **values: float | torch.Tensor) -> None:
        """Count one step of training; `values` (loss, l0, ...; tensors of one number too) go to the log when it is due."""
        self.steps += 1
        last = self.steps == self._settings.steps
        if not last and self.steps != 1 and self.steps % self._settings.log_every:
            return
        numbers = {name: float(value) for name, value in values.items()}
        self._file.write(json.dumps({"step": self._before + self.steps, **numbers}) + "\n")
        self._file.flush()
        now = time.perf_counter()
        bar = sys.stdout.isatty()
        if bar or last or self.steps == 1 or now - self._last_progress > _PROGRESS_SECONDS:
            self._last_progress = now
            print(*self._progress(numbers, bar), sep="", end="" if bar and not last else "\n", flush=True)

    def _progress(self, numbers: dict[str, float], bar: bool) -> Iterator[str]:
        done = round(_BAR * self.steps / self._settings.steps)
        if bar:
            yield f"\r\x1b[K{'━' * done}{'─' * (_BAR - done)} "
        rate = self.steps * self._settings.batch_size / max(self.seconds, 1e-9)
        yield f"step {self.steps}/{self._settings.steps}  {rate:,.0f} tokens/s"
        yield from (f"  {name} {value:.4g}" for name, value in numbers.items())

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
