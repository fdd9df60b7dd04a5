"""The command lines of coding agents: how each is called, and how its answer is read.

As seen with Claude Code 2.1, Codex 0.169, Gemini CLI 0.61 and opencode 1.18, each against a server on loopback. A reader
believes nothing about types: what is missing or odd counts as not told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..campaign.files import read_bounded
from ..campaign.protocols import Workspace
from . import configuration
from .configuration import Configuration


@dataclass(frozen=True)
class Answer:
    """What a command's output says. `error` is empty where the turn went well; `cost` None where it is not told."""

    texts: tuple[str, ...] = ()
    session: str = ""
    sent: int = 0
    received: int = 0
    requests: int = 0
    cost: float | None = None
    error: str = ""
    refused_writes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Those that answered, as the command names them."""


@dataclass(frozen=True)
class CommandLine:
    """How one command is called and read.

    In the arguments `{session}` stands for its value and `{model}` for `option` and the model, or for nothing. The brief
    comes on standard input: arguments are there for everybody to read, and their length has a limit. `read` takes standard
    output and standard error and returns None where there is no answer in them.
    """

    program: str
    package: str
    first: tuple[str, ...]
    following: tuple[str, ...]
    option: str
    read: Callable[[str, str], Answer | None]
    configuration: Configuration
    cumulative: bool = False
    """Tokens are counted from the start of the conversation, not of the turn."""
    variables: tuple[str, ...] = ()
    """Names of the person's variables that hold the command's own settings and login."""
    providers: Callable[[str], tuple[str, ...]] = lambda model: ()
    """The providers that it asks for a model (empty: its own choice), whose variables it gets."""
    environment: dict[str, str] = field(default_factory=dict)
    permissions: Callable[[Workspace], dict[str, str]] = lambda workspace: {}
    """Variables that say what it may do in a workspace."""
    model_told: Callable[[Path, str], str] = lambda home, session: ""
    """The model of a conversation, from what the command keeps in its home folder, where its answer names none."""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15 else 0


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dollars(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9 else None


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.split("\n"):
        value = _json(line)
        if value is not None:
            yield value


def _read_claude(stdout: str, stderr: str) -> Answer | None:
    said = _json(stdout)
    if said is None or "result" not in said:
        return None
    usage = _object(said.get("usage"))
    denied = said.get("permission_denials")
    paths = [
        _object(_object(denial).get("tool_input")).get("file_path")
        for denial in (denied if isinstance(denied, list) else [])
    ]
    text, failed = str(said["result"] or ""), bool(said.get("is_error"))
    return Answer(
        texts=() if failed else (text,),
        session=str(said.get("session_id") or ""),
        sent=sum(_count(usage.get(f"{kind}input_tokens")) for kind in ("", "cache_creation_", "cache_read_")),
        received=_count(usage.get("output_tokens")),
        requests=_count(said.get("num_turns")),
        cost=_dollars(said.get("total_cost_usd")),
        error=(text or "it reports an error and says no more") if failed else "",
        refused_writes=tuple(str(path) for path in paths if path),
        models=tuple(name.partition("[")[0] for name in _object(said.get("modelUsage"))),
    )


def _read_codex(stdout: str, stderr: str) -> Answer | None:
    texts: list[str] = []
    session, usage, completed, failed, error = "", {}, 0, False, ""
    for event in _lines(stdout):
        kind, item = event.get("type"), _object(event.get("item"))
        if kind == "thread.started":
            session = str(event.get("thread_id") or "")
        elif kind == "item.completed" and item.get("type") == "agent_message":
            texts.append(str(item.get("text") or ""))
        elif kind == "turn.completed":
            usage, completed = _object(event.get("usage")), completed + 1
        elif kind == "turn.failed":
            failed, error = True, str(_object(event.get("error")).get("message") or error)
        elif kind == "error":  # alone it can be a notice that it connects again
            error = str(event.get("message") or "")
    if not (session or completed or error):
        return None
    if failed or not completed:
        error = error or "its turn did not complete"
    else:
        error = ""
    sent, received = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    return Answer(tuple(texts), session, sent, received, completed, None, error)


def _read_gemini(stdout: str, stderr: str) -> Answer | None:
    # An error comes as the last object of standard error, after warnings and a stack.
    start = stderr.rfind("\n{\n") + 1 if not stderr.startswith("{\n") else 0
    said = _json(stdout) or _json(stderr[start:])
    if said is None or not ("response" in said or "error" in said):
        return None
    error = _object(said.get("error"))
    sent = received = requests = 0
    models = _object(_object(said.get("stats")).get("models"))
    for model in models.values():
        tokens = _object(_object(model).get("tokens"))
        sent += _count(tokens.get("prompt"))
        received += _count(tokens.get("candidates")) + _count(tokens.get("thoughts"))
        requests += _count(_object(_object(model).get("api")).get("totalRequests"))
    return Answer(
        texts=(str(said.get("response") or ""),) if "response" in said else (),
        session=str(said.get("session_id") or "") if "response" in said else "",
        sent=sent,
        received=received,
        requests=requests,
        error=f"{error.get('message') or 'it names no reason'} (code {error.get('code')})" if error else "",
        models=tuple(models),
    )


def _read_opencode(stdout: str, stderr: str) -> Answer | None:
    texts: list[str] = []
    session, error, finished, sent, received = "", "", 0, 0, 0
    cost: float | None = 0.0
    for event in _lines(stdout):
        kind, part = event.get("type"), _object(event.get("part"))
        session = str(event.get("sessionID") or session)
        if kind == "text":
            texts.append(str(part.get("text") or ""))
        elif kind == "step_finish":
            tokens, price = _object(part.get("tokens")), _dollars(part.get("cost"))
            cache = _object(tokens.get("cache"))
            finished += 1
            sent += _count(tokens.get("input")) + _count(cache.get("read")) + _count(cache.get("write"))
            received += _count(tokens.get("output")) + _count(tokens.get("reasoning"))
            cost = None if cost is None or price is None else cost + price
        elif kind == "error":
            data = _object(_object(event.get("error")).get("data"))
            status = f" (status {data['statusCode']})" if "statusCode" in data else ""
            error = f"{data.get('message') or _object(event.get('error')).get('name') or 'no reason given'}{status}"
    if not (session or error):
        return None
    if not finished:
        error, cost = error or "its turn did not complete", None
    return Answer(tuple(texts), session, sent, received, finished, cost, error)


def _providers_of_claude(model: str) -> tuple[str, ...]:
    clouds = {"CLAUDE_CODE_USE_BEDROCK": "bedrock", "CLAUDE_CODE_USE_VERTEX": "vertex_ai"}
    return ("anthropic", *(provider for variable, provider in clouds.items() if os.environ.get(variable)))


def _model_of_codex(home: Path, session: str) -> str:
    """The last one that the record of a conversation names; its form is the command's own affair."""
    files = sorted(home.glob(f".codex/sessions/*/*/*/rollout-*{session}.jsonl")) if session else []
    text = read_bounded(files[-1], 10**7, from_end=True)[0].decode(errors="replace") if files else ""
    named = [_object(line.get("payload")).get("model") for line in _lines(text) if line.get("type") == "turn_context"]
    return next((name for name in reversed(named) if isinstance(name, str)), "")


