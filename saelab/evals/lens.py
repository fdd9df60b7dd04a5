"""How transformer-lens, through which SAEBench loads language models, comes to load the one in a folder.

It takes names that it knows, reads most architectures' sizes from config.json, and knows those of Gemma and of some Llamas
by name. A folder whose name is none of these is loaded under the name of a model of its architecture, with its own sizes.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from ..errors import CannotPrepare
from ..model_files import TINY
from ..settings import LanguageModelData
from ..text import is_path

OF_A_KIND = {
    "gpt_neox": "EleutherAI/pythia-70m-deduped",
    "gpt2": "gpt2",
    "gpt_neo": "EleutherAI/gpt-neo-125M",
    "opt": "facebook/opt-125m",
    "llama": "01-ai/Yi-6B",
    "mistral": "mistralai/Mistral-7B-v0.1",
    "qwen2": "Qwen/Qwen2-0.5B",
    "qwen3": "Qwen/Qwen3-0.6B",
    "phi": "microsoft/phi-2",
    "gemma": "google/gemma-2b",
    "gemma2": "google/gemma-2-2b",
    "gemma3_text": "google/gemma-3-270m",
}
"""By `model_type` of config.json, a name for a model of that architecture whose sizes are read from its files."""


def official_name(data: LanguageModelData, folder: Path) -> str:
    """The name by which transformer-lens will load the model in `folder`. Raises CannotPrepare."""
    kind = _config(folder).get("model_type", "")
    if data.model == TINY or (is_path(data.model) and kind == "gpt_neox"):
        return OF_A_KIND["gpt_neox"]
    from transformer_lens.loading_from_pretrained import make_model_alias_map

    known = {name.lower(): official for name, official in make_model_alias_map().items()}
    for official in dict.fromkeys(known.values()):
        known.setdefault(official.rpartition("/")[2].lower(), official)
    for name in _names(data, folder):
        if (found := known.get(name.lower())) and (not is_path(data.model) or _has_its_sizes(found, folder)):
            return found
    if is_path(data.model) and kind in OF_A_KIND:
        return OF_A_KIND[kind]
    name = folder.name if is_path(data.model) else data.model
    near = difflib.get_close_matches(name.lower(), known, n=3)
    raise CannotPrepare(
        f"SAEBench loads language models through transformer-lens, which knows no model {name!r}"
        + (f" (near it: {', '.join(known[each] for each in near)})" if near else "")
        + f" and, in a local folder, no {kind or 'config.json without model_type'}. A local folder of any name can be "
        f"scored where its model_type is {', '.join(OF_A_KIND)}; of another, where the folder carries the model's own name. "
        '--set evals="" trains without scores.'
    )


def vocabulary(model: Path) -> int:
    """Tokens that the model in a folder gives logits of."""
    config = _config(model)
    return int(config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or 0)


def lay_out(name: Path, model: Path) -> None:
    """Let the model's folder be found under `name` in the working directory, with a config.json that can be read."""
    name.mkdir(parents=True)
    for file in model.iterdir():
        if file.name != "config.json":
            (name / file.name).symlink_to(file.absolute())
    config = _config(model)
    if "n_positions" in config:  # GPT-2: what transformers 5 writes lacks it
        config.setdefault("n_ctx", config["n_positions"])
    (name / "config.json").write_text(json.dumps(config), encoding="utf-8")


@contextlib.contextmanager
def from_files(name: str, model: Path) -> Iterator[None]:
    """While the block runs, the model called `name` has the sizes that stand in its config.json, where they would else be
    those of the model that transformer-lens knows by that name; and no model in a folder is taken for another kind because
    its path holds `bert` or `t5`."""
    from transformer_lens import loading_from_pretrained as loading
    from transformers import AutoModelForCausalLM

    convert, weights, sizes = loading.convert_hf_model_config, loading.get_pretrained_state_dict, _sizes(_config(model))

    def converted(model_name: str, **kwargs: Any) -> dict[str, Any]:
        found = convert(model_name, **kwargs)
        return {**found, **sizes, "n_ctx": min(found["n_ctx"], sizes["n_ctx"])} if sizes and model_name == name else found

    def loaded(model_name: str, cfg: Any, hf_model: Any = None, *arguments: Any, **options: Any) -> dict[str, Any]:
        if (
            hf_model is None
            and Path(model_name).exists()
            and cfg.original_architecture.endswith(("ForCausalLM", "LMHeadModel"))
        ):
            dtype = options.get("dtype", "auto")
            hf_model = AutoModelForCausalLM.from_pretrained(
                model_name, dtype=dtype, local_files_only=True, use_safetensors=True
            )
        return weights(model_name, cfg, hf_model, *arguments, **options)

    with (
        mock.patch.object(loading, "convert_hf_model_config", converted),
        mock.patch.object(loading, "get_pretrained_state_dict", loaded),
    ):
        yield


