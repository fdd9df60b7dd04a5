"""Rows from one process to another through a ring in shared memory: counted, each once, up to a planned number.

The memory is a file without a name (memfd): it is gone with the processes that have it, however they end. Who writes seals
it, so the reader can neither write nor resize it, and hands it over through a socket. Through the same socket the reader is
told of each slot that was filled, by the number of rows so far, and gives it back by a byte. Where one of the two is gone
the other finds the socket closed.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import math
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from .errors import CannotPrepare

SLOTS = 4
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_NO_FURTHER_WRITER = 0x10  # F_SEAL_FUTURE_WRITE of Linux 5.1, which Python 3.11 does not name
_FILLED = struct.Struct("<Q")
_BACK = b"\0"
_LARGEST_HEAD = 1000  # bytes

Floats = npt.NDArray[np.float32]


class ReaderGone(Exception):
    """Nobody takes any more rows."""


@contextlib.contextmanager
def _reader_gone() -> Iterator[None]:
    """What a socket says where the other end is closed."""
    try:
        yield
    except OSError as error:
        raise ReaderGone from error


@dataclass(frozen=True)
class Shape:
    """Of a ring: `rows` [width] in all, `per_slot` of them in each slot but the last."""

    rows: int
    width: int
    per_slot: int

    @property
    def slots(self) -> int:
        """How many there are to fill; SLOTS of them have room at once."""
        return math.ceil(self.rows / self.per_slot)

    def in_slot(self, number: int) -> int:
        return min(self.per_slot, self.rows - number * self.per_slot)

    @property
    def size(self) -> int:
        """Bytes."""
        return SLOTS * self.per_slot * self.width * 4


class Writer:
    """The end that makes rows."""

    def __init__(self, end: socket.socket, shape: Shape) -> None:
        self.shape, self._end = shape, end
        self.filled, self._free = 0, SLOTS
        memory = os.memfd_create("rows", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, shape.size)
            mapped = mmap.mmap(memory, shape.size)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS | _NO_FURTHER_WRITER)
            self._slots = np.frombuffer(mapped, dtype="<f4").reshape(SLOTS, shape.per_slot, shape.width)
            head = json.dumps(asdict(shape)).encode().ljust(_LARGEST_HEAD)
            with _reader_gone():
                socket.send_fds(end, [head], [memory])
        finally:
            os.close(memory)

    @property
    def rows(self) -> int:
        """That were handed over."""
        return min(self.filled * self.shape.per_slot, self.shape.rows)

    def slot(self) -> Floats:
        """The next slot, [rows, width], to be filled; waits until the reader gives one back. Raises ReaderGone."""
        while not self._free:
            with _reader_gone():
                back = self._end.recv(SLOTS)
            if not back:
                raise ReaderGone
            self._free += len(back)
        found: Floats = self._slots[self.filled % SLOTS, : self.shape.in_slot(self.filled)]
        return found

    def hand_over(self) -> None:
        """What `slot` gave is filled. Raises ReaderGone."""
        self.filled += 1
        self._free -= 1
        with _reader_gone():
            self._end.sendall(_FILLED.pack(self.rows))

    def wait_for_reader(self) -> None:
        """Until the reader has closed its end, after the last slot."""
        with contextlib.suppress(OSError):
            while self._end.recv(SLOTS):
                pass


class Reader:
    """The end that takes rows."""

    def __init__(self, end: socket.socket) -> None:
        """Raises CannotPrepare where nobody writes."""
        self._end = end
        head, descriptors = _head(end)
        self.shape = Shape(**json.loads(head))
        self._memory = mmap.mmap(descriptors[0], self.shape.size, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(descriptors[0])

    def slots(self) -> Iterator[Floats]:
        """The rows [rows, width] of each slot in turn, which must not be used after the next one is asked for. Raises
        CannotPrepare where the writer ends before it has handed all over."""
        shape = self.shape
        place = np.frombuffer(self._memory, dtype="<f4").reshape(SLOTS, shape.per_slot, shape.width)
        before = 0
        for number in range(shape.slots):
            (count,) = _FILLED.unpack(_exactly(self._end, _FILLED.size, before, shape.rows))
            if count - before != shape.in_slot(number):
                raise CannotPrepare(f"the process that makes rows counts {count:,} where {before:,} were taken.")
            yield place[number % SLOTS, : count - before]
            before = count
            try:
                self._end.sendall(_BACK)
            except OSError:  # it has handed all over and ended, or what follows says that it has not
                continue


def _head(end: socket.socket) -> tuple[bytes, list[int]]:
    found, descriptors = b"", array.array("i")
    while len(found) < _LARGEST_HEAD:
        try:
            part, received, _, _ = socket.recv_fds(end, _LARGEST_HEAD - len(found), 1)
        except OSError:
            part, received = b"", []
        if not part:
            raise CannotPrepare("the process that makes rows has ended before the first one.")
        found += part
        descriptors.extend(received)
    return found, list(descriptors)


def _exactly(end: socket.socket, size: int, before: int, planned: int) -> bytes:
    found = b""
    while len(found) < size:
        try:
            part = end.recv(size - len(found))
        except OSError:
            part = b""
        if not part:
            raise CannotPrepare(f"the process that makes rows has ended after {before:,} of {planned:,}.")
        found += part
    return found
