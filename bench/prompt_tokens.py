"""How many tokens the requests of `make run`'s campaign take, counted at the model's server.

    python bench/prompt_tokens.py

The campaign of `make run` (`ideas/hierarchy.json`, profile `synthetic`, its experiments really executed), with aider as for
any model; a server on loopback stands in for the model and answers with the replies of `sessions/hierarchy.md`. What counts
is each request as it arrives, all of its messages: aider's own prompt, the files in the chat, the brief, and what was said
before in the same run. Tokens are those of aider's tokenizer for gpt-4o, with the 3 that frame each message, without
network; `harness agents install aider` makes its environment. The last line of the output is one JSON object; the exit code
is 1 where the average is not below the goal.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import mean
from typing import Any

from harness.agents.aider import AiderAgent
from harness.agents.chat_history import read_session
from harness.agents.replay import completion
from harness.campaign.campaign import Options, create_campaign
from harness.campaign.idea import load_ideas
from harness.campaign.protocols import AgentConfig, Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on

ROOT = Path(__file__).resolve().parents[1]
GOAL = 7_000
MODEL = "gpt-4o"
FRAME = 3
"""Tokens around each message of a request, as the OpenAI API counts them."""
PARTS = ("prompt", "files", "brief", "earlier")
"""aider's own prompt; the files in the chat; what is asked now; what was said before in the same conversation."""

Messages = list[dict[str, Any]]


class Server:
    """Answers with the replies of a recorded session, whose turns it finds by the label that stands in each brief."""

    def __init__(self, session: Path) -> None:
        self.requests: list[tuple[str, Messages]] = []
        turns = {turn.label: turn.replies for turn in read_session(session)}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
                label = re.findall(r"This is (run \d+, attempt \d+)", json.dumps(messages))[-1]
                replies, served = turns[label], sum(each == label for each, _ in server.requests)
                server.requests.append((label, messages))
                data = json.dumps(completion(replies[min(served, len(replies) - 1)], 0, 0)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


def requests_of_campaign() -> list[tuple[str, Messages]]:
    """The label and the messages of each request, in the order in which they came."""
    server = Server(ROOT / "sessions" / "hierarchy.md")
    os.environ |= {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "none"}
    with tempfile.TemporaryDirectory() as folder:
        idea = load_ideas(ROOT / "ideas" / "hierarchy.json").choose(None)
        options = Options(profile="synthetic", model="openai/recorded", max_runs=10)
        campaign = create_campaign(Path(folder), idea, ROOT, options, python=sys.executable)
        ending = go_on(campaign, view=Silent(), stop=Stop())
    if ending.exit_code:
        sys.exit(f"the campaign ended early: {ending.message}")
    return server.requests


def parts(messages: Messages, agent: AiderAgent) -> Counter[str]:
    """The tokens of each part of a request."""
    found: Counter[str] = Counter()
    part = "prompt"
    for place, message in enumerate(messages):
        text = (
            message["content"]
            if isinstance(message["content"], str)
            else "\n".join(each["text"] for each in message["content"])
        )
        if text.startswith("# The idea") or "\n# The idea" in text or (message["role"] == "assistant" and part == "files"):
            part = "earlier"
        if "*added these files to the chat*" in text:
            part = "files"
        elif part == "files" and message["role"] == "user":
            part = "earlier"
        found["brief" if place == len(messages) - 1 else part] += agent.count_tokens(text, MODEL) + FRAME
    return found


def main() -> int:
    agent = AiderAgent(AgentConfig(model=MODEL), provider={})
    try:
        counted = [(label, parts(messages, agent)) for label, messages in requests_of_campaign()]
    finally:
        agent.close()
    print(f"{'request':<20}{'total':>8}" + "".join(f"{part:>9}" for part in PARTS))
    for label, tokens in counted:
        print(f"{label:<20}{tokens.total():>8,}" + "".join(f"{tokens[part]:>9,}" for part in PARTS))
    average = round(mean(tokens.total() for _, tokens in counted))
    means = {part: round(mean(tokens[part] for _, tokens in counted)) for part in PARTS}
    print(f"{'average':<20}{average:>8,}" + "".join(f"{means[part]:>9,}" for part in PARTS))
    print(json.dumps({"goal": GOAL, "model": MODEL, "requests": len(counted), "average": average, **means}))
    return 0 if average < GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
