"""Whether the agent is installed, its model answers, asked as a campaign asks it, and a first turn fits it."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..agents.aider import AiderAgent
from ..agents.aider_environment import REQUIREMENT, installed
from ..agents.brief import Situation, brief
from ..agents.listing import agents, find_agent, is_search
from ..campaign.campaign import Options
from ..campaign.contract import ENTRY, Contract
from ..campaign.errors import InputError
from ..campaign.idea import Idea
from ..campaign.protocols import AgentConfig, Failure, Reply, Workspace
from ..campaign.temporary import TemporaryFolder
from ..campaign.text import duration
from ..report.terminal.status_page import cost as dollars
from .doctor_check import Check
from .model_choice import HOW_TO, choose

AGENT_SECONDS = 180.0
"""For a command-line agent: some take half a minute to start."""
AIDERS_OWN = 2_500
"""Tokens of aider's own instructions, about."""
ANSWER_SECONDS = 60.0
LOCAL_TOKENS = 64
"""That a model of one's own may answer with: some do not stop by themselves."""


@dataclass(frozen=True)
class ModelChecks:
    """The agent that a campaign would have, and the models that it would ask."""

    experiment: Path
    model: str | None
    architect: str | None
    reviewer: str | None
    agent: str
    first_turn: Callable[[], str]
    """What the agent is sent first."""

    def installed_agent(self) -> Check:
        known = {listed.name: listed for listed in agents()}.get(self.agent)
        if known is None:
            find_agent(self.agent)  # an import path, or a message with the known names
            return Check("agent", "ok", self.agent)
        if known.place is not None:
            return Check("agent", "ok", f"{self.agent}: {known.place}")
        if self.agent in ("aider", "replay"):
            detail = (
                f"{REQUIREMENT.replace('==', ' ')} is not installed; the first run installs it (700 MB, a minute or two)"
            )
            return Check("agent", "warning", detail, f"`{known.how}` installs it now.")
        return Check("agent", "fail", f"{known.about} is not installed", f"{known.how}")

    def key(self) -> Check:
        """Whether the agent could reach its model, as far as that can be told without asking it."""
        if self.agent == "replay" or is_search(self.agent):
            return Check("key", "ok", "no model is asked" if is_search(self.agent) else "a recorded session needs none")
        if self.agent == "aider" and self._model is None:
            return Check("key", "warning", "no model is configured: recorded sessions are replayed", HOW_TO)
        if (self.agent == "aider" or self.reviewer) and installed() is None:
            detail = f"not checked: {REQUIREMENT.replace('==', ' ')} knows which key it is, and is not installed"
            return Check("key", "warning", detail, "`harness agents install aider`, then `harness doctor` again.")
        if self.agent == "aider":
            said = self._aider.check()
        else:
            said = find_agent(self.agent)(AgentConfig(model=self.model, architect=self.architect)).check()
        if self.reviewer:
            said += f"; reviewer: {self._reviewer.check()}"
        return Check("key", "ok", said)

    def answers(self, role: str, model: str) -> Check:
        """A tiny request, through the process that would make the real ones."""
        if installed() is None:
            return Check(role, "warning", f"{model}: not asked: aider is not installed", "`harness agents install aider`")
        agent = self._reviewer if role == "reviewer" else self._aider
        # A model of one's own that does not stop would be waited for: a paid one does, and may refuse the limit.
        limit = LOCAL_TOKENS if agent.is_local(model) else None
        reply = agent.complete(model, "You are asked whether you can be reached.", "Answer with the word: ready", limit)
        check = _answered(role, model, reply)
        return check if check.state == "fail" or role == "reviewer" else self._with_context(check, model)

    def agent_answers(self) -> Check:
        """A tiny question to a command-line agent, by the code and with the login that a campaign would use."""
        with_model = f"{self.agent} with {self.model}" if self.model else self.agent
        return _answered("answer", with_model, ask_command(self.agent, self.model, self.architect))

    def _with_context(self, check: Check, model: str) -> Check:
        """Whether what a first turn sends fits the model."""
        text = self.first_turn()
        sent = round(self._aider.count_tokens(text, model) + AIDERS_OWN, -2)
        size = context_size(self._aider, model)
        if size is None:
            said = (
                f"{check.detail}; the first turn sends about {sent:,} tokens, and the context size of the model is unknown"
            )
            return Check(check.name, "ok", said)
        if sent > size:
            todo = "Give it a longer context (`llama-server -c N`, LM Studio's context length), or take another model."
            return Check(check.name, "fail", f"the first turn sends about {sent:,} tokens, and {model} takes {size:,}", todo)
        return Check(check.name, "ok", f"{check.detail}; the first turn sends about {sent:,} of its {size:,} tokens")

    def close(self) -> None:
        """End the processes that asked models."""
        for name in ("_aider", "_reviewer"):
            if name in self.__dict__:
                self.__dict__[name].close()

    @cached_property
    def _model(self) -> str | None:
        """The model that a campaign would get: the named one, else what the environment stands for."""
        try:
            return self.model or choose("", self.experiment, os.environ, agent="aider").model
        except InputError:
            return None

    @cached_property
    def _aider(self) -> AiderAgent:
        return AiderAgent(AgentConfig(model=self._model, architect=self.architect, timeout=ANSWER_SECONDS))

    @cached_property
    def _reviewer(self) -> AiderAgent:
        return AiderAgent(AgentConfig(model=self.reviewer, timeout=ANSWER_SECONDS))


