"""The errors that end a command, each with the exit code it means.

Everything that can go wrong inside one run is a status that the loop handles; only what no further run could survive is
one of these. The message is for a person: what happened, where, what to do next.
"""

from __future__ import annotations

OUTCOMES = {2: "wrong_input", 3: "budget_spent", 4: "cannot_go_on", 130: "interrupted"}
"""What the exit codes of errors mean, in a word for programs."""


class HarnessError(Exception):
    """A message to the person, the exit code of the command, and the reason in a word for the journal."""

    exit_code = 4
    reason = "cannot_go_on"


class InputError(HarnessError):
    """Wrong usage or input: the command, an idea file or a contract."""

    exit_code = 2


class BudgetSpent(HarnessError):
    """A budget (dollars, tokens or hours) ended the campaign; `harness resume` goes on with a larger one."""

    exit_code = 3
    reason = "budget"


class CannotGoOn(HarnessError):
    """Nothing that a further run could survive: no disk, no model, a broken contract or baseline."""


class BaselineFailed(CannotGoOn):
    """The untouched experiment did not run well or left no evidence; `harness resume` executes it again, as it is then."""

    reason = "baseline_failed"


class Interrupted(HarnessError):
    """A person stopped the campaign; `harness resume` goes on."""

    exit_code = 130
    reason = "interrupted"


class SessionOver(HarnessError):
    """A recorded session has no further turn: it ended here when it was recorded."""

    exit_code = 0
    reason = "session_over"
