"""Several campaigns at once: a process of the harness for each, so that nothing of one is in the way of another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO

import click

from ..campaign.campaign import Campaign
from ..campaign.errors import CannotGoOn, Interrupted
from ..campaign.layout import Layout
from ..campaign.stop import Stop
from ..campaign.text import clean
from ..execution.executors import cgroup
from ..report.terminal.campaigns_view import CampaignLines, CampaignsView, CampaignTable, statuses
from ..report.terminal.status_page import next_lines, next_steps, overview, typed

_LOOK = 0.1
_LAST_WORDS = 5.0
"""Seconds in which what a process said last has been read, even where something that outlives it holds the pipe."""
# Whose parent has ended without a word stops as by a SIGTERM.
_START = (
    "from signal import SIGTERM; from harness.execution.executors.process_tree import die_with_parent; "
    "die_with_parent(SIGTERM); from harness.cli.main import main; main()"
)


class _Ours(Layout):
    """A campaign that a process of ours runs: its lock, which that one is to take, is not touched."""

    def is_running(self) -> bool:
        return True


class _Process:
    """One campaign in a process, from `harness resume` to its end."""

    def __init__(self, campaign: Campaign, jobs: int | None, tell: str | None, view: CampaignsView) -> None:
        self.layout = _Ours(campaign.root)
        self.jobs = jobs or 0
        options = [*(["--jobs", str(jobs)] if jobs else []), *(["--notify", tell] if tell else [])]
        # A session of its own: Ctrl-C comes from us alone, however it was typed or sent.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, "resume", *options, str(campaign.root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding=sys.stdout.encoding,
            errors="replace",
            start_new_session=True,
        )
        self._told: set[signal.Signals] = set()
        assert self._process.stdout and self._process.stderr
        self._readers = [
            threading.Thread(target=self._pass_on, args=(stream, view, is_error), daemon=True)
            for stream, is_error in ((self._process.stdout, False), (self._process.stderr, True))
        ]
        for reader in self._readers:
            reader.start()

    def tell(self, number: signal.Signals) -> None:
        """Send it this signal, once."""
        if number not in self._told and self._process.poll() is None:
            self._told.add(number)
            self._process.send_signal(number)

    def ended(self) -> int | None:
        """Its exit code, after all that it said was passed on; None while it goes on."""
        code = self._process.poll()
        if code is None:
            return None
        for reader in self._readers:
            reader.join(_LAST_WORDS)
        if code < 0:  # a signal came before it listened to any, or it was killed
            return Interrupted.exit_code if self._told else CannotGoOn.exit_code
        return code

    def _pass_on(self, stream: IO[str], view: CampaignsView, is_error: bool) -> None:
        with stream:
            for line in stream:
                view.said(self.layout.name, clean(line.rstrip("\n")), is_error)


def run_several(campaigns: Sequence[Campaign], at_once: int, jobs: int | None, tell: str | None, width: int) -> list[int]:
    """Take them on, up to `at_once` at a time, with `jobs` executions in all, or as many as each finds room for. Returns
    the exit codes of those that were begun."""
    cgroup.available()  # while nobody but this process is in its group, as none of the others will be
    stop, waiting, going_on, codes = Stop(), deque(campaigns), list[_Process](), list[int]()
    ended: list[Layout] = []

    def layouts() -> list[Layout]:
        known = {each.name: each for each in [*ended, *(process.layout for process in going_on)]}
        return [known.get(each.name, Layout(each.root)) for each in campaigns]

    view = _view(layouts)
    with stop.listen(view.notice), stop.polled(), view:
        while going_on or (waiting and not stop.soon):
            while waiting and len(going_on) < at_once and not stop.soon:
                free = (jobs or 0) - sum(each.jobs for each in going_on)
                part = max(1, free // min(len(waiting), at_once - len(going_on))) if jobs else None
                going_on.append(_Process(waiting.popleft(), part, tell, view))
            for each in going_on:
                if stop.soon:
                    each.tell(signal.SIGTERM if stop.at_once else signal.SIGINT)
            for each in list(going_on):
                code = each.ended()
                if code is not None:
                    going_on.remove(each)
                    ended.append(Layout(each.layout.root))
                    codes.append(code)
            time.sleep(_LOOK)
    if stop.soon:
        codes.append(Interrupted.exit_code)
    _say_where_they_stand(campaigns, width)
    return codes


def _say_where_they_stand(campaigns: Sequence[Campaign], width: int) -> None:
    """A line each, and what can be typed next."""
    found = statuses([Layout(each.root) for each in campaigns])
    steps = [next_steps(each, typed(Layout(each.folder)))[0] for each in found]
    click.echo("\n".join(["", *overview(found, width), "next", *(f"  {each}" for each in next_lines(steps, width - 2))]))


def _view(layouts: Callable[[], Sequence[Layout]]) -> CampaignsView:
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console

        return CampaignTable(layouts, Console(highlight=False))
    return CampaignLines(click.echo)
