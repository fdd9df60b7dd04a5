"""Whether an experiment reads HARNESS_SEED, as far as its files tell: one that does not has one seed, or its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..campaign.contract import CONTRACT_FILE, Contract
from ..campaign.experiment_folder import MAX_FILE
from ..campaign.protocols import HOW_TO_READ_SEED, SEED

PROSE = (".md", ".rst", ".txt")
"""How files end that tell of a seed and read none."""


def is_named(contract: Contract, mentioning: Iterable[str], variable: str = SEED) -> bool:
    """Whether the command names it, or one of the files `mentioning` it is a source, in whatever language."""
    return any(variable in part for part in contract.command) or any(not path.endswith(PROSE) for path in mentioning)


def not_named(contract: Contract, folder: Path, files: Iterable[str]) -> str:
    """That nothing of the experiment in `folder` names it, of which `files` go along, and what to do; else empty."""
    sources = (name for name in files if name != CONTRACT_FILE and not name.endswith(PROSE))
    if is_named(contract, (name for name in sources if _mentions(folder / name))):
        return ""
    return (
        f"no file of the experiment mentions {SEED}: if its random numbers are seeded without it, all seeds give the same, "
        f"and no run can be judged unless the experiment reports several seeds of its own; {HOW_TO_READ_SEED}"
    )


def _mentions(file: Path) -> bool:
    try:
        return file.stat().st_size <= MAX_FILE and SEED.encode() in file.read_bytes()
    except OSError:
        return False
