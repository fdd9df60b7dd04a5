"""The agent `replay`: the replies of a recorded session, given to the real aider by an endpoint on loopback.

So there is one way in which edits are applied, whether a model or a recording answers. A turn is found by its label where
the session has labels, else by its number. aider's reflections (a failed match, lint) take the next reply of the same
turn; replies that nobody asks for are dropped with their turn. Where aider asks for a reply that the session lacks, what was
applied until there counts, as it did for whoever recorded it; where nothing was applied, the session does not fit.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import weakref
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..campaign.errors import InputError
from ..campaign.paths import near
from ..campaign.protocols import AgentConfig, Failure, Reply, Workspace
from ..campaign.usage import Usage
from .aider import AiderAgent, AiderConversation
from .chat_history import Turn, read_session

MODEL = "openai/replay"
_OTHER_CODE = "Nothing was applied: the code is not what it was when the session was recorded."


class ReplayAgent:
    """Answers from `config.session`. Costs nothing, needs no key and no network."""

    def __init__(self, config: AgentConfig) -> None:
        if config.session is None:
            raise InputError("--agent replay: give the recorded session with --session FILE.")
        self._session = config.session
        self._player = Player(config.session, config.on_output)
        self._endpoint = Endpoint(self._player)
        provider = {"OPENAI_API_BASE": self._endpoint.url, "OPENAI_API_KEY": self._endpoint.key}
        # Whoever recorded the session may have had an architect: plan and edits are one reply there.
        self._aider = AiderAgent(replace(config, model=MODEL, architect=None), provider)

    def check(self) -> str:
        self._aider.check()
        turns = self._player.turns
        return f"replay of {near(self._session)} ({len(turns)} turn{'s' * (len(turns) != 1)}), through aider"

    def rehearse(self, workspace: Workspace) -> Failure | None:
        """Play the first turn on a workspace that is thrown away: whether the session fits the code is known before anything
        is executed."""
        player = Player(self._session, lambda line: None)
        self._endpoint.player = player
        conversation = ReplayConversation(player, self._aider.open(workspace))
        failure = conversation.ask("Rehearsal.", turn=0, label="run 1, attempt 1").failure
        conversation.close()
        self._endpoint.player = self._player
        return failure if failure and failure.kind in ("diverged", "session_over") else None

    def open(self, workspace: Workspace, history: Any = None) -> ReplayConversation:
        return ReplayConversation(self._player, self._aider.open(workspace, history))

    def close(self) -> None:
        self._aider.close()
        self._endpoint.close()


class ReplayConversation:
    def __init__(self, player: Player, aider: AiderConversation) -> None:
        self._player = player
        self._aider = aider

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        failure = self._player.begin(turn, label)
        if failure or self._player.is_silent:
            return Reply("", Usage(), failure=failure, history=self._aider.history)
        before = self._aider.files()
        reply = self._aider.ask(text, turn=turn, label=label)
        reply = replace(
            reply,
            usage=replace(reply.usage, cost=0.0),
            agent=f"replay through {reply.agent}" if reply.agent else "",
            models=(),
        )
        lacking = self._player.end()
        if lacking is None:
            return reply
        if self._aider.files() == before and not reply.notes:
            return replace(reply, failure=Failure("diverged", f"{lacking.message} {_OTHER_CODE}"))
        self._player.say(f"{lacking.message} What was applied until there counts.")
        return replace(reply, failure=None, warnings=(*reply.warnings, lacking.message))

    def close(self) -> None:
        self._aider.close()


class Player:
    """Where in the session we are: finds turns and hands out their replies."""

    def __init__(self, session: Path, on_output: Any) -> None:
        self.turns = read_session(session)
        self._session = session
        self.say = on_output
        self._labelled = any(turn.label for turn in self.turns)
        self._next = 0
        self._served = 0
        self._failure: Failure | None = None
        self._current: tuple[str, Turn] | None = None

    def begin(self, number: int, label: str) -> Failure | None:
        """Go to a turn; a failure says that the session does not hold it."""
        found = self._find(number, label)
        if found is None:
            return self._missing(number, label)
        # The first turn that a resumed campaign asks for is not its first: those before were asked for by another process.
        for turn in self.turns[self._next : found] if self._current else ():
            self.say(f"{self._session}: {_name(turn)} was not asked for; skipped with its {_count(len(turn.replies))}")
        if unanswered := self.turns[found].unanswered:
            prompts = _count(unanswered, "prompt", "prompts")
            self.say(f"{self._session}: {prompts} before this turn got no reply when it was recorded")
        self._current = (label if self._labelled else f"turn {number}", self.turns[found])
        self._next = found + 1
        self._served = 0
        self._failure = None
        if self.is_silent:
            self.say(f"{self._session}: {label} got no reply when it was recorded, and gets none now")
        return None

    @property
    def is_silent(self) -> bool:
        """Whether the turn in hand has no recorded reply."""
        return self._current is not None and not self._current[1].replies

    def reply(self, asked: str) -> str | None:
        """The next reply of the turn; None when it has no further one for what was `asked`."""
        assert self._current is not None
        name, turn = self._current
        if self._served == len(turn.replies):
            self._failure = Failure(
                "diverged",
                f"{self._session} holds {_count(len(turn.replies))} for {name}, and aider asked for one more:\n"
                f"{_start(asked)}\n",
            )
            return None
        self._served += 1
        return turn.replies[self._served - 1]

    def end(self) -> Failure | None:
        """What went wrong in the turn, if something did."""
        assert self._current is not None
        name, turn = self._current
        left = len(turn.replies) - self._served
        if left and not self._failure:
            self.say(f"{self._session}: {_count(left)} of {name} not asked for, dropped")
        return self._failure

    def _find(self, number: int, label: str) -> int | None:
        if not self._labelled:
            return number if number < len(self.turns) else None
        places = [place for place, turn in enumerate(self.turns) if turn.label == label]
        # A turn that was interrupted is asked for again: then it lies behind.
        ahead = [place for place in places if place >= self._next]
        return ahead[0] if ahead else places[-1] if places else None

    def _missing(self, number: int, label: str) -> Failure:
        last = _order(self.turns[-1].label or "")
        asked = _order(label)
        if not self._labelled or (last and asked and asked > last) or self._next == len(self.turns):
            message = f"{self._session} is at its end: it holds {_count(len(self.turns), 'turn', 'turns')}"
            return Failure("session_over", f"{message}, and {label} (turn {number}) was asked for.")
        expected = self.turns[self._next]
        return Failure(
            "diverged",
            f"{self._session} does not hold {label} (turn {number} of the campaign); its next is {_name(expected)}. The "
            "campaign took another way than when the session was recorded.",
        )


class Endpoint:
    """An OpenAI-compatible server on loopback that answers with the player's replies. It wants its own key."""

    def __init__(self, player: Player) -> None:
        self.player = player
        endpoint = self
        self.key = "replay-" + secrets.token_hex(16)
        key = self.key

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Authorization") != f"Bearer {key}":
                    self._send(401, {"error": {"message": "this server replays a session for one campaign only"}})
                    return
                asked = json.loads(body)["messages"][-1]["content"]
                text = endpoint.player.reply(asked if isinstance(asked, str) else json.dumps(asked))
                if text is None:
                    self._send(400, {"error": {"message": "the recorded session has no further reply"}})
                    return
                self._send(200, completion(text, len(body) // 4, len(text) // 4))

            def _send(self, status: int, answer: dict[str, Any]) -> None:
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        self._finish = weakref.finalize(self, _shut_down, server)

    def close(self) -> None:
        self._finish()


def completion(text: str, sent: int, received: int) -> dict[str, Any]:
    """A chat completion as OpenAI's API answers it. The numbers of tokens are estimates, four characters each."""
    return {
        "id": "replay",
        "object": "chat.completion",
        "created": 0,
        "model": "replay",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received},
    }


def _shut_down(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


def _order(label: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"run (\d+), attempt (\d+)", label)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _name(turn: Turn) -> str:
    return turn.label or f"the turn {turn.prompt[:40]!r}"


def _count(number: int, one: str = "reply", many: str = "replies") -> str:
    return f"{number} {one if number == 1 else many}"


def _start(text: str) -> str:
    """The beginning of a text, whole lines of it, or whole words of a line that is too long."""
    if len(text) <= 600:
        return text
    start = text[:600]
    return f"{start[: max(start.rfind(chr(10)), start.rfind(' '), 1)].rstrip()} [...]"
