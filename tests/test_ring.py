"""Rows through a ring in shared memory: each once, counted, up to the plan, whoever is killed."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from saelab.errors import CannotPrepare
from saelab.ring import SLOTS, Reader, ReaderGone, Shape, Writer

ROOT = Path(__file__).parents[1]
SHAPE = Shape(rows=25, width=3, per_slot=2)  # 13 slots, the last of them with one row

WRITES = """
import socket, sys, time
from saelab.ring import Shape, Writer
writer = Writer(socket.socket(fileno=int(sys.argv[1])), Shape(25, 3, 2))
for number in range(int(sys.argv[2])):
    writer.slot()[:] = number
    writer.hand_over()
time.sleep(10_000)
"""
READS = """
import os, signal, socket, sys
from saelab.ring import Reader
for number, rows in enumerate(Reader(socket.socket(fileno=int(sys.argv[1]))).slots()):
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def process(code: str, end: socket.socket, argument: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, str(end.fileno()), str(argument)]
    started = subprocess.Popen(command, cwd=ROOT, pass_fds=[end.fileno()])
    end.close()  # it is the other process's alone
    return started


def test_each_row_comes_once_in_order_and_they_end_at_the_plan(ends: tuple[socket.socket, socket.socket]) -> None:
    counted: list[int] = []

    def write() -> None:
        writer = Writer(ends[0], SHAPE)
        for number in range(SHAPE.slots):
            writer.slot()[:] = number
            writer.hand_over()
            counted.append(writer.rows)
        writer.wait_for_reader()

    thread = threading.Thread(target=write)
    thread.start()
    taken = [rows.copy() for rows in Reader(ends[1]).slots()]
    ends[1].close()
    thread.join()
    assert np.concatenate(taken)[:, 0].tolist() == [number // 2 for number in range(25)]
    assert counted == [*range(2, 25, 2), 25]
    assert len(taken) > 2 * SLOTS  # so each slot was used again


def test_no_slot_is_filled_again_before_it_was_given_back(ends: tuple[socket.socket, socket.socket]) -> None:
    writer = Writer(ends[0], SHAPE)
    reader = Reader(ends[1])
    for number in range(SLOTS):
        writer.slot()[:] = number
        writer.hand_over()
    ends[0].setblocking(False)
    with pytest.raises(ReaderGone):  # it would have to wait
        writer.slot()
    slots = reader.slots()
    assert [next(slots)[0, 0] for _ in range(2)] == [0, 1]
    writer.slot()[:] = SLOTS
    writer.hand_over()
    assert [next(slots)[0, 0] for _ in range(3)] == [2, 3, 4]


def test_the_memory_has_no_name_and_who_reads_can_neither_write_nor_resize_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    writer = Writer(ends[0], SHAPE)
    _, (memory,), _, _ = socket.recv_fds(ends[1], 1000, 1)
    try:
        assert str(Path(f"/proc/self/fd/{memory}").readlink()) == "/memfd:rows (deleted)"  # so nothing is left in /dev/shm
        with pytest.raises(PermissionError):
            mmap.mmap(memory, SHAPE.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(PermissionError):
            os.pwrite(memory, b"1", 0)
        for size in (1, 2 * SHAPE.size):
            with pytest.raises(PermissionError):
                os.ftruncate(memory, size)
        writer.slot()[:] = 7.0  # whose it is can
        with mmap.mmap(memory, SHAPE.size, mmap.MAP_SHARED, mmap.PROT_READ) as seen:
            assert np.frombuffer(seen[:4], dtype="<f4")[0] == 7.0
    finally:
        os.close(memory)


@pytest.mark.parametrize("slots", [0, 3])
def test_a_writer_that_is_killed_is_said_with_how_many_rows_there_were(
    ends: tuple[socket.socket, socket.socket], slots: int
) -> None:
    writer = process(WRITES, ends[0], slots)
    taken = Reader(ends[1]).slots()
    for number in range(slots):
        assert next(taken)[0, 0] == number
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    with pytest.raises(CannotPrepare, match=rf"has ended after {2 * slots} of 25"):
        next(taken)


def test_a_writer_that_never_began_is_said(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].close()
    with pytest.raises(CannotPrepare, match="has ended before the first one"):
        Reader(ends[1])


@pytest.mark.parametrize("slots", [0, 3])
def test_a_writer_whose_reader_is_killed_ends(ends: tuple[socket.socket, socket.socket], slots: int) -> None:
    reader = process(READS, ends[1], slots)
    writer = Writer(ends[0], SHAPE)
    with pytest.raises(ReaderGone):
        while True:
            writer.slot()[:] = 1
            writer.hand_over()
    assert reader.wait() == -signal.SIGKILL
    assert slots <= writer.filled <= slots + SLOTS
