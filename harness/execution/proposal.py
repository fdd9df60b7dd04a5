"""A run that is proposed: from its first turn until it is measured, or nobody mends it."""

from __future__ import annotations

from dataclasses import dataclass

from ..campaign.turn import AttemptFailure, Turn


@dataclass
class Proposal:
    """The last turn of it, and what is in the way of that."""

    run: int
    attempt: int = 0
    turn: Turn | None = None
    failure: AttemptFailure | None = None
    is_executed: bool = False
    is_measured: bool = False
    """Executed at further seeds, with its controls."""

    @property
    def taken(self) -> Turn:
        assert self.turn is not None
        return self.turn

    @property
    def wants_no_run(self) -> bool:
        """The agent said ALL_COMPLETED and changed nothing."""
        return self.turn is not None and self.turn.all_completed and self.turn.commit is None

    @property
    def is_none(self) -> bool:
        """It said so at once: there is no run."""
        return self.wants_no_run and self.attempt == 1

    @property
    def is_ready(self) -> bool:
        """It has passed the smoke test and is to be executed."""
        return self.turn is not None and not (self.failure or self.wants_no_run or self.is_executed)

    @property
    def is_open(self) -> bool:
        """It has failed so far, and a further attempt may mend it."""
        return self.failure is not None and not (self.is_executed or self.wants_no_run)
