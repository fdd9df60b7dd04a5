"""The configuration of command-line agents: what of a person's goes along, and what comes back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from harness.agents import configuration
from harness.agents.command_lines import CODEX, OPENCODE
from harness.agents.private_home import PrivateHome
from harness.campaign.protocols import Workspace

LOGIN = {"claudeAiOauth": {"accessToken": "a" * 30, "refreshToken": "r", "expiresAt": 1, "scopes": ["user:inference"]}}


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "person"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in (
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "OPENCODE_CONFIG",
        "OPENAI_BASE_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "CODEX_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def made(tmp_path: Path):
    def make(own: configuration.Configuration, **how: bool) -> PrivateHome:
        home = PrivateHome(tmp_path / "private", own, **how)
        home.prepare()
        return home

    return make


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_of_claude_the_login_and_the_provider_go_along_and_nothing_else(person, made):
    login = put(person / ".claude/.credentials.json", LOGIN)
    settings = {
        "env": {"ANTHROPIC_BASE_URL": "http://gateway", "MY_SECRET": "x"},
        "model": "opus",
        "hooks": {"PreToolUse": []},
        "permissions": {"allow": ["Bash"]},
    }
    put(person / ".claude/settings.json", settings)
    put(person / ".claude/CLAUDE.md", "Always answer in Latin.")
    home = made(configuration.CLAUDE)
    folder = home.root / ".claude"
    assert sorted(path.name for path in folder.iterdir()) == [".credentials.json", "settings.json"]
    assert (folder / ".credentials.json").read_bytes() == login.read_bytes()
    assert json.loads((folder / "settings.json").read_text()) == {"model": "opus"}
    assert home.variables == {
        "HOME": str(home.root),
        "CLAUDE_CONFIG_DIR": str(folder),
        "ANTHROPIC_BASE_URL": "http://gateway",
    }
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert "a" * 30 in home.secrets.values()


def test_a_configuration_that_the_person_has_elsewhere_is_found(person, made, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "elsewhere"))
    put(tmp_path / "elsewhere/.credentials.json", LOGIN)
    assert (made(configuration.CLAUDE).root / ".claude/.credentials.json").exists()


def test_of_codex_providers_go_along_and_mcp_servers_do_not(person, made, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    put(
        person / ".codex/config.toml",
        'model = "m"\nmodel_provider = "mine"\napproval_policy = "never"\n[model_providers.mine]\nname = "Mine"\n'
        'base_url = "http://127.0.0.1:1/v1"\nenv_key = "MY_KEY"\nquery_params = { api-version = "2" }\n'
        'request_max_retries = 2\n[mcp_servers.x]\ncommand = "x"\n',
    )
    home = made(configuration.CODEX)
    written = tomllib.loads((home.root / ".codex/config.toml").read_text())
    assert set(written) == {"model", "model_provider", "model_providers"}
    assert written["model_providers"]["mine"]["query_params"] == {"api-version": "2"}
    assert home.variables["MY_KEY"] == "secret" and home.model == "m"


def test_an_openai_key_reaches_codex_unless_it_is_logged_in(person, made, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    home = made(configuration.CODEX)
    assert home.variables["CODEX_API_KEY"] == "sk-1"
    assert tomllib.loads((home.root / ".codex/config.toml").read_text()) == {"openai_base_url": "http://127.0.0.1:1/v1"}
    put(person / ".codex/auth.json", {"tokens": {"access_token": "t"}})
    home.prepare()
    assert "CODEX_API_KEY" not in home.variables


def test_gemini_is_told_the_type_of_its_key(person, made, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    settings = made(configuration.GEMINI).root / ".gemini/settings.json"
    assert json.loads(settings.read_text()) == {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    put(person / ".gemini/settings.json", {"security": {"auth": {"selectedType": "vertex-ai"}}, "mcpServers": {"x": {}}})
    put(person / ".gemini/.env", 'export GOOGLE_GEMINI_BASE_URL="http://gateway"\nOTHER=1\n')
    home = made(configuration.GEMINI)
    assert json.loads(settings.read_text()) == {"security": {"auth": {"selectedType": "vertex-ai"}}}
    assert home.variables["GOOGLE_GEMINI_BASE_URL"] == "http://gateway" and "OTHER" not in home.variables


def test_of_opencode_providers_and_the_login_go_along_though_its_settings_have_comments(person, made):
    put(person / ".local/share/opencode/auth.json", {"anthropic": {"type": "api", "key": "k"}})
    put(
        person / ".config/opencode/opencode.jsonc",
        '{ // mine\n"model": "mine/m", "mcp": {"x": {}}, "instructions": ["a"],\n'
        '"provider": {"mine": {"options": {"baseURL": "http://127.0.0.1:1/v1"}},},\n}',
    )
    home = made(configuration.OPENCODE)
    written = json.loads((home.root / ".config/opencode/opencode.json").read_text())
    assert set(written) == {"model", "provider"}
    assert written["provider"]["mine"]["options"]["baseURL"] == "http://127.0.0.1:1/v1"
    assert (home.root / ".local/share/opencode/auth.json").exists()
    assert OPENCODE.providers(home.model) == ("mine",)


def changed(**tokens: object) -> dict[str, object]:
    return {"claudeAiOauth": LOGIN["claudeAiOauth"] | tokens}


@pytest.mark.parametrize(
    ("after", "comes_back"),
    [
        (changed(accessToken="b", refreshToken="s", expiresAt=2), True),
        (changed(scopes=["all"]), False),
        (changed(hook="rm"), False),
        ({}, False),
        ("no JSON", False),
    ],
)
def test_a_login_comes_back_only_where_nothing_but_its_tokens_changed(after, comes_back, person, made):
    theirs = put(person / ".claude/.credentials.json", LOGIN)
    theirs.chmod(0o600)
    before = theirs.read_bytes()
    home = made(configuration.CLAUDE)
    mine = put(home.root / ".claude/.credentials.json", after)
    home.take_back()
    assert theirs.read_bytes() == (mine.read_bytes() if comes_back else before)
    assert theirs.stat().st_mode & 0o777 == 0o600
    home.forget_login()
    assert not mine.exists() and theirs.exists()


def test_a_login_that_the_person_renewed_meanwhile_is_left_alone(person, made):
    theirs = put(person / ".claude/.credentials.json", LOGIN)
    home = made(configuration.CLAUDE)
    put(home.root / ".claude/.credentials.json", changed(accessToken="b"))
    put(theirs, changed(accessToken="c"))
    home.take_back()
    assert json.loads(theirs.read_text()) == changed(accessToken="c")
    home.prepare()
    assert json.loads((home.root / ".claude/.credentials.json").read_text()) == changed(accessToken="c")


def test_links_that_the_agent_made_lead_the_harness_nowhere(person, made):
    put(person / ".claude/.credentials.json", LOGIN)
    put(person / ".claude/settings.json", {"hooks": {}, "model": "opus"})
    before = {path: path.read_bytes() for path in (person / ".claude").iterdir()}
    home = made(configuration.CLAUDE)
    for name in ("settings.json", ".credentials.json"):
        (home.root / ".claude" / name).unlink()
        (home.root / ".claude" / f"{name}.new").symlink_to(person / ".claude" / name)
    home.prepare()
    for path in (home.root / ".claude").iterdir():
        path.unlink()
    (home.root / ".claude").rmdir()
    (home.root / ".claude").symlink_to(person / ".claude")
    home.prepare()
    assert {path: path.read_bytes() for path in (person / ".claude").iterdir()} == before
    assert not (home.root / ".claude").is_symlink()


def test_settings_that_the_agent_made_are_gone_before_the_next_turn(person, made):
    home = made(configuration.CLAUDE)
    put(home.root / ".claude/settings.json", {"hooks": {"Stop": []}})
    home.prepare()
    assert not (home.root / ".claude/settings.json").exists()


def test_a_person_can_have_all_of_their_configuration_taken(person, made):
    put(person / ".claude.json", {"mcpServers": {"x": {}}})
    put(person / ".claude/.credentials.json", LOGIN)
    put(person / ".claude/settings.json", {"hooks": {"Stop": []}})
    put(person / ".claude/CLAUDE.md", "Always answer in Latin.")
    put(person / ".claude/projects/x/session.jsonl", "said before")
    folder = made(configuration.CLAUDE, whole=True).root / ".claude"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".claude.json",
        ".credentials.json",
        "CLAUDE.md",
        "settings.json",
    ]
    assert json.loads((folder / "settings.json").read_text()) == {"hooks": {"Stop": []}}


def test_codex_tells_its_model_in_the_record_of_the_conversation(tmp_path):
    lines = [{"type": "turn_context", "payload": {"model": name}} for name in ("gpt-a", "gpt-b")]
    put(tmp_path / ".codex/sessions/2026/11/29/rollout-2026-11-29-abc.jsonl", "\n".join(map(json.dumps, lines)))
    assert CODEX.model_of_session(tmp_path, "abc") == "gpt-b"
    assert CODEX.model_of_session(tmp_path, "other") == CODEX.model_of_session(tmp_path, "") == ""


def test_opencode_may_edit_the_editable_files_and_nothing_else(tmp_path):
    said = json.loads(OPENCODE.permissions(Workspace(tmp_path, ("experiment.py",)))["OPENCODE_PERMISSION"])
    assert said["edit"] == {"*": "deny", "experiment.py": "allow", f"{tmp_path}/experiment.py"[1:]: "allow"}
    assert said["external_directory"] == said["bash"] == "deny"
