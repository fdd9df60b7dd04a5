"""Recorded baselines: results that a campaign begins with, in place of executing the untouched experiment.

A folder of baselines holds `run_0/`, which stands as run 0, and perhaps more, each a folder as a run leaves it: context for
the agent. The experiment's own folder may be one. No verdict of "improved" rests on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from .brief import Column
from .contract import FILE_NAME, Contract, Profile, Setting
from .errors import InputError
from .health import broken_where_known
from .result_files import EVAL_FOLDER, FINAL_INFO
from .scored import read_run

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
            f"--baseline given: {where}.{known} `baselines` of a profile in {FILE_NAME} names a folder with {RUN_0}/; "
            "without --baseline the untouched experiment is executed."
        )
    if asked == "given" or (asked is None and there and not (experiment / FILE_NAME).exists()):
        return folder
    return None


def context(folder: Path) -> list[Path]:
    """What else a folder of baselines holds. Other runs (`run_1`) are those of a campaign."""
    beside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in beside if not path.name.startswith("run_") and _has_results(path)]


def _has_results(folder: Path) -> bool:
    return any((folder / name).exists() for name in (FINAL_INFO, EVAL_FOLDER))


def columns(folders: list[Path], contract: Contract) -> Iterator[Column]:
    """The recorded baselines that are context, with the metrics of the contract and what is wrong with them."""
    for folder in folders:
        results = read_run(folder, contract)
        broken = broken_where_known(contract, results.numbers, results.settings)
        note = "; ".join(["recorded elsewhere, no evidence here", *broken])
        yield column(folder.name, results.numbers, results.settings, contract, note)


def column(
    label: str, metrics: Mapping[str, float], settings: Mapping[str, Setting], contract: Contract, note: str
) -> Column:
    """What was recorded elsewhere, with the metrics and settings that mean something here: those of the contract, where it
    has any. The others are of the code that it was recorded with, and no run would have them."""
    own = {metric.name for metric in contract.metric} or metrics.keys()
    known = {name for profile in contract.profiles.values() for name in profile.settings} | {*contract.comparable}
    return Column(
        label,
        {name: value for name, value in metrics.items() if name in own},
        {name: value for name, value in settings.items() if "." not in name and (name in known or not known)},
        note,
    )
