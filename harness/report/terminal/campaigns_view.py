"""Several campaigns at once, as whoever began them sees them: what each says, and on a terminal where each stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.text import Text

from ...campaign.errors import HarnessError
from ...campaign.layout import Layout
from ...campaign.text import clean
from .columns import cut
from .live_view import Redrawn
from .status import CampaignStatus, read_status
from .status_page import overview


class CampaignsView(Protocol):
    """What is told of them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def said(self, name: str, line: str, is_error: bool) -> None:
        """A line of a campaign's own; from any thread."""

    def notice(self, text: str) -> None:
        """A line about all of them; from any thread."""


def statuses(layouts: Sequence[Layout]) -> list[CampaignStatus]:
    """Where they stand, those that can be read."""
    found = []
    for layout in layouts:
        try:
            found.append(read_status(layout))
        except HarnessError:
            continue
    return found


class CampaignLines:
    """Without a terminal: each line of each campaign, after its name. They go on where nobody reads any more."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write_to = write
        self._deaf = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def said(self, name: str, line: str, is_error: bool) -> None:
        self._write(f"{name}: {line}" if line else "")

    def notice(self, text: str) -> None:
        self._write(text)

    def _write(self, text: str) -> None:
        if not self._deaf:
            try:
                self._write_to(text)
            except OSError:
                self._deaf = True


class CampaignTable(Redrawn):
    """On a terminal: a line a campaign, redrawn once a second; what is wrong with one is printed above it."""

    def __init__(self, layouts: Callable[[], Sequence[Layout]], console: Console) -> None:
        self._layouts = layouts
        self._notice = ""
        self._last: dict[str, str] = {}
        super().__init__(console, 1)

    def said(self, name: str, line: str, is_error: bool) -> None:
        if is_error:
            self._console.print(Text(clean(f"{name}: {line}")))
        elif line:
            self._last[name] = line

    def notice(self, text: str) -> None:
        self._notice = text

    def _render(self) -> Group:
        width = self._console.width
        found = statuses(self._layouts())
        lines = [Text.from_ansi(each) for each in overview(found, width)]
        going_on = [each.name for each in found if each.state == "running" and each.name in self._last]
        lines += [Text(cut(f"{name}: {self._last[name]}", width), style="dim") for name in going_on]
        if self._notice:
            lines.append(Text(cut(self._notice, width), style="yellow"))
        for text in lines:
            text.no_wrap, text.overflow = True, "crop"
        return Group(*lines)
