"""Harvesting: the text goes through the language model up to the hooked layer, and what comes out of it is kept.

A sequence is `context` tokens: the token that a sequence begins with, where the model has one, then documents one after the
other with a token between them, cut wherever the sequence is full. So there is no padding. Special tokens and the first
position of each sequence, whose activations are unlike all others, are no rows. What fills no sequence at the end of the
text is left.

The key of a harvest has everything that decides its rows; it is made once for all processes and published whole.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import model_files, text
from .cache import Say, is_made, lab_cache, make_once
from .errors import CannotPrepare
from .settings import LanguageModelData, Settings
from .store import BLOCK_BYTES, Harvest, Writer, open_harvest

if TYPE_CHECKING:
    import torch

    from .models import Outline

FORMAT = 1
HOOK = "resid_post"
BATCH_TOKENS = 8192
"""Tokens in one forward pass; a share of a GPU's memory that no model notices."""
SPARE_BYTES = 500_000_000
"""What stays free on the disk: below that no campaign goes on."""
_PROGRESS_SECONDS = 5.0
_DOCUMENTS = 256  # at once to the tokenizer


def key(data: LanguageModelData) -> dict[str, Any] | None:
    """Everything that decides the rows of a harvest; None while the model is not on this machine."""
    model = model_files.identity(data)
    return model and {
        "format": FORMAT,
        **model,
        "layer": data.layer,
        "hook": HOOK,
        "dataset": text.identity(data.dataset),
        "context": data.context,
        "tokens": data.harvest_tokens,
        "dtype": data.dtype,
        "seed": data.data_seed,
    }


def folder(data: LanguageModelData) -> Path | None:
    """Where the harvest lies or will lie; None while the model is not on this machine."""
    facts = key(data)
    if facts is None:
        return None
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    name = data.model.rstrip("/").rpartition("/")[2] or "model"
    return lab_cache() / "harvests" / f"{name}-layer{data.layer}-{digest[:16]}"


def size(settings: Settings) -> int:
    """Bytes that the harvest takes on the disk."""
    return 2 * settings.language_model.harvest_tokens * settings.d_in


def find(settings: Settings) -> Harvest | None:
    """The harvest of a profile where it is there, its blocks unread."""
    place = folder(settings.language_model)
    return open_harvest(place) if place else None


def ensure(settings: Settings, say: Say) -> Harvest:
    """The harvest of a profile, undamaged: all of it is read, and it is harvested where it is missing or damaged.

    Raises CannotPrepare, and OSError where the cache cannot be written.
    """
    data = settings.language_model
    target = folder(data)
    if target is None or not is_made(target) or open_harvest(target) is None:
        # A branch of the hub may mean another commit from here on, a model that was trained here be trained again.
        model_files.fetch(data, say)
        target = folder(data)
        assert target is not None
    told: list[str] = []

    def is_whole(place: Path) -> bool:
        harvest = open_harvest(place)
        if harvest is None or not is_made(place):
            return False
        damage = harvest.damage()
        if damage and damage != told:
            say(f"{damage[0]}: harvesting again")
        told[:] = damage
        return not damage

    what = f"activations of {data.model} after layer {data.layer}, on {data.dataset}"
    make_once(target, lambda beside: _harvest(settings, what, beside, say), say, what=what, is_whole=is_whole)
    made = open_harvest(target)
    assert made is not None
    return made


