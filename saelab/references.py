"""SAEs that other libraries made or will read: SAELens's folders both ways, dictionary_learning's files into ours.

    python -m saelab.references export run_1/sae sae-for-sae-lens
    python -m saelab.references import sae-from-elsewhere reference_1

`export` writes a standard or TopK SAE of a run in SAELens's folder format (cfg.json, sae_weights.safetensors), which
`SAE.load_from_disk` reads; a variant that this format cannot express is refused, by what its graphs compute. `import`
hands an SAE from elsewhere over as an artifact, and it is scored as a run's is, on the profile that HARNESS_PROFILE names:

    SAELens              folder with cfg.json and sae_weights.safetensors; architectures standard, topk, jumprelu
    dictionary_learning  folder with config.json and ae.pt or ae.safetensors; AutoEncoder, AutoEncoderTopK, BatchTopKSAE

`ae.pt` is a pickle: only tensors are read from it (torch's weights_only), and a file that holds more is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .artifact import hand_over
from .scorer.graph import Refused
from .scorer.sealed import Sealed

CFG, LENS_WEIGHTS = "cfg.json", "sae_weights.safetensors"
CONFIG, PICKLED, SAFE = "config.json", "ae.pt", "ae.safetensors"
NAMES = "W_enc", "b_enc", "W_dec", "b_dec"
LENS_VERSION = "6.0.0"
"""The first version of SAELens that reads a cfg.json as it is written here."""
PROBES = 256
"""Rows on which an SAE is compared with what would be written."""
AGREES, TIES = 1e-3, 0.02
"""The largest difference, as a share of the largest value, and the share of rows that may differ by more: where two latents
tie for the last of k places, rounding decides."""


class CannotConvert(ValueError):
    """An SAE that cannot be read or written, with the file and the reason."""


class Reference(nn.Module):
    """f = act((x - b_dec) W_enc + b_enc), x = f W_dec + b_dec.

    act is ReLU; of what it gives, the k largest or what exceeds a threshold [d_sae] are kept where there is either.
    """

    def __init__(self, weights: Mapping[str, Tensor], k: int | None = None, threshold: Tensor | None = None) -> None:
        super().__init__()
        for name in NAMES:
            self.register_buffer(name, weights[name].detach().float().contiguous())
        self.d_in, self.d_sae = self.W_enc.shape
        shapes = {
            "W_enc": (self.d_in, self.d_sae),
            "b_enc": (self.d_sae,),
            "W_dec": (self.d_sae, self.d_in),
            "b_dec": (self.d_in,),
        }
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise CannotConvert(f"{name}: shape {list(getattr(self, name).shape)}, expected {list(shape)}")
        self.k = k
        self.register_buffer(
            "threshold", None if threshold is None else threshold.detach().float().expand(self.d_sae).clone()
        )

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None

    def encode(self, x: Tensor) -> Tensor:
        before = (x - self.b_dec) @ self.W_enc + self.b_enc
        f = torch.relu(before)
        if self.threshold is not None:
            f = f * (before > self.threshold).to(f.dtype)
        if self.k is not None:
            values, indices = f.topk(self.k, dim=1, sorted=False)
            f = torch.zeros_like(f).scatter(1, indices, values)
        return f

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec + self.b_dec


def export(artifact: Path, folder: Path) -> None:
    """Write the SAE of `artifact` in SAELens's format. Raises CannotConvert where that would be another SAE, and Refused."""
    sealed = Sealed(artifact, threads=1)
    if sealed.settings.get("architecture") not in ("topk", "standard"):
        raise CannotConvert(f"{artifact}: architecture {sealed.settings.get('architecture')!r}, expected topk or standard")
    k = sealed.settings.get("k") if sealed.settings["architecture"] == "topk" else None
    missing = [name for name in NAMES if name not in sealed.weights]
    if missing:
        raise CannotConvert(f"{artifact}: its weights have no {', '.join(missing)}")
    sae = Reference({name: torch.from_numpy(value.copy()) for name, value in sealed.weights.items()}, k)
    f = torch.rand(PROBES, sae.d_sae, generator=torch.Generator().manual_seed(0))
    f = f * (f > 1 - 16 / sae.d_sae)
    x = sae.decode(f) + 0.3 * torch.randn(PROBES, sae.d_in, generator=torch.Generator().manual_seed(1))
    apart = [
        name
        for name, here, there in (
            ("encode", sae.encode(x), sealed.encode(x.numpy())),
            ("decode", sae.decode(f), sealed.decode(f.numpy())),
        )
        if not _agree(torch.from_numpy(there), here)
    ]
    if apart:
        raise CannotConvert(
            f"{artifact}: a variant that SAELens's format cannot express: {' and '.join(apart)} of the artifact and of a "
            f"plain {sealed.settings['architecture']} SAE with its weights give different results"
        )
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: getattr(sae, name) for name in NAMES}, folder / LENS_WEIGHTS)
    cfg: dict[str, Any] = {
        "architecture": sealed.settings["architecture"],
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LENS_VERSION},
    }
    if k is not None:
        cfg |= {"k": k, "rescale_acts_by_decoder_norm": False}
    (folder / CFG).write_text(json.dumps(cfg, indent=1), encoding="utf-8")


