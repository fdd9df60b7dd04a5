"""The language model and the place in it that an SAE is scored on, and the working directory where SAEBench finds both."""

from __future__ import annotations

import contextlib
import importlib
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import Say, lab_cache
from ..model_files import fetch
from ..settings import EvalSettings, LanguageModelData, Settings
from . import lens

SEED = 42
"""Set before each eval, whatever the run's own seed: the same artifact gets the same score. SAEBench's own default."""
LLM_BATCH = 32
"""Sequences that the language model computes at once. SAEBench's own for Gemma-2-2B on a GPU of 24 GB."""
TEXT = "evaluation/text"
"""The data set of evaluation text, as a folder of the working directory."""


class Skip(Exception):
    """Why an eval gives no result here; a sentence for a person."""


@dataclass(frozen=True)
class Bench:
    """What an SAE is scored on."""

    data: LanguageModelData
    sizes: EvalSettings
    model: Path
    """The folder with the language model's files."""
    official: str
    """The name under which transformer-lens loads it from the working directory."""
    device: str

    @property
    def name(self) -> str:
        """The short name of the model: SAEBench makes names of files of it."""
        return self.official.rsplit("/", 1)[-1]

    @property
    def hook(self) -> str:
        return f"blocks.{self.data.layer}.hook_resid_post"


def bench_of(settings: Settings, say: Say) -> Bench:
    """Raises CannotPrepare where the model's files cannot be had or transformer-lens cannot load such a model."""
    data, sizes = settings.language_model, settings.evals
    if sizes is None:
        raise Skip(f"profile {settings.profile} has no language model")
    folder = fetch(data, say)
    return Bench(data, sizes, folder, lens.official_name(data, folder), device_of(settings))


def device_of(settings: Settings) -> str:
    if settings.device != "auto":
        return settings.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def at_work(bench: Bench) -> Iterator[Path]:
    """A fresh working directory, in which `bench`'s model and local data sets are found, with seeds set. Yields it.

    SAEBench writes into the working directory, by the name of the SAE: nothing that one SAE leaves is there for another.
    """
    import numpy as np
    import torch

    gradients = torch.is_grad_enabled()
    with (
        tempfile.TemporaryDirectory(prefix="saebench-") as place,
        _hub_cache_in(Path(place)),
        contextlib.chdir(place),
        lens.from_files(bench.official, bench.model),
    ):
        lens.lay_out(Path(bench.official), bench.model)
        for copy in local_copies():
            link(Path(*copy.parts[-2:]), copy)
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        torch.set_grad_enabled(True)  # some evals switch it off and leave it so, others need it
        try:
            yield Path(place)
        finally:
            torch.set_grad_enabled(gradients)


def local_copies() -> list[Path]:
    """Data sets of the hub, `owner/name`, of which somebody has put a copy into `datasets` of the laboratory's cache.

    In the working directory they are found before the hub's: for machines without a network.
    """
    return sorted(folder for folder in (lab_cache() / "datasets").glob("*/*") if folder.is_dir())


def link(name: Path, target: Path) -> None:
    """Let `target` be found under `name` in the working directory."""
    if name.is_symlink() or name.exists():
        return
    name.parent.mkdir(parents=True, exist_ok=True)
    name.symlink_to(target.absolute(), target_is_directory=True)


@contextlib.contextmanager
def _hub_cache_in(place: Path) -> Iterator[None]:
    """datasets notes what it reads, even local files, in its cache. A scorer cannot write where that usually is, and cannot
    ask whether it can: access(2) knows nothing of the sandbox."""
    datasets: Any = importlib.import_module("datasets")
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = place / "datasets"
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before
