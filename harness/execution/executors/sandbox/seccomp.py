"""System calls that reach what neither namespaces nor Landlock govern: refused by a filter in the kernel.

With `prlimit` any process can be ended, with `sched_setscheduler` the supervisor starved, and a key in the user's keyring is
there for the next run; memory of `memfd_secret` or of BPF is in no count. A filter sees numbers and no paths, so what is
done to a file by its path it cannot refuse.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

# From linux/prctl.h, linux/seccomp.h, linux/filter.h and linux/audit.h.
_PR_GET_SECCOMP, _PR_SET_SECCOMP, _FILTER = 21, 22, 2
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
"""Numbers from here on are another way to the same system calls, on x86_64."""


class _Machine(NamedTuple):
    architecture: int
    numbers: Mapping[str, int]


_NAMES = (
    "prlimit64",
    "setpriority",
    "ioprio_set",
    "sched_setparam",
    "sched_setscheduler",
    "sched_setaffinity",
    "sched_setattr",
    "add_key",
    "request_key",
    "keyctl",
    "socket",
    "io_uring_setup",
    "bpf",
    "memfd_secret",
    "mount",
    "fsopen",
)
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        dict(zip(_NAMES, (302, 141, 251, 142, 144, 203, 314, 248, 249, 250, 41, 425, 321, 447, 165, 430), strict=True)),
    ),
    "aarch64": _Machine(
        0xC00000B7,
        dict(zip(_NAMES, (261, 140, 30, 118, 119, 122, 274, 217, 218, 219, 198, 425, 280, 447, 40, 430), strict=True)),
    ),
}
_KEYS = ("add_key", "request_key", "keyctl")
_UNCOUNTED = ("bpf", "memfd_secret")
_MOUNTS = ("mount", "fsopen")
"""A file system in memory that is mounted, and unmounted while somebody is in it, is in no list of any process."""
_NETWORK = ("socket", "io_uring_setup")
"""With the second a socket is made past the filter."""
LOCAL = (int(socket.AF_UNIX), int(getattr(socket, "AF_NETLINK", 16)))
"""Families of sockets that reach no network."""
OF_A_NAMESPACE = (*LOCAL, int(socket.AF_INET), int(socket.AF_INET6))
"""Those that reach none in a namespace of one's own; others (vsock, to what a virtual machine runs on) may go past it."""
_OF_A_USER = {"setpriority": 2, "ioprio_set": 3}
"""The first argument that means all processes of a user."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def available() -> bool:
    """Whether this kernel takes a filter, and the numbers of its system calls are known."""
    if sys.platform != "linux" or os.uname().machine not in _MACHINES:
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0)


def enter(*, processes: bool, mounts: bool, families: Sequence[int] = ()) -> bool:
    """Refuse, to the calling process and all that it starts, for good: keys, memory that nobody counts, and unless they are
    granted other `processes` and `mounts`; where `families` of sockets are named, all others. It can gain no privileges by
    now."""
    if not available():
        return False
    others = set(_NAMES) - {*_KEYS, *_UNCOUNTED, *_NETWORK, *_MOUNTS}
    free = {*(() if families else _NETWORK), *(others if processes else ()), *(_MOUNTS if mounts else ())}
    code = b"".join(_filter(_MACHINES[os.uname().machine], os.getpid(), free, families))
    program = _Program(len(code) // 8, code)
    return bool(ctypes.CDLL(None).prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def no_mounts() -> bytes:
    """A filter for who has mounted what it needs, and refuses that from then on."""
    return b"".join(_filter(_MACHINES[os.uname().machine], 0, set(_NAMES) - set(_MOUNTS), ()))


def _filter(machine: _Machine, own: int, free: Container[str], families: Sequence[int]) -> Iterator[bytes]:
    """What is not `free` is refused. Processes from `own` on are its own: a process id is larger than that of what was
    started before."""
    yield _step(_LOAD, _ARCHITECTURE)
    yield _step(_EQUAL, machine.architecture, 1, 0)
    yield _step(_RETURN, _UNKNOWN)
    yield _step(_LOAD, _NUMBER)
    yield _step(_AT_LEAST, _X32, 0, 1)
    yield _step(_RETURN, _UNKNOWN)
    for name, number in machine.numbers.items():
        if name in free:
            continue
        rule = list(_rule(name, own, families))
        yield _step(_EQUAL, number, 0, len(rule))
        yield from rule
    yield _step(_RETURN, _ALLOW)


def _rule(name: str, own: int, families: Sequence[int]) -> Iterator[bytes]:
    """What is done about a call of this name. Returns in any case."""
    if name in (*_KEYS, *_MOUNTS):
        yield _step(_RETURN, _REFUSE)
    elif name in ("io_uring_setup", *_UNCOUNTED):
        yield _step(_RETURN, _UNKNOWN)  # who asks then does without
    elif name == "socket":
        yield _argument(0)
        for number, family in enumerate(families):
            yield _step(_EQUAL, family, len(families) - number, 0)
        yield _step(_RETURN, _REFUSE)
        yield _step(_RETURN, _ALLOW)
    elif name == "prlimit64":
        # 0 is the calling process; without new limits it only reads.
        yield _argument(0)
        yield _step(_EQUAL, 0, 4, 0)
        yield _argument(2)
        yield _step(_EQUAL, 0, 0, 3)
        yield _step(_LOAD, _ARGUMENTS + 8 * 2 + 4)
        yield _step(_EQUAL, 0, 0, 1)
        yield _step(_RETURN, _ALLOW)
        yield _step(_RETURN, _REFUSE)
    else:
        if name in _OF_A_USER:
            yield _argument(0)
            yield _step(_EQUAL, _OF_A_USER[name], 3, 0)
        yield _argument(1 if name in _OF_A_USER else 0)
        yield _step(_EQUAL, 0, 2, 0)
        yield _step(_AT_LEAST, own, 1, 0)
        yield _step(_RETURN, _REFUSE)
        yield _step(_RETURN, _ALLOW)


def _argument(index: int) -> bytes:
    """Load the lower half of an argument: all of a process id."""
    return _step(_LOAD, _ARGUMENTS + 8 * index)


def _step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    """One instruction; `true` and `false` are how many are left out next."""
    return struct.pack("=HBBI", code, true, false, value)
