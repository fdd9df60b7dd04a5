"""A scripted agent: an ordinary back end whose turns stand in a JSON file, found by their label.

    {"run 1, attempt 1": {"text": "HYPOTHESIS: ...", "edits": [["experiment.py", "old", "new"]]}}

`{workspace}` in a text is the agent's folder. Other keys of a turn: "files" (path -> whole content), "fail" (kinds of failure,
one a try), "edits_first" (also in a try that fails), "until" (a file that it waits for), "cost" (in dollars; null: unknown),
"limit" (seconds from now until the limit of a failure `rate` ends), "interrupt" (Ctrl-C twice, in the first try).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from harness.campaign.protocols import AgentConfig, Failure, Reply, Workspace
from harness.campaign.usage import Usage

TRIED: dict[tuple[Path, str], int] = {}
"""How often a turn of a script was tried, over all conversations of this process."""


class ScriptedAgent:
    def __init__(self, config: AgentConfig) -> None:
        self.config = config

    def check(self) -> str:
        return "scripted"

    def open(self, workspace: Workspace, history: Any = None) -> ScriptedConversation:
        assert self.config.session is not None
        return ScriptedConversation(self.config.session, workspace, history or [])

    def close(self) -> None:
        pass


class ScriptedConversation:
    def __init__(self, file: Path, workspace: Workspace, history: list[str]) -> None:
        self.file = file
        self.script: dict[str, Any] = json.loads(file.read_text())
        self.workspace = workspace
        self.history = list(history)

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        entry = self.script.get(label, {})
        usage = Usage(sent=len(text) // 4, received=10, cost=entry.get("cost", 0.01), seconds=0.01, requests=1)
        if label not in self.script:
            return Reply("", usage, failure=Failure("session_over", f"nothing for {label}"))
        log = Path(self.script["log"]) if "log" in self.script else None
        if log is not None:
            with log.open("a") as file:
                file.write(label + "\n")
        while "until" in entry and not Path(entry["until"]).exists():
            time.sleep(0.02)
        tried = TRIED.get((self.file, label), 0)
        TRIED[self.file, label] = tried + 1
        self.history.append(label)
        if entry.get("interrupt") and not tried:
            raise KeyboardInterrupt
        fails = tried < len(entry.get("fail", []))
        if not fails or entry.get("edits_first"):
            for path, old, new in entry.get("edits", []):
                file = self.workspace.root / path
                source = file.read_text()
                assert old in source, f"{label}: {old!r} is not in {path}"
                file.write_text(source.replace(old, new))
        if fails:
            kind = entry["fail"][tried]
            lost = Usage(cost=None, seconds=0.01, lost=1)  # as aider has it
            until = time.time() + entry["limit"] if "limit" in entry else None
            failure = Failure(kind, "the script says so", until=until)
            return Reply("", lost if kind in ("died", "timeout") else usage, failure=failure)
        for path, content in entry.get("files", {}).items():
            file = self.workspace.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        said = entry.get("text", "").replace("{workspace}", str(self.workspace.root))
        return Reply(said, usage, replies=(said,), history=self.history)

    def close(self) -> None:
        pass
