"""Recorded baselines: results that a campaign begins with, in place of executing the unmodified experiment.

A folder of baselines holds `run_0/`, which stands as run 0, and perhaps more, each a folder as a run leaves it: context for
the agent. The experiment's own folder may be one. No verdict of "improved" rests on them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .contract import CONTRACT_FILE, Contract, Profile
from .errors import InputError
from .experiment_folder import MAX_FILE, RUN_FOLDER
from .protocols import EVAL_FOLDER, FINAL_INFO

RUN_0 = "run_0"


def find(experiment: Path, contract: Contract, profile: str, asked: str | None) -> Path | None:
    """The folder of baselines that a campaign begins with, None where it executes its own.

    `asked`: "given", "own", or None, which takes a `run_0` that lies in an experiment without a contract. Raises InputError
    where what was asked for is not there.
    """
    named = contract.profiles.get(profile, Profile()).baselines
    folder = experiment / named if named else experiment
    there = _has_results(folder / RUN_0)
    if asked == "given" and not there:
        others = [name for name, each in contract.profiles.items() if each.baselines and name != profile]
        where = f"{folder / RUN_0}: no recorded results there"
        if not named and profile:
            where = f"profile {profile} names no recorded baselines"
        known = f" These profiles do: {', '.join(others)}." if others else ""
        raise InputError(
            f"--baseline given: {where}.{known} `baselines` of a profile in {CONTRACT_FILE} names a folder with {RUN_0}/; "
            "without --baseline the unmodified experiment is executed."
        )
    if asked == "given" or (asked is None and there and not (experiment / CONTRACT_FILE).exists()):
        return folder
    return None


def unused(experiment: Path, contract: Contract, profile: str, asked: str | None) -> list[str]:
    """In a sentence, recorded results in the experiment's folder that are not begun with, though nobody said so."""
    named = contract.profiles.get(profile, Profile()).baselines
    if asked is not None or named or find(experiment, contract, profile, None) or not _has_results(experiment / RUN_0):
        return []
    return [
        f"{RUN_0} is not used: with {CONTRACT_FILE} the baseline is executed. `--baseline given` begins with its results."
    ]


def copy(source: Path, target: Path) -> None:
    """Copy results. What is larger beside them (checkpoints) stays where it is, and so do links."""
    for folder, _, names in os.walk(source):
        for path in (Path(folder, name) for name in names):
            if path.is_file() and not path.is_symlink() and (path.stat().st_size <= MAX_FILE or path.name == FINAL_INFO):
                goal = target / path.relative_to(source)
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, goal)


def context(folder: Path) -> list[Path]:
    """What else a folder of baselines holds. Other runs (`run_1`) are those of a campaign."""
    beside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in beside if not RUN_FOLDER.fullmatch(path.name) and _has_results(path)]


def _has_results(folder: Path) -> bool:
    return any((folder / name).exists() for name in (FINAL_INFO, EVAL_FOLDER))
