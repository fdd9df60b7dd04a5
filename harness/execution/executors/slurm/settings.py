"""What jobs ask Slurm for: `[executor.slurm]` of your settings, and `--slurm KEY=VALUE`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ....campaign.errors import InputError
from ....campaign.protocols import Limits, Share

MARGIN = 5
"""Minutes that Slurm gives a job beyond the limit that its supervisor holds it to: it starts, ends its tree, and writes."""
_OVERHEAD = 1_000_000_000
"""Bytes of memory beyond the limit of an execution: its supervisor, and files that it reads."""


class SlurmSettings(BaseModel):
    """One key is one option of `sbatch`, where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str = ""
    account: str = ""
    qos: str = ""
    gres: str = ""
    constraint: str = ""
    cpus: int | None = Field(default=None, ge=1)
    """`--cpus-per-task`; else as many as the profile has threads."""
    extra: tuple[str, ...] = ()
    """Further options of `sbatch`, one each (`--reservation=night`)."""
    jobs: tuple[Literal["experiment", "scorer", "prepare"], ...] = ("experiment",)
    """What of a run becomes jobs; the rest is executed where the harness runs."""
    poll: float = Field(default=5.0, gt=0)
    """Seconds between two questions to Slurm, whatever the number of jobs."""
    gone: float = Field(default=60.0, ge=0)
    """Seconds for which a job must be unknown to Slurm, and silent, until it is taken for ended."""

    @field_validator("extra", "jobs", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """On a command line a list is separated by commas (jobs) or is one option (extra)."""
        return tuple(value.split(",")) if isinstance(value, str) else value

    @field_validator("extra")
    @classmethod
    def _are_options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not each.startswith("--"):
                raise ValueError(f"{each!r} is no option of sbatch; expected such as --reservation=night")
        return value

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> SlurmSettings:
        """Raises InputError that names what is wrong with one."""
        try:
            return cls(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            if key not in cls.model_fields:
                raise InputError(f"executor slurm: {key}: no such setting. Known: {', '.join(cls.model_fields)}.") from error
            raise InputError(f"executor slurm: {key}: {first['msg']}.") from error

    def options(self, limits: Limits, share: Share | None = None) -> list[str]:
        """The options of `sbatch` for a job with these limits that takes this share of a node."""
        options = ["--nodes=1", "--ntasks=1"]
        if limits.time is not None:
            options.append(f"--time={math.ceil(limits.time / 60) + MARGIN}")
        if limits.memory is not None:
            options.append(f"--mem={math.ceil((limits.memory + _OVERHEAD) / 2**20)}M")
        if cpus := self.cpus or (share.threads if share else None):
            options.append(f"--cpus-per-task={cpus}")
        if share and share.alone:
            options.append("--exclusive")
        named = ("partition", "account", "qos", "gres", "constraint")
        options += [f"--{name}={value}" for name in named if (value := getattr(self, name))]
        return options + list(self.extra)
