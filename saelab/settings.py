"""What an execution of the experiment is asked to do: the profile of `experiment.toml` and what the harness replaces."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .world_settings import (
    PUBLIC,
    Setting,
    SettingsError,
    StreamedData,
    SyntheticData,
    SynthSAEData,
    WorldData,
    at_least_one,
    not_negative,
)

__all__ = [
    "CONTRACT",
    "PUBLIC",
    "EvalSettings",
    "LanguageModelData",
    "Setting",
    "Settings",
    "SettingsError",
    "StreamedData",
    "SynthSAEData",
    "SyntheticData",
    "WorldData",
    "load_layers",
    "load_settings",
]

CONTRACT = "experiment.toml"
LAYER = "SAELAB_LAYER"
"""Names the layer that a process is for, where the setting `layer` names several (see `layers`)."""

ARCHITECTURES = ("topk", "batchtopk", "matryoshka", "standard")
_LAYERS = re.compile(r"\d{1,4}( \d{1,4})+", re.ASCII)
SCORING_BACKENDS = ("auto", "onnxruntime", "torch")


@dataclass(frozen=True)
class LanguageModelData:
    """Activations of a language model: the output of one decoder layer, `resid_post` (see `harvest`)."""

    model: str
    """`tiny-lm`, a name on the hub such as `google/gemma-2-2b`, or a folder with a model."""
    revision: str
    """Of a model on the hub: a branch or a commit. Others have none."""
    layer: int
    """The decoder layer whose output is harvested, from 0 on. A profile may name several, `"12 19"` (see `layers`)."""
    dataset: str
    """The text: `docstrings` (the standard library's), a data set on the hub, or a local file or folder."""
    context: int
    """Tokens of a sequence, those included that are no rows (the beginning)."""
    harvest_tokens: int
    """Rows that are harvested once; training passes over them as often as its steps need."""
    dtype: str
    """What the language model computes in: float32 or bfloat16. Rows are kept in bfloat16 either way."""
    data_seed: int
    """Seeds the order of the harvested rows. It belongs to the profile, as the text does."""

    def __post_init__(self) -> None:
        at_least_one(self, "harvest_tokens")
        if not self.model or not self.dataset:
            raise SettingsError("model, dataset: expected a name, found an empty text")
        if self.layer < 0:
            raise SettingsError(f"layer {self.layer}: expected a decoder layer, from 0 on")
        if self.context < 2:
            raise SettingsError(f"context {self.context}: expected at least 2 tokens")
        if self.dtype not in ("float32", "bfloat16"):
            raise SettingsError(f"dtype {self.dtype!r}: expected float32 or bfloat16")

    @property
    def rows(self) -> int:
        """Different rows that there are to train on, if the text is long enough."""
        return self.harvest_tokens

    @property
    def scale(self) -> dict[str, Setting]:
        """What a result on these data can be compared by."""
        names = ("model", "layer", "dataset", "context", "harvest_tokens", "data_seed")
        return {name: getattr(self, name) for name in names}

    def cut_for_smoke(self) -> LanguageModelData:
        return replace(self, harvest_tokens=min(self.harvest_tokens, 4096))


@dataclass(frozen=True)
class EvalSettings:
    """How an SAE on a language model is scored (see `evals`)."""

    evals: str
    """Names of SAEBench's evals, separated by spaces."""
    eval_dataset: str
    """The text that scores are measured on, as `dataset`; of documents that are in both, training gets none of these."""
    eval_tokens: int
    """Tokens that core measures reconstruction and sparsity on, and that autointerp takes its examples from. SAEBench:
    4,096,000."""
    loss_tokens: int
    """Tokens, of these, that core measures the language model's loss on, which takes three forward passes to its end; no
    more than eval_tokens. SAEBench: 409,600."""
    absorption_letters: int
    """First letters that the language model must know for absorption to be measured, of 26. SAEBench: 20."""
    absorption_latents: int
    """Latents that a letter may be split among. Most of absorption's time goes into probes on 1 to so many. SAEBench: 10."""
    probing_datasets: str
    """For sparse_probing_sae_probes: data sets of sae-probes by name, separated by spaces, or `all` 113."""
    probing_rows: int
    """Texts that a probe is trained on, for sparse_probing, tpp and scr; a quarter as many test it. SAEBench: 4,000."""
    autointerp_latents: int
    """Latents that the judge is asked about. SAEBench: 1,000."""

    def __post_init__(self) -> None:
        at_least_one(self, "eval_tokens", "loss_tokens", "absorption_latents", "probing_rows", "autointerp_latents")
        if not 2 <= self.absorption_letters <= 26:
            raise SettingsError(f"absorption_letters {self.absorption_letters}: expected 2 to 26")

    @property
    def scale(self) -> dict[str, Setting]:
        """What a score can be compared by."""
        return {"eval_dataset": self.eval_dataset, "eval_tokens": self.eval_tokens, "loss_tokens": self.loss_tokens}

    def cut_for_smoke(self) -> EvalSettings:
        """Core alone, on little text: the other evals only take longer."""
        return replace(self, evals="core", eval_tokens=min(self.eval_tokens, 2048), loss_tokens=min(self.loss_tokens, 512))


@dataclass(frozen=True)
class Settings:
    """The settings of one execution. All of them but `seed`, `profile` and `smoke` stand in the profile, as flat names."""

    profile: str
    seed: int
    """Seeds everything random in training: initial weights and the order of the batches."""
    smoke: bool
    """A few steps on a little data, to see whether the code runs at all."""

    architecture: str
    """One of ARCHITECTURES."""
    dict_size: int
    k: int
    """Latents that all but the standard SAE keep for each row; BatchTopK and Matryoshka, on average."""
    l1_penalty: float
    """Weight of the L1 term of the standard SAE."""
    lr: float
    steps: int
    warmup_steps: int
    batch_size: int
    log_every: int
    """Steps between two lines of the training log."""
    threads: int
    """CPU threads. A fixed number: with as many as there are cores a result would depend on the machine."""
    d_in: int
    """Width of a row of activations."""
    device: str
    """Where training and scoring compute: `cpu`, `cuda`, or `auto`, a GPU where there is one."""
    scoring_backend: str
    """What executes an SAE in scoring: `onnxruntime`, on the CPU; `torch`, on the device; or `auto`, torch on a GPU and
    onnxruntime on a CPU."""
    autocast: bool
    """Training's matrix products in bfloat16 (see `ops.autocast`): faster where the processor has units for it."""

    data: WorldData | LanguageModelData
    evals: EvalSettings | None
    """None where the ground truth is known."""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise SettingsError(f"architecture {self.architecture!r}: expected {', '.join(ARCHITECTURES)}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise SettingsError(f"device {self.device!r}: expected auto, cpu or cuda")
        if self.scoring_backend not in SCORING_BACKENDS:
            raise SettingsError(f"scoring_backend {self.scoring_backend!r}: expected {', '.join(SCORING_BACKENDS)}")
        at_least_one(self, "dict_size", "k", "steps", "batch_size", "log_every", "threads", "d_in")
        not_negative(self, "l1_penalty", "lr")
        if self.k > self.dict_size:
            raise SettingsError(f"k {self.k}: larger than dict_size {self.dict_size}")
        if self.batch_size > self.data.rows:
            name = "train_rows" if isinstance(self.data, WorldData) else "harvest_tokens"
            raise SettingsError(f"batch_size {self.batch_size}: larger than {name} {self.data.rows}")
        if isinstance(self.data, StreamedData) and self.steps * self.batch_size > self.data.rows:
            raise SettingsError(
                f"steps {self.steps}, batch_size {self.batch_size}: more rows than train_rows {self.data.rows}, each of "
                "which is made once"
            )

    @property
    def known(self) -> WorldData:
        """The data, where features are known. Raises SettingsError for a profile on a language model."""
        if not isinstance(self.data, WorldData):
            raise SettingsError(f"profile {self.profile}: its activations are a language model's, with no known features")
        return self.data

    @property
    def synthetic(self) -> SyntheticData:
        """The data, where the laboratory's own generator makes them."""
        if not isinstance(self.data, SyntheticData):
            raise SettingsError(f"profile {self.profile}: its activations are not of the laboratory's own generator")
        return self.data

    @property
    def synthsae(self) -> SynthSAEData:
        """The data, where SynthSAEBench's generator makes them."""
        if not isinstance(self.data, SynthSAEData):
            raise SettingsError(f"profile {self.profile}: its activations are not of SynthSAEBench's generator")
        return self.data

    @property
    def language_model(self) -> LanguageModelData:
        """The data, where they come from a language model. Raises SettingsError for a synthetic profile."""
        if not isinstance(self.data, LanguageModelData):
            raise SettingsError(f"profile {self.profile}: its activations are synthetic, there is no language model")
        return self.data


def load_settings(folder: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this execution.

    They are the profile `HARNESS_PROFILE` (or the default one) of `experiment.toml` in `folder`, with what
    `HARNESS_OVERRIDES` (a JSON object) replaces, `HARNESS_SEED` (or the contract's seed) and, with `HARNESS_SMOKE=1`, cut
    to a few steps. Raises SettingsError.
    """
    environment = os.environ if environment is None else environment
    contract, profile, values = _asked(folder, environment)
    seed = environment.get("HARNESS_SEED") or str(contract.get("seed", 0))
    if not seed.isdecimal():
        raise SettingsError(f"HARNESS_SEED {seed!r}: expected a whole number from 0 on")
    smoke = environment.get("HARNESS_SMOKE") == "1"
    if several := _layers(values):
        values["layer"] = int(environment.get(LAYER) or several[0])
    settings = _checked({**values, "profile": profile, "seed": int(seed), "smoke": smoke})
    return _cut_for_smoke(settings) if smoke else settings


def load_layers(folder: Path, environment: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """The layers of a profile whose setting `layer` names several, none where it is one. Raises SettingsError."""
    return _layers(_asked(folder, os.environ if environment is None else environment)[2])


def _layers(values: Mapping[str, Any]) -> tuple[int, ...]:
    named = values.get("layer")
    if not isinstance(named, str):
        return ()
    found = tuple(int(each) for each in named.split(" ")) if _LAYERS.fullmatch(named) else ()
    if len(set(found)) < 2 or len(set(found)) < len(found):
        raise SettingsError(f"layer {named!r}: expected a number, or several different ones as in '12 19'")
    return found


def _asked(folder: Path, environment: Mapping[str, str]) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The contract, the profile's name, and its settings with what the environment replaces."""
    contract = tomllib.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    profile = environment.get("HARNESS_PROFILE") or contract["default_profile"]
    if profile not in contract["profiles"]:
        raise SettingsError(f"HARNESS_PROFILE {profile}: {CONTRACT} has {', '.join(contract['profiles'])}")
    return contract, profile, {**contract["profiles"][profile]["settings"], **_overrides(environment)}


def _overrides(environment: Mapping[str, str]) -> dict[str, Any]:
    text = environment.get("HARNESS_OVERRIDES") or "{}"
    try:
        overrides = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"HARNESS_OVERRIDES: not JSON: {error}") from error
    if not isinstance(overrides, dict):
        raise SettingsError("HARNESS_OVERRIDES: expected a JSON object")
    for name in ("profile", "seed", "smoke"):
        if name in overrides:
            raise SettingsError(f"{name}: not a setting of a profile; it has an environment variable of its own")
    return overrides


def _checked(values: dict[str, Any]) -> Settings:
    parts: dict[str, type] = {"data": SynthSAEData if "features" in values else SyntheticData}
    if "public_model" in values:
        parts = {"data": StreamedData}
    if "model" in values:
        parts = {"data": LanguageModelData, "evals": EvalSettings}
    owner = {field.name: part for part in (Settings, *parts.values()) for field in fields(part)}
    known = {name: part for name, part in owner.items() if name not in ("data", "evals") or part is EvalSettings}
    unknown = [name for name in values if name not in known]
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}. Known: {', '.join(known)}")
    missing = [name for name in known if name not in values]
    if missing:
        raise SettingsError(f"missing setting {', '.join(missing)}")

    def of(part: type) -> dict[str, Any]:
        kinds = {field.name: field.type for field in fields(part)}
        return {name: _typed(name, str(kinds[name]), values[name]) for name in known if known[name] is part}

    common = of(Settings)
    made = {name: part(**of(part)) for name, part in parts.items()}
    return Settings(**common, **{"evals": None, **made})


def _typed(name: str, kind: str, value: Any) -> Any:
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value).__name__ != kind:
        raise SettingsError(f"{name}: expected {kind}, found {value!r}")
    return value


def _cut_for_smoke(settings: Settings) -> Settings:
    # Six steps reach what only happens after the first few: a log line, and Adam's second moments in use.
    return replace(
        settings,
        steps=min(settings.steps, 6),
        log_every=2,
        warmup_steps=min(settings.warmup_steps, 2),
        batch_size=min(settings.batch_size, 256),
        data=settings.data.cut_for_smoke(),
        evals=settings.evals and settings.evals.cut_for_smoke(),
    )
