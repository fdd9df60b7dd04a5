"""Acts for which permissions hold, also where the tests are root's."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable
from tempfile import TemporaryFile

_VERSION_3 = 0x20080522
_DROP_FROM_BOUNDING_SET = 24
_READS_AND_WRITES_EVERYTHING = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def unprivileged(act: Callable[[], None]) -> None:
    """Perform `act`: in a child process without root's right to read and write everything, where this is root's, and fail
    as it fails there. The child stays the owner of what is root's; what it changes in memory is lost."""
    if os.geteuid() != 0:
        act()
        return
    with TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            try:
                _give_up_rights()
                act()
            except BaseException:
                said.write(traceback.format_exc().encode())
                said.flush()
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        said.seek(0)
        assert status == 0, said.read().decode()


def _give_up_rights() -> None:
    """For this process and all that it starts (see capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of the first 32 rights and of the others
    assert libc.capget(header, sets) == 0
    for right in _READS_AND_WRITES_EVERYTHING:
        assert libc.prctl(_DROP_FROM_BOUNDING_SET, right, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
        for place in range(3):
            sets[place] &= ~(1 << right) & 0xFFFFFFFF
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
