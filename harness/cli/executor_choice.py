"""Where executions run: what `--executor` and `--slurm` say, on top of your settings and of those of a campaign."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..campaign.errors import InputError

if TYPE_CHECKING:  # pydantic is not needed to say what is wrong with an option
    from ..campaign.campaign import Options


def settings_file() -> Path:
    """Your settings: $HARNESS_SETTINGS, else `harness/config.toml` in your folder of settings (`~/.config`)."""
    import platformdirs

    chosen = os.environ.get("HARNESS_SETTINGS")
    return Path(chosen).absolute() if chosen else platformdirs.user_config_path("harness") / "config.toml"


def chosen(executor: str | None, slurm: Sequence[str], campaign: Options | None = None) -> dict[str, Any]:
    """The fields of `Options` that follow: none where nothing is asked for. A `campaign` keeps the settings that it has, but
    for those that are given. Raises InputError, also where the executor knows no such setting."""
    from ..execution.executors import find_executor

    given = _given(slurm)
    name = executor or ("slurm" if slurm else campaign.executor if campaign else "local")
    if slurm and name != "slurm":
        raise InputError(f"--slurm {slurm[0]}: belongs to --executor slurm, and --executor is {name}.")
    if campaign and name == campaign.executor:
        settings = campaign.executor_settings | given
    else:
        settings = _own(name) | given
    find_executor(name, settings)
    fields = {"executor": name, "executor_settings": settings}
    return fields if executor or slurm else {}


def _given(slurm: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in slurm:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InputError(f"--slurm {text}: expected KEY=VALUE, such as --slurm partition=gpu.")
        if key == "extra":
            given[key] = [*given.get(key, []), value]
        else:
            given[key] = value
    return given


def _own(executor: str) -> dict[str, Any]:
    """`[executor.NAME]` of your settings."""
    file = settings_file()
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}.") from error
    table = found.get("executor", {})
    settings = table.get(executor, {}) if isinstance(table, dict) else {}
    if not isinstance(settings, dict):
        raise InputError(f"{file}: [executor.{executor}] is no table.")
    return settings
