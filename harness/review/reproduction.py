"""How a run's numbers are made again, by hand, in the campaign's folder."""

from __future__ import annotations

import json
import shlex

from ..record import Record
from .account import Account


def commands(account: Account, record: Record) -> str:
    """The commands that give a run's numbers again, in the campaign's folder; empty where nothing was executed."""
    seeds = record.seeds or ([] if record.seed is None else [record.seed])
    if record.given or not seeds:
        return ""
    options = account.standing.options
    overrides = json.dumps(options.get("overrides", {}))
    folder = f"../{account.name}-run-{record.run}"
    variables = {
        "HARNESS_PROFILE": str(options.get("profile", "")),
        "HARNESS_SEED": str(seeds[0]),
        "HARNESS_OVERRIDES": overrides,
    }
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    more = f"\n# and with HARNESS_SEED={', '.join(map(str, seeds[1:]))}, each in an empty folder" if seeds[1:] else ""
    return (
        f"git clone --quiet . {shlex.quote(folder)} && cd {shlex.quote(folder)}\n"
        f"git checkout --quiet {shlex.quote(record.commit)}\n"
        f"mkdir run_{record.run}\n"
        f"{settings} {record.command}{more}"
    )
