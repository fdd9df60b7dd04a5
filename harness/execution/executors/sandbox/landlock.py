"""Landlock (Linux): a process and its descendants that can write to a few folders only, and not read what is hidden.

What is done of a plan where users may have no namespaces: its mounts become rights.

The names in folders stay free, and so does the network, unless it is taken away. What Landlock does not govern, and so
stays possible outside the folders: changing the mode, owner or times of a file. Signals to processes outside are refused
from Linux 6.12 on; reading their memory and environment is refused always. Of the devices those are there that programs
need: what is empty or random, terminals, those of this user's other windows among them, and graphics cards. Sockets that
have a path can be connected to.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from . import seccomp
from .plan import ACCELERATORS, DEV, SHARED_MEMORY, MountPlan

# From the kernel's unistd.h, linux/landlock.h (here and all rights below), linux/prctl.h and linux/capability.h.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION = 1  # flag of landlock_create_ruleset: tell the ABI
_PATH_BENEATH = 1
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION = 0x20080522
_NOT_NEEDED = tuple(each for each in range(41) if each not in (1, 14))
"""All that root has but CAP_DAC_OVERRIDE, for files of other users, and CAP_IPC_LOCK, for memory that network cards reach.
With some of them it reads the environment of others in spite of Landlock, with others it changes this machine."""

_WRITE_FILE, _READ_FILE = 1 << 1, 1 << 2
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_MAKE_DEVICES = 1 << 6 | 1 << 11
_REFER = 1 << 13
_TRUNCATE = 1 << 14
# Device ioctls (1 << 15) are left alone: a GPU is driven by them.

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", *ACCELERATORS)

_ABI_REFER, _ABI_TRUNCATE, _ABI_SCOPE = 2, 3, 6


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))


@cache
def probed() -> tuple[str, ...]:
    """What this kernel's Landlock governs; nothing before ABI 2 (Linux 5.19), which refuses renames from one folder to
    another even inside what is writable."""
    abi = landlock_abi()
    if not Landlock(MountPlan(Path("/"))).possible:
        return ()
    since = {"files": _ABI_REFER, "truncate": _ABI_TRUNCATE, "signal": _ABI_SCOPE}
    held = [name for name, first in since.items() if abi >= first]
    return (*held, *(["syscalls"] if seccomp.available() else []))


class Landlock:
    """Made before the fork; `enter` is called in the child, between fork and exec."""

    def __init__(self, plan: MountPlan) -> None:
        """The paths of `plan` are real."""
        abi = landlock_abi()
        self._ruleset = -1
        if abi < _ABI_REFER:
            return
        on_files = _WRITE_FILE | (_TRUNCATE if abi >= _ABI_TRUNCATE else 0)
        everything = on_files | _REMOVE_AND_MAKE | _REFER
        scoped = _SCOPE_ABSTRACT_SOCKET | _SCOPE_SIGNAL if abi >= _ABI_SCOPE else 0
        hidden = frozenset(path for path, kind in plan.kinds.items() if kind == "hidden")
        reading = _READ_FILE if hidden else 0
        self._network = plan.network
        self._ruleset = _create(everything | reading, scoped)
        if self._ruleset < 0:
            return
        rules: dict[Path, int] = {}
        if hidden:
            # What appears beside something hidden later has no rule, so it is hidden too: the next campaign, for instance.
            readable = [path for path in plan.readable if not path.is_symlink()]
            rules |= dict.fromkeys(_beside([Path("/"), *readable], hidden | {DEV}), reading)
        rules |= dict.fromkeys((path for pattern in _DEVICES for path in DEV.glob(pattern)), on_files | reading)
        own = everything & ~_MAKE_DEVICES | reading
        rules[SHARED_MEMORY] = own
        rules |= dict.fromkeys((*plan.writable, *([plan.tmp] if plan.tmp else [])), own)
        needed = [path for path, rights in rules.items() if rights != reading and path.exists()]
        allowed = {path for path, rights in rules.items() if self._allow(path, rights)}
        if not allowed.issuperset(needed):
            # Half the rules would refuse the experiment its own folder.
            os.close(self._ruleset)
            self._ruleset = -1

    @property
    def possible(self) -> bool:
        return self._ruleset >= 0

    def enter(self) -> bool:
        """Confine the calling process, which has one thread, and all that it starts, for good. Whether the kernel did."""
        # Without no_new_privs the kernel lets only root confine itself (landlock_restrict_self(2)).
        if not self.possible or not give_up(_NOT_NEEDED):
            return False
        seccomp.enter(processes=False, mounts=False, families=() if self._network else seccomp.LOCAL)
        return _syscall(_RESTRICT_SELF, ctypes.c_int(self._ruleset), ctypes.c_uint32(0)) == 0

    def _allow(self, path: Path, rights: int) -> bool:
        try:
            # O_PATH: it names the folder and needs no permission to read it.
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            rule = _PathBeneath(rights, descriptor)
            return (
                _syscall(
                    _ADD_RULE,
                    ctypes.c_int(self._ruleset),
                    ctypes.c_int(_PATH_BENEATH),
                    ctypes.byref(rule),
                    ctypes.c_uint32(0),
                )
                == 0
            )
        finally:
            os.close(descriptor)


def scope() -> bool:
    """Have the calling process, which can gain no privileges by now, and all that it starts reach no abstract socket of
    another program, and signal none. It may mount all the same. Whether the kernel does it."""
    if landlock_abi() < _ABI_SCOPE:
        return False
    ruleset = _create(0, _SCOPE_ABSTRACT_SOCKET | _SCOPE_SIGNAL)
    try:
        return ruleset >= 0 and _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    finally:
        if ruleset >= 0:
            os.close(ruleset)


def _create(files: int, scoped: int) -> int:
    """A ruleset's descriptor."""
    # A kernel that is too old to know the last members takes the struct all the same, as long as they are 0.
    attributes = _RulesetAttributes(files, 0, scoped)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    return _syscall(_CREATE_RULESET, ctypes.byref(attributes), size, ctypes.c_uint32(0))


def give_up(capabilities: Iterable[int]) -> bool:
    """Take them from this process and all that it starts, with whatever a program could gain by an exec. Whether it was."""
    prctl = ctypes.CDLL(None).prctl
    for capability in capabilities:
        # Fails for who is not root, and then there is nothing to take away.
        prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _drop(capabilities)
    return bool(prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def _drop(capabilities: Iterable[int]) -> None:
    """Take them from this process itself; what is not taken from the bounding set comes back with an exec."""
    libc = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        return
    for capability in capabilities:
        for kind in range(3):  # effective, permitted, inheritable; 32 capabilities each, then the next 32
            sets[3 * (capability // 32) + kind] &= ~(1 << capability % 32)
    libc.capset(header, sets)


def _beside(roots: Iterable[Path], hidden: frozenset[Path]) -> Iterator[Path]:
    """Everything in `roots` but what is `hidden` below them, as few paths as can be: Landlock knows what is allowed and not
    what is refused, so of each folder on the way to something hidden the other members are named. Links are left out: what
    they lead to is named where it is."""
    on_the_way = {parent for path in hidden for parent in path.parents}
    paths = list(roots)
    while paths:
        path = paths.pop()
        if path not in on_the_way:
            yield path
            continue
        try:
            members = list(os.scandir(path))
        except OSError:  # what cannot be listed the experiment need not read
            continue
        paths += [Path(each.path) for each in members if not each.is_symlink() and Path(each.path) not in hidden]


def _syscall(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(number), *arguments))
