"""Telling somebody that a campaign has ended, cannot go on, or waits: a command of yours, or a web address."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import click

from .. import __version__
from ..agents.keys import Redaction
from ..campaign.errors import HarnessError
from ..campaign.layout import Layout
from ..campaign.protocols import View, Waits
from ..campaign.record import Record
from ..campaign.text import in_json, line
from ..report.terminal.status import read_status
from ..report.terminal.status_page import status_facts

PATIENCE = 60.0
"""Seconds that a command or a server may take."""
LASTS = 60.0
"""Seconds after which a wait is worth a word: a slot is often free in a moment."""
_ADDRESS = re.compile(r"(https?://)(?:[^\s'\"/@]*@)?([^\s'\"/]*)[^\s'\"]*")
_KEY = re.compile(r"(?i)((?:key|token|secret|password|bearer)['\"]?[=:\s]\s*['\"]?)[^\s'\"]+")


def notify(to: str, facts: Mapping[str, Any]) -> None:
    """Give `facts` as JSON to the command `to` on its standard input, or to the address `to` (http, https) as the body of a
    POST, with `text`, a sentence, which is what chat services show. What goes wrong there is a line, and changes nothing."""
    body = in_json(json.dumps({"text": _sentence(facts), **facts}, ensure_ascii=False)).encode()
    try:
        if to.startswith(("http://", "https://")):
            # Some services refuse what a library calls itself.
            headers = {"Content-Type": "application/json", "User-Agent": f"harness/{__version__}"}
            with urllib.request.build_opener(_Here).open(urllib.request.Request(to, body, headers), timeout=PATIENCE):
                return
        done = subprocess.run(
            to, shell=True, input=body, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE
        )
        said = [f"exit code {done.returncode}", done.stderr.decode(errors="replace").strip()]
        problem = ": ".join(filter(None, said)) if done.returncode else ""
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        click.echo(f"--notify failed: {line(_without_keys(problem, to))}", err=True)


def _without_keys(problem: str, to: str) -> str:
    """`problem` with no more of an address than its host, and without what is called a key or is a variable's value."""
    named = {name: value for name, value in os.environ.items() if re.search(rf"\$\{{?{re.escape(name)}\b", to)}
    return _KEY.sub(r"\1…", _ADDRESS.sub(r"\1\2/…", Redaction(named)(problem)))


class _Here(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, since a POST would become a GET, without what is to be told."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _sentence(facts: Mapping[str, Any]) -> str:
    said = facts.get("waits") or facts.get("message") or facts.get("state") or ""
    return f"{facts.get('name', 'harness')}: {line(str(said))}"


def state(layout: Layout, exit_code: int | None) -> dict[str, Any]:
    """A campaign's state, as `harness status --json` has it, and the exit code of the command; None while it goes on."""
    try:
        facts = status_facts(read_status(layout))
    except HarnessError as error:
        facts = {"name": layout.name, "folder": str(layout.root), "message": str(error)}
    return facts | {"exit_code": exit_code}


class WaitsView:
    """A view that has `tell` called where the campaign waits for something that lasts: once, until nothing waits."""

    def __init__(self, view: View, tell: Callable[[], None]) -> None:
        self._view, self._tell = view, tell
        self._since: dict[int, float] = {}
        """By the thread that waits, or did in what it has in hand."""
        self._told = False
        self._changing = threading.Lock()

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        self._over()
        self._view.begin(run, max_runs, attempt, phase, expected)

    def end(self) -> None:
        self._over()
        self._view.end()

    def tick(self, line: str) -> None:
        if isinstance(line, Waits):
            self._waits()
        self._view.tick(line)

    def say(self, text: str) -> None:
        self._view.say(text)

    def recorded(self, record: Record) -> None:
        self._view.recorded(record)

    def _waits(self) -> None:
        now = time.monotonic()
        with self._changing:
            since = self._since.setdefault(threading.get_ident(), now)
            if self._told or now - since < LASTS:
                return
            self._told = True
        # Apart, because who is told may take long, and what is waited for may come meanwhile.
        threading.Thread(target=self._tell).start()

    def _over(self) -> None:
        with self._changing:
            self._since.pop(threading.get_ident(), None)
            self._told = self._told and bool(self._since)
