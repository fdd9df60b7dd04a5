"""The real command-line agents, from npm, in whole campaigns against a scripted server on loopback.

They are installed once into the harness's cache folder. Where that cannot be done in good time, the tests skip and say so.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agents.listing import find_agent
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.journal import read_events
from harness.campaign.paths import cache_folder
from harness.campaign.protocols import AgentConfig, Silent, Workspace
from harness.campaign.record import Record
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.executors.sandbox import available
from tests.tool_server import ToolServer, ToolStep

PACKAGES = {
    "claude": "@anthropic-ai/claude-code@2.1.197",
    "codex": "@openai/codex@0.171.0",
    "gemini": "@google/gemini-cli@0.61.0",
    "opencode": "opencode-ai@1.18.33",
}
INSTALLED_WITHIN = 60
"""Seconds; a registry that takes longer is as good as none."""
KEY = "sk-a-key-of-nobody"
PROVIDER = """
model_provider = "mine"
[model_providers.mine]
name = "Mine"
wire_api = "responses"
base_url = "{url}"
env_key = "MY_KEY"
"""
"""Of codex's configuration."""


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
                with tempfile.TemporaryDirectory() as own:  # opencode leaves a folder among temporary files
                    told = os.environ | {"TMPDIR": own}
                    subprocess.run(command, capture_output=True, timeout=INSTALLED_WITHIN, check=True, env=told)
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


@pytest.fixture(scope="module")
def gemini() -> Path:
    return installed("gemini")


@pytest.fixture(scope="module")
def opencode() -> Path:
    return installed("opencode")


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
    def make(tool: str, program: Path, model: str = "a-model") -> Campaign:
        monkeypatch.setenv("PATH", f"{program}{os.pathsep}{os.environ['PATH']}")
        (tmp_path / "CLAUDE.md").write_text("INSTRUCTIONS OF A FOLDER ABOVE")
        return create_campaign(
            tmp_path / "runs",
            Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
            experiment,
            Options(agent=tool, model=model, max_runs=2, max_attempts=3),
            python=sys.executable,
        )

    return make


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


def check(campaign: Campaign, server: ToolServer, tool: str, version: str, model: str = "a-model") -> None:
    """The campaign has gone from an edit that crashed through its repair in the same conversation to ALL_COMPLETED."""
    ending = go_on(campaign, view=Silent(), stop=Stop())
    failed = [event["message"] for event in read_events(campaign.journal) if event["event"] == "turn_failed"]
    assert ending.reason == "all_completed", (ending, failed)
    record = Record.read(campaign.run_folder(1))
    assert [attempt.status for attempt in record.attempts] == ["smoke_test_failed", "completed"]
    assert (record.agent, record.models) == (f"{tool} {version}", [model])
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


