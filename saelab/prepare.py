"""Makes what an execution needs before it begins: a world of known features, or the language model, its activations, and
what is the same for all scores.

    python -m saelab.prepare             makes what is missing; mostly finds that nothing is
    python -m saelab.prepare --dry-run   says what would be made, how large, and how long it takes; fails where it could not

The settings are those of the experiment in the working directory (`settings.load_settings`). What is wrong is said in a
message for a person, with exit code 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import evals, harvest, model_files, text, worlds
from .cache import MANIFEST, Say, checksums, lab_cache
from .errors import CannotPrepare
from .fingerprint import file_hash
from .settings import LanguageModelData, Settings, SettingsError, load_settings
from .store import Harvest

if TYPE_CHECKING:
    from .models import Outline

READS = "HARNESS_READS"
"""Names a file for what `reads` returns."""
EVALS = "evals"
"""The part of the cache that scorers use, and may add to."""
DISK_PASSES, DISK_RATE = 3, 0.5e9
"""A harvest is written, read and written once more; bytes a second of a slow disk."""
TRAINING_COPIES = 4
"""Of the SAE's parameters: themselves, gradients, and Adam's two moments."""
CODE_COPIES = 6
"""Of a batch's dense codes, at the worst: before and after, masked, and their gradients."""
FORWARD_BYTES = 2e9
"""Room for what a forward pass of BATCH_TOKENS has in memory besides the weights."""


def prepare(settings: Settings, say: Say) -> None:
    """Make what is missing. Raises CannotPrepare, SettingsError, and OSError where the cache cannot be written."""
    if isinstance(settings.data, LanguageModelData):
        _check_packages(settings)
        for line in _gpu(settings):
            say(line)
        harvest.ensure(settings, say)
        evals.prepare(settings, lab_cache() / EVALS, say)
    else:
        worlds.ensure(settings, say)


def reads(settings: Settings) -> dict[str, str]:
    """SHA-256 of all files that executions and scorers read with these settings, by absolute path."""
    if not isinstance(settings.data, LanguageModelData):
        return worlds.reads(settings)
    made = [harvest.folder(settings.data), *evals.prepared(settings, lab_cache() / EVALS)]
    sizes = settings.evals
    files = [*model_files.files(settings.data), *text.files(settings.data.dataset)]
    if sizes:
        by_hand = (file for name in ("datasets", "unlearning") for file in sorted((lab_cache() / name).rglob("*")))
        files += [*text.files(sizes.eval_dataset), *(file for file in by_hand if file.is_file())]
    found = {str(file): file_hash(file) for file in files}
    for folder in filter(None, made):
        found[str(folder / MANIFEST)] = file_hash(folder / MANIFEST)
        found |= {str(folder / name): digest for name, digest in checksums(folder).items()}
    return found


def harvested(settings: Settings, say: Say) -> Harvest:
    """The activations of a profile, for training; harvested first where they are missing and the cache can be written.

    Raises CannotPrepare.
    """
    found = harvest.find(settings)
    if found is None:
        try:
            prepare(settings, say)
        except OSError as error:
            raise CannotPrepare(
                f"the activations of {settings.language_model.model} are not harvested, and the cache cannot be written: "
                f"{error}. `python -m saelab.prepare` does it, before the experiment and with the same settings."
            ) from error
        found = harvest.find(settings)
        assert found is not None
    if found.width != settings.d_in:
        raise CannotPrepare(f"d_in {settings.d_in}: the harvested rows have width {found.width}. --set d_in={found.width}.")
    return found