def _permissions_of_opencode(workspace: Workspace) -> dict[str, str]:
    # What it would ask about ends its turn: nobody answers.
    denied = dict.fromkeys(("bash", "webfetch", "websearch", "external_directory"), "deny")
    edit = {"*": "deny"} | dict.fromkeys(workspace.editable, "allow")
    return {"OPENCODE_PERMISSION": json.dumps({**denied, "edit": edit})}


_CLAUDE = (
    *("-p", "--output-format", "json", "{model}"),
    # Edits in the working directory are accepted; an allowed Edit would be one of every path.
    *("--permission-mode", "acceptEdits", "--disallowedTools", "Bash,WebFetch,WebSearch"),
)
_CODEX = ("--json", "--skip-git-repo-check", "{model}", "-")
_GEMINI = ("{model}", "--approval-mode", "auto_edit", "--skip-trust", "-o", "json")
_OPENCODE = ("run", "--format", "json", "{model}")

CLAUDE = CommandLine(
    program="claude",
    package="@anthropic-ai/claude-code",
    first=_CLAUDE,
    following=(*_CLAUDE, "--resume", "{session}"),
    option="--model",
    read=_read_claude,
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
    first=("exec", "-s", "workspace-write", *_CODEX),
    # `resume` takes no -s, and without the setting it would fall back to the configured sandbox.
    following=("exec", "resume", "{session}", "-c", 'sandbox_mode="workspace-write"', *_CODEX),
    option="-m",
    read=_read_codex,
    configuration=configuration.CODEX,
    providers=lambda model: ("openai",),
    cumulative=True,
    variables=("CODEX_API_KEY",),
    model_told=_model_of_codex,
)

GEMINI = CommandLine(
    program="gemini",
    package="@google/gemini-cli",
    first=_GEMINI,
    following=(*_GEMINI, "--resume", "latest"),  # the latest of this folder, and each workspace has its own
    option="-m",
    read=_read_gemini,
    configuration=configuration.GEMINI,
    providers=lambda model: ("gemini",),
)

OPENCODE = CommandLine(
    program="opencode",
    package="opencode-ai",
    first=_OPENCODE,
    following=(*_OPENCODE, "-s", "{session}"),
    option="-m",
    read=_read_opencode,
    configuration=configuration.OPENCODE,
    providers=lambda model: (model.partition("/")[0],),
    variables=("OPENCODE_API_KEY",),
    environment={"OPENCODE_DISABLE_AUTOUPDATE": "1"},
    permissions=_permissions_of_opencode,
)