@pytest.mark.slow
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
        mcp = f'[mcp_servers.x]\ncommand = "{person}/x"\n'
        (person / ".codex/config.toml").write_text(PROVIDER.format(url=server.url) + mcp)
        monkeypatch.setenv("MY_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-another-provider")
        check(campaign_of("codex", codex), server, "codex", "0.171.0")
        assert not any("sk-of-another-provider" in text for request in server.requests for text in texts(request))
    assert not (person / "written.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["claude", "codex"])
def test_under_landlock_alone_a_turn_edits_its_workspace_and_reaches_nothing_of_yours(
    tool, request, person, tmp_path, monkeypatch
):
    if not available("landlock").confined:
        pytest.skip(available("landlock").why)
    monkeypatch.setenv("HARNESS_SANDBOX", "landlock")
    program = request.getfixturevalue(tool)
    monkeypatch.setenv("PATH", f"{program}{os.pathsep}{os.environ['PATH']}")
    (person / "secret.txt").write_text("as it was measured")
    work = Workspace(tmp_path / "work", ("experiment.py",))
    work.root.mkdir()
    (work.root / "experiment.py").write_text("x = 1\n")
    steps: dict[str, list[ToolStep]] = {
        "claude": [
            ("Read", {"file_path": str(person / "secret.txt")}),
            ("Write", {"file_path": str(person / "written.txt"), "content": "x"}),
            ("Read", {"file_path": "experiment.py"}),
            ("Edit", {"file_path": "experiment.py", "old_string": "x = 1", "new_string": "x = 2"}),
        ],
        "codex": [
            ("exec_command", {"cmd": f"cat {person}/secret.txt; touch {person}/written.txt; env"}),
            ("exec_command", {"cmd": "sed -i 's/x = 1/x = 2/' experiment.py"}),
        ],
    }
    with ToolServer([*steps[tool], "Done."]) as server:
        (person / ".codex/config.toml").write_text(PROVIDER.format(url=server.url))
        for name, value in (("MY_KEY", KEY), ("ANTHROPIC_API_KEY", KEY), ("ANTHROPIC_BASE_URL", server.url[:-3])):
            monkeypatch.setenv(name, value)
        agent = find_agent(tool)(AgentConfig(model="a-model", home=tmp_path / "private"))
        reply = agent.open(work).ask("Make x 2.", turn=0, label="")
        assert reply.failure is None and reply.text == "Done."
        assert reply.sandbox.startswith(str(available("landlock")))
        assert not any("as it was measured" in text for request in server.requests for text in texts(request))
    assert (work.root / "experiment.py").read_text() == "x = 2\n"
    assert not (person / "written.txt").exists() and not (person / "hook_ran").exists()
    if tool == "codex":  # its own sandbox was tried inside Landlock: kept where it works
        assert ", with " in reply.sandbox


@pytest.mark.slow
def test_a_campaign_with_gemini(gemini, campaign_of, person, monkeypatch):
    if available("landlock").confined:
        monkeypatch.setenv("HARNESS_SANDBOX", "landlock")
    (person / "secret.txt").write_text("as it was measured")
    steps: list[ToolStep] = [
        ("read_file", {"file_path": str(person / "secret.txt")}),
        (
            "replace",
            {
                "file_path": "experiment.py",
                "instruction": "x",
                "old_string": '"rate": 0.05',
                "new_string": '"rate": int("x")',
            },
        ),
        "HYPOTHESIS: the loss falls. Break it first.",
        (
            "replace",
            {
                "file_path": "experiment.py",
                "instruction": "x",
                "old_string": '"rate": int("x")',
                "new_string": '"rate": 0.1',
            },
        ),
        "Mended.",
        "ALL_COMPLETED",
    ]
    with ToolServer(steps) as server:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url.removesuffix("/v1"))
        check(campaign_of("gemini", gemini), server, "gemini", "0.61.0")


@pytest.mark.slow
def test_a_campaign_with_opencode(opencode, campaign_of, person, monkeypatch):
    (person / "secret.txt").write_text("as it was measured")
    steps: list[ToolStep] = [
        ("read", {"filePath": str(person / "secret.txt")}),
        ("read", {"filePath": "experiment.py"}),
        ("edit", {"filePath": "experiment.py", "oldString": '"rate": 0.05', "newString": '"rate": int("x")'}),
        "HYPOTHESIS: the loss falls. Break it first.",
        ("edit", {"filePath": "experiment.py", "oldString": '"rate": int("x")', "newString": '"rate": 0.1'}),
        "Mended.",
        "ALL_COMPLETED",
    ]
    with ToolServer(steps) as server:
        settings = {
            "provider": {
                "mine": {
                    "npm": "@ai-sdk/openai-compatible",
                    "models": {"a-model": {}},
                    "options": {"baseURL": server.url, "apiKey": KEY},
                }
            }
        }
        (person / ".config/opencode").mkdir(parents=True)
        (person / ".config/opencode/opencode.json").write_text(json.dumps(settings))
        check(campaign_of("opencode", opencode, "mine/a-model"), server, "opencode", "1.18.33", "mine/a-model")
