"""How often an experiment's fixed held-out settings were used: each use shows them, so each holds out a little less.

Counted on this machine, in your cache, for all campaigns of an experiment's folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..campaign.campaign import Campaign
from ..campaign.contract import Setting
from ..campaign.files import write_atomically
from ..campaign.paths import cache_folder


def folder() -> Path:
    return cache_folder() / "holdout"


def count_use(campaign: Campaign, profile: str, settings: Mapping[str, Sequence[Setting]], number: int) -> int | None:
    """Count the `number`-th evaluation of a campaign. How many there were before; None where that cannot be known."""
    if campaign.experiment is None:
        return None
    facts = {"experiment": str(campaign.experiment), "profile": profile, "settings": dict(settings)}
    file = folder() / f"{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]}.json"
    # With the time: a folder of the same name may have held another campaign.
    own = f"{campaign.root.resolve()} of {campaign.facts()['created']}, evaluation {number}"
    try:
        uses = json.loads(file.read_text(encoding="utf-8"))["uses"] if file.exists() else []
        before = [use for use in uses if use != own]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(facts | {"uses": [*before, own]}, indent=1) + "\n")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return len(before)
