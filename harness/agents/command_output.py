"""What coding agents that are commands print, and what it says: answer, usage, failure.

As seen with Claude Code 2.1, Codex 0.171, Gemini CLI 0.61 and opencode 1.18, each against a server on loopback. A reader
believes nothing about types: what is missing or odd counts as not told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


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
    status: int | None = None
    """The HTTP status of the error, where it is told."""
    refused_writes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """What else it wanted to do and was not permitted to: the tool, and what it is about."""
    models: tuple[str, ...] = ()
    """Those that answered, as the command names them."""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15 else 0


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dollars(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9 else None


def _status(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600 else None


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _last_object(text: str) -> dict[str, Any] | None:
    """The object that `text` is, or ends with: below warnings, a stack, lines of its own."""
    if (value := _json(text)) is not None:
        return value
    starts = [found.start() for found in re.finditer(r"^\{", text, re.MULTILINE)]
    return next((value for start in reversed(starts[-20:]) if (value := _json(text[start:])) is not None), None)


def json_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.split("\n"):
        value = _json(line)
        if value is not None:
            yield value


_RETRY = re.compile(
    r"reconnecting|retrying|attempt \d+ failed|rate.?limit|too many requests|overloaded|\b429\b", re.IGNORECASE
)


def notices(lines: str) -> Iterator[str]:
    """What an output says, while a turn goes on, of a request that is repeated."""
    for line in lines.split("\n"):
        event = _json(line)
        if event is None:
            said = line
        else:
            said = str(event.get("message") or "") if event.get("type") == "error" else ""
        if _RETRY.search(said):
            yield said.strip()[:300]


def _wanted(tool: Any, given: Any) -> str:
    """A tool call in a few words: `Read /etc/passwd`."""
    about = [
        each for key, each in as_object(given).items() if isinstance(each, str) and re.search("path|command|url", key, re.I)
    ]
    return " ".join([str(tool), *about[:1]])[:300]


def read_claude(stdout: str, stderr: str) -> Answer | None:
    said = _last_object(stdout)
    if said is None or not ("result" in said or said.get("type") == "result"):
        return None
    usage = as_object(said.get("usage"))
    models = [as_object(each) for each in as_object(said.get("modelUsage")).values()]
    if models:  # with subagents and side requests, and also when the stream of the main ones broke
        kinds = ("inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens")
        sent = sum(_count(each.get(kind)) for each in models for kind in kinds)
        received = sum(_count(each.get("outputTokens")) for each in models)
    else:
        sent = sum(_count(usage.get(f"{kind}input_tokens")) for kind in ("", "cache_creation_", "cache_read_"))
        received = _count(usage.get("output_tokens"))
    denials = [as_object(each) for each in _list(said.get("permission_denials"))]
    writes = [as_object(each.get("tool_input")).get("file_path") for each in denials if each.get("tool_name") != "Read"]
    others = [
        each for each in denials if each.get("tool_name") == "Read" or "file_path" not in as_object(each.get("tool_input"))
    ]
    errors = [str(each) for each in _list(said.get("errors"))]
    text = str(said.get("result") or "")
    failed = bool(said.get("is_error")) or "result" not in said
    return Answer(
        texts=() if failed else (text,),
        session=str(said.get("session_id") or ""),
        sent=sent,
        received=received,
        requests=_count(said.get("num_turns")),
        cost=_dollars(said.get("total_cost_usd")),
        error=(text or "; ".join(errors) or f"it ended with {said.get('subtype')} and says no more") if failed else "",
        status=_status(said.get("api_error_status")),
        refused_writes=tuple(dict.fromkeys(str(path) for path in writes if path)),
        refused=tuple(dict.fromkeys(_wanted(each.get("tool_name"), each.get("tool_input")) for each in others)),
        models=tuple(name.partition("[")[0] for name in as_object(said.get("modelUsage"))),
    )


def read_codex(stdout: str, stderr: str) -> Answer | None:
    texts: list[str] = []
    session, usage, completed, failed, error = "", {}, 0, False, ""
    for event in json_lines(stdout):
        kind, item = event.get("type"), as_object(event.get("item"))
        if kind == "thread.started":
            session = str(event.get("thread_id") or "")
        elif kind == "item.completed" and item.get("type") == "agent_message":
            texts.append(str(item.get("text") or ""))
        elif kind == "turn.completed":
            usage, completed = as_object(event.get("usage")), completed + 1
        elif kind == "turn.failed":
            failed, error = True, str(as_object(event.get("error")).get("message") or error)
        elif kind == "error":  # alone it can be a notice that it connects again
            error = str(event.get("message") or "")
    if not (session or completed or error):
        return None
    if failed or not completed:
        error = error or "its turn did not complete"
    else:
        error = ""
    status = re.search(r"status:? (\d{3})\b", error)
    return Answer(
        texts=tuple(texts),
        session=session,
        sent=_count(usage.get("input_tokens")),
        received=_count(usage.get("output_tokens")),
        requests=completed,
        error=error,
        status=_status(int(status[1])) if status else None,
    )


def read_gemini(stdout: str, stderr: str) -> Answer | None:
    # An error comes as the last object of standard error, after warnings and a stack.
    said = next(
        (each for text in (stdout, stderr) if (each := _last_object(text)) and {"response", "error"} & each.keys()), None
    )
    if said is None:
        return None
    error, stats = as_object(said.get("error")), as_object(said.get("stats"))
    sent = received = requests = 0
    models = as_object(stats.get("models"))
    for model in models.values():
        tokens = as_object(as_object(model).get("tokens"))
        sent += _count(tokens.get("prompt"))
        received += _count(tokens.get("candidates")) + _count(tokens.get("thoughts"))
        requests += _count(as_object(as_object(model).get("api")).get("totalRequests"))
    tools = as_object(as_object(stats.get("tools")).get("byName"))
    return Answer(
        texts=(str(said.get("response") or ""),) if "response" in said else (),
        session=str(said.get("session_id") or "") if "response" in said else "",
        sent=sent,
        received=received,
        requests=requests,
        error=f"{error.get('message') or 'it names no reason'} (code {error.get('code')})" if error else "",
        status=_status(error.get("code")),
        models=tuple(models),
        refused=tuple(
            name for name, tool in tools.items() if _count(as_object(as_object(tool).get("decisions")).get("reject"))
        ),
    )


def read_opencode(stdout: str, stderr: str) -> Answer | None:
    texts: list[str] = []
    refused: list[str] = []
    session, error, status, finished, sent, received = "", "", None, 0, 0, 0
    cost: float | None = 0.0
    for event in json_lines(stdout):
        kind, part = event.get("type"), as_object(event.get("part"))
        session = str(event.get("sessionID") or session)
        if kind == "text":
            texts.append(str(part.get("text") or ""))
        elif kind == "tool_use":
            state = as_object(part.get("state"))
            if state.get("status") == "error" and re.search("permission|rejected|denied", str(state.get("error")), re.I):
                refused.append(_wanted(part.get("tool"), state.get("input")))
        elif kind == "step_finish":
            tokens, price = as_object(part.get("tokens")), _dollars(part.get("cost"))
            cache = as_object(tokens.get("cache"))
            finished += 1
            sent += _count(tokens.get("input")) + _count(cache.get("read")) + _count(cache.get("write"))
            received += _count(tokens.get("output")) + _count(tokens.get("reasoning"))
            cost = None if cost is None or price is None else cost + price
        elif kind == "error":
            data = as_object(as_object(event.get("error")).get("data"))
            status = _status(data.get("statusCode"))
            told = f" (status {data['statusCode']})" if "statusCode" in data else ""
            error = f"{data.get('message') or as_object(event.get('error')).get('name') or 'no reason given'}{told}"
    if not (session or error):
        return None
    if not refused:  # what it does not report it still writes down
        refused = re.findall(r"permission requested: (.{1,200}?); auto-rejecting", stderr)
    if not finished:
        error, cost = error or "its turn did not complete", None
    refused = list(dict.fromkeys(refused))
    return Answer(tuple(texts), session, sent, received, finished, cost, error, status, refused=tuple(refused))
