"""The laboratory that `experiment.py` imports: data with a known hierarchy, and scores against the ground truth.

An experiment loads its settings, trains an SAE on `activations`, and hands it to `score`:

    settings = saelab.load_settings(Path(__file__).parent)
    for x in saelab.activations(settings): ...
    saelab.write_results(out_dir, {"k": sae.k, ...}, saelab.score(sae, settings))
"""

from .activations import activations
from .adam import Adam
from .scoring import SAE, score
from .settings import Settings, SettingsError, load_settings
from .training_log import TrainingLog, save_weights, write_results

__all__ = [
    "SAE",
    "Adam",
    "Settings",
    "SettingsError",
    "TrainingLog",
    "activations",
    "load_settings",
    "save_weights",
    "score",
    "write_results",
]
