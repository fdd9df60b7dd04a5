"""The process that stays with an agent's tool: it starts it in its sandbox, and ends it with all that it started when the
harness is gone, however that ended.

Run as `python -m harness.agents.attendant`. What is to be done comes by standard input, whose end is that of the harness.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..execution.executors import process_tree
from ..execution.executors.sandbox import MountPlan, Parts, Sandbox

_LOOK = 0.05
_SIGNALLED = 128
_ENDING = frozenset(
    (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGKILL,
        signal.SIGSEGV,
    )
) | {signal.SIGTERM}
"""Signals that end a program. With the numbers of others beyond 128 tools end by themselves, as gemini does with 145."""


@dataclass(frozen=True)
class Errand:
    """A command to be run in a sandbox, with these descriptors."""

    plan: MountPlan
    parts: Parts
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: int
    stdout: int
    stderr: int


def start(
    sandbox: Sandbox,
    command: Sequence[str],
    environment: Mapping[str, str],
    stdin: BinaryIO,
    stdout: BinaryIO,
    stderr: BinaryIO,
) -> subprocess.Popen[bytes]:
    """An attendant with its errand. It ends as the command does, with 128 and its number where a signal ended that. Raises
    OSError."""
    files = (stdin.fileno(), stdout.fileno(), stderr.fileno())
    errand = Errand(sandbox.plan, sandbox.parts, tuple(command), dict(environment), *files)
    package = str(Path(__file__).parents[2])
    own = {name: os.environ[name] for name in ("LANG", "LD_LIBRARY_PATH") if name in os.environ}
    # A relative folder would be one of the workspace.
    own["PATH"] = os.pathsep.join(filter(os.path.isabs, os.get_exec_path()))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        cwd="/",
        env={**own, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))},
        stdin=subprocess.PIPE,
        stdout=stderr,
        stderr=stderr,
        pass_fds=files,
        start_new_session=True,
    )
    assert process.stdin is not None
    # It stays open: when it closes, the harness is gone.
    process.stdin.write(pickle.dumps(errand))
    process.stdin.flush()
    return process


def dismiss(process: subprocess.Popen[bytes]) -> None:
    """Let it end all that is left of its errand."""
    assert process.stdin is not None
    process.stdin.close()


def exit_code(code: int) -> int:
    """That of the command, from the attendant's."""
    return _SIGNALLED - code if code - _SIGNALLED in _ENDING else code


def main() -> int:
    errand: Errand = pickle.load(sys.stdin.buffer)
    process_tree.become_subreaper()
    sandbox = Sandbox(errand.plan, errand.parts)

    def enter() -> None:
        process_tree.die_with_parent(signal.SIGKILL)
        sandbox.enter()

    process = subprocess.Popen(
        sandbox.command(errand.command),
        cwd=errand.plan.folder,
        env=dict(errand.environment),
        stdin=errand.stdin,
        stdout=errand.stdout,
        stderr=errand.stderr,
        start_new_session=True,
        preexec_fn=enter,
    )
    while process.poll() is None:
        ready, _, _ = select.select([sys.stdin], [], [], _LOOK)
        if ready and not os.read(sys.stdin.fileno(), 1):
            break
    process_tree.kill(lambda: process_tree.descendants(os.getpid()), time.sleep)
    code = process.wait()
    return code if code >= 0 else _SIGNALLED - code


if __name__ == "__main__":
    sys.exit(main())
