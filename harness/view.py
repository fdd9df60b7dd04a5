"""What a person sees of a campaign while it runs."""

from __future__ import annotations

from typing import Protocol

from .record import Record


class View(Protocol):
    """Told of everything that happens; decides alone what is shown and how."""

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        """A phase begins: "agent", "gate", "smoke", "execute", "review", ...; `expected` seconds where known."""
        ...

    def tick(self, line: str) -> None:
        """The last line of output of what runs now; called a few times a second, also without a new line."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line: a refusal, a warning, what comes next."""
        ...

    def recorded(self, record: Record) -> None:
        """A run has its record."""
        ...


class Silent:
    """Shows nothing."""

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None: ...

    def tick(self, line: str) -> None: ...

    def say(self, text: str) -> None: ...

    def recorded(self, record: Record) -> None: ...
