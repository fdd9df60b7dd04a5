"""Stopping: what a person's Ctrl-C, or the end of the session that a campaign runs in, asks of the loop.

The first Ctrl-C lets the step in hand end; the second, a SIGTERM or a SIGHUP interrupts it. Either way `resume` goes on.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .errors import Interrupted

NOTICE = "Stopping after the step in hand; Ctrl-C again stops at once."

_AT_ONCE = (signal.SIGTERM, signal.SIGHUP)
_AS_ONE = 5.0
"""Seconds in which further signals say nothing new. The kernel tells the end of a parent once for each of its threads, and
the end of a session is a SIGTERM and a SIGHUP: raised again, they would cut off what ends in order."""


class Stop:
    """Whether a person wants the campaign to stop, and how soon."""

    def __init__(self) -> None:
        self.soon = False
        """After the step in hand."""
        self.at_once = False
        """Now: an execution is ended, an agent's turn is given up."""
        self._is_polled = False

    def check(self) -> None:
        """Raises Interrupted when a person wants to stop; for the moment between two steps."""
        if self.soon:
            raise Interrupted("Stopped by you.")

    @contextmanager
    def polled(self) -> Iterator[None]:
        """While the block runs a stop at once is not raised: what runs in it asks `at_once` often and ends in order."""
        outer, self._is_polled = self._is_polled, True
        try:
            yield
        finally:
            self._is_polled = outer

    @contextmanager
    def listen(self, notice: Callable[[str], None]) -> Iterator[None]:
        """Heed signals while the block runs, in the main thread. A signal that is ignored stays so (nohup).

        A stop at once is raised there as KeyboardInterrupt, once, unless it is `polled`. `notice` gets one line for the
        person, in another thread.

        A terminal sends Ctrl-C to every process in the foreground, so a git or a pre-check at work would die of it in the
        middle of the step that is to end cleanly. Therefore SIGINT is blocked in this thread, which children inherit,
        and another heeds it. The kernel may still give it to any thread that a library has started (those of a BLAS do not
        block it), so what is read is the interpreter's wakeup descriptor, which hears of it wherever it arrives.
        """

        raised = -math.inf

        def end(number: int, frame: FrameType | None) -> None:
            nonlocal raised
            self.soon = self.at_once = True
            if number == signal.SIGHUP:
                _let_go_of(terminals)
            if not self._is_polled and time.monotonic() - raised > _AS_ONE:
                raised = time.monotonic()
                raise KeyboardInterrupt

        def heed() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            while numbers := ours.recv(64):
                for _ in range(numbers.count(signal.SIGINT)):
                    if self.soon:
                        # Python runs handlers in the main thread alone; sent there, it also ends a wait there.
                        signal.pthread_kill(main, signal.SIGTERM)
                    else:
                        self.soon = True
                        notice(NOTICE)

        def nothing(number: int, frame: FrameType | None) -> None:
            """That there is a handler of Python's is what writes to the descriptor."""

        terminals = [number for number in (1, 2) if os.isatty(number)]
        main = threading.get_ident()
        heeded = [number for number in _AT_ONCE if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, end) for number in heeded}
        # The second Ctrl-C is passed on as SIGTERM; where that is ignored Ctrl-C stays what it was.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN or signal.SIGTERM not in heeded:
            try:
                yield
            finally:
                _restore(before)
            return

        before[signal.SIGINT] = signal.signal(signal.SIGINT, nothing)
        ours, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        descriptor = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        thread = threading.Thread(target=heed, daemon=True)
        thread.start()
        try:
            yield
        finally:
            # In this order: no signal is written to a closed socket, the closed socket ends the thread, and SIGINT is let
            # through last, when the handler of before is there to take it.
            signal.set_wakeup_fd(descriptor)
            wakeup.close()
            thread.join()
            ours.close()
            _restore(before)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _let_go_of(terminals: Sequence[int]) -> None:
    """Have what is said to a terminal that is closed go nowhere: each word to it would be an error."""
    for number in terminals:
        if not os.isatty(number):  # it was one
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
