"""Budgets: dollars, tokens and hours of a campaign, counted from its journal so that no crash resets them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .errors import BudgetSpent
from .journal import Event, Journal
from .text import duration, of_hours
from .usage import Usage

if TYPE_CHECKING:  # `status` and `log` answer at once, without the models
    from .campaign import Options


@dataclass(frozen=True)
class Spent:
    """What a campaign has used so far."""

    asked: tuple[Usage, ...]
    """What each question to a model cost."""
    seconds: float
    """Of agent, experiment and reviewer."""
    gpu_seconds: float = 0.0
    """Of executions, times the GPUs that each had."""
    usage: Usage = field(default_factory=Usage)
    """The sum of what was asked; `cost` is None when that of one question is unknown."""

    @property
    def tokens(self) -> int:
        return self.usage.tokens

    @property
    def is_priced(self) -> bool:
        """Whether the cost of every question is known that was answered."""
        return all(each.cost is not None or each.lost or each.sent + each.received == 0 for each in self.asked)

    @property
    def costs(self) -> list[float]:
        """Those that are known."""
        return [each.cost for each in self.asked if each.cost is not None]

    @property
    def lost(self) -> int:
        """Questions that were not answered, or not wholly, so what they cost is unknown."""
        return len(self.asked) - len(self.costs)


def spent(events: Iterable[Event], before: Spent = Spent((), 0.0)) -> Spent:
    """What the events of a journal add up to, after those that were counted `before`."""
    asked: list[Usage] = []
    seconds = gpu_seconds = 0.0
    for event in events:
        # A question that failed has cost something too, and the turn that it belongs to may never be done.
        if event["event"] == "turn_failed":
            asked.append(Usage(**event["usage"]))
        elif event["event"] == "done" and isinstance(event["result"], dict):
            result = event["result"]
            if "usage" in result:
                asked.append(Usage(**result["usage"]))
            elif "outcome" in result:
                seconds += result["outcome"]["seconds"]
                gpu_seconds += result["outcome"]["seconds"] * len(result["outcome"].get("gpus") or ())
    seconds += sum(each.seconds for each in asked)
    return Spent(
        (*before.asked, *asked), before.seconds + seconds, before.gpu_seconds + gpu_seconds, sum(asked, before.usage)
    )


class Budget:
    """Says before each expense whether there is anything left."""

    def __init__(self, options: Options, journal: Journal) -> None:
        self._options = options
        self._journal = journal
        self._counting = threading.Lock()
        self._counted, self._spent = 0, spent([])

    def spent(self) -> Spent:
        """What the campaign has used so far; each event is counted once, however often this is asked."""
        with self._counting:
            new = self._journal.events[self._counted :]
            self._counted += len(new)
            self._spent = spent(new, self._spent)
            return self._spent

    def check_turn(self) -> None:
        """Before the agent or the reviewer is asked. Raises BudgetSpent when a limit is reached."""
        used, limits = self.spent(), self._options
        if limits.max_tokens is not None and used.tokens >= limits.max_tokens:
            raise BudgetSpent(f"--max-tokens {limits.max_tokens:,} is reached: {used.tokens:,} tokens are spent.")
        if limits.max_cost is not None:
            if not used.is_priced:
                raise BudgetSpent(
                    "--max-cost cannot be held: the price of this model is unknown. Resume with --price IN,OUT (dollars per "
                    "million tokens), or with --max-tokens N and --max-cost 0, which drops the limit."
                )
            known = sum(used.costs)
            unknown = used.lost * max(used.costs, default=0.0)
            if known + unknown >= limits.max_cost:
                lost = f"{used.lost} question{'s' * (used.lost > 1)} without an answer"
                also = f" and an unknown sum by {lost} (counted as the dearest: ${unknown:.2f})" if used.lost else ""
                raise BudgetSpent(f"--max-cost {limits.max_cost:g} is reached: ${known:.2f} is spent{also}.")
        self._check_hours(used, None)

    def seconds_left(self) -> float | None:
        """Of --max-hours; None without it."""
        limit = self._options.max_hours
        return None if limit is None else limit * 3600 - self.spent().seconds

    def check_execution(self, expected: float | None, beside: int = 0) -> None:
        """Before an execution, which costs time alone. Raises BudgetSpent when `expected` seconds no longer fit, `beside` as
        many executions that are not at their ends and will take as long."""
        used = self.spent()
        self._check_hours(replace(used, seconds=used.seconds + beside * (expected or 0.0)), expected)

    def _check_hours(self, used: Spent, expected: float | None) -> None:
        self._check_gpu_hours(used, expected)
        limit = self._options.max_hours
        if limit is None:
            return
        left = limit * 3600 - used.seconds
        if left <= 0:
            raise BudgetSpent(f"--max-hours {limit:g} is reached: {of_hours(used.seconds, limit)} are spent.")
        if expected is not None and expected > left:
            raise BudgetSpent(
                f"--max-hours {limit:g}: {duration(left)} are left and the next execution is expected "
                f"to take {duration(expected)}."
            )

    def _check_gpu_hours(self, used: Spent, expected: float | None) -> None:
        limit = self._options.max_gpu_hours
        if limit is None:
            return
        left = limit * 3600 - used.gpu_seconds
        if left <= 0:
            hours = used.gpu_seconds / 3600
            said = f"{hours:.2f}" if hours >= 0.1 else f"{hours:.2g}"
            raise BudgetSpent(f"--max-gpu-hours {limit:g} is reached: {said} GPU-hours are spent.")
        takes = (expected or 0.0) * self._gpus
        if takes > left:
            raise BudgetSpent(
                f"--max-gpu-hours {limit:g}: {left / 60:.1f} GPU-minutes are left and the next execution is expected "
                f"to take {takes / 60:.1f}."
            )

    @property
    def _gpus(self) -> int:
        """How many the last execution had."""
        done = reversed(self._journal.of("done"))
        return next((len(e["result"]["outcome"].get("gpus") or ()) for e in done if "outcome" in (e["result"] or ())), 0)