def _agree(one: Tensor, other: Tensor) -> bool:
    apart = (one - other).abs().amax(dim=1) > AGREES * other.abs().max()
    return float(apart.float().mean()) <= TIES


def load(folder: Path) -> Reference:
    """The SAE in `folder`, of either library. Raises CannotConvert."""
    if (folder / CFG).is_file():
        return _of_sae_lens(folder)
    if (folder / CONFIG).is_file():
        return _of_dictionary_learning(folder)
    raise CannotConvert(f"{folder}: neither {CFG} (SAELens) nor {CONFIG} (dictionary_learning) is there")


def bring(folder: Path, out_dir: Path) -> None:
    """Hand the SAE in `folder` over as the artifact of a run in `out_dir`; it is then scored."""
    sae = load(folder)
    architecture = "topk" if sae.k is not None else "standard" if sae.threshold is None else "jumprelu"
    hand_over(out_dir, sae, {"architecture": architecture, "d_in": sae.d_in, "dict_size": sae.d_sae, "k": sae.k}, {})


def _of_sae_lens(folder: Path) -> Reference:
    from safetensors.torch import load_file

    cfg = _object(folder / CFG)
    architecture = cfg.get("architecture")
    if architecture not in ("standard", "topk", "jumprelu"):
        raise CannotConvert(f"{folder / CFG}: architecture {architecture!r}; standard, topk and jumprelu can be read")
    for name in ("normalize_activations", "reshape_activations"):
        if cfg.get(name, "none") != "none":
            raise CannotConvert(
                f"{folder / CFG}: {name} {cfg[name]!r}: the rows that an SAE is scored on are not changed first"
            )
    state = load_file(folder / LENS_WEIGHTS)
    wanted = [*NAMES, "threshold"] if architecture == "jumprelu" else NAMES
    weights = {name: _tensor(state, name, folder / LENS_WEIGHTS).float() for name in wanted}
    if not cfg.get("apply_b_dec_to_input", True):  # the same function, with the other bias
        weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    if cfg.get("rescale_acts_by_decoder_norm"):
        norm = weights["W_dec"].norm(dim=1)
        weights |= {
            "W_enc": weights["W_enc"] * norm,
            "b_enc": weights["b_enc"] * norm,
            "W_dec": weights["W_dec"] / norm[:, None],
        }
    return Reference(
        weights,
        k=int(cfg["k"]) if architecture == "topk" else None,
        threshold=weights["threshold"] if architecture == "jumprelu" else None,
    )


def _of_dictionary_learning(folder: Path) -> Reference:
    kind = _object(folder / CONFIG).get("trainer", {}).get("dict_class")
    if kind not in ("AutoEncoder", "AutoEncoderTopK", "BatchTopKSAE"):
        raise CannotConvert(
            f"{folder / CONFIG}: dict_class {kind!r}; AutoEncoder, AutoEncoderTopK and BatchTopKSAE can be read"
        )
    path, state = _tensors(folder)
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "bias" if kind == "AutoEncoder" else "b_dec")
    encoder, b_enc, decoder, b_dec = (_tensor(state, name, path) for name in names)  # as in nn.Linear: [out, in]
    return Reference(
        {"W_enc": encoder.T, "b_enc": b_enc, "W_dec": decoder.T, "b_dec": b_dec},
        k=int(_tensor(state, "k", path)) if kind == "AutoEncoderTopK" else None,
        threshold=_tensor(state, "threshold", path) if kind == "BatchTopKSAE" else None,
    )


def _tensor(state: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in state:
        raise CannotConvert(f"{path}: no {name} in it; it has {', '.join(state)}")
    return state[name]


def _tensors(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    if (folder / SAFE).is_file():
        from safetensors.torch import load_file

        return folder / SAFE, load_file(folder / SAFE)
    try:
        state = torch.load(folder / PICKLED, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CannotConvert(f"{folder}: neither {PICKLED} nor {SAFE} is there") from None
    except Exception as error:
        raise CannotConvert(f"{folder / PICKLED}: holds more than tensors, or is no such file: {error}") from error
    return folder / PICKLED, dict(state)


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotConvert(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CannotConvert(f"{path}: expected an object")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m saelab.references", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    commands = parser.add_subparsers(required=True, metavar="export|import")
    for name, help_, does, first, second in (
        ("export", "write a run's SAE in SAELens's format", export, "artifact", "folder"),
        ("import", "hand over an SAE from elsewhere, and score it", bring, "folder", "out_dir"),
    ):
        command = commands.add_parser(name, help=help_)
        command.add_argument(first, type=Path)
        command.add_argument(second, type=Path)
        command.set_defaults(does=does, names=(first, second))
    given = parser.parse_args()
    try:
        given.does(*(getattr(given, name) for name in given.names))
    except (CannotConvert, Refused) as error:
        sys.exit(f"references: {error}")


if __name__ == "__main__":
    main()
