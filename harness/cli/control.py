"""`--control`: a search without a model that is made beside a campaign; and the seed of whatever searches."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..agents.listing import SEARCH, is_search
from ..campaign.campaign import Campaign, Options, create_campaign
from ..campaign.errors import InputError
from ..campaign.files import remove
from ..campaign.idea import Idea
from ..campaign.paths import near

_SEEDS = 1_000_000


def seeded(options: Mapping[str, Any], agent: str) -> dict[str, Any]:
    """`options` with the seed of the search among them, drawn where none was given. Raises InputError where nothing is
    searched."""
    if is_search(agent) or options.get("control"):
        return {"search_seed": secrets.randbelow(_SEEDS), **options}
    if (seed := options.get("search_seed")) is not None:
        raise InputError(f"--search-seed {seed}: nothing is searched; --agent search:tpe or --control tpe does.")
    return dict(options)


def create_control(campaign: Campaign, idea: Idea, experiment: Path, options: Options, python: str) -> None:
    """Make the control of a campaign, which begins when that has ended: now, so that it has the same code."""
    own: dict[str, Any] = {"agent": f"{SEARCH}{options.control}", "control": None, "control_of": campaign.name}
    nothing = ("model", "architect", "reviewer", "patience", "max_cost", "max_tokens", "price")
    options = options.model_copy(update=own | dict.fromkeys(nothing))
    name = f"{campaign.name}-{own['agent'].removeprefix(SEARCH)}"
    try:
        control = create_campaign(campaign.root.parent, idea, experiment, options, python=python, name=name)
    except BaseException:
        remove(campaign.root)  # neither has begun
        raise
    click.echo(f"Control: {near(control.root)}, with as many runs when the campaign has ended.")
