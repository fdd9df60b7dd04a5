"""A scripted server on loopback for the real command-line agents: Anthropic's messages, OpenAI's responses and completions,
Gemini's contents, as streams.

A step is a text, or the name of a tool and what it is called with. Requests beside the conversation (a title, a summary) get a
text and take no step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from tests.model_server import Exchange, ModelServer

ToolStep = str | tuple[str, Any]


class ToolExchange(Exchange):
    model: ToolServer

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        self.send_bytes(404, b"{}")

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def do_POST(self) -> None:  # noqa: N802
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        kind = next((each for each in _KINDS if each.path in self.path), None)
        if kind is None or "count_tokens" in self.path:
            self.send_bytes(200 if kind else 404, b'{"input_tokens": 10}')
            return
        is_turn = kind.edits in kind.tools(self.body) if kind.edits else True
        with self.model.lock:
            number = len(self.model.requests)
            if is_turn:
                self.model.requests.append(self.body)
                self.model.keys.append(self._key())
            step = self.model.steps.pop(0) if is_turn and self.model.steps else "A title"
        self._stream(kind.answer(step, number, self.body.get("model", "")))

    def _key(self) -> str:
        told = self.headers.get("x-api-key") or self.headers.get("x-goog-api-key")
        return told or self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _stream(self, events: Iterable[dict[str, Any]]) -> None:
        data = "".join(
            (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n" for event in events
        )
        if "/chat/completions" in self.path:
            data += "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data.encode())))
        self.end_headers()
        self.wfile.write(data.encode())


class ToolServer(ModelServer):
    exchange = ToolExchange

    def __init__(self, steps: Sequence[ToolStep]) -> None:
        super().__init__()
        self.steps = list(steps)


def _claude(step: ToolStep, number: int, model: str) -> Iterable[dict[str, Any]]:
    block: dict[str, Any]
    if isinstance(step, str):
        block, delta, stop = {"type": "text", "text": ""}, {"type": "text_delta", "text": step}, "end_turn"
    else:
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": step[0], "input": {}}
        delta, stop = {"type": "input_json_delta", "partial_json": json.dumps(step[1])}, "tool_use"
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "content": []}
    yield {"type": "message_start", "message": message | {"usage": {"input_tokens": 100, "output_tokens": 1}}}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 10}}
    yield {"type": "message_stop"}


def _codex(step: ToolStep, number: int, model: str) -> Iterable[dict[str, Any]]:
    item: dict[str, Any] = {"id": f"item_{number}", "call_id": f"call_{number}"}
    if isinstance(step, str):
        text = {"type": "output_text", "text": step}
        item = {"type": "message", "id": f"item_{number}", "role": "assistant", "content": [text]}
    elif isinstance(step[1], str):
        item |= {"type": "custom_tool_call", "name": step[0], "input": step[1]}
    else:
        item |= {"type": "function_call", "name": step[0], "arguments": json.dumps(step[1])}
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    nothing = {"input_tokens_details": None, "output_tokens_details": None}
    yield {"type": "response.created", "response": {"id": f"response_{number}"}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": {"id": f"response_{number}", "usage": usage | nothing}}


def _gemini(step: ToolStep, number: int, model: str) -> Iterable[dict[str, Any]]:
    part = {"text": step} if isinstance(step, str) else {"functionCall": {"name": step[0], "args": step[1]}}
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    yield {"candidates": [candidate], "usageMetadata": usage}


def _opencode(step: ToolStep, number: int, model: str) -> Iterable[dict[str, Any]]:
    delta: dict[str, Any] = {"role": "assistant", "content": step}
    if not isinstance(step, str):
        called = {"name": step[0], "arguments": json.dumps(step[1])}
        delta = {
            "role": "assistant",
            "tool_calls": [{"index": 0, "id": f"call_{number}", "type": "function", "function": called}],
        }
    common = {"id": f"chat_{number}", "object": "chat.completion.chunk", "created": 1, "model": model}
    yield common | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    ended = {"index": 0, "delta": {}, "finish_reason": "stop" if isinstance(step, str) else "tool_calls"}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    yield common | {"choices": [ended], "usage": usage}


class _Kind(NamedTuple):
    """A provider's interface: a part of its path, the tool by which a request is known as one of the conversation ("" where all
    are), the names of a request's tools, and the events of an answer."""

    path: str
    edits: str
    tools: Callable[[dict[str, Any]], set[str]]
    answer: Callable[[ToolStep, int, str], Iterable[dict[str, Any]]]


def _named(body: dict[str, Any]) -> set[str]:
    return {tool.get("name") for tool in body.get("tools", [])}


def _functions(body: dict[str, Any]) -> set[str]:
    return {tool.get("function", {}).get("name") for tool in body.get("tools", [])}


def _declared(body: dict[str, Any]) -> set[str]:
    return {each["name"] for tool in body.get("tools", []) for each in tool.get("functionDeclarations", [])}


_KINDS = (
    _Kind("/messages", "Edit", _named, _claude),
    _Kind("/responses", "", _named, _codex),
    _Kind("/chat/completions", "edit", _functions, _opencode),
    _Kind("GenerateContent", "replace", _declared, _gemini),
)
