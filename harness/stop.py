"""Stopping: what a person's Ctrl-C, or the end of the session that a campaign runs in, asks of the loop.

The first Ctrl-C lets the step in hand end; the second, a SIGTERM or a SIGHUP interrupts it. Either way `resume` goes on.
"""

from __future__ import annotations

import signal
import threading
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
        self._is_polled = False

    def check(self) -> None:
        """Raises Interrupted when a person wants to stop; for the moment between two steps."""
        if self.soon:
            raise Interrupted("Stopped by a person.")

    @contextmanager
    def polled(self) -> Iterator[None]:
        """While the block runs a stop at once is not raised: what runs in it asks `at_once` often and ends in order."""
        self._is_polled = True
        try:
            yield
        finally:
            self._is_polled = False

    @contextmanager
    def listen(self, notice: Callable[[str], None]) -> Iterator[None]:
        """Heed signals while the block runs, in the main thread. A signal that is ignored stays so (nohup).

        A stop at once is raised there as KeyboardInterrupt, unless it is `polled`. `notice` gets one line for the person,
        in another thread.

        A terminal sends Ctrl-C to every process in the foreground, so a git or a gate that is at work would die of it in
        the middle of the step that is to end cleanly. Therefore SIGINT is blocked here, which children inherit, and a
        thread waits for it.
        """

        def end(number: int, frame: FrameType | None) -> None:
            self.soon = self.at_once = True
            if not self._is_polled:
                raise KeyboardInterrupt

        def wait() -> None:
            while True:
                signal.sigwait({signal.SIGINT})
                if over.is_set():
                    return
                if self.soon:
                    signal.pthread_kill(main, signal.SIGTERM)
                else:
                    self.soon = True
                    notice(NOTICE)

        over, main = threading.Event(), threading.get_ident()
        heeded = [number for number in _AT_ONCE if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, end) for number in heeded}
        thread = threading.Thread(target=wait, daemon=True)
        listens = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN and signal.SIGTERM in heeded
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT} if listens else ())
        if listens:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread.ident is not None:
                signal.pthread_kill(thread.ident, signal.SIGINT)
                thread.join()
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
