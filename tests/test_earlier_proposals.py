"""A proposal that was made before is said to be one, with what came of it, before anything is executed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.code_identity import fingerprint
from harness.campaign.journal import Journal
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.campaign.text import in_words
from harness.continuation import go_on
from tests.conftest import SMALL

Make = Callable[..., Campaign]
CODE = (SMALL / "experiment.py").read_text()

pytestmark = pytest.mark.usefixtures("quick")


def proposal(rate: str, more: str = "") -> dict[str, Any]:
    """The whole experiment at this rate, wherever it starts from."""
    code = CODE.replace('"rate": 0.05', f'"rate": {rate}') + more
    return {"text": f"HYPOTHESIS: rate {rate}.", "files": {"experiment.py": code}}


def why(campaign: Campaign, run: int, attempt: int = 1) -> str:
    return str(Journal(campaign.journal).result(f"run_{run}/attempt_{attempt}/pre_check")["rejected"])


def run(campaign: Campaign, **how: Any) -> str:
    return go_on(campaign, view=Silent(), stop=Stop(), **how).reason


def test_code_that_was_executed_before_is_told_what_came_of_it_and_costs_no_run(make_campaign: Make) -> None:
    script = {
        "run 1, attempt 1": proposal("0.1"),
        "run 2, attempt 1": proposal("0.2"),
        "run 3, attempt 1": proposal("0.2", "# once more\n"),
        "run 3, attempt 2": {"text": "I insist."},
        "run 3, attempt 3": proposal("0.05", "pass\n"),
        "run 3, attempt 4": proposal("0.3"),
    }
    campaign = make_campaign(script, max_runs=3)
    assert run(campaign) == "runs_spent"
    records = campaign.read_records()
    statuses = [attempt.status for attempt in records[3].attempts]
    assert statuses == ["rejected", "rejected", "rejected", "completed"]
    loss = f"loss {records[2].metrics['loss'].value:.4g}, baseline {records[0].metrics['loss'].value:.4g}"
    assert why(campaign, 3).startswith(
        f"This is the code of run 2: {in_words(records[2].verdict.kind)}, {loss}. It would give the same numbers"
    )
    assert why(campaign, 3) in (campaign.attempt_folder(3, 2) / "brief.md").read_text()
    assert (campaign.attempt_folder(3, 1) / "rejected.txt").read_text() == why(campaign, 3) + "\n"
    assert why(campaign, 3, 2) == why(campaign, 3)
    assert "This is the code of run 0: baseline, loss " in why(campaign, 3, 3)


def test_code_that_failed_before_is_executed_again_where_the_agent_leaves_it_as_it_is(make_campaign: Make) -> None:
    fails = proposal("0.1", 'raise RuntimeError("no luck")\n')
    script = {
        "run 1, attempt 1": fails,
        "run 1, attempt 2": proposal("0.1"),
        "run 2, attempt 1": fails,
        "run 2, attempt 2": {"text": "It was the machine."},
        "run 2, attempt 3": {"text": "Once more."},
        "run 2, attempt 4": {"text": "ALL_COMPLETED"},
    }
    campaign = make_campaign(script, max_runs=2)
    run(campaign)
    statuses = [attempt.status for attempt in campaign.read_records()[2].attempts]
    assert statuses == ["rejected", "smoke_test_failed", "rejected", "no_answer"]
    assert "This is the code of run 1, attempt 1 (smoke test failed: exit code 1: RuntimeError: no luck). " in why(
        campaign, 2
    )
    assert why(campaign, 2).endswith("Test something else; or answer without an edit, and it is executed all the same.")
    assert "just failed" in why(campaign, 2, 3)


def test_the_proposals_of_a_round_are_not_the_same(make_campaign: Make) -> None:
    script = {"run 1, attempt 1": proposal("0.1"), "run 2, attempt 1": proposal("0.1"), "run 2, attempt 2": proposal("0.2")}
    campaign = make_campaign(script, max_runs=2, width=2)
    assert run(campaign) == "runs_spent"
    assert "This is the code of run 1, proposed beside this one and not measured yet." in why(campaign, 2)
    assert [each.status for each in campaign.read_records()] == ["completed"] * 3


def test_you_can_force_what_was_executed_before(make_campaign: Make) -> None:
    script = {"run 1, attempt 1": proposal("0.1"), "run 2, attempt 1": proposal("0.2"), "run 3, attempt 1": proposal("0.2")}
    campaign = make_campaign(script, max_runs=3)
    assert run(campaign) == "session_over"
    assert run(campaign, force=True) == "runs_spent"
    assert campaign.read_records()[3].verdict.kind == "no_effect"


def test_settings_tell_proposals_of_the_same_code_apart() -> None:
    code = {"experiment.py": b"x = 1\n"}
    same = {"experiment.py": b'"""New words."""\nx = 1  # a comment\n'}
    assert fingerprint(code, {"rate": 0.1}) == fingerprint(same, {"rate": 0.1})
    others = [
        fingerprint(code, {}),
        fingerprint(code, {"rate": 0.2}),
        fingerprint({"experiment.py": b"x = 2"}, {"rate": 0.1}),
    ]
    assert len({*others, fingerprint(code, {"rate": 0.1})}) == 4
