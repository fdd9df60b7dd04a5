"""Stopping: what a person's Ctrl-C, or the end of the session that a campaign runs in, asks of the loop.

The first Ctrl-C lets the step in hand end; the second, a SIGTERM or a SIGHUP interrupts it. Either way `resume` goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import Interrupted

NOTICE = "Stopping after the step in hand; Ctrl-C again stops at once."

_AT_ONCE = (signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether a person wants the campaign to stop, and how soon."""

    def __init__(self) -> None:
        self.soon = False
        """After the step in hand."""
        self.at_once = False
        """Now: an execution is ended, an agent's turn is given up."""

    def check(self) -> None:
        """Raises Interrupted when a person wants to stop; for the moment between two steps."""
        if self.soon:
            raise Interrupted("Stopped by a person.")

    @contextmanager
    def listen(self, notice: Callable[[str], None]) -> Iterator[None]:
        """Heed signals while the block runs. Only in the main thread.

        `notice` gets one line for the person. It is called from a signal handler, so it must neither block nor write to
        a buffered stream. A stop at once is also raised as KeyboardInterrupt in the main thread, wherever it is.
        """

        def handle(number: int, frame: FrameType | None) -> None:
            at_once = self.soon or number in _AT_ONCE
            self.soon = True
            if at_once:
                self.at_once = True
                raise KeyboardInterrupt
            notice(NOTICE)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, *_AT_ONCE)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
