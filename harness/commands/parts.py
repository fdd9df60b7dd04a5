"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Any

import click

from ..errors import InputError

CAMPAIGN = click.argument("campaign")
JSON = click.option("--json", "as_json", is_flag=True, help="The same facts for programs.")


def print_json(facts: Any) -> None:
    """What `--json` prints."""
    import json

    click.echo(json.dumps(facts, ensure_ascii=False, indent=1))


def recorded(layout: Any, run: str) -> int:
    """The number of a run that has a record: `2` or `run_2`. Raises InputError."""
    count = len(layout.records())
    text = run.removeprefix("run_")
    if text.isdecimal() and int(text) < count:
        return int(text)
    known = f"0 to {count - 1}" if count else "none yet; `harness status` says what is in hand"
    raise InputError(f"run {run}: no record of it in {layout.name}. Recorded: {known}.")
