"""Telling somebody that a campaign has ended, or why not: a command of yours, or a web address."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from typing import Any

import click

from ..campaign.errors import HarnessError
from ..campaign.layout import Layout
from ..campaign.text import in_json, line
from ..report.terminal.status import read_status
from ..report.terminal.status_page import status_facts

PATIENCE = 60.0
"""Seconds that a command or a server may take."""


def notify(to: str, layout: Layout, exit_code: int) -> None:
    """Give the campaign's state, as `harness status --json` has it, to the command `to` on its standard input, or to the
    address `to` (http, https) as the body of a POST. What goes wrong there is a line, and changes nothing."""
    try:
        state: dict[str, Any] = status_facts(read_status(layout))
    except HarnessError as error:
        state = {"name": layout.name, "folder": str(layout.root), "message": str(error)}
    body = in_json(json.dumps(state | {"exit_code": exit_code}, ensure_ascii=False)).encode()
    try:
        if to.startswith(("http://", "https://")):
            request = urllib.request.Request(to, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=PATIENCE):
                return
        done = subprocess.run(
            to, shell=True, input=body, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE
        )
        problem = f"exit code {done.returncode}: {done.stderr.decode(errors='replace')}" if done.returncode else ""
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        # Not the address itself: it may hold a key.
        click.echo(f"--notify: nobody was told: {line(problem.replace(to, '…'))}", err=True)
