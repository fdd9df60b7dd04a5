"""What an execution of the experiment is asked to do: the profile of `experiment.toml` and what the harness replaces."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

CONTRACT = "experiment.toml"


class SettingsError(ValueError):
    """A setting that is missing, unknown or of the wrong type; the message names it and where it came from."""


@dataclass(frozen=True)
class Settings:
    """The settings of one execution. All of them but `seed`, `profile` and `smoke` stand in the profile."""

    profile: str
    seed: int
    """Seeds everything random in training: initial weights and the order of the batches."""
    smoke: bool
    """A few steps on a little data, to see whether the code runs at all."""

    architecture: str
    """`topk` or `standard`."""
    dict_size: int
    k: int
    """Latents that a TopK SAE keeps for each row."""
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
    roots: int
    """Features of the first level."""
    children: int
    """Features of the second level under each of the first."""
    grandchildren: int
    """Features of the third level under each of the second."""
    active_roots: float
    """How many features of the first level fire in one row, on average."""
    child_share: float
    """How often a feature that fires has a child that fires too."""
    kinship: float
    """Cosine between the direction of a feature and its parent's, before chance adds to it."""
    noise: float
    """Standard deviation of the noise in each of the `d_in` coordinates."""
    train_rows: int
    eval_rows: int
    data_seed: int
    """Seeds the features and the data. It belongs to the profile: all seeds of all runs see the same data."""

    def __post_init__(self) -> None:
        if self.architecture not in ("topk", "standard"):
            raise SettingsError(f"architecture {self.architecture!r}: expected topk or standard")
        for name in ("dict_size", "k", "steps", "batch_size", "log_every", "threads", "d_in", "roots", "eval_rows"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} {getattr(self, name)}: expected at least 1")
        for name in ("l1_penalty", "lr", "active_roots", "child_share", "kinship", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} {getattr(self, name)}: expected a finite number from 0 on")
        for name in ("child_share", "kinship"):
            if getattr(self, name) > 1:
                raise SettingsError(f"{name} {getattr(self, name)}: expected at most 1")
        if self.k > self.dict_size:
            raise SettingsError(f"k {self.k}: larger than dict_size {self.dict_size}")
        if self.batch_size > self.train_rows:
            raise SettingsError(f"batch_size {self.batch_size}: larger than train_rows {self.train_rows}")


def load_settings(folder: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this execution.

    They are the profile `HARNESS_PROFILE` (or the default one) of `experiment.toml` in `folder`, with what
    `HARNESS_OVERRIDES` (a JSON object) replaces, `HARNESS_SEED` (or the contract's seed) and, with `HARNESS_SMOKE=1`, cut
    to a few steps. Raises SettingsError.
    """
    environment = os.environ if environment is None else environment
    contract = tomllib.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    profile = environment.get("HARNESS_PROFILE") or contract["default_profile"]
    if profile not in contract["profiles"]:
        raise SettingsError(f"HARNESS_PROFILE {profile}: {CONTRACT} has {', '.join(contract['profiles'])}")
    seed = environment.get("HARNESS_SEED") or str(contract.get("seed", 0))
    if not seed.isdecimal():
        raise SettingsError(f"HARNESS_SEED {seed!r}: expected a whole number from 0 on")
    smoke = environment.get("HARNESS_SMOKE") == "1"
    values = {**contract["profiles"][profile]["settings"], **_overrides(environment)}
    settings = _checked({**values, "profile": profile, "seed": int(seed), "smoke": smoke})
    return _cut_for_smoke(settings) if smoke else settings


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
    known = {field.name: field.type for field in fields(Settings)}
    unknown = [name for name in values if name not in known]
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}. Known: {', '.join(known)}")
    missing = [name for name in known if name not in values]
    if missing:
        raise SettingsError(f"missing setting {', '.join(missing)}")
    for name, kind in known.items():
        value = values[name]
        if kind == "float" and type(value) is int:
            values[name] = float(value)
        elif type(value).__name__ != kind:
            raise SettingsError(f"{name}: expected {kind}, found {value!r}")
    return Settings(**values)


def _cut_for_smoke(settings: Settings) -> Settings:
    # Six steps reach what only happens after the first few: a log line, and Adam's second moments in use.
    return replace(
        settings,
        steps=min(settings.steps, 6),
        log_every=2,
        warmup_steps=min(settings.warmup_steps, 2),
        batch_size=min(settings.batch_size, 256),
        train_rows=min(settings.train_rows, 2048),
        eval_rows=min(settings.eval_rows, 512),
    )
