"""Whether an agent's model answers, asked through the code that a campaign asks it through; and whether a brief fits it."""

from __future__ import annotations

import json
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..agents.aider import AiderAgent
from ..agents.brief import Situation, brief
from ..agents.listing import find_agent
from ..campaign.contract import ENTRY, Contract
from ..campaign.idea import Idea
from ..campaign.protocols import AgentConfig, Failure, Reply, Workspace
from ..campaign.text import duration

AGENT_SECONDS = 180.0
"""For a command-line agent: some take half a minute to start."""
AIDERS_OWN = 2_500
"""Tokens of aider's own instructions, about."""


def ask_command(agent: str, model: str | None, architect: str | None) -> Reply:
    """The answer of a command-line agent to a tiny question, with the login that a campaign would use."""
    with tempfile.TemporaryDirectory(prefix="harness-doctor-") as folder:
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
        return f"A campaign waits {waits} for an answer, --turn-timeout changes it: a slow model may do, one that hangs not."
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
