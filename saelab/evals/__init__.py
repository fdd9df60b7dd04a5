"""Scores of an SAE on a language model: SAEBench's own evals, unchanged, in its own output shape.

Each eval has a part that is the same for all SAEs (`fill`): probes, activations of the language model, text. It is made
once, whole or not at all, in a folder named by all that determines it: the model's weights, the layer, sizes, versions.
Scores come from a process that finds it there, the first one too, so that they never depend on who came first.

SAEBench and its dependencies take seconds to import; nothing here does so before an eval needs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .. import model_files
from ..cache import Say, is_as_made, is_made, make_once
from ..errors import CannotPrepare
from ..settings import EvalSettings, LanguageModelData, Settings, SettingsError
from ..text import is_path
from .absorption import Absorption
from .bench import Bench, Skip, at_work, bench_of, device_of
from .core import Core, in_words
from .judged import AutoInterp
from .lens import official_name
from .probing import Removal, SaeProbes, SparseProbing
from .result import take
from .unlearning import Unlearning

if TYPE_CHECKING:
    from .bench_sae import BenchSAE, ScoredSAE


class Eval(Protocol):
    """One of SAEBench's evals. `fill` and `run` work in the directory that `at_work` makes, and raise Skip."""

    @property
    def main(self) -> tuple[str, ...]:
        """The numbers (`category.metric`) without which there is no result."""

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        """What decides the part that is the same for all SAEs, besides model, layer and versions."""

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        """Make that part in `folder`."""

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        """Let SAEBench write its result for `sae` into `out`, with what `fill` made in `fixed`."""


EVALS: dict[str, Eval] = {
    "core": Core(),
    "absorption": Absorption(),
    "sparse_probing": SparseProbing(),
    "sparse_probing_sae_probes": SaeProbes(),
    "tpp": Removal(scr=False),
    "scr": Removal(scr=True),
    "autointerp": AutoInterp(),
    "unlearning": Unlearning(),
}

OWN = "negligible_codes"
"""What of a result's metrics is not SAEBench's: what its scores would be without codes that are too small to do anything."""
_VERSION = 1  # of what `fill` makes
_PACKAGES = "sae-bench", "sae-lens", "sae-probes", "transformer-lens", "transformers", "torch"


