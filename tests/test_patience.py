"""What follows a try of a turn that failed."""

from __future__ import annotations

import pytest

from harness.agents.patience import Patience
from harness.campaign.errors import CannotGoOn
from harness.campaign.protocols import Failure

NOW = 1_796_000_000.0


def test_a_failure_that_may_pass_is_tried_again_three_times_in_all() -> None:
    patience = Patience(wait_for_limits=False)
    failure = Failure("server", "overloaded")
    assert [patience.after(failure, NOW).seconds for _ in range(2)] == [15.0, 60.0]
    with pytest.raises(CannotGoOn, match="goes on when the model answers again"):
        patience.after(failure, NOW)


def test_a_limit_that_ends_soon_is_waited_for_without_being_asked() -> None:
    pause = Patience(wait_for_limits=False).after(Failure("rate", "slow down", until=NOW + 30), NOW)
    assert 30 < pause.seconds < 60 and not pause.limit


def test_a_limit_without_an_end_is_waited_for_with_growing_pauses_where_that_is_asked() -> None:
    patience = Patience(wait_for_limits=True)
    pauses = [patience.after(Failure("rate", "429"), NOW) for _ in range(8)]
    assert [pause.seconds for pause in pauses] == [15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 3600.0, 3600.0]
    assert not pauses[1].limit and pauses[2].limit


@pytest.mark.parametrize("kind", ["auth", "quota", "model", "setup", "context"])
def test_what_comes_again_is_not_tried_again_and_the_agents_own_advice_is_given(kind: str) -> None:
    failure = Failure(kind, "refused.", "Do this.")  # type: ignore[arg-type]
    with pytest.raises(CannotGoOn, match=r"^refused\. Do this\.$"):
        Patience(wait_for_limits=True).after(failure, NOW)


def test_a_process_that_dies_twice_does_not_die_by_chance() -> None:
    patience = Patience(wait_for_limits=False)
    assert patience.after(Failure("died", "signal 9"), NOW).seconds == 0
    with pytest.raises(CannotGoOn):
        patience.after(Failure("died", "signal 9"), NOW)
