"""A whole campaign with the real aider against a scripted server: its edits, its failures, a reviewer, its session."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.agents.aider_environment import aider_python
from harness.agents.chat_history import read_session
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on

from .model_server import ModelServer, status

SMALL = Path(__file__).parent / "small"
KEY = "sk-a-very-secret-key"
IDEA = Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller.")


def edit(old: str, new: str, words: str = "HYPOTHESIS: the loss falls.") -> str:
    return f"{words}\n\nexperiment.py\n```python\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n"


LINE = 'settings = {"steps": 40, "rate": 0.05} | json.loads(os.environ.get("HARNESS_OVERRIDES", "{}"))'
FASTER = edit(LINE, LINE.replace("0.05", "0.1"))


HALF = "\ud83d"
"""Of a surrogate pair: no text, and no trouble."""


@contextmanager
def serving() -> Iterator[ModelServer]:
    aider_python(lambda line: None)
    with ModelServer() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_BASE", running.url)
        patch.setenv("OPENAI_API_KEY", KEY)
        yield running


def make(folder: Path, **options: object) -> Campaign:
    chosen = Options.model_validate({"model": "openai/unheard-of", "max_runs": 2} | options)
    experiment = shutil.copytree(SMALL, folder / "experiment", ignore=shutil.ignore_patterns("__pycache__"))
    return create_campaign(folder / "runs", IDEA, experiment, chosen, python=sys.executable)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, ModelServer]:
    """A campaign with a reviewer, and the server that was asked: half a surrogate pair stands in all that is said of run 1,
    and the review of run 2 fails."""
    with serving() as server:
        server.says(
            edit(LINE, f"{LINE.replace('0.05', '0.1')}  # {HALF}", f"HYPOTHESIS: the loss {HALF} falls."),
            f"Look at the noise {HALF} next.",
            edit("x = 5.0", "x = 4.0", f"INTERPRETATION: it {HALF} fell.\nHYPOTHESIS: nearer is sooner there."),
            status(401, "no"),
            "ALL_COMPLETED",
        )
        campaign = make(tmp_path_factory.mktemp("reviewed"), reviewer="openai/expert", max_runs=3)
        ending = go_on(campaign, view=Silent(), stop=Stop())
    assert ending.reason == "all_completed", ending.message
    return campaign, server


def test_a_campaign_with_a_model_and_a_reviewer(reviewed: tuple[Campaign, ModelServer]) -> None:
    campaign, server = reviewed
    first = campaign.read_records()[1]
    assert first.settings["rate"].value == 0.1
    assert first.usage.sent > 0
    assert first.usage.cost is None  # a model whose price nobody knows
    assert first.review is not None
    assert first.review.model == "openai/expert"
    # the reviewer sees table, verdict and diff; the agent is told its advice as advice
    asked = str(server.requests[1]["messages"])
    assert '"rate": 0.1}' in asked
    assert "inconclusive" in asked
    brief = (campaign.attempt_folder(2, 1) / "brief.md").read_text()
    assert "Look at the noise ? next." in brief
    assert "advice" in brief.lower()
    assert "Look at the noise ? next." in campaign.notes.read_text()
    assert set(server.keys) == {KEY}


def test_halves_of_surrogate_pairs_are_no_text_and_no_trouble(reviewed: tuple[Campaign, ModelServer]) -> None:
    first = reviewed[0].read_records()[1]
    assert (first.status, first.hypothesis, first.interpretation) == ("completed", "the loss ? falls.", "it ? fell.")
    assert first.review is not None
    assert first.review.text == "Look at the noise ? next."


def test_a_reviewer_that_fails_is_a_warning(reviewed: tuple[Campaign, ModelServer]) -> None:
    second = reviewed[0].read_records()[2]
    assert second.status == "completed"
    assert second.review is None
    assert any("reviewer gave no advice" in warning for warning in second.warnings)


@pytest.mark.slow
def test_a_refused_key_ends_the_campaign_and_stands_nowhere(tmp_path: Path) -> None:
    with serving() as server:
        server.says(status(401, f"Incorrect API key provided: {KEY}"))
        campaign = make(tmp_path)
        ending = go_on(campaign, view=Silent(), stop=Stop())
    assert ending.exit_code == 4
    assert KEY not in ending.message
    for file in campaign.root.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, ModelServer]:
    """A campaign whose model answers with a whole file first, and the server that was asked."""
    with serving() as server:
        whole = (SMALL / "experiment.py").read_text().replace("0.05", "0.1")
        server.says(f"experiment.py\n```python\n{whole}```\n", FASTER, "ALL_COMPLETED")
        campaign = make(tmp_path_factory.mktemp("corrected"))
        assert go_on(campaign, view=Silent(), stop=Stop()).reason == "all_completed"
    return campaign, server


@pytest.mark.slow
def test_the_campaigns_own_session_can_be_replayed(tmp_path: Path, corrected: tuple[Campaign, ModelServer]) -> None:
    first = corrected[0]
    labels = [turn.label for turn in read_session(first.session)]
    assert labels == ["run 1, attempt 1", "run 1, attempt 2", "run 2, attempt 1"]
    options = Options(agent="replay", max_runs=2)
    again = create_campaign(tmp_path / "again", IDEA, SMALL, options, python=sys.executable, session=first.session)
    assert go_on(again, view=Silent(), stop=Stop()).reason == "all_completed"
    one, other = first.read_records()[1], again.read_records()[1]
    assert other.metrics == one.metrics
    assert [attempt.status for attempt in other.attempts] == ["rejected", "completed"]


@pytest.mark.slow
def test_the_model_is_told_the_form_of_edits_and_you_of_the_option(corrected: tuple[Campaign, ModelServer]) -> None:
    campaign, server = corrected
    assert "experiment.py\n  ```python\n  <<<<<<< SEARCH\n" in server.requests[1]["messages"][-1]["content"]
    failed, done = campaign.read_records()[1].attempts
    assert (failed.status, done.status) == ("rejected", "completed")
    assert "not as edits in the format `diff`" in failed.why and "`--edit-format`" in failed.why and "\n" not in failed.why
    assert "`--edit-format`" in " ".join(campaign.notes.read_text().split())
