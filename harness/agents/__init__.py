"""Agents: what edits the experiment.

An agent opens a conversation on a workspace, a disposable working copy of the campaign's code, and is asked with a text.
It answers with a text and its usage. What it edited is never taken from its answer: the harness compares the workspace
with the commit that it was made from.

A back end is a dotted path in `AGENTS`; an unknown name may itself be an import path (`package.module:Class`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ..errors import InputError
from ..text import encodable

AGENTS: dict[str, str] = {
    "aider": "harness.agents.aider:AiderAgent",
    "replay": "harness.agents.replay:ReplayAgent",
    "claude": "harness.agents.command:ClaudeAgent",
    "codex": "harness.agents.command:CodexAgent",
    "gemini": "harness.agents.command:GeminiAgent",
    "opencode": "harness.agents.command:OpencodeAgent",
}

FailureKind = Literal[
    "auth",  # the key is missing or refused (401, 403)
    "quota",  # the account cannot pay (402, insufficient_quota)
    "rate",  # too many requests (429), still refused after the bounded retries
    "server",  # the provider failed (5xx) or answered garbage, after the bounded retries
    "connection",  # refused, unreachable
    "timeout",  # no answer in time
    "context",  # the conversation does not fit the model
    "died",  # the agent's process ended
    "diverged",  # a recorded session does not hold the turn that was asked for
    "session_over",  # a recorded session has no further turn
    "setup",  # the agent is not installed or cannot start
]


@dataclass(frozen=True)
class Failure:
    """Why a turn has no usable answer. `message` is for a person, without any key in it."""

    kind: FailureKind
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", encodable(self.message))


@dataclass(frozen=True)
class Usage:
    """What one turn cost. Tokens as the provider counted them; `cost` in US dollars, None when unknown."""

    sent: int = 0
    received: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(
            self.sent + other.sent,
            self.received + other.received,
            cost,
            self.seconds + other.seconds,
            self.requests + other.requests,
        )


@dataclass(frozen=True)
class Reply:
    """The answer to one prompt.

    `replies` are the model's raw messages of this turn in order (more than one after a reflection); `text` is the last
    of them, or all joined where the agent speaks in parts. `history` is the agent's own memory of the conversation after
    the turn, JSON that `open` takes back after a crash. `refused_writes` are paths that the agent was kept from writing.
    `warnings` are what its machinery found wrong in this turn and did not tell the model (an edit that never matched).
    No text holds lone surrogates: JSON can, and no file takes them.
    """

    text: str
    usage: Usage
    replies: tuple[str, ...] = ()
    failure: Failure | None = None
    refused_writes: tuple[str, ...] = ()
    history: Any = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", encodable(self.text))
        for name in ("replies", "refused_writes", "warnings"):
            object.__setattr__(self, name, tuple(map(encodable, getattr(self, name))))


@dataclass(frozen=True)
class Workspace:
    """A disposable working copy: `root` is the agent's working directory.

    `editable` and `readable` are paths relative to `root`. Everything in the workspace that is not editable is put back
    by the harness after the turn, whatever the agent did.
    """

    root: Path
    editable: tuple[str, ...]
    readable: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgentConfig:
    """What a person chose on the command line. Model strings pass through unchanged."""

    model: str | None = None
    architect: str | None = None
    edit_format: str = "diff"
    session: Path | None = None
    """A recorded session to replay (agent `replay`)."""
    timeout: float = 600.0
    """Seconds to wait for one request to the model."""
    on_output: Callable[[str], None] = field(default=lambda line: None, compare=False)
    """Called with a line of text for a person while something slow happens."""


class Conversation(Protocol):
    """One conversation, for one run and its attempts."""

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        """Send `text` and wait for the answer; edits are in the workspace afterwards.

        `turn` counts the turns of the campaign from 0, `label` names this one ("run 2, attempt 1"): a recorded session
        finds its turn by them. Never raises for a model's or provider's failure: `Reply.failure` says it.
        """
        ...

    def close(self) -> None: ...


class Agent(Protocol):
    """A kind of agent, ready to open conversations."""

    def __init__(self, config: AgentConfig) -> None: ...

    def check(self) -> str:
        """One line of what this agent is (name, version, model); raises HarnessError with what to do if it cannot work."""
        ...

    def open(self, workspace: Workspace, history: Any = None) -> Conversation:
        """A conversation on `workspace`, going on after `history` (of an earlier `Reply`) where given."""
        ...

    def close(self) -> None:
        """End every process that it started."""
        ...


def find_agent(name: str) -> type[Agent]:
    """The agent class called `name`: a known short name or an import path."""
    path = AGENTS.get(name, name)
    module_name, _, attribute = path.partition(":")
    if not attribute:
        raise InputError(
            f"--agent {name}: unknown agent. Known: {', '.join(AGENTS)}; or an import path such as package.module:Class."
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--agent {name}: cannot import {path}: {error}") from error
    return found  # type: ignore[no-any-return]