def evaluate(sae: ScoredSAE, settings: Settings, out: Path, cache: Path, say: Say) -> dict[str, str]:
    """Score `sae` by the evals that the settings name: `out/<eval>.json` for each that gives a result, beside its log.

    Returns why the others gave none. `cache` holds what is the same for all SAEs, made first where it is missing. Raises
    CannotPrepare where the language model cannot be had, SettingsError for an eval that is unknown.
    """
    names = chosen(settings)
    _quiet()
    import torch

    from .bench_sae import BenchSAE

    skipped: dict[str, str] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        bench = bench_of(settings, say)
        for name in names:
            (out / f"{name}.json").unlink(missing_ok=True)
            started = time.monotonic()
            with _reason_for(name, skipped):
                fixed = _fixed(name, settings, bench, cache, say)
                _import(name)
                with at_work(bench) as place, _logged(out / f"{name}.log") as errors:
                    written, since = place / "written", time.time()
                    written.mkdir()
                    scored = BenchSAE(sae, bench)
                    EVALS[name].run(bench, scored, fixed, written)
                    result = take(written, since, EVALS[name].main, [*map(in_words, errors)] if name == "core" else errors)
                    if scored.own_scores:
                        result["eval_result_metrics"][OWN] = scored.own_scores
                (out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            say(f"{name}: {skipped.get(name, 'done')} ({time.monotonic() - started:.0f} s)")
    except Skip as skip:
        skipped = dict.fromkeys(names, str(skip))
    finally:
        torch.set_num_threads(threads)
    return skipped


def prepare(settings: Settings, cache: Path, say: Say) -> dict[str, str]:
    """Make what the evals need besides the SAE. What cannot be had is said and returned: those evals will be skipped.

    With everything there it loads neither torch nor SAEBench. Raises as `evaluate`.
    """
    missing = unprepared(settings, cache)
    if not missing:
        return {}
    _quiet()
    cannot: dict[str, str] = {}
    try:
        bench = bench_of(settings, say)
        if is_path(settings.language_model.model):
            from .agreement import check_activations

            check_activations(bench)
        for name in missing:
            with _reason_for(name, cannot):
                _fixed(name, settings, bench, cache, say, is_as_made)
    except Skip as skip:
        cannot = dict.fromkeys(missing, str(skip))
    for name, why in cannot.items():
        say(f"{name} will be skipped: {why}")
    return cannot


def check(settings: Settings, say: Say) -> None:
    """Whether SAEs on this language model can be scored at all, by its configuration. Raises CannotPrepare."""
    data = settings.language_model
    if chosen(settings) and data.model != model_files.TINY:
        official_name(data, model_files.fetch(data, say, weights=False))


def are_made(settings: Settings, cache: Path) -> bool:
    """Whether all is there that the evals need besides the SAE; whether it is what was made is not looked at."""
    return all(is_made(_place(name, settings, cache)) for name in chosen(settings))


def unprepared(settings: Settings, cache: Path) -> list[str]:
    """The evals for which `prepare` has something to make."""
    return [name for name in chosen(settings) if not _is_filled(name, settings, cache)]


def prepared(settings: Settings, cache: Path) -> list[Path]:
    """The folders of what is the same for all SAEs, of the evals that have theirs."""
    return [place for name in chosen(settings) if is_made(place := _place(name, settings, cache))]


def warm() -> None:
    """Import all that evals need, so that a process can be forked that scores at once. Starts no threads."""
    _quiet()
    for name in EVALS:
        _import(name)


def _import(name: str) -> None:
    """Import what an eval needs. Before seeds are set: some of what is imported draws numbers while it is."""
    importlib.import_module(f"sae_bench.evals.{'scr_and_tpp' if name in ('scr', 'tpp') else name}.main")


def chosen(settings: Settings) -> list[str]:
    """The names of the evals that the settings ask for. Raises SettingsError for one that is unknown."""
    names = settings.evals.evals.split() if settings.evals else []
    unknown = [name for name in names if name not in EVALS]
    if unknown:
        raise SettingsError(f"evals: {' '.join(unknown)} unknown. Known: {' '.join(EVALS)}")
    return list(dict.fromkeys(names))


def _fixed(
    name: str, settings: Settings, bench: Bench, cache: Path, say: Say, is_whole: Callable[[Path], bool] = is_made
) -> Path:
    """The folder with the part of an eval that is the same for all SAEs, made first where it is missing."""

    def fill(folder: Path) -> None:
        _import(name)
        with at_work(bench), _logged(folder / "log") as _:
            EVALS[name].fill(bench, folder, say)

    data = settings.language_model
    what = f"what {name} needs of {data.model} after layer {data.layer}"
    return make_once(_place(name, settings, cache), fill, say, what=what, is_whole=is_whole).absolute()


def _is_filled(name: str, settings: Settings, cache: Path) -> bool:
    """Whether that part is there, and is what was made."""
    return model_files.identity(settings.language_model) is not None and is_as_made(_place(name, settings, cache))


def _place(name: str, settings: Settings, cache: Path) -> Path:
    data, sizes = settings.language_model, settings.evals
    assert sizes is not None
    determined = {
        "model": model_files.identity(data),
        "layer": data.layer,
        "dtype": data.dtype,
        "device": device_of(settings),
        "sizes": EVALS[name].fixed_by(data, sizes),
        "versions": [_VERSION, *(metadata.version(package) for package in _PACKAGES)],
    }
    key = hashlib.sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()[:16]
    return cache / f"{name}-{key}"


@contextlib.contextmanager
def _reason_for(name: str, reasons: dict[str, str]) -> Iterator[None]:
    """Whatever goes wrong inside costs this eval alone, and is said: SAEBench raises all kinds of errors."""
    try:
        yield
    except (Skip, CannotPrepare) as skip:
        reasons[name] = str(skip)
    except Exception as error:
        reasons[name] = f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[list[str]]:
    """What is printed goes to the file `path`. Yields the errors that are logged: some of SAEBench's end there."""
    errors: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(record.getMessage())

    handler = Keep(logging.ERROR)
    logger = logging.getLogger("sae_bench")
    logger.addHandler(handler)
    try:
        with path.open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield errors
    finally:
        logger.removeHandler(handler)


def _quiet() -> None:
    """No progress bars (they start a thread), no threads of the tokenizer. Holds for what is imported afterwards."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
