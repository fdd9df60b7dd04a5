"""Waiting in tests: for what happens, not for a time; the limits are for hangs alone.

A machine may be many times slower than the one that a test was written on, and busy besides. So no limit of these is near
what anything takes; a test whose claim is about a limit takes a short one that only what must be ended can break.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

HANGS = 1200.0
"""Seconds after which what a test waits for hangs. Shorter than the limit of a whole test (pyproject.toml), which does not say
what it waited for."""


def until(condition: Callable[[], object], every: float = 0.01, within: float = HANGS) -> None:
    """Wait for `condition`; fail when it does not come, which is a hang."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(every)


def unhurried(contract: str) -> str:
    """The text of an experiment.toml with limits of time that only what hangs breaks."""
    return re.sub(r'^((?:smoke_|scoring_)?time|silence) = "\w+"$', r'\1 = "20m"', contract, flags=re.M)