def plan(settings: Settings) -> list[str]:
    """What `prepare` would do, a line each, with sizes and times. Raises CannotPrepare where it could not."""
    if not isinstance(settings.data, LanguageModelData):
        return [worlds.plan(settings)]
    data = settings.data
    _check_packages(settings)
    missing = evals.unprepared(settings, lab_cache() / EVALS)
    scores = [f"to make: what {', '.join(missing)} need of {data.model}; up to minutes each"] if missing else []
    if data.model == model_files.TINY and model_files.identity(data) is None:
        harvest.check_disk(settings)
        trained = f"to train: {data.model}, about a minute on one core"
        return [trained, f"to harvest: {_what(settings)}, seconds", *scores]
    lines = _gpu(settings)
    found = harvest.find(settings)
    if found:
        age = harvest.spoken(time.time() - found.folder.stat().st_mtime)
        return [*lines, f"there: {found.facts['what']}, {found.size / 1e9:.2f} GB, {age} old", *scores]
    download = model_files.download_bytes(data)
    harvest.check_disk(settings, download)
    from .models import outline

    model = outline(data)
    harvest.check_fits(model, settings)
    if next(text.documents(data.dataset, "train"), None) is None:
        raise CannotPrepare(f"dataset {data.dataset}: it has no text for training.")
    if download:
        lines.append(f"to download: {data.model}, {download / 1e9:.1f} GB")
    lines.append(f"to harvest: {_what(settings)}, about {harvest.spoken(_seconds(settings, model))}")
    return [*lines, *scores]


def _what(settings: Settings) -> str:
    data = settings.language_model
    return (
        f"{data.harvest_tokens:,} rows x {settings.d_in} of {data.model} after layer {data.layer}, "
        f"{harvest.size(settings) / 1e9:.2f} GB in {lab_cache()}"
    )


def _seconds(settings: Settings, model: Outline) -> float:
    """A guess from the model's size and the speed of a matrix product here, within a factor of a few."""
    import torch

    from .models import torch_device

    data = settings.language_model
    square = torch.ones(1024, 1024, device=torch_device(settings.device), dtype=getattr(torch, data.dtype))
    fastest = float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        float((square @ square)[0, 0])  # reading a number waits for the device
        fastest = min(fastest, time.perf_counter() - begun)
    a_second = 2 * 1024**3 / fastest / 2  # a model reaches half of what one large product does
    operations = 2 * model.used * data.harvest_tokens
    return operations / a_second + DISK_PASSES * harvest.size(settings) / DISK_RATE


def _gpu(settings: Settings) -> list[str]:
    """Whether the model, and after it the training, have room on the GPU. Raises CannotPrepare where they have not."""
    if settings.device == "cpu":
        return []
    import torch

    from .models import outline, torch_device

    if torch_device(settings.device).type != "cuda":
        return []
    data = settings.language_model
    model = outline(data).parameters * getattr(torch, data.dtype).itemsize + FORWARD_BYTES
    parameters = 2 * settings.d_in * settings.dict_size
    codes = settings.batch_size * settings.dict_size
    needed = max(model, 4 * (TRAINING_COPIES * parameters + CODE_COPIES * codes))
    free, whole = torch.cuda.mem_get_info()
    line = f"GPU memory: about {needed / 1e9:.0f} GB needed, {free / 1e9:.0f} of {whole / 1e9:.0f} GB free"
    if needed > free:
        raise CannotPrepare(
            f"{line}. End what else runs there, choose another GPU by CUDA_VISIBLE_DEVICES, or train a smaller SAE: "
            "--set dict_size=N, --set batch_size=N."
        )
    return [line]


def _check_packages(settings: Settings) -> None:
    missing = model_files.missing_packages(settings.language_model)
    if evals.chosen(settings) and importlib.util.find_spec("sae_bench") is None:
        missing.append("sae-bench")
    if missing:
        raise CannotPrepare(f"not installed: {', '.join(missing)}. Profiles on language models need them: `make sae`.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m saelab.prepare", description="Makes what an execution needs.")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made, and make nothing")
    dry = parser.parse_args().dry_run
    try:
        settings = load_settings(Path())
        if dry:
            print("\n".join(plan(settings)))
        else:
            prepare(settings, lambda line: print(line, flush=True))
            if wanted := os.environ.get(READS):
                Path(wanted).write_text(json.dumps(reads(settings)), encoding="utf-8")
    except (CannotPrepare, SettingsError, OSError) as error:
        sys.exit(f"prepare: {error}")


if __name__ == "__main__":
    main()
