"""The laboratory that `experiment.py` imports. An experiment loads its settings, trains an SAE, and hands it over:

    settings = saelab.load_settings(Path(__file__).parent)
    for x in saelab.activations(settings): ...
    saelab.hand_over(out_dir, sae, {"k": sae.k, ...}, {"final_loss": ...})

It is scored from what it handed over (`scorer`), by a process that imports this package too and has no use for torch: so
each name is imported when it is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adam import Adam
    from .artifact import hand_over
    from .batches import activations
    from .export import ExportError
    from .memory import keep_memory
    from .models import torch_device
    from .settings import Settings, SettingsError, load_settings
    from .training_log import TrainingLog

__all__ = [
    "Adam",
    "ExportError",
    "Settings",
    "SettingsError",
    "TrainingLog",
    "activations",
    "hand_over",
    "keep_memory",
    "load_settings",
    "torch_device",
]

# Libraries ask for a GPU while they are imported. By default torch then begins to use CUDA, and no process that is forked
# from there, as scorers are from a warm one, ever can; asked in this way, it reads what the driver's library lists.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

_MODULES = {
    "Adam": "adam",
    "ExportError": "export",
    "Settings": "settings",
    "SettingsError": "settings",
    "TrainingLog": "training_log",
    "activations": "batches",
    "hand_over": "artifact",
    "keep_memory": "memory",
    "load_settings": "settings",
    "torch_device": "models",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value
