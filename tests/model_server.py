"""A scripted OpenAI-compatible server on loopback: each request takes the next step of the script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import HANGS

Step = str | Callable[["Exchange"], None]
"""A reply's text, or a function that answers in its own way."""


class Exchange(BaseHTTPRequestHandler):
    """One request in hand; the steps below answer it."""

    model: ModelServer
    body: dict[str, Any]

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.model.lock:
            self.model.requests.append(self.body)
            self.model.keys.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
            step = self.model.script.pop(0) if self.model.script else status(418, "the script has no further step")
        if isinstance(step, str):
            step = answer(step)
        step(self)

    def do_GET(self) -> None:
        found = self.model.facts.get(self.path)
        self.send_bytes(404 if found is None else 200, json.dumps(found).encode())

    def send_bytes(self, code: int, data: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        return


class ModelServer:
    """Use as a context manager. `requests` are the bodies received, `keys` the keys that came with them."""

    exchange: type[Exchange] = Exchange

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.facts: dict[str, Any] = {}
        """What a GET of a path answers."""
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.script: list[Step] = []
        self.hanging = threading.Event()
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (self.exchange,), {"model": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def says(self, *script: Step) -> None:
        """Start over with this script."""
        with self.lock:
            self.script = list(script)
            self.requests.clear()
            self.keys.clear()
            self.hanging.clear()

    def __enter__(self) -> ModelServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def answer(text: str | None, sent: int = 1000, received: int = 100, finish: str = "stop", model: str = "") -> Step:
    """A completion with this usage."""

    def step(exchange: Exchange) -> None:
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}
        data = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": model or exchange.body["model"],
            "choices": [{"index": 0, "finish_reason": finish, "message": message}],
            "usage": usage,
        }
        exchange.send_bytes(200, json.dumps(data).encode())

    return step


def status(code: int, message: str, error_code: str | None = None) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.send_bytes(code, json.dumps({"error": {"message": message, "code": error_code}}).encode())

    return step


def refuses_key(exchange: Exchange) -> None:
    """A provider that says in its error which key it got, and where to read on."""
    key = exchange.headers.get("Authorization", "").removeprefix("Bearer ")
    text = f"Incorrect API key provided: {key}. See https://127.0.0.1/keys"
    exchange.send_bytes(401, json.dumps({"error": {"message": text, "code": "invalid_api_key"}}).encode())


def garbage(exchange: Exchange) -> None:
    exchange.send_bytes(200, b"<html>502 Bad Gateway \xff\x00")


def no_choices(exchange: Exchange) -> None:
    exchange.send_bytes(200, json.dumps({"id": "x", "object": "chat.completion", "created": 1, "choices": []}).encode())


def hang(exchange: Exchange) -> None:
    exchange.model.hanging.set()
    exchange.model.ended.wait(HANGS)
    exchange.close_connection = True


def trickle(exchange: Exchange) -> None:
    """A server that keeps the connection alive with a space now and then, and never answers."""
    exchange.send_response(200)
    exchange.send_header("Content-Type", "application/json")
    exchange.end_headers()
    try:
        while not exchange.model.ended.wait(0.2):
            exchange.wfile.write(b" ")
            exchange.wfile.flush()
    except OSError:
        exchange.close_connection = True


def drop(exchange: Exchange) -> None:
    """Close the connection without an answer."""
    exchange.close_connection = True
    exchange.connection.close()
