"""A command of the contract, as it is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PYTHON = ("python", "python3")
"""What a contract calls the Python of the experiment."""


def filled(part: str, places: Mapping[str, str]) -> str:
    """`part` of a command with each of `places` put in by its name."""
    for name, path in places.items():
        part = part.replace(name, path)
    return part


def with_python(command: Sequence[str], python: str) -> tuple[str, ...]:
    """`command` with the experiment's Python, where the contract says `python`."""
    return (python if command[0] in PYTHON else command[0], *command[1:])
