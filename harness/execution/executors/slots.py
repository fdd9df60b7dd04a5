"""Slots of this machine: cores, and a GPU where there is one, that an execution has for itself.

All processes of a user share them through locked files (flock). An execution's supervisor holds the locks, so a slot is free
when the execution has ended, however it did, and not before. Who waits stands in a queue, and what becomes free is for the
first in it, so whoever needs much gets it. Imports nothing heavy: each supervisor starts with this.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from ...campaign.protocols import Share
from .gpu import in_use
from .machine import PARTS, Machine

T = TypeVar("T")
_LOOK, _LOOK_AT_GPUS = 0.05, 3.0
"""Seconds between two looks for what has become free; a look at GPUs takes a process."""


class Slot:
    """What an execution has; `cores` are empty where it may use any."""

    def __init__(self, machine: Machine, cores: Mapping[Path, int], gpu: str, parts: Mapping[Path, int]) -> None:
        self.gpu = gpu
        self.has_gpu_alone = len(parts) == PARTS
        self.cores = {int(path.name.rpartition("-")[2]) for path in cores} if machine.pinned else set()
        # Open until the process ends: with the last descriptor a lock is gone.
        self._locks = {**cores, **parts}

    def end(self) -> None:
        """For others, from now on."""
        for descriptor in self._locks.values():
            os.close(descriptor)
        self._locks = {}


def take(machine: Machine, share: Share, goes_on: Callable[[], bool], say: Callable[[str], None]) -> Slot | None:
    """Wait for a slot, as long as it `goes_on`; None where it does not. `say` gets a line for a person, "" at the end."""
    machine.folder.mkdir(parents=True, exist_ok=True)
    wait = _Wait(share.holder, goes_on, say)
    gpu, parts = "", dict[Path, int]()
    # In this order: who has cores never waits for a GPU, which can take days.
    if machine.takes_gpu(share):
        found = wait.queue(machine.folder / "gpus", lambda: _free_gpu(machine, share), _LOOK_AT_GPUS)
        if found is None:
            return None
        gpu, parts = found
    count = machine.cores_of(share)
    places = [machine.folder / f"core-{number}" for number in machine.cores]
    held: dict[Path, int] = {}

    def free_cores() -> dict[Path, int] | str:
        _lock(places, count, held, share.holder)
        what = f"{count} core{'s' if count > 1 else ''}"
        return held if len(held) == count else f"{what}, held by {_holders(set(places) - set(held))}"

    cores = wait.queue(machine.folder / "cores", free_cores, _LOOK)
    if cores is None:
        for descriptor in (*parts.values(), *held.values()):
            os.close(descriptor)
        return None
    say("")
    return Slot(machine, cores, gpu, parts)


class _Wait:
    """One execution's wait."""

    def __init__(self, who: str, goes_on: Callable[[], bool], say: Callable[[str], None]) -> None:
        self._who, self._goes_on, self._say = who, goes_on, say
        self._since = datetime.now()

    def queue(self, queue: Path, look: Callable[[], T | str], every: float) -> T | None:
        """What `look` finds that is no text, for the first in the `queue`; None where the wait is given up. Its text says
        what is waited for, and who has it."""
        own: dict[Path, int] = {}
        try:
            while not own:
                _lock([queue], 1, own, self._who)
                if not own and not self._pause(f"its turn, behind {_holders([queue])}", _LOOK):
                    return None
            while isinstance(found := look(), str):
                if not self._pause(found, every):
                    return None
            return found
        finally:
            for descriptor in own.values():
                os.close(descriptor)

    def _pause(self, what: str, seconds: float) -> bool:
        self._say(f"waiting since {self._since:%H:%M:%S} for {what}")
        until = time.monotonic() + seconds
        while self._goes_on():
            if time.monotonic() >= until:
                return True
            time.sleep(_LOOK)
        return False


def _free_gpu(machine: Machine, share: Share) -> tuple[str, dict[Path, int]] | str:
    """A GPU and what was locked of it, or why there is none."""
    others = in_use() if machine.only_idle else set()
    said = []
    for gpu in machine.gpus:
        parts = [machine.folder / f"{gpu}-{number}" for number in range(PARTS)]
        count, held = machine.parts_of(share, gpu), dict[Path, int]()
        _lock(parts, count, held, share.holder)
        if len(held) == count and (gpu not in others or any(map(_is_locked, set(parts) - set(held)))):
            return gpu, held
        for descriptor in held.values():
            os.close(descriptor)
        if count > PARTS:
            said.append(f"{gpu} is too small")
        elif len(held) == count:
            said.append(f"{gpu} is in use by a process that is not the harness's (`--gpus` uses it all the same)")
        else:
            said.append(f"{gpu} is held by {_holders(set(parts) - set(held))}")
    return "a GPU: " + "; ".join(said)


def _lock(paths: Sequence[Path], count: int, held: dict[Path, int], who: str) -> None:
    """Lock free ones of `paths` until `count` are `held`, and write down for whom."""
    for path in paths:
        if len(held) >= count:
            return
        if path in held:
            continue
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, who.encode(errors="replace"), 0)
        held[path] = descriptor


def _is_locked(path: Path) -> bool:
    held: dict[Path, int] = {}
    _lock([path], 1, held, "")
    for descriptor in held.values():
        os.close(descriptor)
    return not held


def _holders(paths: Iterable[Path]) -> str:
    """Who has locked them, each once."""
    found = dict.fromkeys(who for path in sorted(paths) if (who := _who(path)))
    named = list(found)
    more = f" and {len(named) - 2} more" if len(named) > 2 else ""
    return f"{', '.join(named[:2]) or 'another process'}{more}"


def _who(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")[:200]
    return ""
