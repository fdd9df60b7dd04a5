"""`--memory`: the folder of campaigns that an agent is told of."""

from __future__ import annotations

from pathlib import Path

import click

from ..agents.listing import is_search
from ..campaign.campaign import Campaign
from ..campaign.errors import InputError
from ..campaign.memory import remember
from ..campaign.numbers import counted
from ..campaign.paths import near

NO_MEMORY = "none"


def check_memory(folder: str | None) -> None:
    """Raises InputError where there is no such folder."""
    if folder not in (None, NO_MEMORY) and not Path(str(folder)).is_dir():
        raise InputError(
            f"--memory {folder}: no such folder. Name one that holds campaigns, such as `runs`, or say `{NO_MEMORY}`."
        )


def remember_others(campaign: Campaign, folder: str | None) -> None:
    """Have the campaign know what others of its experiment tried, where its agent reads what it is told."""
    agent = campaign.options().agent
    if folder == NO_MEMORY or agent == "replay" or is_search(agent):
        if folder not in (None, NO_MEMORY):
            click.echo(f"--memory {folder}: {agent} asks no model, so nobody is told of it.")
        return
    place = Path(folder) if folder else campaign.root.parent
    known = remember(campaign, place)
    if known:
        click.echo(f"Memory: the agent is told of {counted(known, 'run')} of this experiment in {near(place)}.")
    elif folder:
        click.echo(f"--memory {folder}: no run of this experiment there.")
