"""Folders of tests in memory: the hundreds of small files of a campaign cost a disk ten times the processor's time, and waiting.

Mounted where only this process and what it starts see them (see mount_namespaces(7)), which takes root: they are gone with the
last of these processes, however it ended. For anybody else the folders stay on their disk.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

_NEW_MOUNT_NAMESPACE = 0x00020000
_RECURSIVE_AND_PRIVATE = 0x4000 | 1 << 18
_DETACH = 2
_MOUNTED: set[Path] = set()


def put_in_memory(folder: Path) -> None:
    """Have what is made in the empty `folder` from here on lie in memory, where this system lets us."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not _MOUNTED and (libc.unshare(_NEW_MOUNT_NAMESPACE) or libc.mount(None, b"/", None, _RECURSIVE_AND_PRIVATE, None)):
        return
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=%o" % (folder.stat().st_mode & 0o7777)) == 0:
        _MOUNTED.add(folder)


def take_out_of_memory(folder: Path) -> None:
    """Have what is left in `folder` lie on the disk, under the same path."""
    if folder not in _MOUNTED:
        return
    _MOUNTED.remove(folder)
    left = os.open(folder, os.O_RDONLY)
    ctypes.CDLL(None).umount2(os.fsencode(folder), _DETACH)
    shutil.rmtree(folder)
    if any(os.scandir(left)):
        subprocess.run(["cp", "-a", f"/proc/self/fd/{left}/.", folder], pass_fds=[left], check=False)
    os.close(left)
