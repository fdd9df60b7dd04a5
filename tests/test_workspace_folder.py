"""Where an agent's workspace lies."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from harness.agents.workspace_folder import WorkspaceFolder
from harness.campaign.campaign import Campaign
from harness.campaign.errors import CannotGoOn
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from tests.scripted import ScriptedAgent, ScriptedConversation


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    (tmp_path / "campaign").mkdir()
    return WorkspaceFolder(tmp_path / "campaign")


def test_a_run_keeps_its_path_and_the_next_one_gets_another(folder):
    folder.begin()
    first = folder.make_room(1)
    first.mkdir()
    (first / "left").write_text("by the agent")
    again = WorkspaceFolder(folder.local)
    again.begin()
    assert again.make_room(1) == first and not first.exists()
    first.mkdir()
    assert again.make_room(2) != first and not first.exists()
    again.remove()
    assert not first.parent.exists()


def test_it_is_never_made_in_a_folder_in_which_tools_find_instructions_or_a_repository(folder, tmp_path, monkeypatch):
    for mark in (".git", "CLAUDE.md"):
        project = tmp_path / f"project{mark}"
        (project / mark).mkdir(parents=True)
        (project / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(project / "tmp"))
        assert not folder.begin().is_relative_to(project)
        folder.remove()


def test_what_stands_at_its_path_and_is_no_folder_of_ours_is_left_alone(folder, tmp_path):
    path = folder.begin()
    folder.remove()
    (tmp_path / "precious").mkdir()
    path.symlink_to(tmp_path / "precious")
    assert folder.left() is None
    assert folder.begin() != path
    assert (tmp_path / "precious").exists()
    path.unlink()
    folder.remove()


@pytest.mark.parametrize("kept", ["", "[]", '{"run": 1}', json.dumps({"path": "/tmp"})])
def test_a_damaged_note_of_the_path_is_no_path(kept, folder):
    (folder.local / "workspace.json").write_text(kept)
    assert folder.left() is None
    assert folder.begin().name.startswith("harness-agent-")
    folder.remove()


def test_the_agent_works_outside_the_campaign_and_nothing_is_left(make_campaign, monkeypatch):
    campaign: Campaign = make_campaign({"run 1, attempt 1": {"text": "ALL_COMPLETED"}})
    seen: list[tuple[Path, int]] = []
    ask = ScriptedConversation.ask

    def look(self, *arguments, **named):
        seen.append((self.workspace.root, self.workspace.root.stat().st_mode & 0o777))
        return ask(self, *arguments, **named)

    monkeypatch.setattr(ScriptedConversation, "ask", look)
    go_on(campaign, view=Silent(), stop=Stop())
    ((root, mode),) = seen
    assert not root.is_relative_to(campaign.root.parent.parent) and mode == 0o700
    assert not root.exists()
    assert not any(os.path.lexists(parent / ".git") for parent in root.parents)


def test_an_agent_that_cannot_be_made_leaves_no_folder(make_campaign, monkeypatch):
    def refuses(*_: object) -> None:
        raise CannotGoOn("it is not installed")

    campaign = make_campaign({})
    monkeypatch.setattr(ScriptedAgent, "__init__", refuses)
    assert go_on(campaign, view=Silent(), stop=Stop()).message == "it is not installed"
    assert (campaign.local / "workspace.json").exists()
    assert WorkspaceFolder(campaign.local).left() is None
