"""Makes the rows of a streamed world while an experiment trains on them: `python -m saelab.feed`.

It knows the truth, so the harness runs it beside an execution and out of its reach. The execution connects to a socket in
this process's folder, once, and says which GPU it has; then rows come through a ring in shared memory (`ring`), each once,
and end at the plan: as many as the settings' steps take. How many were handed over is left in a file here, whatever comes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import worlds
from .errors import CannotPrepare
from .ring import Reader, ReaderGone, Shape, Writer
from .settings import Settings, SettingsError, load_settings

FEED = "HARNESS_FEED"
"""Names the folder of the process that makes rows, to an execution."""
SOCKET, COUNT = "rows", "fed.json"
"""In that folder: where it is connected to, and what it leaves: {"rows": how many were handed over, "planned": how many were
to be}."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ROWS_AT_ONCE = 8192
_GPUS = re.compile(r"[\w,./-]*", re.ASCII)
_LARGEST_QUESTION = 1000  # bytes
_PATIENCE = 90.0
"""Seconds in which the process beside an execution has begun."""


def reader(settings: Settings) -> contextlib.AbstractContextManager[Reader]:
    """The rows of this execution, from the process beside it; where nobody has started one, from one of its own. Raises
    CannotPrepare."""
    return _beside(Path(os.environ[FEED])) if FEED in os.environ else _of_its_own(settings)


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Reader]:
    with _connection(folder) as end:
        yield _connected(end)


def _connection(folder: Path) -> socket.socket:
    """To the process in `folder`, once it has begun. Raises CannotPrepare."""
    end, until = socket.socket(socket.AF_UNIX), time.monotonic() + _PATIENCE
    while True:
        try:
            with contextlib.chdir(folder):  # the path itself may be too long for a socket
                end.connect(SOCKET)
            return end
        except FileNotFoundError:
            if time.monotonic() > until:
                end.close()
                raise CannotPrepare(f"no process makes rows: there is no socket in {folder}.") from None
            time.sleep(0.05)
        except OSError as error:
            end.close()
            raise CannotPrepare(
                f"the process that makes rows does not answer ({error.strerror}). It hands each row over once, to who asks "
                "first."
            ) from error


@contextlib.contextmanager
def _of_its_own(settings: Settings) -> Iterator[Reader]:
    """By hand there is nobody to hide the truth from."""
    mine, its = socket.socketpair()
    with mine:
        with its:
            command = [sys.executable, "-m", "saelab.feed", f"--connected={its.fileno()}"]
            place = Path(__file__).parents[1]  # where the contract lies too
            told = os.environ | {"HARNESS_PROFILE": settings.profile, "HARNESS_SEED": str(settings.seed)}
            process = subprocess.Popen(command, cwd=place, env=told, pass_fds=[its.fileno()])
        try:
            yield _connected(mine)
        finally:
            mine.close()
            process.wait()


def _connected(end: socket.socket) -> Reader:
    with contextlib.suppress(OSError):  # which reading finds too, and says
        end.sendall(os.environ.get(_VISIBLE, "-").encode() + b"\n")
    return Reader(end)


def main(connected: int | None) -> None:
    """Raises SettingsError, CannotPrepare, and ReaderGone."""
    settings = load_settings(Path())
    if connected is not None:
        _feed(settings, socket.socket(fileno=connected), lambda rows: None)
        return
    beside = Path(f".{SOCKET}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(beside))
        server.listen(1)
        beside.rename(SOCKET)  # whoever finds it can connect
        end, _ = server.accept()
    planned = shape_of(settings).rows

    def count(rows: int) -> None:
        Path(f".{COUNT}").write_text(json.dumps({"rows": rows, "planned": planned}), encoding="utf-8")
        Path(f".{COUNT}").rename(COUNT)

    count(0)
    _feed(settings, end, count)


def shape_of(settings: Settings) -> Shape:
    """Of the ring: a slot has whole batches."""
    batches = min(max(_ROWS_AT_ONCE // settings.batch_size, 1), settings.steps)
    return Shape(settings.steps * settings.batch_size, settings.d_in, batches * settings.batch_size)


def _feed(settings: Settings, end: socket.socket, count: Callable[[int], None]) -> None:
    shape = shape_of(settings)
    with end:
        visible = _line(end)
        if visible != "-" and _GPUS.fullmatch(visible):
            os.environ[_VISIBLE] = visible  # before torch has asked for one
        import torch

        writer = Writer(end, shape)
        for rows in worlds.streamed(settings, map(shape.in_slot, range(shape.slots))):
            torch.from_numpy(writer.slot()).copy_(rows)  # from where it was computed, in one step
            writer.hand_over()
            count(writer.rows)
        writer.wait_for_reader()


def _line(end: socket.socket) -> str:
    """What the reader says first."""
    found = b""
    while not found.endswith(b"\n") and len(found) < _LARGEST_QUESTION:
        part = end.recv(1)
        if not part:
            raise ReaderGone
        found += part
    return found.decode(errors="replace").strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connected", type=int, help=argparse.SUPPRESS)
    try:
        main(parser.parse_args().connected)
    except ReaderGone:
        print("feed: nobody takes any more rows")
    except (SettingsError, CannotPrepare) as error:
        sys.exit(f"feed: {error}")
