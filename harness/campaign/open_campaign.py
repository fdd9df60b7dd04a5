"""An open campaign: its folder, and everything that a process needs to take it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from .budget import Budget
from .campaign import Campaign, Options
from .integrity import WROTE
from .journal import CLOSE, PERSON_STEP, Journal
from .protocols import AgentConfig, View
from .record import RECORD_FILE, Record
from .repository import Repository
from .stop import Stop


@dataclass(frozen=True)
class OpenCampaign:
    """What the parts of the loop share. One process at a time has one of a campaign: it holds the campaign's lock."""

    campaign: Campaign
    journal: Journal
    options: Options
    repository: Repository
    budget: Budget
    view: View
    stop: Stop
    jobs: int = 1
    """How many executions may be in hand at once."""
    parts: dict[type, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Those that all share."""

    @classmethod
    def begin(cls, campaign: Campaign, journal: Journal, view: View, stop: Stop, jobs: int = 1) -> OpenCampaign:
        # From the journal, because what a person changed on resuming is an event and has to outlive a crash.
        options = campaign.options(journal.events)
        repository = Repository(campaign.root, campaign.local)
        return cls(campaign, journal, options, repository, Budget(options, journal), view, stop, jobs)

    @property
    def agent_config(self) -> AgentConfig:
        return AgentConfig(
            model=self.options.model,
            architect=self.options.architect,
            edit_format=self.options.edit_format,
            session=self.campaign.replayed,
            submission=self.campaign.submission,
            campaign=self.campaign.root,
            home=self.campaign.agent_home,
            hidden=(self.campaign.root, self.campaign.root.parent),
            persons_configuration=self.options.agent_config,
            # A request that hangs leaves time for others in its turn.
            timeout=self.options.turn_timeout * 60 / 3,
            price=self.options.price,
            cost_is_limited=self.options.max_cost is not None,
            on_output=self.view.tick,
            on_notice=self.view.say,
        )

    @property
    def first_commit(self) -> str:
        """The untouched experiment, before any agent."""
        return str(self.journal.result("start")["commit"])

    @cached_property
    def records(self) -> list[Record]:
        """The records of all runs so far, in order: read once, because nobody else writes them while this process has the
        campaign's lock, and each run asks for them dozens of times."""
        return self.campaign.read_records()

    def write_record(self, record: Record) -> None:
        """Write a record. Journal and git know it before: so that any other writing is noticed, and this one never lost."""
        self.records[record.run : record.run + 1] = [record]
        path = f"{self.campaign.run_folder(record.run).name}/{RECORD_FILE}"
        self.journal.append(WROTE, files={path: self.repository.store(record.content)})
        record.write(self.campaign.run_folder(record.run))

    def person_diff(self) -> str | None:
        """What a person changed in the code since the harness last wrote it, committed already or not yet."""
        start = self.repository.before(
            self.repository.head or "", lambda step: step in (None, CLOSE) or step.startswith(PERSON_STEP)
        )
        if self.repository.is_in_place(start, self.campaign.code):  # as nearly always, and it takes no git
            return None
        return self.repository.diff(start, None, self.campaign.code) or None


class CampaignPart:
    """A part of the loop, with what it uses of the open campaign."""

    @classmethod
    def of(cls, opened: OpenCampaign) -> Self:
        """The one that all parts of the loop share: what it has read of the campaign it need not read again for each."""
        if cls not in opened.parts:
            opened.parts[cls] = cls(opened)
        part: Self = opened.parts[cls]
        return part

    def __init__(self, opened: OpenCampaign) -> None:
        self._opened = opened
        self._campaign, self._journal, self._repository = opened.campaign, opened.journal, opened.repository
        self._options, self._budget, self._view, self._stop = opened.options, opened.budget, opened.view, opened.stop
