"""The sandbox: what a process and all that it starts can see, write and reach. Experiments, scorers and agents run in one.

`plan` says what is wanted, `parts` what this system can hold it to. bubblewrap does all of it where users may have
namespaces, Landlock does what it can elsewhere. Limits of time, memory and disk are the supervisor's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import bubblewrap, namespaces, reach, seccomp
from .landlock import Landlock
from .parts import Parts, available
from .plan import TMP, MountPlan, control_sockets

__all__ = ["MountPlan", "Parts", "Sandbox", "available", "control_sockets", "make_tmp", "remove_tmp"]
_SHORT = "harness-"


class Sandbox:
    """A plan, on this system: `command` is what is started for a command, and `enter` is called in the child, between fork
    and exec."""

    def __init__(self, plan: MountPlan, parts: Parts | None = None, *, executes: bool = True) -> None:
        """A child that never `executes` anything has to enter namespaces itself."""
        self._executes = executes
        self.parts = parts or available()
        self.plan = plan = plan.resolved()
        self._landlock = Landlock(plan) if self.parts.mechanism == "landlock" else None

    def command(self, command: Sequence[str], status: int | None = None, refused: int | None = None) -> list[str]:
        """`status` is a descriptor, passed on to it, for what bubblewrap tells of it, and so is `refused` (see there)."""
        if not self.parts.namespaces:
            return list(command)
        return [*bubblewrap.command(self.plan, self.parts.held, status, refused), *command]

    @property
    def refused(self) -> int | None:
        """A descriptor from which `command` is told to refuse what would count in no limit: mounts. Agents may: some have a
        sandbox of their own."""
        if not self.parts.namespaces or "syscalls" not in self.parts.held:
            return None
        told, tell = os.pipe()
        with os.fdopen(tell, "wb") as pipe:
            pipe.write(seccomp.no_mounts())
        return told

    def enter(self) -> bool:
        """Whether the calling process is confined now, or will be as soon as it executes `command`."""
        if not self.parts.namespaces:
            return self._landlock is not None and self._landlock.enter()
        if not self._executes:
            namespaces.enter(self.plan, self.parts.held)
        return reach.enter(self.parts.held, network=self.plan.network, mounts=self._executes)

    @property
    def shared_memory(self) -> int | None:
        """Bytes that a /dev/shm of its own holds, None where it is not limited."""
        limited = self.parts.namespaces and (not self._executes or bubblewrap.limits_shared_memory())
        return self.plan.shared_memory if limited else None

    @property
    def tmp(self) -> str:
        """TMPDIR of what runs in it."""
        return str(TMP if self.parts.namespaces else self.plan.tmp)


def make_tmp(parts: Parts, scratch: Path) -> Path:
    """A folder for `MountPlan.tmp`, in `scratch`; a short one where it cannot be seen as /tmp: sockets have short names."""
    if parts.namespaces:
        folder = scratch / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return Path(tempfile.mkdtemp(prefix=_SHORT, dir=TMP))


def remove_tmp(folder: Path) -> None:
    """Remove what `make_tmp` made, where that is in no scratch folder."""
    if folder.parent == TMP and folder.name.startswith(_SHORT):
        shutil.rmtree(folder, ignore_errors=True)
