"""Makes what an execution needs before it begins: a world of known features, or the language model, its activations, and
what is the same for all scores.

    python -m saelab.prepare             makes what is missing; mostly finds that nothing is
    python -m saelab.prepare --dry-run   says what would be made, how large, and how long it takes; fails where it could not

The settings are those of the experiment in the working directory (`settings.load_settings`). What is wrong is said in a
message for a person, with exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import evals, harvest, layers, model_files, text, worlds
from .cache import MANIFEST, Say, checksums, lab_cache
from .errors import CannotPrepare
from .evals.requirements import missing_evals
from .fingerprint import file_hash
from .plan import gpu, plan
from .settings import CONTRACT, LanguageModelData, Settings, SettingsError
from .store import Harvest

READS = "HARNESS_READS"
"""Names a file for what `reads` returns."""
EVALS = "evals"
"""The part of the cache that scorers use, and may add to."""


def prepare(settings: Settings, say: Say) -> dict[str, str]:
    """Make what is missing. Returns why evals cannot be prepared, by name. Raises CannotPrepare, SettingsError, and OSError
    where the cache cannot be written."""
    if not isinstance(settings.data, LanguageModelData):
        worlds.ensure(settings, say)
        return {}
    for line in gpu(settings):
        say(line)
    harvest.check_width(harvest.ensure(settings, say), settings)
    return evals.prepare(settings, lab_cache() / EVALS, say)


def reads(settings: Settings) -> dict[str, str]:
    """SHA-256 of all files that executions and scorers read with these settings, by absolute path."""
    if not isinstance(settings.data, LanguageModelData):
        return worlds.reads(settings)
    made = [harvest.folder(settings.data), *evals.prepared(settings, lab_cache() / EVALS)]
    sizes = settings.evals
    files = [*model_files.files(settings.data), *text.files(settings.data.dataset)]
    if sizes:
        by_hand = (file for name in ("datasets", "unlearning") for file in sorted((lab_cache() / name).rglob("*")))
        files += [*text.files(sizes.eval_dataset), *(file for file in by_hand if file.is_file())]
    found = {str(file): file_hash(file) for file in files}
    for folder in filter(None, made):
        found[str(folder / MANIFEST)] = file_hash(folder / MANIFEST)
        found |= {str(folder / name): digest for name, digest in checksums(folder).items()}
    return found


def harvested(settings: Settings, say: Say) -> Harvest:
    """The activations of a profile, for training; harvested first where they are missing and the cache can be written.

    Raises CannotPrepare.
    """
    found = harvest.find(settings)
    if found is None:
        try:
            prepare(settings, say)
        except OSError as error:
            raise CannotPrepare(
                f"the activations of {settings.language_model.model} are not harvested, and the cache cannot be written: "
                f"{error}. `python -m saelab.prepare` does it, before the experiment and with the same settings."
            ) from error
        found = harvest.find(settings)
        assert found is not None
    harvest.check_width(found, settings)
    return found


def planned(asked: Sequence[Settings]) -> list[str]:
    """What `prepare` would do for all layers that are `asked` for, a line each, with sizes and times. Raises CannotPrepare
    with all that is in the way."""
    if not isinstance(asked[0].data, LanguageModelData):
        return [worlds.plan(asked[0])]
    several = [f"{len(asked)} layers: training, scoring and disk are those of all together"] if asked[1:] else []
    return [*plan(asked, _contract(), lab_cache() / EVALS), *several]


def _prepare_after_a_look(asked: Sequence[Settings], say: Say) -> None:
    """What is in the way is found before hours are spent, and what a required metric needs before anything is trained."""
    if not all(map(_is_there, asked)):
        for line in planned(asked):
            say(line)
    for settings in asked:
        cannot = prepare(settings, say)
        if cannot and not settings.smoke and (missing := list(missing_evals(_contract(), settings, cannot))):
            raise CannotPrepare("\n".join(missing))


def _is_there(settings: Settings) -> bool:
    """Whether all is made, as far as one sees without reading it."""
    if not isinstance(settings.data, LanguageModelData):
        return True  # made in seconds
    with contextlib.suppress(CannotPrepare):  # which the look says, beside all else
        return harvest.find(settings) is not None and evals.are_made(settings, lab_cache() / EVALS)
    return False


def _contract() -> dict[str, Any]:
    return tomllib.loads(Path(CONTRACT).read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m saelab.prepare", description="Makes what an execution needs.")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made, and make nothing")
    dry = parser.parse_args().dry_run
    try:
        asked = layers.each(Path())
        if dry:
            print("\n".join(planned(asked)))
            return
        _prepare_after_a_look(asked, lambda line: print(line, flush=True))
        if wanted := os.environ.get(READS):
            found = {file: digest for settings in asked for file, digest in reads(settings).items()}
            Path(wanted).write_text(json.dumps(found), encoding="utf-8")
    except (CannotPrepare, SettingsError, OSError) as error:
        sys.exit(f"prepare: {error}")


if __name__ == "__main__":
    main()
