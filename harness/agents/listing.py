"""`harness agents`: which agents there are, which are installed on this machine, and how to install the others."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..campaign.errors import InputError
from ..campaign.protocols import Agent, find_class
from .aider_environment import REQUIREMENT, aider_python, installed
from .command_lines import CLAUDE, CODEX, GEMINI, OPENCODE
from .outside import OUTSIDE

AGENTS: dict[str, str] = {
    "aider": "harness.agents.aider:AiderAgent",
    "replay": "harness.agents.replay:ReplayAgent",
    "search:tpe": "harness.agents.search:TPEAgent",
    "search:random": "harness.agents.search:RandomAgent",
    "claude": "harness.agents.command:ClaudeAgent",
    "codex": "harness.agents.command:CodexAgent",
    "gemini": "harness.agents.command:GeminiAgent",
    "opencode": "harness.agents.command:OpencodeAgent",
}
_UNLISTED = {OUTSIDE: "harness.agents.outside:OutsideAgent"}
"""Of a campaign that `harness open` began: nobody chooses it for one that the harness drives."""
SEARCH = "search:"
"""How the names of agents begin that ask no model."""
_SEARCHES = {
    "search:tpe": "proposes values of the contract's [search] by TPE, without a model",
    "search:random": "draws values of the contract's [search] at random, without a model",
}
_OWN = {"aider": "any model that litellm knows, also local ones", "replay": "a recorded session, without a model"}
_COMMANDS = {
    "claude": ("Claude Code", CLAUDE),
    "codex": ("Codex", CODEX),
    "gemini": ("Gemini CLI", GEMINI),
    "opencode": ("opencode", OPENCODE),
}
"""What each is called, and its command line: an agent that is a program of its own."""


@dataclass(frozen=True)
class Listed:
    """An agent; `place` is where it is installed, None where it is not, and `how` what installs it."""

    name: str
    about: str
    place: str | None
    how: str


def find_agent(name: str) -> type[Agent]:
    """The agent class called `name`: a known short name or an import path. Raises InputError."""
    found: type[Agent] = find_class("agent", "--agent", name, AGENTS | _UNLISTED)
    return found


def is_search(name: str | None) -> bool:
    """Whether the agent asks no model: it searches the space that the contract names."""
    return name is not None and name.startswith(SEARCH)


def agents() -> list[Listed]:
    """Every agent that `--agent` knows by a short name. Starts nothing."""
    return [_listed(name) for name in AGENTS]


def install(name: str, on_output: Callable[[str], None]) -> str:
    """Install the agent `name` and return where. aider gets an environment of its own, the others are the person's to
    install. Raises InputError that says how, CannotGoOn when it fails."""
    if name in _OWN:
        return str(aider_python(on_output).parent.parent)
    known = {listed.name: listed for listed in agents()}
    if name not in known:
        raise InputError(f"{name}: unknown agent. Known: {', '.join(known)}.")
    place = known[name].place
    if place is None:
        what = "comes with the harness, and is not here" if is_search(name) else "is a program of its own, which you install"
        raise InputError(f"{name} {what}: {known[name].how}")
    return place


def _listed(name: str) -> Listed:
    if name in _OWN:
        python = installed()
        place = str(python.parent.parent) if python else None
        return Listed(name, f"{REQUIREMENT.replace('==', ' ')}: {_OWN[name]}", place, "harness agents install aider")
    if name in _SEARCHES:
        found = importlib.util.find_spec("optuna")
        place = str(Path(found.origin).parent) if found and found.origin else None
        return Listed(name, f"Optuna: {_SEARCHES[name]}", place, "pip install optuna")
    about, command = _COMMANDS[name]
    return Listed(name, about, shutil.which(name), f"npm install -g {command.package}")
