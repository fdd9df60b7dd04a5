"""What namespaces leave within reach, and is refused besides: keys of the session, abstract sockets of other programs."""

from __future__ import annotations

from collections.abc import Collection

from . import seccomp
from .landlock import give_up, landlock_abi, scope

_ABI_SCOPE = 6


def available() -> tuple[str, ...]:
    """`syscalls` and `sockets`, as far as this kernel has them."""
    return (*(["syscalls"] if seccomp.available() else []), *(["sockets"] if landlock_abi() >= _ABI_SCOPE else []))


def enter(parts: Collection[str], *, network: bool = True, mounts: bool = True) -> bool:
    """Refuse it, for good, to the calling process, of one thread, and to all that it starts. Whether the kernel does. Who
    has still to set up what it sees needs its `mounts`."""
    if {"syscalls", "sockets"}.isdisjoint(parts):
        return True
    if not give_up(()):
        return False
    # Where there is a namespace for them, processes and the network are that one's.
    families = () if network else seccomp.OF_A_NAMESPACE if "net" in parts else seccomp.LOCAL
    filtered = "syscalls" not in parts or seccomp.enter(processes="pid" in parts, mounts=mounts, families=families)
    return filtered and ("sockets" not in parts or scope())
