"""Scores an artifact: `python -m saelab.scorer --artifact=run_1/sae --out=run_1/eval_results`.

The settings are those of `experiment.toml` in the working directory and of the environment, as for the experiment. In `out`:
`synthetic.json` or `synthsae.json`, or the files of SAEBench's evals; `skipped.json`, why an eval did not run; `facts.json`,
what the artifact and its scoring show of the settings that the experiment reports.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import layers, scoring, worlds
from ..errors import CannotPrepare
from ..settings import Setting, Settings, SettingsError, SyntheticData, load_layers, load_settings
from ..synthetic import world_of
from .graph import Refused
from .sealed import Sealed

VERSION = 1
"""Of the scores. The same SAE has other scores by another version, so they are not compared: raise it with each change that
moves one by more than rounding."""
SCORED_BY = ("sae-bench", "sae-lens", "transformer-lens")
"""Packages on whose versions scores depend, but for those of the laboratory's own worlds."""
SECRET = "HARNESS_SECRET"
"""A text that no experiment knows, the same for all scorings whose results are compared."""
SERVER = "HARNESS_SERVER"
"""The folder of a process that serves what of the artifact is no data (`serve`)."""


def main(artifact: Path, out: Path) -> None:
    """Score. Raises Refused where the artifact is at fault, SettingsError where the contract is, CannotPrepare where the
    language model cannot be had."""
    named = load_layers(Path.cwd())
    for layer, settings in zip(named, layers.each(Path.cwd()), strict=False):
        print(f"layer {layer}", flush=True)
        _score_one(artifact / layers.folder_of(layer), out / layers.folder_of(layer), settings)
    if named:
        layers.join_scores(out, named)
    else:
        _score_one(artifact, out, load_settings(Path.cwd()))


def _score_one(artifact: Path, out: Path, settings: Settings) -> None:
    scored_on: dict[str, Setting]
    out.mkdir(parents=True, exist_ok=True)
    if settings.evals is None:
        sealed = _sealed(artifact, settings)
        truth = worlds.truth(settings)
        name, scores = _score(sealed, settings, truth.arrays)
        sealed.compare_l0(scores["l0"])
        _write(out / f"{name}.json", {"eval_type_id": name, "eval_result_metrics": {"scores": scores}})
        print("  ".join(f"{name} {value:.4g}" for name, value in scores.items()))
        scored_on, scored_with = settings.data.scale, {**worlds.told(settings, truth), **_versions(settings)}
    else:
        sealed = _evaluate(artifact, out, settings)
        model = settings.language_model
        scored_on = {"model": model.model, "layer": model.layer, **settings.evals.scale}
        scored_with = _versions(settings)
    if sealed.count.objections:
        raise Refused(sealed.count.objections[0])
    count = sealed.count
    facts = {
        # What was scored and what it was scored on, whatever is reported.
        "verified": sealed.verified() | scored_on,
        "scored_with": {"version": VERSION, "backend": _backend(settings)} | scored_with,
        "remarks": sealed.remarks,
        "rows": count.rows,
        "l0": count.l0,
        "most_in_a_row": count.most,
    }
    _write(out / "facts.json", facts)


def _score(sealed: Sealed, settings: Settings, truth: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Scores against what is known of the features, and what they are called."""
    if isinstance(settings.data, SyntheticData):
        world = world_of(truth, settings)
        return "synthetic", scoring.score_rows(sealed, world, truth["magnitudes"], truth["activations"])
    from .. import synthsae_scoring  # what it imports takes ten seconds

    return "synthsae", synthsae_scoring.score_rows(sealed, truth["directions"], truth["magnitudes"], truth.get("bias"))


def _versions(settings: Settings) -> dict[str, Setting]:
    if isinstance(settings.data, SyntheticData):
        return {}
    return {name: metadata.version(name) for name in SCORED_BY if importlib.util.find_spec(name.replace("-", "_"))}


def _evaluate(artifact: Path, out: Path, settings: Settings) -> Sealed:
    from ..cache import lab_cache
    from ..evals import evaluate
    from .torch_sae import SealedSAE

    sealed = _sealed(artifact, settings)
    try:
        skipped = evaluate(SealedSAE(sealed), settings, out, lab_cache() / "evals", lambda line: print(line, flush=True))
    except Exception:
        if sealed.count.objections:  # the library in between may have made another error of it
            raise Refused(sealed.count.objections[0]) from None
        raise
    if (core := out / "core.json").exists():
        sealed.compare_l0(json.loads(core.read_text())["eval_result_metrics"]["sparsity"]["l0"])
    if skipped:
        _write(out / "skipped.json", {"skipped": skipped})
    return sealed


def _sealed(artifact: Path, settings: Settings) -> Sealed:
    secret, server = os.environ.get(SECRET, "").encode(), os.environ.get(SERVER)
    sealed = Sealed(
        artifact,
        threads=settings.threads,
        torch_on=_torch_on(settings),
        secret=secret,
        server=Path(server) if server else None,
    )
    for line in sealed.costs:
        print(line, flush=True)
    if sealed.d_in != settings.d_in:
        raise Refused(f"the SAE takes rows of width {sealed.d_in}; the activations of this profile have {settings.d_in}.")
    return sealed


def _torch_on(settings: Settings) -> str:
    """The device on which torch executes graphs, "" where onnxruntime does."""
    if settings.scoring_backend == "onnxruntime" or (settings.scoring_backend == "auto" and settings.device == "cpu"):
        return ""
    import torch

    from ..models import torch_device

    device = torch_device(settings.device).type
    if device == "cpu" and settings.scoring_backend == "auto":
        return ""
    torch.set_num_threads(settings.threads)
    return device


def _backend(settings: Settings) -> str:
    """What executes graphs, for the record: scores of two backends differ by rounding, and are not compared."""
    device = _torch_on(settings)
    return f"torch on {device}" if device else "onnxruntime"


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    try:
        main(given.artifact, given.out)
    except (Refused, SettingsError, CannotPrepare) as error:
        sys.exit(f"saelab.scorer: {error}")
