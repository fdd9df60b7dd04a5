"""Executors: where an experiment runs, under which limits, and how it ended. `local` is this machine.

An execution has a folder of its own, `home`, that holds everything about it (`spec.json`, its output, `outcome.json`), so
that a harness that was killed can go on with it: `attach` finds an execution that still runs, or its outcome.
"""

from __future__ import annotations

from ...campaign.protocols import Executor, find_class

EXECUTORS: dict[str, str] = {"local": "harness.execution.executors.local:LocalExecutor"}


def find_executor(name: str) -> Executor:
    """The executor called `name`: a known short name or an import path. Raises InputError."""
    found: Executor = find_class("executor", "--executor", name, EXECUTORS)()
    return found
