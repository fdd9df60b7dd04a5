"""A campaign that could not begin leaves nothing, whatever was in its way."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.errors import CannotGoOn
from harness.campaign.given_runs import GivenRun, GivenRuns
from harness.campaign.idea import Idea
from harness.cli.control import create_control
from tests.hindrance import Hindrance, full, in_a_child, killed, pressed

IDEA = Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller.")


@pytest.fixture
def create(experiment: Path, tmp_path: Path) -> Callable[[], Campaign]:
    """Makes a campaign of an experiment with a baseline, a folder without files and links, from a loop that was observed."""
    session = tmp_path / "script.json"
    session.write_text(json.dumps({}))
    (experiment / "empty").mkdir()
    (experiment / "more").mkdir()
    (experiment / "more" / "data.txt").write_text("data")
    (experiment / "link.txt").symlink_to("more/data.txt")
    left = tmp_path / "left"
    left.mkdir()
    (left / "final_info.json").write_text('{"loss": 1.0}')
    runs = tuple(GivenRun(name, True, "", b"x = 1\n", True, left) for name in ("the baseline", "another"))
    options = Options(agent="tests.scripted:ScriptedAgent", max_runs=3, observed=1, baseline="given")

    def make() -> Campaign:
        loop = GivenRuns("loop", "experiment.py", runs)
        out = tmp_path / "new" / "runs"
        return create_campaign(out, IDEA, experiment, options, python=sys.executable, session=session, loop=loop)

    return make


def writings(create: Callable[[], Campaign], tmp_path: Path, does: Callable[[], None], left: Callable[[], object]) -> int:
    """Create a campaign while `does` hinders it at the first writing, the second, and so on until none is left. What
    there is after each must be nothing as `left` says it. Returns how many there were."""
    for number in range(1, 200):

        def hindered(number: int = number) -> None:
            Hindrance(tmp_path / "new", number, does)
            create()

        if in_a_child(hindered) == 0:
            return number - 1
        assert not left(), number
    raise AssertionError("it wrote without end")


@pytest.mark.parametrize("does", [full, pressed])
def test_a_campaign_that_could_not_begin_leaves_nothing(
    create: Callable[[], Campaign], tmp_path: Path, does: Callable[[], None]
) -> None:
    assert writings(create, tmp_path, does, (tmp_path / "new").exists) > 12


def test_a_campaign_without_git_leaves_nothing(
    create: Callable[[], Campaign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotGoOn, match="git is not installed"):
        create()
    assert not (tmp_path / "new").exists()


def test_what_a_process_left_that_was_killed_while_it_made_a_campaign_is_in_nobodys_way(
    create: Callable[[], Campaign], tmp_path: Path
) -> None:
    runs = tmp_path / "new" / "runs"
    runs.mkdir(parents=True)
    assert writings(create, tmp_path, killed, lambda: len(list(runs.iterdir())) > 1) > 12
    assert (runs / "small" / "campaign.json").exists()
    assert [path.name for path in (runs / "small").glob("**/*.new")] == []


def test_a_campaign_whose_control_cannot_be_made_leaves_nothing(
    make_campaign: Callable[..., Campaign], tmp_path: Path, experiment: Path
) -> None:
    campaign = make_campaign({}, control="tpe")
    options = campaign.options()

    def hindered() -> None:
        Hindrance(tmp_path / "runs" / "small-tpe", 3, full)
        create_control(campaign, IDEA, experiment, options, sys.executable)

    assert in_a_child(hindered) != 0
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_stands_where_a_campaign_would_be_and_is_none_stays(
    make_campaign: Callable[..., Campaign], tmp_path: Path
) -> None:
    mine = tmp_path / "runs" / "small" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (tmp_path / "runs" / "small-2").write_text("mine")
    assert make_campaign({}).name == "small-3"
    assert mine.read_text() == "mine"


def test_who_holds_the_lock_of_the_folder_for_campaigns_is_in_nobodys_way(
    make_campaign: Callable[..., Campaign], tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    descriptor = os.open(tmp_path / "runs", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert make_campaign({}).options_file.exists()
    finally:
        os.close(descriptor)
