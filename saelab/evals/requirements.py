"""What evals need besides the language model and the SAE, looked at before anything is made: texts of the hub and disk; and
which of them gives a metric that the contract requires."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .. import hub, model_files, text
from ..cache import lab_cache
from ..errors import CannotPrepare
from ..settings import Settings
from .bench import Skip, local_copies
from .judged import KEY
from .probing import KNOWN_BYTES, PAIRED_TEXTS, STREAMED, TEXTS, Removal, SparseProbing, activation_tokens
from .unlearning import CORPUS, INSTRUCTED, no_corpus


@dataclass(frozen=True)
class Need:
    """Bytes that an eval takes of the network, which the disk keeps, and of the disk besides."""

    download: int = 0
    disk: int = 0
    remark: str = ""


def need_of(name: str, settings: Settings) -> Need:
    """What an eval still needs whose part that is the same for all SAEs is not made yet. Asks the hub. Raises Skip or
    CannotPrepare where it cannot be had."""
    if classes := _classes(name):
        return _texts(_texts_of(name), classes, settings)
    if name == "unlearning":
        return _unlearning(settings)
    if name == "autointerp":
        return Need(remark=f"autointerp asks a judge, and takes its key ({KEY}) from the environment of `harness run`")
    if name == "core" and settings.evals and next(text.documents(settings.evals.eval_dataset, "eval"), None) is None:
        raise CannotPrepare(f"eval_dataset {settings.evals.eval_dataset}: it has no text for evaluation.")
    return Need()


def needed_by(name: str, settings: Settings, layers: int) -> str:
    """What an eval that cannot be had now would take of the disk for so many layers, as far as is known without the hub; ""
    for nothing."""
    if classes := _classes(name):
        return f"{layers * _activations(classes, settings) / 1e9:.1f} GB more, and {_known_sizes(_texts_of(name))}"
    from ..models import known_outline

    instructed = INSTRUCTED.get(_base(settings)) if name == "unlearning" else None
    found = instructed and known_outline(replace(settings.language_model, model=instructed, layer=0))
    return f"{found[1] / 1e9:.1f} GB more" if found else ""


def _known_sizes(names: tuple[str, ...]) -> str:
    said = f"about {sum(KNOWN_BYTES.get(name, 0) for name in names) / 1e9:.1f} GB of texts"
    unknown = [name for name in names if name not in KNOWN_BYTES]
    return f"{said} (the size of {', '.join(unknown)} is unknown)" if unknown else said


def missing_evals(contract: Mapping[str, Any], settings: Settings, cannot: Mapping[str, str]) -> list[str]:
    """A sentence for each eval without which a metric is missing that this profile requires: one that cannot run, for the
    reason that `cannot` has, or that is not asked for."""
    assert settings.evals is not None
    known, chosen = importlib.import_module("saelab.evals").EVALS, settings.evals.evals.split()
    spec = contract["profiles"][settings.profile]
    metrics: dict[tuple[str, ...], list[str]] = {}
    for metric in contract["metric"]:
        name = metric["name"]
        decides = spec["primary"] == name if "primary" in spec else metric.get("primary")
        sources = {source.partition(".")[0].removesuffix("_7_sets") for source in metric.get("sources", [])} & set(known)
        if sources and (decides or metric.get("required", True) or name in spec.get("metrics", [])):
            metrics.setdefault(tuple(sorted(sources)), []).append(name)
    said = []
    for giving, names in metrics.items():
        asked = [each for each in giving if each in chosen]
        needed = f"without it there is no {', '.join(names)}, and no run can be judged"
        if not asked:
            said.append(f'{giving[0]} is not among the evals: {needed}: --set evals="{" ".join([*chosen, giving[0]])}"')
        elif all(each in cannot for each in asked):
            said.append("; ".join(f"{each}: {cannot[each]}" for each in asked) + f"\n({asked[0]}: {needed})")
    return said


def _classes(name: str) -> int:
    """Of the texts whose activations an eval keeps; 0 where it keeps none."""
    if name == "sparse_probing":
        return SparseProbing.classes
    return Removal(scr=name == "scr").classes if name in ("tpp", "scr") else 0


def _texts_of(name: str) -> tuple[str, ...]:
    return TEXTS if name == "sparse_probing" else PAIRED_TEXTS


def _base(settings: Settings) -> str:
    return settings.language_model.model.rstrip("/").rpartition("/")[2].removesuffix("-it")


def _texts(names: tuple[str, ...], classes: int, settings: Settings) -> Need:
    copies = {"/".join(folder.parts[-2:]) for folder in local_copies()}
    download, refused = 0, {}
    for each in names:
        if each not in copies:
            try:
                size = hub.data_set_bytes(each)
                download += 0 if each in STREAMED else size
            except CannotPrepare as error:
                refused[each] = str(error)
    if refused:
        whys = "; ".join(dict.fromkeys(refused.values()))
        place = lab_cache() / "datasets"
        raise Skip(f"{', '.join(refused)}: {whys} Copies in {place}/OWNER/NAME are found without the hub.")
    return Need(download, _activations(classes, settings))


def _activations(classes: int, settings: Settings) -> int:
    """Bytes that the language model's activations on the texts of so many classes take."""
    import torch

    data, sizes = settings.language_model, settings.evals
    assert sizes is not None
    return int(activation_tokens(classes, sizes) * getattr(torch, data.dtype).itemsize * settings.d_in)


def _unlearning(settings: Settings) -> Need:
    data, base = settings.language_model, _base(settings)
    if base not in INSTRUCTED:
        raise Skip(f"SAEBench asks its questions of {' and '.join(INSTRUCTED)} alone; the model is {base}")
    corpus = lab_cache() / "unlearning" / CORPUS
    if not corpus.is_file():
        raise Skip(no_corpus(corpus.parent))
    size = model_files.download_bytes(replace(data, model=INSTRUCTED[base], revision="main"))
    return Need(size)
