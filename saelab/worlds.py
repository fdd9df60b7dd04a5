"""Worlds: data whose features are known, made once and kept in two halves that no process needs together.

`rows/` has the activations to train on, and every execution reads them; `truth/` has directions, tree, and the evaluation
rows with their magnitudes. Only `prepare` and the scorer read the second: the harness hides it from executions and agents,
and no user but its owner may look into it.

A world is asked for by its name, the setting `world`. `public` is made from `data_seed` alone, so that its numbers can be
had anywhere; whoever has the generator can make its truth too, and scores say so. Any other name means a world of this
machine: 128 random bits that are drawn when the name is first prepared, and that stay with the truth. So a name that nobody
has used is a world that nobody has seen, which is what a held-out evaluation asks for.

Of a streamed world (`streamed`) there are no rows here: they are made while an execution trains.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from .cache import MANIFEST, Say, checksums, is_as_made, is_made, lab_cache, make_once
from .errors import CannotPrepare
from .settings import PUBLIC, Setting, Settings, StreamedData, SyntheticData

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Of the files, and of what the generator draws from the same bits."""
ROWS, TRUTH = "rows", "truth"
"""The parts of the cache. The harness knows the second by this name."""
_BITS, _ROWS = "bits.hex", "activations.npy"
_WORLD_ID, _KNOWN = "world_id", "truth"
Floats = npt.NDArray[np.float32]

_REBUILT, _PRIVATE = "can be rebuilt from data_seed", "is in this machine's cache alone"


class Generator(Protocol):
    """What draws a world from its settings and its random bits, the same each time."""

    def truth(self, settings: Settings, bits: str) -> Mapping[str, npt.NDArray[Any]]: ...

    def training_rows(self, settings: Settings, bits: str) -> Floats: ...


@dataclass(frozen=True)
class Truth:
    """What an SAE is scored against: a world, and rows of it that nothing was trained on."""

    arrays: Mapping[str, npt.NDArray[Any]]
    """As the generator gave them, by name: `magnitudes` [n, F], a feature fires where it is above 0; `directions` [F, d_in];
    others."""
    world_id: str
    known: str
    """Who can know it."""


def ensure(settings: Settings, say: Say) -> None:
    """Make the world of a profile where it is missing or damaged. Raises OSError where the cache cannot be written."""
    rows, truth = folders(settings)
    truth.parent.mkdir(parents=True, exist_ok=True)
    truth.parent.chmod(0o700)
    make_once(truth, partial(_make_truth, settings, say), say, what=f"truth of {_what(settings)}", is_whole=is_as_made)
    if is_streamed(settings):
        return
    world_id = _manifest(truth)[_WORLD_ID]

    def is_whole(folder: Path) -> bool:
        # Where the truth was removed another one was drawn, and these are rows of the world before.
        return is_as_made(folder) and _manifest(folder).get(_WORLD_ID) == world_id

    make_once(rows, partial(_make_rows, settings, truth), say, what=f"rows of {_what(settings)}", is_whole=is_whole)


def activations(settings: Settings) -> Floats:
    """The rows to train on, [train_rows, d_in]: a private mapping of the file that all executions share. Raises
    CannotPrepare."""
    folder = _made(folders(settings)[0], settings)
    found: Floats = np.load(folder / _ROWS, mmap_mode="c")
    return found


def truth(settings: Settings) -> Truth:
    """What scores are measured against. Raises CannotPrepare."""
    folder = _made(folders(settings)[1], settings)
    arrays = {file.stem: np.load(file) for file in folder.glob("*.npy")}
    manifest = _manifest(folder)
    return Truth(arrays, str(manifest[_WORLD_ID]), str(manifest.get(_KNOWN, _REBUILT if is_public(settings) else _PRIVATE)))


def told(settings: Settings, truth: Truth) -> dict[str, Setting]:
    """Which world it is, and who can know its truth."""
    return {"world": truth.world_id, "truth": truth.known}


def folders(settings: Settings) -> tuple[Path, Path]:
    """Where the rows and the truth of a profile lie or will lie; of a streamed world the truth alone."""
    digest = hashlib.sha256(_facts(settings)).hexdigest()[:16]
    name = f"{settings.known.world}-{digest}"
    return lab_cache() / ROWS / name, lab_cache() / TRUTH / name


