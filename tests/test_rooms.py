"""The rooms of `harness/`: how many there are, what each says of itself, that no module lies where nobody looks for it, and
that the page for engineers names what is there. `make lint` holds the direction of imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
HARNESS = ROOT / "harness"
ROOMS = sorted(path.parent for path in HARNESS.glob("*/__init__.py"))


def test_a_stranger_finds_at_most_twelve_entries() -> None:
    assert len([path for path in HARNESS.iterdir() if path.name != "__pycache__"]) <= 12


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_what_lives_there_and_what_does_not(room: Path) -> None:
    docstring, *code = ast.parse((room / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    said = str(docstring.value.value)
    assert "Not here: " in said and len(said.strip().splitlines()) <= 5
    assert not code


def test_a_module_that_only_one_room_uses_lies_in_it() -> None:
    graph = grimp.build_graph("harness", cache_dir=None)
    elsewhere = {}
    for module in graph.modules:
        room = set(module.split(".")[1:2])
        users = {name.split(".")[1] for name in graph.find_modules_that_directly_import(module) if "." in name}
        # What a command prints or the loop does is called from there alone, and stays where its kind is.
        if room and len(users) == 1 and not users <= room | {"cli", "continuation", "loop"}:
            elsewhere[module] = users
    assert not elsewhere


def test_the_page_for_engineers_is_short_and_every_path_on_it_is_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(page.splitlines()) <= 120
    named = set(re.findall(r"`([\w./-]+(?:\.(?:py|toml|txt|md|sh|j2)|/))`", page))
    assert len(named) > 30, "the page names hardly anything"
    missing = sorted(name for name in named if not any((folder / name).exists() for folder in (ROOT, HARNESS)))
    assert not missing
