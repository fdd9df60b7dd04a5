"""SAEs of other libraries: what is written for SAELens, and what is read of SAELens and dictionary_learning."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saelab import references
from saelab.artifact import hand_over
from saelab.references import CannotConvert, Reference, export, load

D_IN, D_SAE, K = 12, 40, 5


@pytest.fixture(autouse=True)
def no_scoring(monkeypatch):
    monkeypatch.setenv("HARNESS_SCORER_FOLLOWS", "1")


def weights(*, unit: bool = True) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(3)
    of = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    made = {name: torch.randn(*shape, generator=chance) for name, shape in of.items()}
    return made | ({"W_dec": made["W_dec"] / made["W_dec"].norm(dim=1, keepdim=True)} if unit else {})


def rows(n: int = 64) -> Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(4))


def artifact(out_dir: Path, sae: torch.nn.Module, architecture: str, k: int | None) -> Path:
    hand_over(out_dir, sae, {"architecture": architecture, "d_in": D_IN, "dict_size": D_SAE, "k": k}, {})
    return out_dir / "sae"


@pytest.mark.parametrize(("architecture", "k"), [("topk", K), ("standard", None)])
def test_what_is_exported_is_the_same_sae_in_sae_lens(tmp_path, architecture, k):
    from sae_lens import SAE

    ours = Reference(weights(), k)
    export(artifact(tmp_path / "run_1", ours, architecture, k), tmp_path / "lens")

    theirs = SAE.load_from_disk(tmp_path / "lens")

    x, f = rows(), ours.encode(rows())
    assert theirs.cfg.architecture() == architecture
    assert torch.allclose(theirs.encode(x), f, atol=1e-5)
    assert torch.allclose(theirs.decode(f), ours.decode(f), atol=1e-5)


class Doubled(Reference):
    """A variant: the same weights, and more than them."""

    def encode(self, x: Tensor) -> Tensor:
        return 2 * super().encode(x)


def test_a_variant_is_not_exported_as_what_it_is_not(tmp_path):
    with pytest.raises(CannotConvert, match="a variant that SAELens's format cannot express: encode"):
        export(artifact(tmp_path / "run_1", Doubled(weights(), K), "topk", K), tmp_path / "lens")

    assert not (tmp_path / "lens").exists()


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("standard", {}),
        ("standard", {"apply_b_dec_to_input": False}),
        ("topk", {"k": K}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("jumprelu", {}),
    ],
)
def test_an_sae_that_sae_lens_saved_is_read(tmp_path, architecture, options):
    from sae_lens.registry import get_sae_class

    made, config = get_sae_class(architecture)
    theirs = made(config(d_in=D_IN, d_sae=D_SAE, **options))
    state = weights(unit=False) | ({"threshold": torch.rand(D_SAE)} if architecture == "jumprelu" else {})
    theirs.load_state_dict(state)
    theirs.save_model(tmp_path)

    ours = load(tmp_path)

    with torch.no_grad():
        f = theirs.encode(rows())
        assert (f > 0).any()
        assert torch.allclose(ours.encode(rows()), f, atol=1e-4)
        assert torch.allclose(ours.decode(f), theirs.decode(f), atol=1e-4)


def dictionary(folder: Path, kind: str, *, safe: bool = False) -> dict[str, Tensor]:
    """Files as dictionary_learning leaves them: a state of nn.Linear layers, and the trainer's configuration."""
    of = weights()
    bias = "bias" if kind == "AutoEncoder" else "b_dec"
    state = {
        "encoder.weight": of["W_enc"].T,
        "encoder.bias": of["b_enc"],
        "decoder.weight": of["W_dec"].T,
        bias: of["b_dec"],
    }
    if kind != "AutoEncoder":
        state |= {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.7)}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": kind, "activation_dim": D_IN}}))
    if safe:
        save_file({name: value.contiguous() for name, value in state.items()}, folder / "ae.safetensors")
    else:
        torch.save(state, folder / "ae.pt")
    return state


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("kind", ["AutoEncoder", "AutoEncoderTopK", "BatchTopKSAE"])
def test_an_sae_of_dictionary_learning_is_read(tmp_path, kind, safe):
    state = dictionary(tmp_path / "sae", kind, safe=safe)
    b_dec = state.get("bias", state.get("b_dec"))
    f = torch.relu(torch.nn.functional.linear(rows() - b_dec, state["encoder.weight"], state["encoder.bias"]))
    if kind == "AutoEncoderTopK":
        f = torch.where(f >= f.topk(K, dim=1).values[:, -1:], f, 0.0)
    if kind == "BatchTopKSAE":
        f = f * (f > 0.7)

    ours = load(tmp_path / "sae")

    assert torch.allclose(ours.encode(rows()), f, atol=1e-5)
    x = torch.nn.functional.linear(f, state["decoder.weight"]) + b_dec
    assert torch.allclose(ours.decode(f), x, atol=1e-5)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_holds_more_than_tensors_is_refused_and_not_run(tmp_path):
    dictionary(tmp_path / "sae", "AutoEncoder")
    (tmp_path / "sae" / "ae.pt").write_bytes(pickle.dumps({"encoder.weight": Harmful(tmp_path / "harmed")}))

    with pytest.raises(CannotConvert, match=r"ae\.pt: holds more than tensors"):
        load(tmp_path / "sae")
    assert not (tmp_path / "harmed").exists()


def test_what_cannot_be_read_is_said_with_the_file(tmp_path):
    with pytest.raises(CannotConvert, match=r"neither cfg\.json \(SAELens\) nor config\.json"):
        load(tmp_path)
    (tmp_path / "cfg.json").write_text('{"architecture": "gated"}')
    with pytest.raises(CannotConvert, match="'gated'; standard, topk and jumprelu can be read"):
        load(tmp_path)
    (tmp_path / "cfg.json").write_text('{"architecture": "topk", "k": 2, "normalize_activations": "layer_norm"}')
    with pytest.raises(CannotConvert, match="normalize_activations 'layer_norm'"):
        load(tmp_path)
    (tmp_path / "cfg.json").write_text('{"architecture": "topk", "k": 2}')
    save_file({"W_enc": torch.zeros(2, 3)}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(CannotConvert, match="no b_enc in it; it has W_enc"):
        load(tmp_path)


def test_a_reference_is_handed_over_as_a_run_would_be(tmp_path):
    state = dictionary(tmp_path / "sae", "AutoEncoderTopK")

    done = subprocess.run(
        [sys.executable, "-m", "saelab.references", "import", tmp_path / "sae", tmp_path / "reference_1"],
        cwd=Path(references.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "reference_1" / "sae" / "settings.json").read_text())
    assert settings == {"architecture": "topk", "d_in": D_IN, "dict_size": D_SAE, "k": int(state["k"])}
    assert (tmp_path / "reference_1" / "sae" / "encode.onnx").stat().st_size > 0
