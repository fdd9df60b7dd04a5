"""The run's own code in another process, which answers with rows: where a contract allows it for what is not data.

It is held to the same as a graph. What a graph cannot do and this can: remember what it was asked before.
"""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import numpy as np

from .. import wire
from .graph import Function, Refused
from .rows import Floats

_PATIENCE = 90.0
"""Seconds in which a server has imported what it needs."""


def connect(folder: Path) -> socket.socket:
    """The end of a connection to the server in `folder`. Raises Refused."""
    end = socket.socket(socket.AF_UNIX)
    until = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(OSError), contextlib.chdir(folder):  # the path itself may be too long for a socket
            end.connect(wire.SOCKET)
            return end
        if time.monotonic() > until:
            raise Refused("the run's code, which was to be served, does not answer.")
        time.sleep(0.1)


class Served(Function):
    """One of the two functions, behind a connection."""

    def __init__(self, end: socket.socket, kind: int, name: str, width_in: int, width_out: int) -> None:
        self.name, self.width_in, self.width_out = name, width_in, width_out
        self._end, self._kind = end, kind

    def compute(self, rows: Floats) -> Floats:
        try:
            wire.send(self._end, self._kind, rows)
            kind, found = wire.receive(self._end, len(rows) * self.width_out)
        except (EOFError, OSError) as error:
            raise Refused(f"{self.name}: the run's code ended on {len(rows)} rows.") from error
        except ValueError as error:
            raise Refused(f"{self.name}: the run's code gave {error}.") from error
        if kind != self._kind:
            raise Refused(f"{self.name}: the run's code answered something else.")
        return found.astype(np.float32)
