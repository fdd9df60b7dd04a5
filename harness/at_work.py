"""A campaign at work: its folder, and everything that a process needs to take it on."""

from __future__ import annotations

from dataclasses import dataclass

from .agents import AgentConfig
from .budget import Budget
from .campaign import Campaign, Options
from .execution import Executions
from .executors import find_executor
from .journal import Journal
from .repository import Repository
from .stop import Stop
from .view import View


@dataclass(frozen=True)
class AtWork:
    """What the parts of the loop share."""

    campaign: Campaign
    journal: Journal
    options: Options
    repository: Repository
    executions: Executions
    budget: Budget
    view: View
    stop: Stop
    agent_config: AgentConfig

    @classmethod
    def begin(cls, campaign: Campaign, journal: Journal, view: View, stop: Stop, executor: str) -> AtWork:
        options = campaign.options(journal.events)
        repository = Repository(campaign.root, campaign.local)
        return cls(
            campaign=campaign,
            journal=journal,
            options=options,
            repository=repository,
            executions=Executions(campaign, repository, find_executor(executor), options),
            budget=Budget(options, journal),
            view=view,
            stop=stop,
            agent_config=AgentConfig(
                model=options.model,
                architect=options.architect,
                edit_format=options.edit_format,
                session=campaign.replayed,
                on_output=view.tick,
            ),
        )
