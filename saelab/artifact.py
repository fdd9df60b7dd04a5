"""What an experiment hands over: its SAE as data, from which the scorer measures everything else.

In `out_dir`:

    sae/encode.onnx           x [n, d_in] -> f [n, d_sae], float32, any n
    sae/decode.onnx           f [n, d_sae] -> x [n, d_in]
    sae/weights.safetensors   parameters and buffers by name, float32
    sae/settings.json         the settings that were really used
    final_info.json           the same settings, and what the training itself measured

Where the profile names several layers, each has its own `sae/layer_N/` (see `layers`).

No file holds code: nothing of the experiment has to be run, or believed, to score the SAE.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from . import layers
from .artifact_files import ARTIFACT, DECODE, ENCODE, NOT_EXPORTED, SETTINGS, WEIGHTS
from .export import ExportError, to_onnx
from .precision import full_float32
from .settings import Setting

RESULTS, SCORES = "final_info.json", "eval_results"
FOLLOWS = "HARNESS_SCORER_FOLLOWS"
"""Set where a harness will start the scorer, which has more to hold it to than a process of the experiment's."""

SERVES = "HARNESS_SERVES"
"""Set where an SAE that cannot be exported is scored with its own code, `serve`."""

_PROBES = 48, 31


class SAE(Protocol):
    """Rows x [n, d_in] to codes f [n, d_sae], f >= 0, and back. The code of a row depends on that row alone."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, f: Tensor) -> Tensor: ...


def hand_over(out_dir: Path, sae: SAE, used: Mapping[str, Setting], metrics: Mapping[str, float]) -> None:
    """Write the artifact of a trained `sae`, and `final_info.json`. The last call of an experiment.

    `used` are the settings that were really used, read back from the objects, `d_in` and `dict_size` among them; `metrics`
    what the training itself measured. Scores are not among them: those come from the artifact. Without a harness around, the
    scorer is run here and its scores are printed.

    Raises ExportError for an SAE that cannot be scored as data, ValueError for settings or shapes that do not fit.
    """
    folder = layers.part(out_dir / ARTIFACT)
    folder.mkdir(parents=True, exist_ok=True)
    with full_float32():
        rows, codes = _probes(sae, used)
        graphs = _graphs(sae, rows, codes)
    for name, content in graphs.items():
        _write(folder / name, content)
    _write_weights(folder / WEIGHTS, sae)
    _write_json(folder / SETTINGS, dict(used))
    results = {"settings": dict(used), "metrics": dict(metrics)}
    print("  ".join(f"{name} {value:.4g}" for name, value in metrics.items()), flush=True)
    if layers.now():
        _write_json(folder / layers.OF_ONE, results)
        layers.go_on()
        results = layers.joined_results(out_dir / ARTIFACT)
    _write_json(out_dir / RESULTS, results)
    if os.environ.get(FOLLOWS) != "1":
        _score(out_dir)


def _graphs(sae: SAE, rows: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor]) -> dict[str, bytes]:
    """Both functions as graphs, by file; or why they are none, where the code itself may be served."""
    try:
        return {
            ENCODE: to_onnx(sae.encode, "encode", rows, ("x", "f")),
            DECODE: to_onnx(sae.decode, "decode", codes, ("f", "x")),
        }
    except ExportError as error:
        if os.environ.get(SERVES) != "1":
            raise
        return {NOT_EXPORTED: str(error).encode()}


@torch.no_grad()
def _probes(sae: SAE, used: Mapping[str, Setting]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Two batches of rows and of codes that an SAE may be asked about, after a look at its shapes."""
    d_in, d_sae = used.get("d_in"), used.get("dict_size")
    if not (isinstance(d_in, int) and isinstance(d_sae, int)):
        raise ValueError(f"settings: d_in {d_in!r}, dict_size {d_sae!r}: expected both, as they are in the SAE")
    device = next((p.device for p in sae.parameters()), None) if isinstance(sae, torch.nn.Module) else None
    chance = torch.Generator().manual_seed(0)
    codes, rows = [], []
    _check_shape("encode", sae.encode(torch.zeros(2, d_in, device=device)), 2, d_sae)
    for n in _PROBES:
        f = torch.rand(n, d_sae, generator=chance)
        f = f * (torch.rand(n, d_sae, generator=chance) < min(0.5, 16 / d_sae))
        codes.append(f.to(device))
        x = sae.decode(codes[-1])
        _check_shape("decode", x, n, d_in)
        rows.append(x.float() + 0.3 * torch.randn(n, d_in, generator=chance).to(device))
    together, alone = sae.encode(rows[0]), torch.cat([sae.encode(row[None]) for row in rows[0]])
    if (together < 0).any():
        raise ExportError(
            "encode: codes must be >= 0, and some are negative: a latent fires where its code is above 0. Negate the "
            "latent's direction instead, or end encode with a relu."
        )
    apart = ((together - alone).abs() > 1e-3 * together.abs().max()).any(dim=1)
    if apart.float().mean() > 0.1:
        raise ExportError(
            f"encode: the code of a row depends on the other rows of its batch ({int(apart.sum())} of {len(apart)} rows get "
            "another code when they are encoded alone), as when the largest codes of a whole batch are kept. Training may "
            "do so; encode needs a rule for a single row, such as a threshold that was learned or averaged in training."
        )
    return (rows[0], rows[1]), (codes[0], codes[1])


def _check_shape(name: str, found: Tensor, rows: int, width: int) -> None:
    if tuple(found.shape) != (rows, width):
        raise ValueError(
            f"{name}: expected shape [{rows}, {width}] by the settings d_in and dict_size, found {list(found.shape)}"
        )


def _write_weights(path: Path, sae: SAE) -> None:
    from safetensors.torch import save  # here: nobody who only imports the laboratory needs it

    state = sae.state_dict() if isinstance(sae, torch.nn.Module) else {}
    arrays = {name: value.detach().float().cpu().contiguous().clone() for name, value in state.items()}
    _write(path, save(arrays))


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    _write(path, json.dumps(content, indent=1).encode())


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _score(out_dir: Path) -> None:
    """Run the scorer as a process of its own, beside the contract that the laboratory lies beside."""
    command = [sys.executable, "-m", "saelab.scorer", f"--artifact={out_dir.resolve() / ARTIFACT}"]
    done = subprocess.run([*command, f"--out={out_dir.resolve() / SCORES}"], cwd=Path(__file__).parents[1], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
