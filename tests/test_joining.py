"""Several tries at once: a round of what was handed in, and nothing lost with any of the processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner

from harness.agents.joining import HandedIn, Tried
from harness.agents.submission import Source, Words
from harness.campaign.budget import Budget
from harness.campaign.campaign import Campaign
from harness.campaign.errors import BudgetSpent, HarnessError
from harness.campaign.journal import DryJournal, Journal
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.cli.main import cli
from harness.continuation import go_on
from harness.loop import Ending
from harness.report.terminal.outcome import try_facts, try_page
from tests.waiting import HANGS, until

MakeCampaign = Callable[..., Campaign]
RATE = '"rate": 0.05'


class Try(threading.Thread):
    """`harness try --jobs N`, in a thread of its own: what came of it."""

    def __init__(self, campaign: Campaign, source: Source, jobs: int = 3) -> None:
        super().__init__(daemon=True)
        self._campaign, self.source, self._jobs = campaign, source, jobs
        self._ended: Ending | HarnessError | None = None
        self.stop = Stop()
        self.start()

    def run(self) -> None:
        try:
            self._ended = go_on(
                Campaign(self._campaign.root), view=Silent(), stop=self.stop, hand_in=self.source, jobs=self._jobs
            )
        except Tried as tried:
            self._ended = Ending(tried.reason, "", 0, str(tried))
        except HarnessError as error:
            self._ended = error

    def said(self) -> dict[str, Any]:
        ended = self.ended()
        assert isinstance(ended, Ending), ended
        return try_facts(self._campaign, ended.message, ended.exit_code, ended.change)

    def ended(self) -> Ending | HarnessError | None:
        self.join(HANGS)
        assert not self.is_alive()
        return self._ended


class Begun:
    """A campaign whose baseline is measured, and changes of it, each in a folder of its own."""

    def __init__(self, campaign: Campaign, place: Path) -> None:
        self.campaign, self.place = campaign, place
        self.code = (campaign.root / "experiment.py").read_text()

    def source(self, rate: str, before: str = "", width: int = 3) -> Source:
        folder = self.place / f"{rate}-{len(before)}"
        folder.mkdir(exist_ok=True)
        (folder / "experiment.py").write_text(
            self.code.replace(RATE, f'"rate": {rate}').replace("x = 5.0", f"{before}x = 5.0")
        )
        return Source(Words(hypothesis=f"rate {rate}"), folder, width=width)

    def waits_for(self, name: str) -> str:
        """Lines of an experiment that begin it, and have it go on when a file of that name is there; a smoke test does not."""
        return (
            f"import time\nif settings['steps'] > 2:\n    Path({str(self.place / name)!r} + '.begun').touch()\n"
            f"    while not Path({str(self.place / name)!r}).exists():\n        time.sleep(0.01)\n"
        )

    def try_(self, *how: Any, jobs: int = 3, **more: Any) -> Try:
        return Try(self.campaign, self.source(*how, **more), jobs)

    def has_begun(self, name: str) -> None:
        until((self.place / f"{name}.begun").exists)

    def go(self, name: str) -> None:
        (self.place / name).touch()

    def is_taken_up(self, run: int, attempt: int = 1) -> None:
        until(lambda: self.done(f"run_{run}/attempt_{attempt}/turn"))

    def done(self, step: str) -> Any:
        return DryJournal(self.campaign.journal).result(step)


@pytest.fixture
def begun(quick: None, make_campaign: MakeCampaign, tmp_path: Path) -> Iterator[Begun]:
    campaign = make_campaign({}, agent="outside", max_runs=4)
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "waiting"
    place = tmp_path / "changes"
    place.mkdir()
    begun = Begun(campaign, place)
    yield begun
    for file in place.glob("*.begun"):  # nothing waits for a test that has failed
        file.with_suffix("").touch()


def test_tries_at_once_are_a_round_from_one_parent_and_each_is_told_its_own_verdict(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"))
    begun.has_begun("one")
    second = begun.try_("0.07", begun.waits_for("two"))
    begun.has_begun("two")  # executed beside it
    begun.go("two")
    begun.go("one")
    said = [first.said(), second.said()]
    assert [(each["outcome"], each["run"], each["parent"]) for each in said] == [("judged", 1, 0), ("judged", 2, 0)]
    records = begun.campaign.read_records()
    assert [(each.hypothesis, each.round, each.siblings) for each in records[1:]] == [
        ("rate 0.06", 1, [2]),
        ("rate 0.07", 1, [1]),
    ]
    assert '"rate": 0.07' in (begun.campaign.root / "experiment.py").read_text()
    # The next one starts from the best of both, and is a round of its own.
    third = begun.try_("0.08").said()
    assert (third["run"], third["parent"]) == (3, 2)


def test_a_change_that_joins_and_is_rejected_costs_an_attempt_and_the_other_is_judged(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"))
    begun.has_begun("one")
    rejected = begun.try_("0.07", "x = 5.0 +\n").said()
    assert (rejected["outcome"], rejected["run"], rejected["attempt"]) == ("rejected", 2, 1)
    assert first.is_alive()
    # Another takes its place in the round, from the code of the parent and not from what was rejected.
    third = begun.try_("0.08")
    begun.is_taken_up(2, 2)
    begun.go("one")
    assert [(each["outcome"], each["run"], each["attempt"]) for each in (first.said(), third.said())] == [
        ("judged", 1, 1),
        ("judged", 2, 2),
    ]
    assert [each.siblings for each in begun.campaign.read_records()[1:]] == [[2], [1]]


def test_a_try_that_ends_while_another_is_rejected_beside_it_is_judged_all_the_same(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"))
    begun.has_begun("one")
    assert begun.try_("0.07", "x = 5.0 +\n").said()["outcome"] == "rejected"
    begun.go("one")
    assert first.said()["outcome"] == "judged"
    assert begun.campaign.read_records()[1].siblings == []
    mended = begun.try_("0.07").said()
    assert (mended["outcome"], mended["run"], mended["attempt"]) == ("judged", 2, 2)


def test_a_duplicate_that_is_rejected_beside_another_holds_back_nothing_that_comes_after_the_round(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"))
    begun.has_begun("one")
    twin = replace(first.source, words=Words(hypothesis="the same once more"))
    said = Try(begun.campaign, twin).said()
    assert (said["outcome"], said["run"]) == ("rejected", 2) and "This is the code of run 1" in said["why"]
    assert said["next"][0].startswith("harness status") and said["state"] == "running"
    page = " ".join(unstyle(try_page(said, begun.campaign, 200)).split())
    assert "that of a change in hand" in page and "resume" not in page
    begun.go("one")
    told = first.said()
    # The best of the round is in place, and not what was rejected.
    assert (told["code"]["of_run"], told["code"]["with_failed_attempt"], told["left"]["runs"]) == (1, False, 3)
    assert '"rate": 0.06' in (begun.campaign.root / "experiment.py").read_text()
    second = begun.try_("0.07", begun.waits_for("two"))
    begun.has_begun("two")
    third = begun.try_("0.08")
    begun.is_taken_up(3)
    begun.go("two")
    assert [(each["run"], each["parent"]) for each in (second.said(), third.said())] == [(2, 1), (3, 1)]
    records = begun.campaign.read_records()[1:]
    assert [(each.round, each.siblings) for each in records] == [(None, []), (2, [3]), (2, [2])]


def test_a_change_that_fails_beside_another_does_not_hold_it_up(begun: Begun) -> None:
    first = begun.try_(
        "0.06", begun.waits_for("one") + "if settings['steps'] > 2:\n    raise RuntimeError('late trouble')\n"
    )
    begun.has_begun("one")
    second = begun.try_("0.07", begun.waits_for("two"))
    begun.has_begun("two")
    begun.go("one")
    begun.go("two")
    assert [each.said()["outcome"] for each in (first, second)] == ["failed", "judged"]
    assert [each.status for each in begun.campaign.read_records()] == ["completed", "failed", "completed"]
    assert "late trouble" in first.said()["output"]


def test_who_runs_the_campaign_is_killed_and_nothing_that_was_handed_in_is_lost_or_tried_twice(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun.go("two")
    append, points = Journal.append, 0

    class Killed(BaseException):
        pass

    def until_killed(journal: Journal, event: str, **facts: Any) -> None:
        nonlocal points
        append(journal, event, **facts)
        step = facts.get("step", "")
        if event == "done" and step.startswith("run_2/attempt_1") and points == 0:
            points = 1
            raise Killed

    monkeypatch.setattr(Journal, "append", until_killed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda args: None)
        first = begun.try_("0.06", begun.waits_for("one"))
        begun.has_begun("one")
        second = begun.try_("0.07", begun.waits_for("two"))
        until(lambda: points)
        begun.go("one")
        first.join(HANGS)
    assert second.said()["outcome"] == "judged"  # its process went on with the campaign
    assert begun.try_("0.06", begun.waits_for("one")).said()["run"] == 1
    records = begun.campaign.read_records()
    assert [(each.hypothesis, each.parent) for each in records[1:]] == [("rate 0.06", 0), ("rate 0.07", 0)]


def test_who_runs_the_campaign_is_killed_while_another_is_rejected_beside_it_and_goes_on(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    append = Journal.append

    def until_killed(journal: Journal, event: str, **facts: Any) -> None:
        append(journal, event, **facts)
        if event == "done" and facts["step"] == "run_2/attempt_1/pre_check":
            raise Killed

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", until_killed)
        first = begun.try_("0.06", begun.waits_for("one"))
        begun.has_begun("one")
        second = begun.try_("0.07", "x = 5.0 +\n")
        until(lambda: begun.done("run_2/attempt_1/pre_check"))
        begun.go("one")
        first.join(HANGS)
    assert second.said()["outcome"] == "rejected"
    assert begun.try_("0.06", begun.waits_for("one")).said()["outcome"] == "judged"
    assert [each.hypothesis for each in begun.campaign.read_records()[1:]] == ["rate 0.06"]


def test_a_change_that_joins_and_fails_is_mended_after_the_other_is_judged(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"))
    begun.has_begun("one")
    trouble = "if settings['steps'] > 2:\n    raise RuntimeError('late trouble')\n"
    second = begun.try_("0.07", begun.waits_for("two") + trouble)
    begun.has_begun("two")
    begun.go("two")
    begun.go("one")
    said = second.said()
    assert (said["outcome"], said["run"], "late trouble" in said["output"]) == ("failed", 2, True)
    assert first.said()["outcome"] == "judged"
    mended = begun.try_("0.07").said()
    assert (mended["outcome"], mended["run"], mended["attempt"]) == ("judged", 2, 2)


def test_what_was_handed_in_is_tried_by_resume_where_its_maker_is_gone(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"), jobs=1)  # one at a time: it takes nobody in
    begun.has_begun("one")
    second = begun.try_("0.07")
    until(lambda: len(HandedIn(begun.campaign)))
    second.stop.soon = True
    said = second.ended()
    assert isinstance(said, HarnessError) and "The change stays handed in" in str(said)
    begun.go("one")
    assert first.said()["outcome"] == "judged"
    ended = CliRunner().invoke(cli, ["resume", str(begun.campaign.root)])
    assert ended.exit_code == 0, ended.output
    # Judged against the code that it was edited from, which is not the best any more.
    assert [(each.hypothesis, each.parent) for each in begun.campaign.read_records()[1:]] == [
        ("rate 0.06", 0),
        ("rate 0.07", 0),
    ]
    assert not len(HandedIn(begun.campaign))
    assert begun.try_("0.07").said()["run"] == 2  # the same command says what came of it


def test_a_try_that_stops_at_the_budget_of_another_says_nothing_of_its_own_is_in_hand(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(*arguments: Any) -> None:
        raise BudgetSpent("--max-hours 1 is reached.")

    def page(facts: dict[str, Any]) -> str:
        return " ".join(try_page(facts, begun.campaign, 120).split())

    with monkeypatch.context() as patch:
        patch.setattr(Budget, "check_execution", spent)
        first, second = begun.try_("0.06").said(), begun.try_("0.07").said()
    assert (first["exit_code"], first["run"], second["exit_code"], "run" in second) == (3, 1, 3, False)
    assert "the same command goes on" in page(first)
    assert "that of a change in hand" in page(second) and "this change was not tried" in page(second)
    assert [begun.try_(rate).said()["run"] for rate in ("0.07", "0.06")] == [2, 1]


def test_a_round_takes_in_as_many_as_who_joins_says(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"))
    begun.has_begun("one")
    second = begun.try_("0.07", begun.waits_for("two"))
    begun.has_begun("two")
    third = begun.try_("0.08", width=2)
    until(lambda: len(HandedIn(begun.campaign)))
    for name in ("one", "two"):
        begun.go(name)
    assert [each.said()["run"] for each in (first, second, third)] == [1, 2, 3]
    assert [each.round for each in begun.campaign.read_records()[1:]] == [1, 1, None]


def test_what_cannot_be_a_change_is_refused_beside_another_try_too(begun: Begun) -> None:
    first = begun.try_("0.06", begun.waits_for("one"))
    begun.has_begun("one")
    said = begun.try_("0.05").ended()
    assert isinstance(said, HarnessError) and "nothing differs from the code" in str(said)
    begun.go("one")
    assert first.said()["outcome"] == "judged"


def test_the_options_of_the_command_are_those_of_a_round(begun: Begun) -> None:
    folder = begun.source("0.06").folder
    assert folder
    done = CliRunner().invoke(
        cli, ["try", str(begun.campaign.root), "--hypothesis", "faster", "--from", str(folder), "--jobs", "2", "--json"]
    )
    assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (0, "judged"), done.output
