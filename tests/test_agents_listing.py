"""`harness agents`: what is said of each agent is what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agents.aider_environment import PYTHONS, REQUIREMENT
from harness.agents.listing import AGENTS, agents, find_agent, install
from harness.campaign.errors import InputError


def test_every_known_agent_is_listed_with_a_way_to_install_it() -> None:
    listed = {agent.name: agent for agent in agents()}
    assert set(listed) == set(AGENTS)
    assert all(agent.how for agent in listed.values())


def test_a_program_on_the_path_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {agent.name: agent.place for agent in agents()}["codex"] is None
    program = tmp_path / "codex"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert {agent.name: agent.place for agent in agents()}["codex"] == str(program)
    assert install("codex", print) == str(program)


def test_an_environment_that_was_not_made_to_its_end_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    folder = tmp_path / f"aider-{REQUIREMENT.partition('==')[2]}-py{PYTHONS[0]}"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    places = {agent.name: agent.place for agent in agents()}
    assert places["aider"] is None and places["replay"] is None
    (folder / "complete").touch()
    assert {agent.name: agent.place for agent in agents()}["aider"] == str(folder)
    assert install("aider", print) == str(folder)


def test_what_only_a_person_can_install_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm install -g @openai/codex"):
        install("codex", print)
    with pytest.raises(InputError, match=r"unknown agent\. Known: aider"):
        install("cursor", print)


def test_a_search_that_there_is_not_is_told_which_there_are() -> None:
    with pytest.raises(InputError, match=r"--agent search:foo: unknown agent\. Known: .*search:tpe, search:random"):
        find_agent("search:foo")