def _answered(name: str, who: str, reply: Reply) -> Check:
    usage = reply.usage
    cost = "at unknown cost" if usage.cost is None else f"for {dollars(usage.cost)}"
    if reply.failure:
        spent = f" (spent: {usage.sent + usage.received} tokens {cost})" if usage.sent else ""
        todo = advice(reply.failure, Options().turn_timeout * 60 / 3)
        return Check(name, "fail", reply.failure.message + spent, todo)
    tokens = f"{usage.sent:,} tokens sent, {usage.received:,} received"
    return Check(name, "ok", f"{who} answers after {usage.seconds:.1f} s, {tokens}, {cost}")


def ask_command(agent: str, model: str | None, architect: str | None) -> Reply:
    """The answer of a command-line agent to a tiny question, with the login that a campaign would use."""
    with TemporaryFolder() as folder:
        root = Path(folder).resolve() / "workspace"
        root.mkdir()
        (root / ENTRY).write_text("")
        config = AgentConfig(model=model, architect=architect, turn_left=lambda: AGENT_SECONDS)
        asked = find_agent(agent)(config)
        try:
            conversation = asked.open(Workspace(root, (ENTRY,)))
            reply = conversation.ask("Answer with the word: ready. Do nothing else.", turn=0, label="doctor")
            conversation.close()
            return reply
        finally:
            asked.close()


def advice(failure: Failure, campaign_timeout: float) -> str:
    """What to do about a model that did not answer, before there is a campaign that could be resumed."""
    if failure.kind == "timeout":
        waits = duration(campaign_timeout)
        return f"A campaign waits {waits} for an answer (--turn-timeout): enough for a slow model, not for one that hangs."
    todo = re.sub(r"[;,] then `harness resume`|: `harness doctor [^`]*` asks it", "", failure.todo)
    todo = todo.replace("`harness resume --model M`", "--model M").replace("resume with a --model", "take a --model")
    return " ".join(each for each in re.split(r"(?<=[.;]) ", todo) if "`harness " not in each)


def first_brief(contract: Contract, profile: str | None, experiment: Path) -> str:
    """About what an agent is sent in its first turn: the brief of some idea, and the files that go along."""
    name, spec = contract.profile(profile)
    idea = Idea(Name="an_idea", Title="An idea", Experiment="What the idea is about, in a few sentences.")
    situation = Situation(idea, contract, name, dict(spec.settings), (), (), run=1, attempt=1, max_runs=5)
    files = [experiment / each for each in (*contract.editable, *contract.readable)]
    return "\n".join([brief(situation), *(file.read_text(errors="replace") for file in files if file.is_file())])


def context_size(aider: AiderAgent, model: str) -> int | None:
    """Tokens that fit the model: as its own server says, or as its provider lists it; None where nobody says."""
    base = os.environ.get("OPENAI_API_BASE") or os.environ.get("OPENAI_BASE_URL")
    if base and model.startswith("openai/"):
        return _told_by_server(base.rstrip("/"), model.removeprefix("openai/"))
    listed: int | None = aider.describe(model)["context"]
    return listed


def _told_by_server(base: str, model: str) -> int | None:
    """llama.cpp, LM Studio and vLLM each say it in their own way."""
    root = base.removesuffix("/v1")
    told = _get(f"{root}/props").get("default_generation_settings")
    if isinstance(told, dict) and isinstance(told.get("n_ctx"), int):
        return int(told["n_ctx"])
    for address, key in ((f"{root}/api/v0/models", "loaded_context_length"), (f"{base}/models", "max_model_len")):
        listed = _get(address).get("data")
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, dict) and each.get("id") == model and isinstance(each.get(key), int):
                return int(each[key])
    return None


def _get(address: str) -> Mapping[str, Any]:
    key = os.environ.get("OPENAI_API_KEY", "none")
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            found = json.loads(answer.read(10**6))
    except (OSError, ValueError, urllib.error.URLError):
        return {}
    return found if isinstance(found, dict) else {}
