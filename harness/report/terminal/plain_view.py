"""The view without a terminal: lines with times, for a log file or a CI job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from ...campaign.metric_names import telling
from ...campaign.numbers import number
from ...campaign.protocols import Waits
from ...campaign.record import Record
from ...campaign.text import clean, duration, in_words, line
from .status import PHASES, Primary, row
from .status_page import beside_reference

HEARTBEAT = 30.0
"""Seconds without a line after which one says what is still in hand."""


@dataclass
class _InHand:
    """What a thread has in hand."""

    phase: str
    place: str
    begun: float
    last_line: str = ""


class PlainView:
    """Writes a line for everything that happens, and one now and then while something takes long.

    `write` takes a line. When nobody reads any more (a closed pipe) the campaign goes on without a word.
    """

    def __init__(self, primary: Primary | None, write: Callable[[str], None], heartbeat: float = HEARTBEAT) -> None:
        self._primary = primary
        self._write = write
        self._heartbeat = heartbeat
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._in_hand: dict[int, _InHand] = {}
        """By the thread that it is in the hands of."""
        self._written = time.monotonic()
        self._deaf = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        tried = f", attempt {attempt}" if attempt else ""
        phase = PHASES.get(phase, phase)
        place = f"run {run} of {max_runs}{tried}: {phase}" if run else f"run 0, the baseline: {phase}"
        if not run and phase == "agent":  # it has no part in the baseline
            place = "the agent is prepared"
        self._in_hand[threading.get_ident()] = _InHand(phase, place, time.monotonic())
        self._line(place + (f" (about {duration(round(expected, 1))})" if expected is not None else ""))

    def end(self) -> None:
        self._in_hand.pop(threading.get_ident(), None)

    def tick(self, line_of_output: str) -> None:
        own = self._in_hand.get(threading.get_ident()) or next(iter(self._in_hand.values()), None)
        if own is None:  # an agent that is made ready before the first phase begins
            own = self._in_hand.setdefault(threading.get_ident(), _InHand("", "", time.monotonic()))
        first = not own.last_line
        own.last_line = line(line_of_output) or own.last_line
        # An agent says little, and what it says first (that it is being installed) explains a wait of minutes.
        # For what it waits has been said.
        if first and own.last_line and own.phase in ("agent", "") and not isinstance(line_of_output, Waits):
            self._line(f"  {own.last_line}")

    def say(self, text: str) -> None:
        for each in clean(text).strip("\n").split("\n"):
            self._line(f"  {each}")

    def recorded(self, record: Record) -> None:
        self._in_hand.clear()
        done = row(record.model_dump(), self._primary)
        metric = ""
        if self._primary is not None and done.value is not None:
            value, *reference = beside_reference(done)
            metric = f"; {self._primary.name} {value}"
            metric += f" ({' '.join(reversed(reference))})" if reference else ""
        elif self._primary is None:
            known = {name: each for name, each in record.metrics.items() if record.run == 0 or each.baseline is not None}
            shown = [
                f"{name} {number(known[name].value)}" + (f" (baseline {number(known[name].baseline)})" if record.run else "")
                for name in telling([known])
            ]
            metric = f"; {', '.join(shown)}" if shown else ""
        verdict = in_words(done.verdict)
        self._line(
            f"run {record.run}: {record.status}, {verdict}{metric}"
            if verdict != record.status
            else f"run {record.run}: {record.status}; {line(record.verdict.why)}"
        )

    def notice(self, text: str) -> None:
        """A line about the campaign as a whole; from any thread."""
        self._line(text)

    def _beat(self) -> None:
        while not self._ended.wait(min(self._heartbeat / 10, 1.0)):
            now = time.monotonic()
            if now - self._written >= self._heartbeat:
                for each in [each for each in self._in_hand.copy().values() if each.place]:
                    after = f": {each.last_line}" if each.last_line else ""
                    self._line(f"  {each.phase} for {duration(round(now - each.begun))}{after}")

    def _line(self, text: str) -> None:
        with self._writing:
            self._written = time.monotonic()
            if self._deaf:
                return
            try:
                self._write(f"{datetime.now():%H:%M:%S} {text}")
            except OSError:
                self._deaf = True
