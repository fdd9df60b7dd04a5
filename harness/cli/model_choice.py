"""Which agent and which model a campaign gets, when a person did not say both. One line says what was chosen and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..agents.listing import AGENTS, is_search
from ..agents.outside import OUTSIDE
from ..agents.search import check_no_model
from ..campaign.errors import InputError
from ..campaign.paths import near

MODEL_VARIABLE = "HARNESS_MODEL"

PROVIDERS = {
    "ANTHROPIC_API_KEY": "sonnet",
    "OPENAI_API_KEY": "gpt-5",
    "GEMINI_API_KEY": "gemini",
    "DEEPSEEK_API_KEY": "deepseek",
    "OPENROUTER_API_KEY": "openrouter/anthropic/claude-sonnet-4",
}
"""The model that a key stands for, in aider's names; the first key that is set counts."""

OTHER_SERVERS = ("OPENAI_API_BASE", "OPENAI_BASE_URL")
"""With one of these set, an OpenAI key is for another server, whose models are not known here."""

HOW_TO = (
    "To configure one: set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY, or name any model with --model M or "
    f"${MODEL_VARIABLE} (ollama/NAME with OLLAMA_API_BASE, openai/NAME with OPENAI_API_BASE)."
)


@dataclass(frozen=True)
class Choice:
    """What a campaign is run with; `why` is a line for the person."""

    agent: str
    model: str | None
    session: Path | None
    why: str


def choose(
    idea: str,
    idea_file: Path,
    environment: Mapping[str, str],
    *,
    agent: str | None = None,
    model: str | None = None,
    session: Path | None = None,
) -> Choice:
    """The agent, and its model or recorded session, for the idea called `idea`. Raises InputError with what to do."""
    if agent == "replay" or (session is not None and agent in (None, *AGENTS)):
        return _replay(idea, idea_file, agent, model, session)
    if agent == OUTSIDE:
        return Choice(OUTSIDE, None, None, "No agent is asked: you, or an agent of yours, hand in each change.")
    if is_search(agent):
        check_no_model(str(agent), model)
        return Choice(str(agent), None, session, f"Agent: {agent}, which asks no model.")
    if agent not in (None, "aider"):
        named = f"model {model}" if model else "its own model"
        return Choice(agent, model, session, f"Agent: {agent} with {named}.")
    if model is not None:
        return Choice("aider", model, None, f"Agent: aider with model {model}.")
    if chosen := environment.get(MODEL_VARIABLE):
        return Choice("aider", chosen, None, f"Agent: aider with model {chosen}, from ${MODEL_VARIABLE}.")
    for variable, stands_for in PROVIDERS.items():
        elsewhere = variable == "OPENAI_API_KEY" and any(environment.get(name) for name in OTHER_SERVERS)
        if environment.get(variable) and not elsewhere:
            why = f"Agent: aider with model {stands_for}, since {variable} is set; --model M chooses another."
            return Choice("aider", stands_for, None, why)
    if agent == "aider":
        raise InputError(f"--agent aider: no model is configured. {HOW_TO}")
    found = find_session(idea, idea_file)
    if found is None:
        raise InputError(f"No model is configured, and there is no recorded session for the idea {idea}. {HOW_TO}")
    return Choice("replay", None, found, f"No model is configured, so the session {near(found)} is replayed. {HOW_TO}")


def find_session(idea: str, idea_file: Path) -> Path | None:
    """The recorded session of an idea: in `sessions` beside the idea's folder, in the current folder, in the package."""
    package = Path(__file__).parents[1]
    folders = (
        idea_file.resolve().parent.parent / "sessions",
        idea_file.resolve().parent / "sessions",
        Path("sessions"),
        package / "sessions",
    )
    return next((file for folder in folders if (file := folder / f"{idea}.md").is_file()), None)


def _replay(idea: str, idea_file: Path, agent: str | None, model: str | None, session: Path | None) -> Choice:
    if agent not in (None, "replay"):
        raise InputError(f"--session: agent {agent} cannot replay one; leave --agent out, or give --agent replay.")
    if model is not None:
        raise InputError(f"--model {model}: a session is replayed without a model; leave out one of the two.")
    if session is None:
        session = find_session(idea, idea_file)
        if session is None:
            raise InputError(f"--agent replay: no recorded session for the idea {idea}; name one with --session FILE.")
    elif not session.is_file():
        raise InputError(f"--session {session}: no such file.")
    return Choice("replay", None, session, f"Agent: replay of the session {near(session)}.")
