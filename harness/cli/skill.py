"""`harness skill`: what teaches a coding agent to drive a campaign, as the files that it reads."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ..campaign.errors import CannotGoOn, InputError
from ..campaign.files import read_text, write_atomically
from ..campaign.text import template

PLACES = {
    "claude": Path(".claude/skills/harness/SKILL.md"),
    "codex": Path(".agents/skills/harness/SKILL.md"),
    "agents": Path("AGENTS.md"),
}
"""Where each looks, below the folder that it is started in."""
_HEAD = """---
name: harness
description: Take a research idea through an experiment (experiment.py) with the `harness` command, change by change, each \
executed with seeds and judged against the baseline. Use it whenever a change of an experiment is to be tried or compared.
---

"""
_BEGIN, _END = "<!-- harness skill: begin -->", "<!-- harness skill: end -->"


def skill(name: str) -> str:
    """What is written for an agent: a skill, or a section of AGENTS.md."""
    text = f"{_BEGIN}\n{template('skill.j2').render(program=_program()).strip()}\n{_END}\n"
    return text if name == "agents" else _HEAD + text


def _program() -> str:
    """A login shell of an agent has another PATH than the one in which an environment was activated."""
    beside = Path(sys.executable).parent / "harness"
    return str(beside if beside.exists() else shutil.which("harness") or "harness")


def install(name: str, folder: Path) -> Path:
    """Write it where the agent looks, in place of an earlier one; everything else in a file stays. Raises InputError."""
    file, text = folder / PLACES[name], skill(name)
    try:
        old = read_text(file) if file.exists() else ""
        before, begun, rest = old.partition(_BEGIN)
        _, ended, after = rest.partition(_END)
        if begun and ended:
            new = f"{before}{skill('agents').rstrip()}{after}"
        elif name == "agents":
            new = "\n".join(filter(None, [old, text]))
        elif old:
            raise InputError(f"{file}: there is one that `harness skill` did not write. Move it away first.")
        else:
            new = text
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, new)
    except OSError as error:
        raise CannotGoOn(f"{error.filename or file}: cannot be written: {error.strerror}.") from error
    return file
