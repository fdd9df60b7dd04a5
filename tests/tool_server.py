"""A scripted server on loopback for the real command-line agents: Anthropic's messages and OpenAI's responses, as streams.

A step is a text, or the name of a tool and what it is called with. Requests beside the conversation (a title, a summary) get a
text and take no step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests.model_server import Exchange, ModelServer

ToolStep = str | tuple[str, Any]


class ToolExchange(Exchange):
    model: ToolServer

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        self.send_bytes(404, b"{}")

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def do_POST(self) -> None:  # noqa: N802
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        of_claude = "/messages" in self.path
        own = {tool.get("name") for tool in self.body.get("tools", [])}
        with self.model.lock:
            is_turn = "Edit" in own if of_claude else "/responses" in self.path
            number = len(self.model.requests)
            if is_turn:
                self.model.requests.append(self.body)
                self.model.keys.append(self.headers.get("x-api-key") or self.headers.get("Authorization", "")[7:])
            step = self.model.steps.pop(0) if is_turn and self.model.steps else "A title"
        if "count_tokens" in self.path:
            self.send_bytes(200, b'{"input_tokens": 10}')
        elif of_claude:
            self._stream(_claude(step, number, self.body.get("model", "")))
        elif is_turn:
            self._stream(_codex(step, number))
        else:
            self.send_bytes(404, b"{}")

    def _stream(self, events: Iterable[dict[str, Any]]) -> None:
        data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


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


def _codex(step: ToolStep, number: int) -> Iterable[dict[str, Any]]:
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
