"""A process that answers JSON lines: one request, events while it works, one answer."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from .agent_sandbox import AgentSandbox

_TICK = 0.5


class WorkerEnded(Exception):
    """The process ended or was ended; the message says how, with the end of what it printed."""

    def __init__(self, message: str, silent: bool = False) -> None:
        super().__init__(message)
        self.silent = silent
        """Whether it was ended because nothing came from it for too long."""


class Worker:
    """A running process in a sandbox, with a private home folder, which is its HOME and working directory and goes when it
    ends.

    It is in a process group of its own, so Ctrl-C is the harness's to handle. It has to end when its stdin does: then it
    dies with the harness, however that ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        silence: float,
        on_event: Callable[[str, bool], None],
        sandbox_of: Callable[[Path], AgentSandbox] = lambda home: AgentSandbox(home, home),
        parent: Path | None = None,
    ) -> None:
        """`silence`: seconds without any line from it after which it is taken for stuck and ended. `sandbox_of` makes the
        sandbox around its home folder, which is made in `parent` (the temporary files). Raises OSError."""
        self._silence = silence
        self._on_event = on_event
        self._home = Path(tempfile.mkdtemp(prefix="harness-worker-", dir=parent)).resolve()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        try:
            # A file and no pipe: nobody reads along, and a full pipe would stop the worker.
            sandbox = sandbox_of(self._home)
            with (self._home / "output.log").open("wb") as log:
                self._process = subprocess.Popen(
                    sandbox.sandbox.command(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._home,
                    env={**environment, **sandbox.variables, "HOME": str(self._home)},
                    encoding="utf-8",
                    start_new_session=True,
                    preexec_fn=sandbox.sandbox.enter,
                )
        except OSError:
            shutil.rmtree(self._home, ignore_errors=True)
            raise
        self._finish = weakref.finalize(self, _end, self._process, self._home, sandbox)
        # A thread reads, because the wait for a queue can have a limit and that for a line of a stream has none.
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not _has_ended(self._process)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises WorkerEnded, also when the worker answers with an error."""
        try:
            return self._ask(request)
        except BaseException:
            # Also after Ctrl-C: what comes next from it would answer the wrong request.
            self.close()
            raise

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            while (line := self._next()) is not None:
                message: dict[str, Any] = json.loads(line)
                if "event" in message:
                    self._on_event(message["event"], message.get("notice", False))
                elif "error" in message:
                    raise WorkerEnded(f"{message['error']}{self._end_of_output()}")
                else:
                    answer: dict[str, Any] = message["answer"]
                    return answer
        except queue.Empty:
            text = f"no sign of life for {self._silence:g} s{self._end_of_output()}"
            raise WorkerEnded(text, silent=True) from None
        except (OSError, json.JSONDecodeError):
            pass  # a broken pipe, or half a line: both say that it has ended
        raise WorkerEnded(self._death())

    def _next(self) -> str | None:
        """The next line, None where none will come. Raises queue.Empty after the silence."""
        until = time.monotonic() + self._silence
        while True:
            try:
                return self._lines.get(timeout=min(_TICK, self._silence))
            except queue.Empty:
                # What it started may hold its output open for ever.
                if not self.alive and self._lines.empty():
                    return None
                if time.monotonic() > until:
                    raise

    def close(self) -> None:
        self._finish()

    def _death(self) -> str:
        if not _ends_within(self._process, 5):
            return f"its process closed the connection{self._end_of_output()}"
        code = _end_group(self._process)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"its process {how}{self._end_of_output()}"

    def _end_of_output(self) -> str:
        try:
            text = (self._home / "output.log").read_bytes()[-2000:].decode("utf-8", "replace").strip()
        except OSError:
            return ""
        return f"; the end of its output:\n{text}" if text else ""


def _read(stream: TextIO, lines: queue.SimpleQueue[str | None]) -> None:
    try:
        for line in stream:
            lines.put(line)
    except (OSError, ValueError):
        pass  # the pipe was closed under the reader: it is the end all the same
    lines.put(None)


def _has_ended(process: subprocess.Popen[str]) -> bool:
    """Asked without waiting for it: until it is waited for, its id belongs to no other process and no other group."""
    if process.returncode is not None:
        return True
    try:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _ends_within(process: subprocess.Popen[str], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (ended := _has_ended(process)) and time.monotonic() < until:
        time.sleep(0.01)
    return ended


def _end_group(process: subprocess.Popen[str]) -> int:
    """End it and what it has started, also where it has ended itself. Returns its exit code."""
    if process.returncode is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _end(process: subprocess.Popen[str], home: Path, sandbox: AgentSandbox) -> None:
    _end_group(process)
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:
            pass  # unsent bytes for a process that is gone
    sandbox.close()
    shutil.rmtree(home, ignore_errors=True)
