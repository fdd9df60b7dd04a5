"""The real command-line agents, from npm, in whole campaigns against a scripted server on loopback.

They are installed once into the harness's cache folder. Where that cannot be done in good time, the tests skip and say so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.journal import read_events
from harness.campaign.paths import cache_folder
from harness.campaign.protocols import Silent
from harness.campaign.record import Record
from harness.campaign.stop import Stop
from harness.execution.executors.sandbox import available
from harness.loop import go_on
from tests.tool_server import ToolServer, ToolStep

PACKAGES = {"claude": "@anthropic-ai/claude-code@2.1.197", "codex": "@openai/codex@0.171.0"}
INSTALLED_WITHIN = 60
"""Seconds; a registry that takes longer is as good as none."""
KEY = "sk-a-key-of-nobody"


def installed(name: str) -> Path:
    """The folder with the tool's command; skips where there is none."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    folder = cache_folder() / "test-tools" / PACKAGES[name].replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGES[name]]
            try:
                subprocess.run(command, capture_output=True, timeout=INSTALLED_WITHIN, check=True)
            except (OSError, subprocess.SubprocessError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                pytest.skip(f"{PACKAGES[name]} cannot be installed: {error}")
            (folder / "complete").touch()
    return folder / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def claude() -> Path:
    return installed("claude")


@pytest.fixture(scope="module")
def codex() -> Path:
    return installed("codex")


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person with instructions, a hook and a secret at home, and one provider's key."""
    home = tmp_path / "person"
    for name in (".claude", ".codex"):
        (home / name).mkdir(parents=True)
    (home / ".claude/CLAUDE.md").write_text("THE PERSON'S INSTRUCTIONS")
    (home / ".codex/AGENTS.md").write_text("THE PERSON'S INSTRUCTIONS")
    (home / ".claude/settings.json").write_text(
        '{"hooks": {"UserPromptSubmit": [{"hooks": [{"type": "command", "command": "touch ~/hook_ran"}]}]}}'
    )
    monkeypatch.setenv("HOME", str(home))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "CODEX_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def campaign_of(tmp_path: Path, experiment: Path, monkeypatch: pytest.MonkeyPatch, person: Path):
    def make(tool: str, program: Path) -> Campaign:
        monkeypatch.setenv("PATH", f"{program}{os.pathsep}{os.environ['PATH']}")
        (tmp_path / "CLAUDE.md").write_text("INSTRUCTIONS OF A FOLDER ABOVE")
        return create_campaign(
            tmp_path / "runs",
            Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
            experiment,
            Options(agent=tool, model="a-model", max_runs=2, max_attempts=3),
            python=sys.executable,
        )

    return make


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


def check(campaign: Campaign, server: ToolServer, tool: str, version: str) -> None:
    """The campaign has gone from an edit that crashed through its repair in the same conversation to ALL_COMPLETED."""
    ending = go_on(campaign, view=Silent(), stop=Stop())
    failed = [event["message"] for event in read_events(campaign.journal) if event["event"] == "turn_failed"]
    assert ending.reason == "all_completed", (ending, failed)
    record = Record.read(campaign.run_folder(1))
    assert [attempt.status for attempt in record.attempts] == ["smoke_test_failed", "completed"]
    assert (record.agent, record.models) == (f"{tool} {version}", ["a-model"])
    assert record.agent_sandbox.startswith(str(available()))
    said = ["\n".join(texts(request)) for request in server.requests]
    first, repair = said[0], next(text for text in said if "attempt 2" in text or "ValueError" in text)
    assert "Break it first." in repair and "Make the loss smaller." in first
    assert not any("INSTRUCTIONS" in text for text in said)
    assert not any("as it was measured" in text for text in said)
    assert set(server.keys) == {KEY}
    assert not server.steps


def test_a_campaign_with_claude(claude, campaign_of, person, monkeypatch):
    (person / "secret.txt").write_text("as it was measured")
    edit = {"file_path": "experiment.py", "old_string": '"rate": 0.05', "new_string": '"rate": int("x")'}
    mend = {"file_path": "experiment.py", "old_string": '"rate": int("x")', "new_string": '"rate": 0.1'}
    steps: list[ToolStep] = [
        ("Read", {"file_path": "experiment.py"}),
        ("Edit", edit),
        ("Read", {"file_path": str(person / "secret.txt")}),
        ("Write", {"file_path": str(person / "written.txt"), "content": "x"}),
        "HYPOTHESIS: the loss falls. Break it first.",
        ("Edit", mend),
        "Mended.",
        "ALL_COMPLETED",
    ]
    with ToolServer(steps) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url.removesuffix("/v1"))
        check(campaign_of("claude", claude), server, "claude", "2.1.197")
    assert not (person / "written.txt").exists() and not (person / "hook_ran").exists()


def test_a_campaign_with_codex(codex, campaign_of, person, monkeypatch):
    (person / "secret.txt").write_text("as it was measured")
    steps: list[ToolStep] = [
        ("exec_command", {"cmd": f"cat {person}/secret.txt; touch {person}/written.txt; env"}),
        ("exec_command", {"cmd": """sed -i 's/"rate": 0.05/"rate": int("x")/' experiment.py"""}),
        "HYPOTHESIS: the loss falls. Break it first.",
        ("exec_command", {"cmd": """sed -i 's/"rate": int("x")/"rate": 0.1/' experiment.py"""}),
        "Mended.",
        "ALL_COMPLETED",
    ]
    with ToolServer(steps) as server:
        (person / ".codex/config.toml").write_text(
            'model_provider = "mine"\n[model_providers.mine]\nname = "Mine"\nwire_api = "responses"\n'
            f'base_url = "{server.url}"\nenv_key = "MY_KEY"\n[mcp_servers.x]\ncommand = "{person}/x"\n'
        )
        monkeypatch.setenv("MY_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-another-provider")
        check(campaign_of("codex", codex), server, "codex", "0.171.0")
        assert not any("sk-of-another-provider" in text for request in server.requests for text in texts(request))
    assert not (person / "written.txt").exists()