def _harvest(settings: Settings, what: str, beside: Path, say: Say) -> None:
    data = settings.language_model
    check_disk(settings)
    from . import models

    device = models.torch_device(settings.device)
    begun = time.monotonic()
    model, tokenizer = models.load_model(data, device, say)
    check_fits(models.describe(model, data), settings)
    say(f"harvesting {data.harvest_tokens:,} {what}: {size(settings) / 1e9:.2f} GB in {beside.parent}")
    writer = Writer(beside, data.harvest_tokens, settings.d_in, data.data_seed)
    progress = _Progress(data.harvest_tokens, say)
    left_out = seen = 0
    try:
        sequences = _sequences(text.documents(data.dataset, "train"), tokenizer, data.context)
        special = sorted(tokenizer.all_special_ids)
        for tokens in _batched(sequences, max(1, BATCH_TOKENS // data.context)):
            rows, all_rows = _rows(model, data.layer, tokens, special, device)
            seen += all_rows
            left_out += all_rows - len(rows)
            writer.add(rows)
            progress.tell(writer.written)
            if writer.written == data.harvest_tokens:
                break
        if not writer.written:
            raise CannotPrepare(
                f"dataset {data.dataset}: its text for training fills no sequence of {data.context} tokens. Name a larger "
                "one, or --set context=16."
            )
        say(f"harvested {writer.written:,} rows in {spoken(time.monotonic() - begun)}")
        say(
            f"{left_out:,} of {seen:,} tokens are special ones or begin a sequence: they are skipped. There is no padding: "
            "sequences are full."
        )
        if writer.written < data.harvest_tokens:
            say(f"the text ends after {writer.written:,} of {data.harvest_tokens:,} rows; these are what is trained on")
        writer.finish(
            {
                "what": f"{writer.written:,} {what}",
                "key": key(data),
                "model_name": data.model,
                "device": str(device),
                "left_out": left_out,
                "seconds": round(time.monotonic() - begun, 1),
            }
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(size(settings), beside.parent) from error
        raise


def _rows(model: Any, layer: int, tokens: list[list[int]], special: list[int], device: torch.device) -> tuple[Any, int]:
    """The rows of some sequences as bits of bfloat16 [rows, width], and how many tokens they had."""
    import torch

    from .models import layer_output

    batch = torch.tensor(tokens, device=device)
    output = layer_output(model, layer, batch)
    wanted = ~torch.isin(batch, torch.tensor(special, device=device, dtype=batch.dtype))
    wanted[:, 0] = False
    rows = output[wanted].to(torch.bfloat16)
    if not torch.isfinite(rows).all():
        raise CannotPrepare("the model's activations hold NaN or infinity: --set dtype=float32, or check its files.")
    return rows.cpu().view(torch.uint16).numpy(), batch.numel()


def _sequences(documents: Iterable[str], tokenizer: Any, context: int) -> Iterator[list[int]]:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    begin = [each for each in (bos if bos is not None else eos,) if each is not None]
    between = [each for each in (eos if eos is not None else bos,) if each is not None]
    tokenizer.model_max_length = 10**9  # documents are cut here; without this the tokenizer warns of each long one
    body = context - len(begin)
    pending: list[int] = []
    for some in _batched(documents, _DOCUMENTS):
        for ids in tokenizer(some, add_special_tokens=False)["input_ids"]:
            pending += ids + between
        whole = len(pending) // body * body
        for start in range(0, whole, body):
            yield begin + pending[start : start + body]
        pending = pending[whole:]


def _batched(items: Iterable[Any], count: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, count)):
        yield some


def check_fits(model: Outline, settings: Settings) -> None:
    """Whether rows and sequences are as wide and as long as the model's. Raises CannotPrepare."""
    data = settings.language_model
    if model.width != settings.d_in:
        raise CannotPrepare(
            f"d_in {settings.d_in}: the residual stream of {data.model} has width {model.width}. --set d_in={model.width}."
        )
    if data.context > model.context:
        raise CannotPrepare(f"context {data.context}: {data.model} takes at most {model.context} tokens.")


def check_width(harvest: Harvest, settings: Settings) -> None:
    """Whether the rows are as wide as the settings say. Raises CannotPrepare."""
    if harvest.width != settings.d_in:
        raise CannotPrepare(
            f"d_in {settings.d_in}: the harvested rows have width {harvest.width}. --set d_in={harvest.width}."
        )


def check_disk(settings: Settings, download: int = 0) -> None:
    """Whether there is room for a harvest, for one block more while blocks are brought into order, and for a `download`.

    The cache of the hub is taken to lie on the same disk. Raises CannotPrepare.
    """
    needed = size(settings) + min(size(settings), BLOCK_BYTES) + download
    place = next(each for each in (lab_cache(), *lab_cache().parents) if each.exists())
    if shutil.disk_usage(place).free < needed + SPARE_BYTES:
        raise disk_full(needed, place)


def disk_full(needed: int, place: Path) -> CannotPrepare:
    """The error where what is to be made has no room."""
    free = shutil.disk_usage(place).free
    return CannotPrepare(
        f"preparing takes {needed / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB free, of which {SPARE_BYTES / 1e9:.1f} "
        "GB stay free. `harness cache` shows what can go, HARNESS_CACHE names another folder, and "
        "--set harvest_tokens=N harvests less."
    )


class _Progress:
    """Says how long it will take once that can be seen, and from time to time how far it is."""

    def __init__(self, rows: int, say: Say) -> None:
        self._rows, self._say = rows, say
        self._start = self._told = 0.0
        self._first = 0

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if not self._first:  # the first batch is slower than the others, so it does not count
            self._first, self._start, self._told = done, now, 0.0
            return
        if done == self._rows or now - self._told < _PROGRESS_SECONDS:
            return
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = (self._rows - done) / max(rate, 1e-9)
        self._say(f"harvest {100 * done / self._rows:.0f} %, {rate:,.0f} rows/s, {spoken(left)} left")
        self._told = now


def spoken(seconds: float) -> str:
    """`40 s`, `12 min`, `2.5 h`, `4 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 3 * 86400 else f"{seconds / 86400:,.0f} days"
