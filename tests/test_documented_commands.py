"""Every `harness …` that documentation, help or a message names is one that the command line knows, options and all."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from harness.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [*sorted((ROOT / "templates").rglob("*.j2")), *sorted((ROOT / "templates").rglob("*.toml"))]
CODE = [*sorted((ROOT / "harness").rglob("*.py")), *sorted((ROOT / "saelab").rglob("*.py"))]
_TYPED = re.compile(
    r"`(?:\$ )?(?:\.venv/bin/)?harness ([a-z][^`\n]*)`|^ {4,}(?:\$ )?(?:\.venv/bin/)?harness ([a-z].*)$", re.MULTILINE
)


def typed(text: str) -> Iterator[str]:
    """What follows `harness` in code: between backticks, or in an indented line that begins with it."""
    for match in _TYPED.finditer(text):
        yield re.sub(r"\\\{|\{[^{}]*\}", "X", match[1] or match[2].split("  #")[0])


def literals(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"^ {1,5}(?! )", "", node.value, flags=re.MULTILINE)  # prose of a docstring is indented too
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)  # type: ignore[misc]


def problem(line: str) -> str:
    """What of a command line `harness` does not know; empty where it knows all."""
    try:
        words = [word.rstrip(".,;:)…") for word in shlex.split(line.replace("'", "’"), comments=True)]
    except ValueError:
        words = line.split()
    command: click.Command = cli
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z]+", words[0]):
        name = words.pop(0)
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    for word in words:
        option = word.partition("=")[0]
        if word in ("|", "&&", ";", ">"):
            break
        if re.fullmatch(r"--[a-z][a-z-]*", option) and option not in known:
            return f"{command.name}: no option {option}"
    return ""


def wrong(text: str) -> list[str]:
    return [
        f"harness {line}: {found}"
        for line in typed(text)
        if re.match(r"[a-z]+\b(?![/.:])", line) and (found := problem(line))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_are_known(page: Path) -> None:
    assert wrong(page.read_text()) == []


def test_commands_of_messages_and_help_are_known() -> None:
    assert [f"{file.relative_to(ROOT)}: {each}" for file in CODE for text in literals(file) for each in wrong(text)] == []


def test_what_is_not_known_would_be_found() -> None:
    assert wrong("`harness run --nothing`") == ["harness run --nothing: run: no option --nothing"]
    assert wrong("    harness fly latest") == ["harness fly latest: no command fly"]
    assert wrong("`harness report latest --open`, and a harness that runs") == []


def test_messages_in_troubleshooting_are_those_of_the_code() -> None:
    """What stands in italics there is a symptom, and no message; … is what differs from case to case."""
    said = " ".join(" ".join(text.split()) for file in CODE for text in literals(file)).lower()
    rows = (ROOT / "docs" / "troubleshooting.md").read_text().split("\n")
    messages = [row.split("|")[1].strip() for row in rows if row.startswith("| ") and not row.startswith("| message")]
    parts = [
        part for each in messages if not each.startswith("*") for part in re.split(r"…|;|\(exit code \d\)|~/\.\w+", each)
    ]
    assert [part for part in parts if part.strip(" :,.s").lower() not in said] == [] and len(parts) > 25
