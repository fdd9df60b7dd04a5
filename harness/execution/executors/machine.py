"""What a machine has for the executions of its user: cores, GPUs, memory. Imports nothing heavy: each supervisor has it."""

from __future__ import annotations

import math
import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ...campaign.errors import InputError
from ...campaign.paths import cache_folder
from ...campaign.protocols import Share
from .gpu import VISIBLE, in_use, visible_cards

CORES = "HARNESS_CORES"
"""Says how many cores executions may have, where that is not as many as there are; 0: they do not wait for each other."""
PARTS = 16
"""In which a GPU's memory is given to executions."""
_OF_THE_CONTAINER = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What the executions of a user share. `folder` is where the locks are."""

    folder: Path
    cores: tuple[int, ...]
    pinned: bool = True
    """Whether `cores` are numbers of the processor's, and not merely as many as executions may take."""
    gpus: Mapping[str, int | None] = field(default_factory=dict)
    """MiB of memory, where that is known, by the GPU's UUID."""
    only_idle: bool = True
    """Take no GPU on which another process computes: nobody has named the ones to take."""

    def cores_of(self, share: Share) -> int:
        """How many cores an execution takes."""
        whole = len(self.cores)
        if share.alone:
            return whole
        # Not known: then as many as there are, because how many threads libraries start must not depend on what else runs.
        of_gpu = whole // len(self.gpus) if self.takes_gpu(share) else whole
        return max(1, min(share.threads or of_gpu, whole))

    def room(self, share: Share) -> int:
        """How many such executions fit at once."""
        on_gpus = [PARTS // self.parts_of(share, gpu) for gpu in self.gpus] if self.takes_gpu(share) else []
        return min([len(self.cores) // self.cores_of(share), *([sum(on_gpus)] if on_gpus else [])])

    def said(self, share: Share) -> str:
        """What there is, and what of it one takes."""
        gpus, cores = len(self.gpus), len(self.cores)
        there = f"{cores} core{'s' * (cores > 1)}" + (f", {gpus} GPU{'s' * (gpus > 1)}" if self.takes_gpu(share) else "")
        unknown = "" if share.threads else ", as the settings of the profile name no `threads`"
        why = ", as its time is measured" if share.alone else unknown
        return f"{there}; an execution takes {self.cores_of(share)}{why}"

    def takes_gpu(self, share: Share) -> bool:
        return bool(self.gpus) and share.gpu_memory != 0

    def parts_of(self, share: Share, gpu: str) -> int:
        """How many of a GPU's PARTS an execution takes; more than there are where it is too small."""
        total = self.gpus[gpu]
        if share.alone or share.gpu_memory is None or total is None:
            return PARTS
        return -(-share.gpu_memory * PARTS // (total << 20))


def all_slots() -> Path:
    """Where the locks of all machines are that share this cache."""
    return cache_folder() / "slots"


def this_machine() -> Machine | None:
    """The one that this process is on; None where executions take what they like. Raises InputError."""
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    told = os.environ.get(CORES, "")
    if told and not told.isdecimal():
        raise InputError(f"{CORES}={told}: expected a number of cores; 0 has executions wait for none.")
    many = int(told) if told else min(len(there), _quota())
    folder = all_slots() / socket.gethostname()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not many or not os.access(folder, os.W_OK):
        return None
    visible = os.environ.get(VISIBLE)
    pinned = many <= len(there) and hasattr(os, "sched_setaffinity")
    cores = tuple(there[:many]) if pinned else tuple(range(many))
    return Machine(folder, cores, pinned, _gpus(visible), only_idle=visible is None)


def choose_gpus(named: str) -> None:
    """Have this process and all that it starts see these GPUs alone: numbers as nvidia-smi has them. Raises InputError."""
    cards = {card.index: card.uuid for card in visible_cards(None)}
    wanted = [each.strip() for each in named.split(",")]
    if missing := [each for each in wanted if each not in cards]:
        known = f"This machine has {', '.join(cards)}" if cards else "nvidia-smi finds none on this machine"
        raise InputError(f"--gpus {named}: no GPU {', '.join(missing)}. {known}.")
    os.environ[VISIBLE] = ",".join(cards[each] for each in wanted)


def default_jobs(machine: Machine | None, share: Share, memory: int | None) -> int:
    """How many executions may be in hand at once, where nobody says it: as many as have room, each with `memory` bytes."""
    if machine is None or share.alone or _is_login_node():
        return 1
    if machine.takes_gpu(share):
        others = in_use() if machine.only_idle else set()
        return max(1, sum(PARTS // machine.parts_of(share, gpu) for gpu in machine.gpus if gpu not in others))
    room = _memory() // memory if memory else math.inf
    return int(max(1, min(machine.room(share), room)))


def _is_login_node() -> bool:
    """Where people submit jobs, who share it."""
    return shutil.which("sbatch") is not None and "SLURM_JOB_ID" not in os.environ


@cache
def _gpus(visible: str | None) -> Mapping[str, int | None]:
    if visible and "MIG-" in visible:  # parts of GPUs, which nvidia-smi does not tell so
        return {each.strip(): None for each in visible.split(",")}
    return {card.uuid: card.total for card in visible_cards(visible)}


def _quota() -> int:
    """Cores that a container is held to."""
    with suppress(OSError, ValueError):
        quota, period = (_OF_THE_CONTAINER / "cpu.max").read_text().split()
        return max(1, math.ceil(int(quota) / int(period)))
    return 1 << 30


def _memory() -> int:
    """Bytes that this machine, or container, has in all."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        return min(total, int((_OF_THE_CONTAINER / "memory.max").read_text()))
    return total
