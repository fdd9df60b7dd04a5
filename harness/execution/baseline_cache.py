"""The baseline cache: results of a baseline's seeds, shared by the campaigns of an experiment.

They lie in the user's cache, where no experiment can write, under a key of all that determines them: the code, the contract,
the profile and its settings, the prepared data that it read, and the environment (Python, packages, machine).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

from ..campaign.campaign import Options
from ..campaign.contract import Contract
from ..campaign.experiment_folder import fingerprint
from ..campaign.files import remove, sync
from ..campaign.paths import cache_folder

LARGEST = 1_000_000  # bytes of a file; checkpoints are not kept
# The untouched experiment does not depend on who is going to edit it, nor on how its limits are held.
_NO_MATTER = ("agent", "model", "limits")


def entry(
    code: Mapping[str, str], linked: Mapping[str, str], contract: Contract, options: Options, environment: Mapping[str, str]
) -> Path:
    """Where the results of this baseline are kept. `code` has the id of every file of its working copy, `linked` what is
    linked there: of these path, size and time tell that they changed."""
    facts = {
        "code": dict(code),
        "linked": list(fingerprint(linked)),
        "contract": contract.model_dump(),
        "profile": options.profile,
        "overrides": options.overrides,
        "environment": {name: value for name, value in environment.items() if name not in _NO_MATTER},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return root() / digest[:32]


def of_data(place: Path, digest: str) -> Path:
    """Where the results of a baseline are kept that read these prepared data; `place` where nothing is prepared."""
    return place.with_name(hashlib.sha256(f"{place.name} {digest}".encode()).hexdigest()[:32]) if digest else place


def root() -> Path:
    """Where all kept baselines are. No experiment reads them."""
    return cache_folder() / "baselines"


def load(place: Path, seed: int | None, into: Path) -> bool:
    """Copy the kept results of `seed`; False where there are none."""
    source = place / str(seed)
    if not source.is_dir():
        return False
    shutil.copytree(source, into, dirs_exist_ok=True)
    return True


def store(place: Path, seed: int | None, results: Path) -> None:
    """Keep the results of `seed`: copied beside and renamed, so they are there whole or not at all."""
    # With the process's id, because two campaigns may keep the same seed at the same time.
    target, beside = place / str(seed), place / f"{seed}.{os.getpid()}.new"
    remove(beside, *(left for left in place.glob("*.new") if _is_nobodys(left)))
    try:
        shutil.copytree(results, beside, ignore=_too_large)
        sync(beside)
        beside.rename(target)
    except (OSError, RecursionError):  # a full or read-only cache, another campaign was first, folders without end: the
        remove(beside)  # results are in this campaign anyway


def _is_nobodys(left: Path) -> bool:
    """Whether the process that was copying has ended."""
    number = left.stem.rpartition(".")[2]
    return number.isdecimal() and not psutil.pid_exists(int(number))


def _too_large(folder: str, names: list[str]) -> list[str]:
    files = [Path(folder) / name for name in names]
    return [file.name for file in files if file.is_symlink() or (file.is_file() and file.stat().st_size > LARGEST)]
