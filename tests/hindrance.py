"""What comes between a process and one of its writings: a full disk, Ctrl-C or SIGKILL."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = {"os.mkdir", "os.rename", "os.symlink", "os.link", "os.chmod", "shutil.copyfile"}


def in_a_child(act: Callable[[], None]) -> int:
    """Perform `act` in a process of its own. Returns the signal that ended it, or its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return -os.waitstatus_to_exitcode(status)


class Hindrance:
    """Has a process do something at its n-th writing below a folder."""

    def __init__(self, folder: Path, number: int, does: Callable[[], None]) -> None:
        self._folder, self._left, self._does = os.fsencode(folder), number, does
        sys.addaudithook(self._hear)  # for as long as the process lives

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3)
        paths = [each for each in arguments if isinstance(each, (str, bytes, os.PathLike))] if writes else []
        if any(os.fsencode(each).startswith(self._folder) for each in paths):
            self._left -= 1
            if self._left == 0:
                self._does()


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def pressed() -> None:
    raise KeyboardInterrupt


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
