"""`harness init`: a new experiment folder that runs at once, with the standard library alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..campaign.errors import CannotGoOn, InputError
from .schema import SCHEMAS


def create_experiment(folder: Path) -> list[Path]:
    """Make `folder` with an example experiment, its contract, an idea and a recorded session for it.

    Returns the files, relative to `folder`. Raises InputError where `folder` is something else than a new or empty folder,
    and then touches nothing; CannotGoOn where it cannot be written.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: not a folder. Name a new or an empty one.")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder}: is not empty, so nothing was written. Name a new or an empty folder.")
        folder.mkdir(parents=True, exist_ok=True)
        return [*_copy(_template(), folder), *_write_schemas(folder)]
    except OSError as error:
        raise CannotGoOn(f"{error.filename or folder}: cannot be written: {error.strerror}.") from error


def _copy(source: Path, folder: Path) -> list[Path]:
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    files = [file for file in files if "__pycache__" not in file.parts]
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / file, folder / file)
    return files


def _write_schemas(folder: Path) -> list[Path]:
    """What the first lines of contract and idea refer to, for editors."""
    files = {Path(".schemas") / f"{name}.json": schema() for name, schema in SCHEMAS.items()}
    (folder / ".schemas").mkdir()
    for file, found in files.items():
        (folder / file).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return list(files)


def _template() -> Path:
    """An installed package carries the templates inside it, a checkout beside it."""
    here = Path(__file__).parents[1]
    places = [here / "templates" / "init", here.parent / "templates" / "init"]
    found = next((place for place in places if (place / "experiment.py").is_file()), None)
    if found is None:
        raise CannotGoOn(f"{places[0]}: no such folder; this installation of the harness is damaged. Install it again.")
    return found