def streamed(settings: Settings, sizes: Iterable[int]) -> Iterator[Tensor]:
    """Rows of a streamed world, [size, d_in] for each of `sizes`: only who may see the truth can make them. Raises
    CannotPrepare."""
    from . import streamed

    folder = _made(folders(settings)[1], settings)
    return streamed.rows(settings, folder, (folder / _BITS).read_text(encoding="ascii"), sizes)


def is_streamed(settings: Settings) -> bool:
    return isinstance(settings.data, StreamedData)


def reads(settings: Settings) -> dict[str, str]:
    """SHA-256 of the files of a world that is made, by absolute path."""
    return {
        str(folder / name): digest
        for folder in _folders(settings)
        for name, digest in {MANIFEST: _sha256(folder / MANIFEST), **checksums(folder)}.items()
    }


def plan(settings: Settings) -> str:
    """What `ensure` would do, for a person. Raises CannotPrepare and SettingsError for what is in the way."""
    data = settings.known
    done = all(map(is_made, _folders(settings)))
    if is_streamed(settings):
        from . import streamed

        streamed.check(settings)
        said = "there" if done else "to make, in seconds on a GPU"
        return f"{said}: {_what(settings)}; {settings.steps * settings.batch_size:,} rows are made while each run trains"
    size = 4 * (data.train_rows + data.eval_rows) * settings.d_in
    return f"{'there' if done else 'to make, in seconds'}: {_what(settings)}, {size / 1e6:.0f} MB of rows"


def is_public(settings: Settings) -> bool:
    return settings.known.world == PUBLIC


def _made(folder: Path, settings: Settings) -> Path:
    """One of the folders of a world, made here where it is missing and the cache can be written."""
    if not is_made(folder):
        try:
            ensure(settings, print)
        except OSError as error:
            raise CannotPrepare(
                f"{_what(settings)}: it is not made, and the cache cannot be written: {error}. `python -m saelab.prepare` "
                "makes it, before the experiment and with the same settings."
            ) from error
    return folder


def _make_truth(settings: Settings, say: Say, folder: Path) -> None:
    folder.chmod(0o700)
    bits, known = ("", _REBUILT) if is_public(settings) else (secrets.token_hex(16), _PRIVATE)
    arrays: Mapping[str, npt.NDArray[Any]]
    if is_streamed(settings):
        from . import streamed

        if is_public(settings):
            bits, known = streamed.fetch(settings, folder, say)
        arrays = streamed.make_truth(settings, folder, bits)
    else:
        arrays = _generator(settings).truth(settings, bits)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / _BITS).touch(0o600)
    (folder / _BITS).write_text(bits, encoding="ascii")
    world_id = hashlib.sha256(_facts(settings) + bits.encode()).hexdigest()[:16]
    _write_manifest(folder, {"what": f"truth of {_what(settings)}", _KNOWN: known, _WORLD_ID: world_id})


def _make_rows(settings: Settings, truth: Path, folder: Path) -> None:
    bits = (truth / _BITS).read_text(encoding="ascii")
    np.save(folder / _ROWS, _generator(settings).training_rows(settings, bits))
    _write_manifest(folder, {"what": f"rows of {_what(settings)}", _WORLD_ID: _manifest(truth)[_WORLD_ID]})


def _folders(settings: Settings) -> tuple[Path, ...]:
    """Those that are made."""
    rows, truth = folders(settings)
    return (truth,) if is_streamed(settings) else (rows, truth)


def _generator(settings: Settings) -> Generator:
    """Imported here: nobody who only reads rows needs it."""
    from . import synthetic, synthsae

    return synthetic if isinstance(settings.data, SyntheticData) else synthsae


def _facts(settings: Settings) -> bytes:
    """All that decides a world but its bits."""
    facts = {"format": FORMAT, "d_in": settings.d_in, **asdict(settings.known)}
    return json.dumps(facts, sort_keys=True).encode()


def _what(settings: Settings) -> str:
    data = settings.known
    known = f"its truth {_REBUILT}" if is_public(settings) else "drawn on this machine; once removed, another is drawn"
    if isinstance(data, StreamedData) and is_public(settings):
        known = f"{data.public_model} where the hub has it, else drawn on this machine"
    return f"world {data.world}, data_seed {data.data_seed} ({known})"


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return found


def _write_manifest(folder: Path, facts: Mapping[str, str]) -> None:
    (folder / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
