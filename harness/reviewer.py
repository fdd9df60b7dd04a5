"""The reviewer: an expert model that comments on each run. Advice, never evidence; its failure is a warning."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from .agents import Failure, Reply, Usage
from .agents.aider import AiderAgent
from .at_work import AtWork
from .brief import review_request
from .errors import CannotGoOn, InputError
from .record import Record, ReviewRecord, UsageRecord
from .recording import Recorder


class Reviewer:
    """Asks `Options.reviewer` after each run; does nothing without one."""

    def __init__(self, work: AtWork, recorder: Recorder) -> None:
        self._journal = work.journal
        self._budget = work.budget
        self._view = work.view
        self._stop = work.stop
        self._options = work.options
        self._config = work.agent_config
        self._recorder = recorder

    def prepare(self) -> None:
        """Have the reviewer ready before anything is spent. Raises what to do."""
        if self._options.reviewer is not None and not self._journal.is_dry:
            agent = self._agent(self._options.reviewer)
            try:
                self._view.say(f"reviewer: {agent.check()}")
            finally:
                agent.close()

    def review(self, record: Record) -> None:
        """Put the reviewer's words on `record` into it."""
        model = self._options.reviewer
        step = f"run_{record.run}/review"
        if model is None and not self._journal.is_done(step):
            return
        if not self._journal.is_done(step):
            self._stop.check()
            self._budget.check_turn()
            self._view.begin(record.run, self._options.max_runs, 0, "review")
        result = self._journal.once(step, lambda: self._ask(record, model or ""))
        review = None
        if not result["failure"]:
            review = ReviewRecord(model=result["model"], text=result["text"], usage=UsageRecord(**result["usage"]))
        warning = f"The reviewer gave no advice: {result['failure']}" if result["failure"] else ""
        self._recorder.add_review(record, review, warning)

    def _agent(self, model: str) -> AiderAgent:
        return AiderAgent(replace(self._config, model=model, architect=None))

    def _ask(self, record: Record, model: str) -> dict[str, Any]:
        situation = self._recorder.situation(record.run + 1, 1)
        system, user = review_request(situation, self._recorder.diff(record))
        agent = self._agent(model)
        try:
            reply = agent.complete(model, system, user)
        except (CannotGoOn, InputError) as error:  # aider cannot be started
            reply = Reply("", Usage(), failure=Failure("setup", str(error)))
        finally:
            agent.close()
        failure = reply.failure
        if failure is not None:
            self._view.say(f"The reviewer gave no advice: {failure.message}")
        return {
            "model": model,
            "text": reply.text,
            "usage": asdict(reply.usage),
            "failure": failure.message if failure else "",
        }
