"""The view on a terminal: the table of runs, the phases of the run in hand, and its last line of output."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ...campaign.record import Record
from ...campaign.text import clean, duration, line
from ...campaign.usage import Usage
from .columns import cut
from .run_table import run_table
from .status import PHASES, Primary, Row, row
from .status_page import cost_of, tokens

_REST = 9  # lines of the view besides the table's rows
_DONE = 6  # phases that have ended and are still shown


@dataclass
class _Phase:
    name: str
    begun: float
    expected: float | None
    thread: int
    """The one that it is in the hands of."""
    seconds: float | None = None
    """How long it took; None while it is in hand."""
    last_line: str = ""


class Redrawn(ABC):
    """The end of a terminal, drawn again so many times a second while the block runs."""

    def __init__(self, console: Console, times_a_second: float) -> None:
        """Draws at once: what `_render` needs is there before."""
        self._console = console
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=times_a_second,
            transient=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    @abstractmethod
    def _render(self) -> Group: ...


class LiveView(Redrawn):
    """One campaign; what is worth keeping is printed above what is redrawn."""

    def __init__(self, primary: Primary | None, rows: Sequence[Row], console: Console) -> None:
        """`rows` are the runs that are recorded already."""
        self._primary = primary
        self._rows = {each.run: each for each in rows if each.attempt is None}
        self._title = ""
        self._phases: list[_Phase] = []
        self._telling = threading.Lock()
        self._notice = ""
        super().__init__(console, 4)

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        title = f"run {run} of {max_runs}" if run else "run 0, the baseline"
        # The reviewer speaks about a run and not about one of its attempts.
        title += f", attempt {attempt}" if attempt else ""
        self.end()
        with self._telling:
            if title != self._title:
                self._phases = [each for each in self._phases if each.seconds is None]
            self._title = title
            self._phases.append(_Phase(PHASES.get(phase, phase), time.monotonic(), expected, threading.get_ident()))

    def end(self) -> None:
        for each in self._in_hand:
            if each.thread == threading.get_ident():
                each.seconds = time.monotonic() - each.begun

    def tick(self, line_of_output: str) -> None:
        in_hand = self._in_hand
        # What an agent says comes from a thread of its own.
        for each in [each for each in in_hand if each.thread == threading.get_ident()] or in_hand[-1:]:
            each.last_line = line(line_of_output) or each.last_line

    def say(self, text: str) -> None:
        place = f"{self._title}: " if self._title else ""
        self._console.print(Text(place + clean(text)))

    def recorded(self, record: Record) -> None:
        self.end()
        done = row(record.model_dump(), self._primary)
        self._rows = self._rows | {done.run: done}

    def notice(self, text: str) -> None:
        """A line about the campaign as a whole; from any thread. The next redrawing shows it."""
        self._notice = text

    @property
    def _in_hand(self) -> list[_Phase]:
        return [each for each in self._phases if each.seconds is None]

    def _render(self) -> Group:
        width, height = self._console.width, self._console.height
        rows = [each for _, each in sorted(self._rows.items())]
        in_hand = self._in_hand
        phases = [*[each for each in self._phases if each.seconds is not None][-_DONE:], *in_hand]
        lines: list[Text] = []
        if rows:
            header, *shown = run_table(rows, self._primary, width)
            room = max(height - _REST - len(phases), 1)
            hidden = len(shown) - room
            if hidden > 0:  # the baseline stays: the others are compared with it
                shown = [shown[0], *shown[hidden + 1 :]] if room > 1 else shown[-1:]
            lines += [Text.from_ansi(each) for each in (header, *shown)]
            lines += [Text(cut(self._spent(rows), width), style="dim"), Text("")]
        if self._title:
            lines.append(Text(cut(self._title, width), style="bold"))
        now = time.monotonic()
        for each in phases:
            lines.append(self._phase(each, now))
            if len(in_hand) > 1 and each.last_line and each.seconds is None:
                lines[-1].append(f": {cut(each.last_line, width - lines[-1].cell_len - 2)}", style="dim")
        if len(in_hand) == 1 and in_hand[0].last_line:
            lines.append(Text(f"   {cut(in_hand[0].last_line, width - 3)}", style="dim"))
        if self._notice:
            lines.append(Text(cut(self._notice, width), style="yellow"))
        for text in lines:
            text.no_wrap, text.overflow = True, "crop"
        return Group(*lines)

    def _phase(self, phase: _Phase, now: float) -> Text:
        in_hand = phase.seconds is None
        seconds = duration(round(now - phase.begun if phase.seconds is None else phase.seconds, 1))
        about = f" of about {duration(round(phase.expected, 1))}" if in_hand and phase.expected is not None else ""
        mark, style = (">", "cyan") if in_hand else ("✓", "green")
        return Text(f" {mark} {phase.name:<10} {seconds}{about}", style=style)

    def _spent(self, rows: Sequence[Row]) -> str:
        used = sum((each.usage for each in rows), Usage())
        words = f"cost {cost_of(used)}" if used.cost is None else cost_of(used)
        seconds = duration(round(sum(each.seconds for each in rows), 1))
        return f"recorded so far: {used.in_tokens(tokens(used.tokens))}, {words}, {seconds}"
