"""The reviewer: an expert model that comments on each run. Advice, never evidence; its failure is a warning."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ..campaign.errors import CannotGoOn, InputError
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.protocols import Failure, Reply
from ..campaign.record import Record, ReviewRecord
from ..campaign.usage import Usage
from .aider import AiderAgent
from .brief import review_request
from .situation import Situations


class Reviewer(CampaignPart):
    """Asks `Options.reviewer` after each run; does nothing without one."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self._config = opened.agent_config
        self._situations = Situations(opened)

    def prepare(self) -> None:
        """Have the reviewer ready before anything is spent. Raises what to do."""
        if self._options.reviewer is not None and not self._journal.is_dry:
            agent = self._agent(self._options.reviewer)
            try:
                self._view.say(f"reviewer: {agent.check()}")
            finally:
                agent.close()

    def review(self, record: Record) -> tuple[ReviewRecord | None, str] | None:
        """The reviewer's advice on `record`, or a warning that says why there is none; None where nobody is to be asked."""
        model = self._options.reviewer
        step = f"run_{record.run}/review"
        if model is None and not self._journal.is_done(step):
            return None
        if not self._journal.is_done(step):
            self._stop.check()
            self._budget.check_turn()
            self._view.begin(record.run, self._options.max_runs, 0, "review")
        result = self._journal.once(step, lambda: self._ask(record, model or ""))
        review = None
        if not result["failure"]:
            review = ReviewRecord(model=result["model"], text=result["text"], usage=Usage(**result["usage"]))
        warning = f"The reviewer gave no advice: {result['failure']}" if result["failure"] else ""
        return review, warning

    def _diff(self, record: Record) -> str:
        """The code change of a run against the run that it started from."""
        parent = self._opened.records[record.parent or 0]
        return self._repository.diff(parent.commit, record.commit, self._campaign.code)

    def _agent(self, model: str) -> AiderAgent:
        return AiderAgent(replace(self._config, model=model, architect=None, price=None))

    def _ask(self, record: Record, model: str) -> dict[str, Any]:
        situation = self._situations.before(record.run + 1, 1, known=record.run + 1)
        system, user = review_request(situation, self._diff(record))
        agent = self._agent(model)
        try:
            reply = agent.complete(model, system, user)
        except (CannotGoOn, InputError) as error:  # aider cannot be started
            reply = Reply("", Usage(), failure=Failure("setup", str(error)))
        finally:
            agent.close()
        failure = reply.failure
        if failure is not None:
            self._view.say(f"The reviewer gave no advice: {failure}")
        return {"model": model, "text": reply.text, "usage": asdict(reply.usage), "failure": str(failure) if failure else ""}
