"""The reference pages of the site, made from the contract's models and from the command line when the site is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from harness.cli.main import cli
from harness.cli.schema import contract_schema

_BEGIN = """# The contract, `experiment.toml`

What the harness fixes and the agent cannot change. Every key may be left out; `harness doctor` says what then cannot be
judged. `harness schema` prints a JSON schema of it for editors, `harness init` writes an example that explains itself.
Times are numbers of seconds or `"90s"`, `"10m"`, `"2h"`; sizes are bytes or `"500MB"`, `"4GB"`.
"""
_TABLES = {
    "": "At the top",
    "LimitsSpec": "`[limits]`",
    "AbortSpec": "`[[abort]]`",
    "Metric": "`[[metric]]`",
    "SanityRule": "`[[sanity]]`",
    "Profile": "`[profiles.NAME]`",
    "HoldoutSpec": "`[profiles.NAME.holdout]`",
    "NoiseSpec": "`[profiles.NAME.noise.METRIC]`",
    "SearchSpec": "`[search.NAME]`, `[profiles.NAME.search.SETTING]`",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    files.append(File.generated(config, "reference/contract.md", content=_contract()))
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    return files


def _contract() -> str:
    schema = contract_schema()
    parts: dict[str, Any] = {"": schema, **schema["$defs"]}
    if unknown := parts.keys() - _TABLES.keys():
        raise ValueError(f"docs/hooks.py: no heading for {', '.join(unknown)}")
    return "\n".join([_BEGIN, *(line for name, title in _TABLES.items() for line in _table(title, name, parts[name]))])


def _table(title: str, name: str, part: dict[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    if name and part.get("description"):
        yield f"{_cell(part['description'])}\n"
    yield "| key | default | |\n|---|---|---|"
    for key, spec in part["properties"].items():
        default = "needed" if key in part.get("required", []) else _default(spec.get("default"))
        yield f"| `{key}` | {default} | {_cell(spec['description'])} |"
    yield ""


def _default(value: Any) -> str:
    return "" if value in (None, "", [], {}) or isinstance(value, dict) else f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _commands() -> str:
    found = ["# Commands\n", "What `harness COMMAND --help` says.\n"]
    found += [section for name, command in cli.commands.items() for section in _command(f"harness {name}", command)]
    return "\n".join(found)


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            yield from _command(f"{name} {inner}", each)
