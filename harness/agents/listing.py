"""`harness agents`: which agents there are, which are installed on this machine, and how to install the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError
from . import AGENTS
from .command_lines import CLAUDE, CODEX, GEMINI, OPENCODE
from .environment import REQUIREMENT, aider_python, installed

_OWN = {
    "aider": "any model that litellm knows, also local ones",
    "replay": "a recorded session, without a model",
}
_COMMANDS = {
    "Claude Code": CLAUDE,
    "Codex": CODEX,
    "Gemini CLI": GEMINI,
    "opencode": OPENCODE,
}


@dataclass(frozen=True)
class Listed:
    """An agent; `place` is where it is installed, None where it is not, and `how` what installs it."""

    name: str
    about: str
    place: str | None
    how: str


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
        raise InputError(f"{name} is a program of its own, which you install: {known[name].how}")
    return place


def _listed(name: str) -> Listed:
    if name in _OWN:
        python = installed()
        place = str(python.parent.parent) if python else None
        return Listed(name, f"{REQUIREMENT.replace('==', ' ')}: {_OWN[name]}", place, "harness agents install aider")
    about, command = next((about, command) for about, command in _COMMANDS.items() if command.program == name)
    return Listed(name, about, shutil.which(name), f"npm install -g {command.package}")