@contextlib.contextmanager
def stopped_after(layer: int) -> Iterator[None]:
    """While the block runs, what is cached of a forward pass is computed, and no later layer nor any logits."""
    from transformer_lens import HookedTransformer

    run = HookedTransformer.run_with_cache

    def stopped(model: Any, *arguments: Any, **options: Any) -> Any:
        return run(model, *arguments, stop_at_layer=layer + 1, **options)

    with mock.patch.object(HookedTransformer, "run_with_cache", stopped):
        yield


def _names(data: LanguageModelData, folder: Path) -> Iterator[str]:
    """What the model may be called, the surest first."""
    if not is_path(data.model):
        yield from (data.model, data.model.rpartition("/")[2])
        return
    for part in reversed(folder.parts):  # the hub's cache: models--owner--name/snapshots/commit
        if part.startswith("models--"):
            yield part.removeprefix("models--").replace("--", "/")
    yield from ("/".join(folder.parts[-2:]), folder.name)


def _has_its_sizes(official: str, folder: Path) -> bool:
    """Whether the model is of the sizes that transformer-lens knows by this name. Those that it reads from files it has."""
    from transformer_lens import loading_from_pretrained as loading

    if not (sizes := _sizes(_config(folder))):
        return True
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):  # where names of the hub are found in files
        lay_out(Path(official), folder)
        found = loading.convert_hf_model_config(official)
    return all(found.get(key) == sizes[key] for key in ("d_model", "n_layers", "n_heads", "d_mlp", "d_vocab"))


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    """As transformer-lens calls them, of an architecture whose sizes it knows by name; nothing of another."""
    kind = config.get("model_type")
    if kind not in ("llama", "gemma", "gemma2", "gemma3_text"):
        return {}
    from transformers import AutoConfig

    model: Any = AutoConfig.for_model(**config)
    head = getattr(model, "head_dim", None) or model.hidden_size // model.num_attention_heads
    ropes = getattr(model, "rope_parameters", None) or {}
    whole, local = ropes.get("full_attention", ropes), ropes.get("sliding_attention", {})
    grouped = model.num_key_value_heads != model.num_attention_heads
    sizes = {
        "d_model": model.hidden_size,
        "d_head": head,
        "n_heads": model.num_attention_heads,
        "n_key_value_heads": model.num_key_value_heads if grouped else None,
        "d_mlp": model.intermediate_size,
        "n_layers": model.num_hidden_layers,
        "n_ctx": model.max_position_embeddings,
        "eps": model.rms_norm_eps,
        "d_vocab": model.vocab_size,
        "rotary_dim": head,
        "rotary_base": whole.get("rope_theta", getattr(model, "rope_theta", 10000.0)),
    }
    if kind in ("gemma2", "gemma3_text"):
        layers = ["local" if each == "sliding_attention" else "global" for each in model.layer_types]
        sizes |= {"window_size": model.sliding_window, "attn_types": layers}
        sizes |= {"attn_scale": math.sqrt(model.query_pre_attn_scalar)}
        for ours, theirs in (
            ("attn_scores_soft_cap", "attn_logit_softcapping"),
            ("output_logits_soft_cap", "final_logit_softcapping"),
        ):
            if (cap := getattr(model, theirs, None)) is not None:
                sizes[ours] = cap
    if local:
        sizes["rotary_base_local"] = local["rope_theta"]
    return sizes


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotPrepare(
            f"{folder / 'config.json'}: {error}. Expected what transformers' save_pretrained writes."
        ) from error
    return found if isinstance(found, dict) else {}
