"""Streamed worlds: those of `synthsae` whose rows are made while an execution trains (see `feed`), and their truth.

The world `public` of a profile is the one that the hub has under the name `public_model`. Where it cannot be had, and for
every other name, a world of the same configuration is drawn on this machine. Its generator is kept with the truth: only what
makes rows and what scores reads it.
"""

from __future__ import annotations

import importlib.util
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from . import synthsae
from .cache import Say
from .errors import CannotPrepare
from .settings import Settings, StreamedData

if TYPE_CHECKING:
    from torch import Tensor

_MODEL = "model"
_OF_A_MODEL = ["synthetic_model*", "hierarchy.json"]
_SECONDS = 20.0
"""Within which the hub answers."""


def fetch(settings: Settings, folder: Path, say: Say) -> tuple[str, str]:
    """Put the public generator into `folder`, where no execution can read it. The bits that draw the world, and who can know
    its truth: none and everybody, or random ones where the hub does not have it."""
    import huggingface_hub

    assert isinstance(settings.data, StreamedData)
    name, place = settings.data.public_model, folder / _MODEL
    try:
        huggingface_hub.snapshot_download(name, local_dir=place, allow_patterns=_OF_A_MODEL, etag_timeout=_SECONDS)
        if not any(place.glob("*.safetensors")):
            raise FileNotFoundError("no model there")
    except Exception as error:  # of whichever library speaks to the network
        shutil.rmtree(place, ignore_errors=True)
        say(f"{name} cannot be had ({type(error).__name__}): a world of the same configuration is drawn on this machine")
        return secrets.token_hex(16), "is in this machine's cache alone"
    shutil.rmtree(place / ".cache", ignore_errors=True)
    hidden = "its copy here is hidden from executions, which can read it where they have a network or the hub's cache has it"
    return "", f"is public on the hub ({name}): {hidden}"


def check(settings: Settings) -> None:
    """Raises CannotPrepare without the generator, SettingsError without the GPU that the settings name."""
    from .models import torch_device

    torch_device(settings.device)
    if importlib.util.find_spec("sae_lens") is None:
        synthsae.generator_of(settings)


def make_truth(settings: Settings, folder: Path, bits: str) -> dict[str, npt.NDArray[Any]]:
    """What scores are measured against, of the generator in `folder`, which is drawn where none was fetched. Raises
    CannotPrepare."""
    from .models import torch_device

    synthetic, place, device = synthsae.generator_of(settings), folder / _MODEL, torch_device(settings.device).type
    if not place.exists():
        synthsae.build_model(settings, bits, device).save(place)
    model = synthetic.SyntheticModel.load_from_disk(place, device=device)
    found = (model.cfg.num_features, model.cfg.hidden_dim)
    if found != (settings.synthsae.features, settings.d_in):
        raise CannotPrepare(
            f"the public model has {found[0]} features in {found[1]} dimensions; the settings features and d_in say "
            f"{settings.synthsae.features} and {settings.d_in}. Choose a world of another name: --set world=NAME."
        )
    return {**synthsae.truth_of(model, settings, bits), "bias": model.feature_dict.bias.detach().cpu().numpy()}


def rows(settings: Settings, folder: Path, bits: str, sizes: Iterable[int]) -> Iterator[Tensor]:
    """Training rows [size, d_in] for each of `sizes`, on the settings' device, of the world whose truth is in `folder`."""
    from .models import torch_device

    device = torch_device(settings.device).type
    model = synthsae.generator_of(settings).SyntheticModel.load_from_disk(folder / _MODEL, device=device)
    return synthsae.stream(model, settings, bits, sizes)
