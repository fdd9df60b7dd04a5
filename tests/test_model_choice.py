from pathlib import Path

import pytest

from harness.campaign.errors import InputError
from harness.cli.model_choice import PROVIDERS, choose

KEYS = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"}


@pytest.fixture
def idea_file(tmp_path: Path) -> Path:
    (tmp_path / "ideas").mkdir()
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "tried.md").write_text("#### hello\n")
    return tmp_path / "ideas" / "tried.json"


def test_what_a_person_says_wins_over_the_environment(idea_file):
    choice = choose("tried", idea_file, KEYS | {"HARNESS_MODEL": "other"}, model="ollama/x")
    assert (choice.agent, choice.model, choice.session) == ("aider", "ollama/x", None)


def test_the_variable_wins_over_a_key_and_a_key_over_a_session(idea_file):
    assert choose("tried", idea_file, KEYS | {"HARNESS_MODEL": "mine"}).model == "mine"
    choice = choose("tried", idea_file, KEYS)
    assert choice.model == PROVIDERS["ANTHROPIC_API_KEY"]
    assert "ANTHROPIC_API_KEY" in choice.why


@pytest.mark.parametrize("key", PROVIDERS)
def test_each_known_key_is_enough(idea_file, key):
    assert choose("untried", idea_file, {key: "k"}).model == PROVIDERS[key]


def test_a_key_for_another_server_chooses_no_model(idea_file):
    environment = {"OPENAI_API_KEY": "k", "OPENAI_API_BASE": "http://localhost:1234"}
    assert choose("tried", idea_file, environment).agent == "replay"


def test_without_a_model_the_session_of_the_idea_is_replayed_and_one_line_says_how_to_configure_one(idea_file):
    choice = choose("tried", idea_file, {})
    assert (choice.agent, choice.model) == ("replay", None)
    assert choice.session == idea_file.parent.parent / "sessions" / "tried.md"
    assert "\n" not in choice.why
    assert "ANTHROPIC_API_KEY" in choice.why
    assert "--model" in choice.why


def test_without_a_model_and_without_a_session_it_is_said_how_to_configure_one(idea_file):
    with pytest.raises(InputError, match=r"untried.*--model"):
        choose("untried", idea_file, {})
    with pytest.raises(InputError, match="no model"):
        choose("tried", idea_file, {}, agent="aider")


def test_a_session_in_the_current_folder_is_found(idea_file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "a" / "b" / "c.json"
    elsewhere.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert choose("tried", elsewhere, {}).session == Path("sessions/tried.md")


def test_a_replay_is_asked_for_by_its_session_even_with_a_key(idea_file, tmp_path):
    session = tmp_path / "mine.md"
    session.touch()
    assert choose("untried", idea_file, KEYS, session=session).agent == "replay"
    assert choose("tried", idea_file, KEYS, agent="replay").session.name == "tried.md"


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"session": Path("none.md")}, "no such file"),
        ({"agent": "replay"}, "no recorded session"),
        ({"agent": "replay", "model": "m"}, "without a model"),
        ({"agent": "claude", "session": Path("none.md")}, "cannot replay"),
    ],
)
def test_contradictions_are_wrong_input(idea_file, asked, problem):
    with pytest.raises(InputError, match=problem):
        choose("untried", idea_file, {}, **asked)


def test_other_agents_bring_their_own_model(idea_file):
    assert choose("tried", idea_file, KEYS, agent="claude").model is None
    assert choose("tried", idea_file, KEYS, agent="codex", model="m").model == "m"
