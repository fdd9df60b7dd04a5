"""Namespaces of one's own without bubblewrap: for a process that has been forked, and would lose by an exec what it has
imported. It does to itself what bubblewrap does to what it starts, from the same plan.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

from .landlock import give_up
from .plan import DEV, SHARED_MEMORY, MountPlan, kernel_switches

# From linux/sched.h, sys/mount.h, linux/mount.h, linux/prctl.h, linux/sockios.h, linux/if.h and unistd.h.
_NEW = {"mount": 0x00020000, "uts": 0x04000000, "ipc": 0x08000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MOUNT_SETATTR = 442  # the same on every architecture
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _RECURSIVE = 1, 2, 4, 0x8000
_AT_FDCWD = -100
_PR_SET_PDEATHSIG = 1
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_EVERY_CAPABILITY = range(64)
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


@cache
def possible() -> bool:
    """Whether a process of this user can do it, tried by one."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; from {__name__} import enter, MountPlan, Path, _NEW; "
    code += "enter(MountPlan(Path('/'), network=False), tuple(_NEW))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def enter(plan: MountPlan, parts: Collection[str]) -> None:
    """Confine the calling process, of one thread, for good. Raises OSError.

    It returns in a grandchild of who called it, with that one's place taken: how it ends, they end; 128 and the number where
    a signal ended it. The paths of `plan` are real.
    """
    wanted = [name for name in _NEW if name in parts and (name != "net" or not plan.network)]
    user, group = os.geteuid(), os.getegid()
    _must(_libc.unshare(sum(_NEW[name] for name in wanted)), "unshare")
    if "user" in wanted:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    if "pid" in wanted:
        _go_on_in_child()  # the first process of its namespace, which takes in orphans
    _mount_all(plan, proc="pid" in wanted)
    if "net" in wanted:
        _loopback_up()
        if "uts" in wanted:
            socket.sethostname("localhost")  # which /etc/hosts knows
    if "pid" in wanted:
        _go_on_in_child()
    os.chdir(plan.folder)
    if not give_up(_EVERY_CAPABILITY):
        raise OSError("its capabilities could not be dropped")


def _go_on_in_child() -> None:
    """Fork, and end as the child ends that goes on."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have ended just before; one in another pid namespace has no number here.
        if os.getppid() not in (parent, 0):
            os._exit(1)
        return
    status = 1
    with suppress(BaseException):
        # It is asked to end with the others, and has to stay until they have.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 1 << 20)  # the lock, the output
        status = _reap_until_ended(child)
    os._exit(status)


def _reap_until_ended(child: int) -> int:
    while True:
        pid, how = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(how)
            return 128 - code if code < 0 else code


def _mount_all(plan: MountPlan, *, proc: bool) -> None:
    """In a mount namespace of its own, on top of what was there."""
    _mount("none", Path("/"), "", _REC | _PRIVATE)
    # What is seen in two places, or inside what is hidden, is looked up before anything covers it.
    mounts = list(plan.mounts())
    sources = [Path("/dev/null") if each.kind == "unreadable" else each.source for each in mounts]
    opened = [os.open(source, os.O_PATH | os.O_CLOEXEC) if source.exists() else -1 for source in sources]
    devices = {name: os.open(DEV / name, os.O_PATH | os.O_CLOEXEC) for name in _DEVICES}
    _set_attributes(Path("/"), _ATTR_RDONLY)
    _mount("tmpfs", DEV, "tmpfs", _NOSUID, "mode=755")
    for name, descriptor in devices.items():
        _bind(descriptor, DEV / name)
    for name, target in _LINKS.items():
        (DEV / name).symlink_to(target)
    SHARED_MEMORY.mkdir()
    size = "" if plan.shared_memory is None else f",size={plan.shared_memory}"
    _mount("tmpfs", SHARED_MEMORY, "tmpfs", _NOSUID | _NODEV, f"mode=1777{size}")
    if proc:
        _mount("proc", Path("/proc"), "proc", _NOSUID | _NODEV | _NOEXEC)
        for path in kernel_switches():
            _mount(str(path), path, "", _BIND)
            _set_attributes(path, _ATTR_RDONLY)
    for each, descriptor in zip(mounts, opened, strict=True):
        each.target.parent.mkdir(parents=True, exist_ok=True)
        if each.kind == "empty":
            _mount("tmpfs", each.target, "tmpfs", _NOSUID | _NODEV, "mode=755")
        elif each.kind == "link":
            each.target.symlink_to(each.source)
        else:
            _bind(descriptor, each.target)
            devices_too = 0 if DEV in each.target.parents else _ATTR_NODEV | _ATTR_NOSUID
            if each.kind == "writable":
                _set_attributes(each.target, devices_too, _ATTR_RDONLY)
            else:
                _set_attributes(each.target, devices_too | _ATTR_RDONLY)
    for path in (DEV, *(each.target for each in mounts if each.kind == "empty")):
        _set_attributes(path, _ATTR_RDONLY, recursive=False)
    for descriptor in (*opened, *devices.values()):
        if descriptor >= 0:
            os.close(descriptor)


def _bind(descriptor: int, target: Path) -> None:
    if not target.exists():
        target.mkdir() if stat.S_ISDIR(os.fstat(descriptor).st_mode) else target.touch()
    _mount(f"/proc/self/fd/{descriptor}", target, "", _BIND | _REC)


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    done = _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _must(done, f"mount {target}")


def _set_attributes(path: Path, wanted: int, cleared: int = 0, *, recursive: bool = True) -> None:
    attributes = _Attributes(wanted, cleared, 0, 0)
    flags = _RECURSIVE if recursive else 0
    done = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD), os.fsencode(path), ctypes.c_uint(flags),
        ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)),
    )  # fmt: skip
    _must(done, f"mount_setattr {path}")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, sys.byteorder) + bytes(22)
        buffer = ctypes.create_string_buffer(request)
        _must(_libc.ioctl(any_socket.fileno(), ctypes.c_ulong(_SIOCSIFFLAGS), buffer), "ioctl")


def _must(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
