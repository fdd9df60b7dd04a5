"""The files of a language model: where they are, what decides them, and fetching them. Nothing here loads torch."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import tiny_lm
from .cache import Say, lab_cache
from .errors import CannotPrepare
from .fingerprint import content_hash
from .settings import LanguageModelData
from .text import DOCSTRINGS, is_path

TINY = "tiny-lm"
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")
"""What a model on the hub is downloaded of: configuration, weights and tokenizer."""
_TOKENIZERS = ("tokenizer*.json", "vocab.*", "*.model", "*.spm", "tekken.json")
"""Without any of these transformers makes an empty tokenizer and says nothing."""
_GEMMA = {
    "model_type": "gemma2",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256_000,
}
KNOWN: dict[str, dict[str, Any]] = {
    "google/gemma-2-2b": _GEMMA | {"dtype": "float32"},
    "google/gemma-2-2b-it": _GEMMA | {"dtype": "bfloat16"},
    "EleutherAI/pythia-70m-deduped": {
        "model_type": "gpt_neox",
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "vocab_size": 50_304,
        "max_position_embeddings": 2048,
        "dtype": "float16",
    },
}
"""Configurations of models that the shipped profiles name, as the hub has them: for forecasts where it does not answer."""
_EXPECTED = (
    "Expected a folder as save_pretrained of transformers' model and tokenizer write it: config.json, weights in "
    "safetensors, tokenizer.json."
)


def fetch(data: LanguageModelData, say: Say, *, weights: bool = True) -> Path:
    """The folder with the model's files, downloaded or trained first; without `weights` its configuration is enough.

    Raises CannotPrepare: gated, not there, no network.
    """
    if data.model == TINY:
        return tiny_lm.ensure(lab_cache(), say)
    if is_path(data.model):
        folder = _local(data.model)
        if not (folder / "config.json").is_file():
            raise CannotPrepare(f"model {data.model}: no config.json there. {_EXPECTED}")
        return folder
    found = _snapshot(data, weights=weights, local=True)
    if found is None:
        if weights:
            say(f"downloading {data.model}, {download_bytes(data) / 1e9:.1f} GB")
        found = _snapshot(data, weights=weights, local=False)
    assert found is not None
    return found


def check_local(data: LanguageModelData) -> None:
    """Whether a model in a local folder is whole: weights and tokenizer. Raises CannotPrepare."""
    if not is_path(data.model):
        return
    folder = fetch(data, print)
    if not _is_whole(folder):
        raise CannotPrepare(f"model {data.model}: not all weights are there in safetensors. {_EXPECTED}")
    if not any(True for pattern in _TOKENIZERS for _ in folder.glob(pattern)):
        raise CannotPrepare(f"model {data.model}: no tokenizer there (tokenizer.json). {_EXPECTED}")


def identity(data: LanguageModelData) -> dict[str, str] | None:
    """What decides the model's weights, for a key; None while it is not on this machine. Loads nothing.

    Of a model on the hub: its name and commit. A branch means the commit that was downloaded here, until the hub's cache is
    emptied. Of any other: the hash of its files.
    """
    if data.model != TINY and not is_path(data.model):
        commit = _commit(data)
        return {"model": data.model, "commit": commit} if commit else None
    folder = tiny_lm.place(lab_cache()) if data.model == TINY else _local(data.model)
    if not folder.is_dir():
        return None
    return {"model": data.model if data.model == TINY else folder.name, "content": content_hash(_weights(folder))}


def files(data: LanguageModelData) -> list[Path]:
    """What is read of the model; nothing while it is not on this machine. Asks nobody."""
    if data.model == TINY:
        folder: Path | None = tiny_lm.place(lab_cache())
    elif is_path(data.model):
        folder = _local(data.model)
    else:
        folder = _snapshot(data, weights=True, local=True)
    return [file.absolute() for file in _weights(folder)] if folder else []


def download_bytes(data: LanguageModelData) -> int:
    """What is still to be downloaded for the model. Asks the hub. Raises CannotPrepare where it may not be had."""
    if data.model == TINY or is_path(data.model) or _snapshot(data, weights=True, local=True):
        return 0
    import huggingface_hub

    with _hub_errors(data):
        huggingface_hub.auth_check(data.model)  # what a gated model is, everybody may read; its files not
        files = huggingface_hub.HfApi().model_info(data.model, revision=data.revision, files_metadata=True).siblings or []
    wanted = [file for file in files if any(Path(file.rfilename).match(pattern) for pattern in _FILES)]
    return sum(file.size or 0 for file in wanted if "/" not in file.rfilename)


def missing_packages(data: LanguageModelData) -> list[str]:
    """What has to be installed for this profile and is not."""
    needed = ["transformers", "safetensors"]
    if data.dataset != DOCSTRINGS and not is_path(data.dataset):
        needed.append("datasets")
    return [name for name in needed if importlib.util.find_spec(name) is None]


def not_installed(package: str) -> CannotPrepare:
    return CannotPrepare(f"{package} is not installed, and profiles on language models need it: `make sae`.")


def _snapshot(data: LanguageModelData, *, weights: bool, local: bool) -> Path | None:
    """The model's folder in the hub's cache. With `local` None where something of it is missing; else it is downloaded."""
    try:
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise not_installed("huggingface_hub") from error
    wanted: Any = {
        "repo_id": data.model,
        "revision": data.revision,
        "allow_patterns": list(_FILES) if weights else ["config.json"],
        "ignore_patterns": "*/*",
    }
    with _hub_errors(data):
        try:
            folder = Path(huggingface_hub.snapshot_download(**wanted, local_files_only=local))
        except LocalEntryNotFoundError:
            if local:
                return None
            raise
    return folder if (_is_whole(folder) if weights else (folder / "config.json").is_file()) else None


def _is_whole(folder: Path) -> bool:
    """Whether all weights are there. Another program may have downloaded just some of the files."""
    index = folder / "model.safetensors.index.json"
    if not (folder / "config.json").is_file():
        return False
    if index.is_file():
        return all((folder / name).is_file() for name in set(json.loads(index.read_text())["weight_map"].values()))
    return any(folder.glob("*.safetensors"))


@contextlib.contextmanager
def _hub_errors(data: LanguageModelData) -> Iterator[None]:
    """What the hub refuses, as a message for a person."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HFValidationError,
        HTTPError,  # of the library that this version speaks to the network with
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    login = "`hf auth login`, or set HF_TOKEN"
    page = f"{constants.ENDPOINT}/{data.model}"
    try:
        yield
    except GatedRepoError as error:
        todo = f"accept its terms at {page}" + ("" if get_token() else f", then {login}")
        said = "your account has no access to it" if get_token() else "nobody is logged in to the hub here"
        raise CannotPrepare(f"model {data.model} is gated, and {said}. To use it: {todo}.") from error
    except RevisionNotFoundError as error:
        raise CannotPrepare(f"model {data.model}: the hub has no revision {data.revision!r} of it.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        private = "" if get_token() else f" If it is private: {login}."
        raise CannotPrepare(
            f"model {data.model}: the hub has no model of this name.{private} A local folder begins with /, . or ~."
        ) from error
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise CannotPrepare(
            f"model {data.model}: it is not on this machine, and the hub does not answer: {error}\nCheck the network and "
            "HF_HUB_OFFLINE, or name a local folder: --set model=/path/to/model. The profile tiny-lm needs no network."
        ) from error


def _commit(data: LanguageModelData) -> str | None:
    if re.fullmatch(r"[0-9a-f]{40}", data.revision):
        return data.revision
    try:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name
    except ImportError:
        return None
    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=data.model, repo_type="model") / "refs"
    try:
        return (place / data.revision).read_text(encoding="ascii").strip()
    except OSError:
        return None


def _local(model: str) -> Path:
    return Path(model).expanduser().absolute()


def _weights(folder: Path) -> list[Path]:
    return sorted({file for pattern in _FILES for file in folder.glob(pattern) if file.is_file()})
