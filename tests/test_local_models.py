"""Any language model in a local folder is scored: transformer-lens finds it, whatever its folder is called, and computes what
transformers computes."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saelab.errors import CannotPrepare
from saelab.models import layer_output, load_model
from saelab.settings import LanguageModelData, load_settings

from .small_models import CONFIGS, save_model

if importlib.util.find_spec("sae_bench") is None:
    pytest.skip("sae-bench is not installed", allow_module_level=True)

from saelab.evals import lens
from saelab.evals.agreement import check_activations
from saelab.evals.bench import at_work, bench_of

ROOT = Path(__file__).parents[1]
DATA = LanguageModelData(
    model=".", revision="", layer=1, dataset="docstrings", context=8, harvest_tokens=100, dtype="float32", data_seed=0
)


def known_as(folder: Path) -> str:
    return lens.official_name(replace(DATA, model=str(folder)), folder)


def configured(folder: Path, **values: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("family", CONFIGS)
def test_scores_rest_on_the_activations_that_were_harvested(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformer_lens

    (tmp_path / "robert-t5").mkdir()  # by such letters in a path transformer-lens knows other kinds of models
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "robert-t5"))
    folder = save_model(family, tmp_path / "my model")
    overrides = {"model": str(folder), "d_in": 16, "context": 8}
    settings = load_settings(ROOT, {"HARNESS_PROFILE": "tiny-lm", "HARNESS_OVERRIDES": json.dumps(overrides)})
    model, _ = load_model(settings.language_model, torch.device("cpu"))
    tokens = torch.arange(8)[None] + 3
    bench = bench_of(settings, print)
    with at_work(bench), torch.inference_mode():
        seen = transformer_lens.HookedTransformer.from_pretrained_no_processing(bench.official, dtype=torch.float32)
        cached = seen.run_with_cache(tokens, names_filter=[bench.hook])
        assert torch.allclose(cached[0], model(tokens).logits, rtol=1e-3, atol=1e-3)
        with lens.stopped_after(1):  # no later layer, no logits, and the same numbers
            output, stopped = seen.run_with_cache(tokens, names_filter=[bench.hook])
    assert output.shape == (1, 8, 16) and torch.equal(stopped[bench.hook], cached[1][bench.hook])
    assert torch.allclose(cached[1][bench.hook], layer_output(model, 1, tokens), rtol=1e-3, atol=1e-3)


def test_a_folder_is_known_by_its_models_name_or_by_its_architecture(tmp_path: Path) -> None:
    phi = {"model_type": "phi3"}
    assert known_as(configured(tmp_path / "Phi-3-mini-4k-instruct", **phi)) == "microsoft/Phi-3-mini-4k-instruct"
    cached = tmp_path / "models--microsoft--phi-4" / "snapshots" / ("a" * 40)
    assert known_as(configured(cached, **phi)) == "microsoft/phi-4"
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32, "vocab_size": 60}
    for model_type, name in (
        ("llama", "01-ai/Yi-6B"),
        ("gemma2", "google/gemma-2-2b"),
        ("mistral", "mistralai/Mistral-7B-v0.1"),
    ):
        assert known_as(configured(tmp_path / model_type, model_type=model_type, **small)) == name
    # Called as a model of another size is: its own size counts.
    assert known_as(configured(tmp_path / "Llama-3.2-1B", model_type="llama", **small)) == "01-ai/Yi-6B"
    whole = {"hidden_size": 2048, "num_attention_heads": 32, "num_hidden_layers": 16, "intermediate_size": 8192}
    whole = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, **whole}
    assert known_as(configured(tmp_path / "copies" / "Llama-3.2-1B", **whole)) == "meta-llama/Llama-3.2-1B"


def test_a_model_that_transformer_lens_computes_otherwise_is_not_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_model("gemma-2", tmp_path / "mine")
    overrides = {"model": str(folder), "d_in": 16, "context": 32}
    settings = load_settings(ROOT, {"HARNESS_PROFILE": "tiny-lm", "HARNESS_OVERRIDES": json.dumps(overrides)})
    bench = bench_of(settings, print)
    check_activations(bench)
    sizes = lens._sizes
    monkeypatch.setattr(lens, "_sizes", lambda config: {**sizes(config), "rotary_base": 3.0})
    with pytest.raises(CannotPrepare, match=r"loads it as google/gemma-2-2b, computes other activations after layer 1"):
        check_activations(bench)


def test_what_cannot_be_scored_is_said_with_what_is_near_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotPrepare) as raised:
        known_as(configured(tmp_path / "phi-3-mini", model_type="phi3"))
    said = str(raised.value)
    assert "knows no model 'phi-3-mini' (near it: microsoft/Phi-3-mini-4k-instruct" in said
    assert "gemma2" in said and '--set evals=""' in said


def test_the_sizes_in_gemmas_own_configuration_are_those_that_transformer_lens_knows_by_name(tmp_path: Path) -> None:
    from transformer_lens.loading_from_pretrained import convert_hf_model_config

    sizes = {"hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
    sizes |= {"num_hidden_layers": 26, "intermediate_size": 9216, "vocab_size": 256000}
    folder = configured(tmp_path / "any", model_type="gemma2", **sizes)
    known = convert_hf_model_config("google/gemma-2-2b")
    with lens.from_files("google/gemma-2-2b", folder):
        from transformer_lens import loading_from_pretrained

        own = loading_from_pretrained.convert_hf_model_config("google/gemma-2-2b")
    assert {**own, "attn_scale": 16.0, "rotary_dim": 256} == {**known, "attn_scale": 16.0, "rotary_dim": 256}
    assert (own["attn_scale"], own["rotary_dim"]) == (16.0, 256)
