"""The command lines of coding agents: how each is called. How its answer is read: `command_output.py`.

As seen with Claude Code 2.1, Codex 0.169, Gemini CLI 0.61 and opencode 1.18, each against a server on loopback.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..campaign.files import read_bounded
from ..campaign.protocols import Workspace
from . import configuration
from .command_output import Answer, as_object, json_lines, read_claude, read_codex, read_gemini, read_opencode
from .configuration import Configuration


@dataclass(frozen=True)
class OwnSandbox:
    """A sandbox that a command brings: `options` ask for it; `probe` are arguments that try it in the workspace, none for
    what needs no trial."""

    name: str
    options: tuple[str, ...]
    probe: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandLine:
    """How one command is called and read.

    In the arguments `{session}` stands for its value, `{model}` for `option` and the model, or for nothing, and `{sandbox}`
    for the options of one of `own_sandboxes`. The brief comes on standard input: arguments are there for everybody to read,
    and their length has a limit. `read` takes standard output and standard error and returns None where there is no answer
    in them.
    """

    program: str
    package: str
    first: tuple[str, ...]
    following: tuple[str, ...]
    option: str
    read: Callable[[str, str], Answer | None]
    login: str
    """What a person does about a login that is missing or refused."""
    configuration: Configuration
    tells_cost: bool = True
    cumulative: bool = False
    """Tokens are counted from the start of the conversation, not of the turn."""
    variables: tuple[str, ...] = ()
    """Names of the person's variables that hold the command's own settings and login."""
    providers: Callable[[str], tuple[str, ...]] = lambda model: ()
    """The providers that it asks for a model (empty: its own choice), whose variables it gets."""
    environment: dict[str, str] = field(default_factory=dict)
    own_sandboxes: tuple[OwnSandbox, ...] = ()
    """Those that it brings, the best first; the last is taken inside ours only."""
    permissions: Callable[[Workspace], dict[str, str]] = lambda workspace: {}
    """Variables that say what it may do in a workspace."""
    model_of_session: Callable[[Path, str], str] = lambda home, session: ""
    """The model of a conversation, from what the command keeps in its home folder, where its answer names none."""


def _providers_of_claude(model: str) -> tuple[str, ...]:
    clouds = {"CLAUDE_CODE_USE_BEDROCK": "bedrock", "CLAUDE_CODE_USE_VERTEX": "vertex_ai"}
    return ("anthropic", *(provider for variable, provider in clouds.items() if os.environ.get(variable)))


def _model_of_codex(home: Path, session: str) -> str:
    """The last one that the record of a conversation names; its form is the command's own affair."""
    files = sorted(home.glob(f".codex/sessions/*/*/*/rollout-*{session}.jsonl")) if session else []
    text = read_bounded(files[-1], 10**7, from_end=True)[0].decode(errors="replace") if files else ""
    named = [as_object(line.get("payload")).get("model") for line in json_lines(text) if line.get("type") == "turn_context"]
    return next((name for name in reversed(named) if isinstance(name, str)), "")


def _permissions_of_opencode(workspace: Workspace) -> dict[str, str]:
    # What it would ask about ends its turn: nobody answers.
    denied = dict.fromkeys(("bash", "webfetch", "websearch", "external_directory"), "deny")
    # It names a file as it lies in a repository, and where there is none, as in a workspace, as it lies below /.
    places = (place for name in workspace.editable for place in (name, str(workspace.root.resolve() / name).lstrip("/")))
    edit = {"*": "deny"} | dict.fromkeys(places, "allow")
    return {"OPENCODE_PERMISSION": json.dumps({**denied, "edit": edit})}


_CLAUDE = (
    *("-p", "--output-format", "json", "{model}"),
    # Edits in the working directory are accepted; an allowed Edit would be one of every path.
    *("--permission-mode", "acceptEdits", "--disallowedTools", "Bash,WebFetch,WebSearch"),
)
_CODEX = ("{sandbox}", "--json", "--skip-git-repo-check", "{model}", "-")


def _sandbox_of_codex(name: str, *options: str) -> OwnSandbox:
    options = ("-c", 'sandbox_mode="workspace-write"', *options)
    writes = ("sh", "-c", "touch .harness-probe && rm .harness-probe")
    return OwnSandbox(name, options, ("sandbox", *options, "--", *writes))


_GEMINI = ("{model}", "--approval-mode", "auto_edit", "--skip-trust", "-o", "json")
_OPENCODE = ("run", "--format", "json", "{model}")

CLAUDE = CommandLine(
    program="claude",
    package="@anthropic-ai/claude-code",
    first=_CLAUDE,
    following=(*_CLAUDE, "--resume", "{session}"),
    option="--model",
    read=read_claude,
    login="run `claude` and log in with /login, or set ANTHROPIC_API_KEY",
    configuration=configuration.CLAUDE,
    providers=_providers_of_claude,
    variables=("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"),
    environment={
        "CLAUDE_CODE_MAX_RETRIES": "3",  # by itself it repeats a request that got a 401 for minutes
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "DISABLE_AUTOUPDATER": "1",
    },
)

CODEX = CommandLine(
    program="codex",
    package="@openai/codex",
    first=("exec", *_CODEX),
    following=("exec", "resume", "{session}", *_CODEX),
    own_sandboxes=(
        _sandbox_of_codex("its own sandbox"),
        _sandbox_of_codex("its own sandbox in legacy mode", "-c", "features.use_legacy_landlock=true"),
        OwnSandbox("no sandbox of its own", ("-c", 'sandbox_mode="danger-full-access"')),
    ),
    option="-m",
    read=read_codex,
    login="run `codex login`, or set OPENAI_API_KEY",
    configuration=configuration.CODEX,
    providers=lambda model: ("openai",),
    tells_cost=False,
    cumulative=True,
    variables=("CODEX_API_KEY",),
    model_of_session=_model_of_codex,
)

GEMINI = CommandLine(
    program="gemini",
    package="@google/gemini-cli",
    first=_GEMINI,
    following=(*_GEMINI, "--resume", "latest"),  # the latest of this folder, and each workspace has its own
    option="-m",
    read=read_gemini,
    login="run `gemini` and choose a way to log in, or set GEMINI_API_KEY (with a base URL of your own also "
    '{"security": {"auth": {"selectedType": "gemini-api-key"}}} in ~/.gemini/settings.json)',
    configuration=configuration.GEMINI,
    tells_cost=False,
    providers=lambda model: ("gemini",),
)

OPENCODE = CommandLine(
    program="opencode",
    package="opencode-ai",
    first=_OPENCODE,
    following=(*_OPENCODE, "-s", "{session}"),
    option="-m",
    read=read_opencode,
    login="run `opencode auth login`, or set the variable of your provider's key",
    configuration=configuration.OPENCODE,
    providers=lambda model: (model.partition("/")[0],),
    variables=("OPENCODE_API_KEY",),
    environment={"OPENCODE_DISABLE_AUTOUPDATE": "1"},
    permissions=_permissions_of_opencode,
)
