"""Whether Slurm takes jobs of the harness, as `--executor slurm` would submit them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from ..campaign.protocols import Limits
from ..execution.executors.slurm.commands import NoAnswer, Refused, ask
from ..execution.executors.slurm.settings import SlurmSettings
from .doctor_check import Check

_COMMANDS = ("sbatch", "squeue", "scancel")
_SETTINGS = "[executor.slurm] in ~/.config/harness/config.toml, or --slurm KEY=VALUE, says what jobs ask for."


def slurm(settings: Mapping[str, Any], limits: Limits) -> Check:
    """Whether Slurm is there, answers, and would take a job with these settings and limits. Nothing is executed."""
    asked = SlurmSettings.of(settings)
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        todo = (
            "Run the harness on a login node of the cluster (`module load slurm` where it has modules), or --executor local."
        )
        return Check("slurm", "fail", f"{', '.join(missing)}: not on PATH", todo)
    try:
        version = ask(["sbatch", "--version"]).strip()
        ask(["sbatch", "--test-only", *asked.options(limits)], text="#!/bin/sh\ntrue\n")
    except NoAnswer as error:
        return Check("slurm", "fail", f"does not answer: {error}", "`sinfo` shows whether it does; a campaign waits for it.")
    except Refused as error:
        return Check("slurm", "fail", f"would refuse a job: {error}", _SETTINGS)
    said = " ".join(asked.options(limits)[2:]) or "defaults of the cluster"
    if models := _models(asked):
        todo = "Name one with gres (gpu:a100:1) or constraint: runs on different GPUs are not compared."
        return Check("slurm", "warning", f"{version}: takes jobs ({said}); nodes have {' and '.join(models)}", todo)
    return Check("slurm", "ok", f"{version}: takes jobs ({said})")


def _models(asked: SlurmSettings) -> list[str]:
    """The kinds of GPUs that a job could get, where they are several."""
    wanted = asked.gres.split(":")
    if wanted[0] != "gpu" or asked.constraint or (len(wanted) > 1 and not wanted[1].isdecimal()):
        return []
    where = [f"--partition={asked.partition}"] if asked.partition else []
    try:
        said = ask(["sinfo", "--noheader", "--format=%G", *where])
    except (NoAnswer, Refused):
        return []
    kinds = {each.split(":")[1] for each in said.replace("\n", ",").split(",") if each.startswith("gpu:")}
    named = sorted(kind for kind in kinds if not kind.partition("(")[0].isdecimal())
    return named if named[1:] else []
