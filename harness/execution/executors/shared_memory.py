"""/dev/shm of an execution: how much it holds, and how programs say that it is full."""

from __future__ import annotations

import os
import re
import signal

from .limits import size_in_words
from .sandbox.plan import SHARED_MEMORY

_SAID = re.compile(
    r"\bBus error\b|\bSIGBUS\b|raise your shared memory limit|unable to write to file </torch_"
    r"|shared memory.{0,200}No space left on device|No space left on device.{0,200}(?:/dev/shm|shared memory)"
    r"|/dev/shm/.{0,200}No space left on device"
)
"""Of DataLoader, torch.multiprocessing, torchrun, NCCL and shells."""


def size(memory: int | None) -> int | None:
    """Bytes that it holds where it is private, at this limit of memory; None is half of this machine's memory."""
    return None if memory is None else memory // 2


def why_full(code: int, output: str, private: int | None) -> str:
    """What a crash has to do with it, and what to do; "" where nothing says so. `private` are the bytes of a limited one."""
    if code not in (-signal.SIGBUS, 128 + signal.SIGBUS) and not _SAID.search(output):
        return ""
    if private is not None:
        holds = f"{size_in_words(private)}, half of the memory limit; raise `memory` under [limits] in experiment.toml"
    else:
        holds = f"{size_in_words(_of_the_machine())} on this machine; free some"
    less = "have it use less (fewer or no DataLoader workers, smaller batches, NCCL_SHM_DISABLE=1)"
    return f"probably {SHARED_MEMORY} was full, which holds {holds}, or {less}"


def _of_the_machine() -> int:
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return 0
    return status.f_blocks * status.f_frsize
