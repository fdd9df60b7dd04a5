"""Language models: loading one, and its activations after one decoder layer.

Any causal language model of transformers whose decoder layers can be found works: GPT-NeoX, GPT-2, Llama, Gemma-2 and Qwen
are tested. Weights are read from safetensors alone. No code from the hub is executed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .cache import Say
from .errors import CannotPrepare
from .model_files import KNOWN, fetch, not_installed
from .settings import LanguageModelData, SettingsError


@dataclass(frozen=True)
class Outline:
    """What is known of a model before its weights are loaded."""

    layers: int
    width: int
    """Of the residual stream, the d_in of an SAE."""
    context: int
    """Tokens of the longest sequence."""
    parameters: int
    used: int
    """Parameters of the layers up to the hooked one, embeddings left out: a token takes twice as many operations."""
    vocabulary: int


def torch_device(device: str) -> torch.device:
    """The device that the setting `device` means here. Raises SettingsError for a GPU that is not there."""
    if device != "cpu" and torch.cuda._is_in_bad_fork():
        raise SettingsError(
            f"device {device}: this process was forked from one that had used CUDA, after which no GPU can be had. Take "
            "`warm` out of the profile in experiment.toml."
        )
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"device cuda: torch {torch.__version__} sees no GPU here. --set device=cpu computes without, or install "
            "a build of torch that fits the driver."
        )
    return torch.device(device)


def load_model(data: LanguageModelData, device: torch.device, say: Say = print) -> tuple[Any, Any]:
    """The model, in evaluation mode on `device`, and its tokenizer; downloaded or trained first where it is missing.

    Raises CannotPrepare: gated, not there, no network, no memory, no such layer.
    """
    folder = fetch(data, say)
    transformers = _transformers()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, data.dtype), local_files_only=True, use_safetensors=True
        )
        model = model.eval().requires_grad_(False).to(device)
    except torch.OutOfMemoryError as error:
        raise CannotPrepare(
            f"model {data.model}: no room for its weights on the GPU: {error}. End what else runs there, choose another GPU "
            "by CUDA_VISIBLE_DEVICES, or --set dtype=bfloat16."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise CannotPrepare(
            f"model {data.model}: {folder} cannot be loaded: {_first_line(error)} Expected a causal language model that "
            f"transformers {transformers.__version__} knows: config.json, weights in safetensors, and a tokenizer."
        ) from error
    if len(tokenizer) < model.config.get_text_config().vocab_size // 2:
        raise CannotPrepare(
            f"model {data.model}: its tokenizer knows {len(tokenizer):,} tokens, the model "
            f"{model.config.get_text_config().vocab_size:,}. Put the files of its tokenizer (tokenizer.json) into {folder}."
        )
    _check_layer(data, len(decoder_layers(model)))
    return model, tokenizer


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a causal language model, from the first to the last. Raises CannotPrepare.

    They are the one list of modules that has as many as the configuration says and lies in no other list.
    """
    config: Any = model.config
    count = config.get_text_config().num_hidden_layers
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = {name: each for name, each in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}
    found = [each for each in outer.values() if len(each) == count]
    if len(found) != 1:
        known = ", ".join(f"{name} ({len(each)})" for name, each in outer.items()) or "none"
        raise CannotPrepare(
            f"{type(model).__name__}: its {count} decoder layers were not found. Lists of modules in it: {known}."
        )
    return found[0]


class _Stopped(Exception):
    """Ends a forward pass after the layer that was wanted."""


def layer_output(model: nn.Module, layer: int, tokens: Tensor) -> Tensor:
    """The output of decoder layer `layer` for tokens [sequences, context]: [sequences, context, width].

    In the model's dtype. The forward pass ends there: the layers after it and the logits are not computed.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)
        raise _Stopped

    hook = decoder_layers(model)[layer].register_forward_hook(keep)
    try:
        with torch.inference_mode(), contextlib.suppress(_Stopped):
            model(input_ids=tokens, use_cache=False)
    finally:
        hook.remove()
    return kept[0]


def outline(data: LanguageModelData, say: Say = print) -> Outline:
    """The size of a model, from its configuration alone. Raises CannotPrepare as `load_model` does.

    `tiny-lm` has to be there already.
    """
    transformers = _transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(fetch(data, say, weights=False), local_files_only=True)
        _check_is_decoder(data, config)
        return _described(config, data)
    except (OSError, ValueError, KeyError) as error:
        raise CannotPrepare(
            f"model {data.model}: no causal language model that transformers {transformers.__version__} knows: "
            f"{_first_line(error)}"
        ) from error


def known_outline(data: LanguageModelData) -> tuple[Outline, int] | None:
    """As `outline`, and the bytes of the model's files, without its configuration: of a model in KNOWN alone."""
    if data.model not in KNOWN:
        return None
    config = _transformers().AutoConfig.for_model(**KNOWN[data.model])
    size = _described(config, data)
    return size, size.parameters * config.dtype.itemsize


def _described(config: Any, data: LanguageModelData) -> Outline:
    with torch.device("meta"):
        return describe(_transformers().AutoModelForCausalLM.from_config(config), data)


def describe(model: nn.Module, data: LanguageModelData) -> Outline:
    """The size of a model that is loaded, or of one without weights."""
    layers = decoder_layers(model)
    _check_layer(data, len(layers))
    config: Any = model.config
    _check_is_decoder(data, config)
    text = config.get_text_config()
    return Outline(
        layers=len(layers),
        width=text.hidden_size,
        context=getattr(text, "max_position_embeddings", 10**9),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        used=sum(parameter.numel() for layer in layers[: data.layer + 1] for parameter in layer.parameters()),
        vocabulary=text.vocab_size,
    )


def _check_layer(data: LanguageModelData, layers: int) -> None:
    if data.layer >= layers:
        raise CannotPrepare(f"layer {data.layer}: {data.model} has {layers} decoder layers, 0 to {layers - 1}.")


def _check_is_decoder(data: LanguageModelData, config: Any) -> None:
    """transformers makes a causal language model of an encoder too, whose tokens then see those after them."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

    if config.model_type in ENCODERS and not config.is_decoder:
        raise CannotPrepare(
            f"model {data.model}: {config.model_type} is an encoder. Expected a causal language model, such as GPT-NeoX."
        )


def _first_line(error: Exception) -> str:
    """Of a message that may go on to list all that is known."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return (line if len(line) <= 300 else line[:300].rpartition(" ")[0] + " …").rstrip(".") + "."


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise not_installed("transformers") from error
    return transformers
