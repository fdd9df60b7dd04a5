"""Matrices of float32 between two processes: a few numbers, then the rows. Nothing that is received is code."""

from __future__ import annotations

import socket
import struct

import numpy as np
import numpy.typing as npt

ENCODE, DECODE = 0, 1
"""What is asked for, and repeated in the answer."""
SOCKET = "socket"
"""The name of the socket in the server's folder."""
_HEAD = struct.Struct("<BII")

Floats = npt.NDArray[np.float32]


def send(end: socket.socket, kind: int, rows: Floats) -> None:
    end.sendall(_HEAD.pack(kind, *rows.shape) + np.ascontiguousarray(rows, dtype="<f4").tobytes())


def receive(end: socket.socket, most: int) -> tuple[int, Floats]:
    """Raises EOFError where the other end is gone, ValueError for more than `most` numbers: then nothing of it is read."""
    kind, rows, columns = _HEAD.unpack(_exactly(end, _HEAD.size))
    if rows * columns > most:
        raise ValueError(f"{rows} x {columns} numbers; expected at most {most}")
    return kind, np.frombuffer(_exactly(end, 4 * rows * columns), dtype="<f4").reshape(rows, columns)


def _exactly(end: socket.socket, size: int) -> bytearray:
    found = bytearray()
    while len(found) < size:
        part = end.recv(min(size - len(found), 1 << 20))
        if not part:
            raise EOFError
        found += part
    return found
