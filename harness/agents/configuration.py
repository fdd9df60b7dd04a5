"""The configurations of command-line agents: where each has its login and settings, and what of a person's settings says
which provider is asked, and how. Instructions, hooks and MCP servers are not among that.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..campaign.files import read_bounded

MAX_SIZE = 10**6
"""Bytes of a login or of settings; more is neither."""
_MOVED = {
    "CLAUDE_CONFIG_DIR": ".claude",
    "CODEX_HOME": ".codex",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
}
"""Variables by which a person has a folder of the home folder elsewhere."""
_JSON_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


@dataclass(frozen=True)
class Carried:
    """What of a person's settings goes along: settings, as the tool reads them, and variables of the environment."""

    settings: str = ""
    model: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """By name; where the value is empty it is the person's own variable of that name."""


@dataclass(frozen=True)
class Configuration:
    """Where a tool has its login and its settings, by their places in a home folder."""

    folder: str
    login: str
    settings: tuple[str, ...]
    """The first is what is written; of a person the first that is there is read."""
    carry: Callable[[str], Carried]
    """From the text of a person's settings, "" where there are none."""
    variable: str = ""
    """Names the folder to the tool."""
    key: tuple[str, str] | None = None
    """The variable that it reads a key from, and the one that people have it in."""
    conversations: tuple[str, ...] = ()
    """What in the folder is no configuration but what was said and done."""
    beside: str = ""
    """A file beside the folder that belongs into it where the person has not moved it."""


def persons(place: str) -> Path:
    """Where a person has what stands at `place` of a home folder."""
    for variable, folder in _MOVED.items():
        if place.startswith(f"{folder}/") and os.environ.get(variable):
            return Path(os.environ[variable], place.removeprefix(f"{folder}/"))
    return Path.home() / place


def text_of(path: Path) -> str:
    return read_bounded(path.resolve(), MAX_SIZE)[0].decode(errors="replace")


def object_of(content: str | bytes) -> Any:
    """What JSON says, None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _settings(text: str) -> dict[str, Any]:
    """JSON, with the comments and last commas that tools allow in it."""
    found = object_of(_JSON_COMMENT.sub(lambda each: each[1] or "", text) or "null")
    return found if isinstance(found, dict) else {}


def _only(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}


def _as_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=1) + "\n" if settings else ""


_OF_CLAUDE = re.compile(
    r"ANTHROPIC_|CLAUDE_CODE_USE_|AWS_|GOOGLE_|CLOUD_ML_REGION|VERTEX|CLAUDE_CODE_(SKIP|OAUTH|MAX_OUTPUT)|HTTPS?_PROXY"
)


def _of_claude(text: str) -> Carried:
    settings = _settings(text)
    given = settings.get("env")
    variables = {
        name: str(value) for name, value in (given if isinstance(given, dict) else {}).items() if _OF_CLAUDE.match(name)
    }
    return Carried(_as_json(_only(settings, "model", "apiKeyHelper", "forceLoginMethod")), variables=variables)


def _of_codex(text: str) -> Carried:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        settings = {}
    kept = _only(
        settings,
        *("model", "model_provider", "model_providers", "model_reasoning_effort", "model_context_window"),
        *("openai_base_url", "chatgpt_base_url", "preferred_auth_method", "forced_login_method", "oss_provider"),
    )
    if base := os.environ.get("OPENAI_BASE_URL"):
        kept.setdefault("openai_base_url", base)  # it reads no variable for it
    provider = kept.get("model_providers", {}).get(kept.get("model_provider"), {})
    headers = provider.get("env_http_headers")
    named = [provider.get("env_key"), *(headers.values() if isinstance(headers, dict) else ())]
    lines = [f"{name} = {_as_toml(value)}\n" for name, value in kept.items()]
    return Carried("".join(lines), str(kept.get("model") or ""), {str(name): "" for name in named if name})


def _as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {_as_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    return json.dumps(value, default=str)


def _of_gemini(text: str) -> Carried:
    settings = _settings(text)
    variables = {
        name: value.strip("\"'")
        for name, value in re.findall(
            r"^\s*(?:export\s+)?((?:GEMINI|GOOGLE)_\w+)=(.*?)\s*$", text_of(persons(".gemini/.env")), re.M
        )
    }
    kept = _only(settings, "model")
    security = settings.get("security")
    chosen = security.get("auth") if isinstance(security, dict) else None
    if not isinstance(chosen, dict) and ("GEMINI_API_KEY" in variables or os.environ.get("GEMINI_API_KEY")):
        chosen = {"selectedType": "gemini-api-key"}  # with another base URL it wants to be told
    if isinstance(chosen, dict):
        kept["security"] = {"auth": chosen}
    return Carried(_as_json(kept), variables=variables)


def _of_opencode(text: str) -> Carried:
    named = os.environ.get("OPENCODE_CONFIG")
    settings = _settings(text) | (_settings(text_of(Path(named))) if named else {})
    kept = _only(settings, "provider", "model", "small_model", "enabled_providers", "disabled_providers")
    # Values may name variables: {env:NAME}.
    names = re.findall(r"\{env:(\w+)\}", json.dumps(kept.get("provider", {})))
    return Carried(_as_json(kept), str(kept.get("model") or ""), dict.fromkeys(names, ""))


CLAUDE = Configuration(
    folder=".claude",
    login=".claude/.credentials.json",
    settings=(".claude/settings.json",),
    carry=_of_claude,
    variable="CLAUDE_CONFIG_DIR",
    conversations=(
        "projects",
        "todos",
        "sessions",
        "session-env",
        "file-history",
        "shell-snapshots",
        "history.jsonl",
        "debug",
        "telemetry",
        "backups",
        "local",
    ),
    beside=".claude.json",
)
CODEX = Configuration(
    folder=".codex",
    login=".codex/auth.json",
    settings=(".codex/config.toml",),
    carry=_of_codex,
    variable="CODEX_HOME",
    key=("CODEX_API_KEY", "OPENAI_API_KEY"),
    conversations=(
        "sessions",
        "archived_sessions",
        "log",
        "history.jsonl",
        "*.sqlite*",
        "shell_snapshots",
        "tmp",
        ".tmp",
        "packages",
    ),
)
GEMINI = Configuration(
    folder=".gemini",
    login=".gemini/oauth_creds.json",
    settings=(".gemini/settings.json",),
    carry=_of_gemini,
    conversations=("tmp", "history"),
)
OPENCODE = Configuration(
    folder=".config/opencode",
    login=".local/share/opencode/auth.json",
    settings=(".config/opencode/opencode.json", ".config/opencode/opencode.jsonc"),
    carry=_of_opencode,
)
