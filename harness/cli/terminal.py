"""The terminal that a person looks at, or the file or program that output goes to instead."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import click

PIPE_WIDTH = 120
"""Columns of a table that goes to a file or another program."""


def width() -> int:
    """Columns of the terminal; COLUMNS in the environment says otherwise."""
    return shutil.get_terminal_size((PIPE_WIDTH, 24)).columns


def has_colours() -> bool:
    """Whether output is seen in colours: on a terminal that has them, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_paged(text: str, coloured: bool, *, pager: bool = True) -> None:
    """`text` through the person's pager, as git does it; as it is where there is none, or no terminal.

    `coloured`: colours are kept wherever it goes.
    """
    program = _pager() if pager and sys.stdout.isatty() else ""
    if not program:
        click.echo(text, color=coloured)
        return
    environment = {"LESS": "FRX", "LV": "-c"} | os.environ  # quits where it fits the screen, and passes colours on
    try:
        process = subprocess.Popen(program, shell=True, stdin=subprocess.PIPE, env=environment)
    except OSError:
        click.echo(text, color=coloured)
        return
    assert process.stdin is not None
    try:
        process.stdin.write(f"{text}\n".encode(errors="replace"))
        process.stdin.close()
    except OSError:
        pass  # the reader has seen enough
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue  # Ctrl-C is the pager's to handle; it ends when its reader says so
    if code == 127:  # no such program
        click.echo(text, color=coloured)


def _pager() -> str:
    """GIT_PAGER, git's core.pager where the person is, PAGER, less; empty for none."""
    chosen = os.environ.get("GIT_PAGER")
    if chosen is None:
        try:
            found = subprocess.run(["git", "config", "core.pager"], capture_output=True, text=True, check=False)
            chosen = found.stdout.removesuffix("\n") if found.returncode == 0 else None
        except OSError:
            chosen = None
    if chosen is None:
        chosen = os.environ.get("PAGER")
    if chosen is None:
        chosen = "less" if shutil.which("less") else ""
    return "" if chosen.strip() == "cat" else chosen.strip()
