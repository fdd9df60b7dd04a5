"""What `prepare` would make for a profile on a language model, how large that is and how long it takes, and all that is in
the way: each thing is looked at, whatever the others lack, so that one look is enough.

Times are forecasts, within a factor of a few, from matrix products of the profile's sizes that are timed here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import evals, harvest, model_files, text
from .cache import lab_cache
from .errors import CannotPrepare
from .evals import absorption, probing, requirements
from .evals.bench import Skip
from .evals.core import LOGITS_BYTES, LOGITS_COPIES
from .settings import Settings, SettingsError

if TYPE_CHECKING:
    from .models import Outline

TRAINING_COPIES = 4
"""Of the SAE's parameters: themselves, gradients, and Adam's two moments."""
CODE_COPIES = 6
"""Of a batch's dense codes, at the worst: before and after, masked, and their gradients."""
FORWARD_BYTES = 2e9
"""Room for what a forward pass of BATCH_TOKENS has in memory besides the weights."""
DISK_PASSES, DISK_RATE = 3, 0.5e9
"""A harvest is written, read and written once more; bytes a second of a slow disk."""
TRIES, SECONDS = 20, 2.0
"""How often a product is timed, and for how long."""
STEP_PRODUCTS = 4
"""Products of a batch and the encoder that a training step takes as long as, optimizer included."""
UNIT = "lr, l1_penalty and the auxiliary loss are in the units of the activations"


@dataclass
class Plan:
    """Of one layer: lines for a person, and what adds up over layers."""

    lines: list[str] = field(default_factory=list)
    in_the_way: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    downloads: dict[str, int] = field(default_factory=dict)
    """Bytes by what they are of: the same for all layers."""
    made: int = 0
    """Bytes that are kept of this layer."""
    cannot: list[str] = field(default_factory=list)
    """Evals that cannot be had now."""
    is_harvested: bool = False
    training: float = 0.0
    scoring: float = 0.0
    """Seconds of one execution."""

    @contextlib.contextmanager
    def looked_at(self) -> Iterator[None]:
        try:
            yield
        except (CannotPrepare, SettingsError) as error:
            if str(error) not in self.in_the_way:
                self.in_the_way.append(str(error))


def plan(asked: Sequence[Settings], contract: Mapping[str, Any], cache: Path) -> list[str]:
    """What would be made for all layers that are `asked` for, a line each, with sizes and times. `cache` is that of evals.
    Raises CannotPrepare with all that is in the way."""
    _check_packages(asked[0])
    plans = [_plan_of(settings, contract, cache) for settings in asked]
    whole = Plan()
    for each in plans:
        whole.lines += each.lines
        whole.in_the_way += each.in_the_way
        whole.skipped += each.skipped
    whole.lines += _disk(asked, plans, whole)
    whole.lines += _hours(asked[0], contract, plans)
    whole.lines += [line for settings in asked for line in _units(settings, contract)]
    lines, in_the_way, skipped = (list(dict.fromkeys(each)) for each in (whole.lines, whole.in_the_way, whole.skipped))
    if len(in_the_way) == 1 and not skipped:
        raise CannotPrepare(in_the_way[0])
    if in_the_way:
        listed = [f"- {each}" for each in (*in_the_way, *skipped, *lines)]
        raise CannotPrepare("\n".join(["all that is in the way:", *listed]))
    return [*lines, *skipped]


def _plan_of(settings: Settings, contract: Mapping[str, Any], cache: Path) -> Plan:
    found = Plan()
    try:
        missing = evals.unprepared(settings, cache)
    except CannotPrepare:  # what they need is not there at all: each of them says so below
        missing = evals.chosen(settings)
    if settings.language_model.model == model_files.TINY and model_files.identity(settings.language_model) is None:
        found.made = harvest.size(settings)
        name = settings.language_model.model
        found.lines += [f"to train: {name}, about a minute on one core", f"to harvest: {_what(settings)}, seconds"]
    else:
        _look(settings, contract, missing, found)
    if missing:
        found.lines.append(f"to make: what {', '.join(missing)} need of {settings.language_model.model}")
    return found


def _look(settings: Settings, contract: Mapping[str, Any], missing: list[str], found: Plan) -> None:
    data = settings.language_model
    lines, model = found.lines, None
    with found.looked_at():
        lines += gpu(settings)
    made = None
    with contextlib.suppress(CannotPrepare):  # its text is not there, which is said where that is looked at
        made = harvest.find(settings)
    download = 0
    with found.looked_at():
        model_files.check_local(data)
        download = model_files.download_bytes(data)
        from .models import outline

        model = outline(data)
        harvest.check_fits(model, settings)
        evals.check(settings, lines.append)
    if model is None:
        with found.looked_at():
            from .models import known_outline

            model, download = known_outline(data) or (None, download)
    found.downloads[data.model] = download
    if made:
        found.is_harvested = True
        age = harvest.spoken(time.time() - made.folder.stat().st_mtime)
        lines.append(f"there: {made.facts['what']}, {made.size / 1e9:.2f} GB, {age} old")
        with found.looked_at():
            harvest.check_width(made, settings)
    else:
        found.made = harvest.size(settings)
        with found.looked_at():
            if next(text.documents(data.dataset, "train"), None) is None:
                raise CannotPrepare(f"dataset {data.dataset}: it has no text for training.")
        if download:
            lines.append(f"to download: {data.model}, {download / 1e9:.1f} GB")
        if model:
            lines.append(f"to harvest: {_what(settings)}, about {harvest.spoken(_seconds(settings, model))}")
    _evals(settings, contract, missing, found)
    if model and not settings.smoke:
        with found.looked_at():
            _forecast(settings, model, found)


def _evals(settings: Settings, contract: Mapping[str, Any], missing: list[str], found: Plan) -> None:
    """What the evals still need, what those would that cannot be had, and why not."""
    cannot = {}
    for name in missing:
        try:
            need = requirements.need_of(name, settings)
        except (CannotPrepare, Skip) as error:
            cannot[name] = str(error)
            continue
        found.downloads[name] = need.download
        found.made += need.disk
        if need.download:
            found.lines.append(f"to download for {name}: {need.download / 1e9:.1f} GB")
        if need.remark:
            found.lines.append(need.remark)
    if evals.chosen(settings) and not settings.smoke:
        found.in_the_way += requirements.missing_evals(contract, settings, cannot)
    said = "\n".join(found.in_the_way)
    found.skipped += [f"{name} will be skipped: {why}" for name, why in cannot.items() if why not in said]
    found.cannot = list(cannot)


def _disk(asked: Sequence[Settings], plans: Sequence[Plan], whole: Plan) -> list[str]:
    """Bytes of disk to come, for all layers. What has no room is in the way of the `whole`."""
    downloads = {name: size for each in plans for name, size in each.downloads.items()}
    needed = sum(downloads.values()) + sum(each.made for each in plans)
    unharvested = [settings for settings, each in zip(asked, plans, strict=True) if not each.is_harvested]
    with whole.looked_at():
        if unharvested:
            harvest.check_disk(unharvested[0], needed - harvest.size(unharvested[0]))
        elif shutil.disk_usage(lab_cache()).free < needed + harvest.SPARE_BYTES:
            raise harvest.disk_full(needed, lab_cache())
    layers = Counter(name for each in plans for name in each.cannot)
    if_had = {name: requirements.needed_by(name, asked[0], number) for name, number in layers.items()}
    more = "; ".join(f"with {name} {what}" for name, what in if_had.items() if what)
    if not needed and not more:
        return []
    more = more and f" ({more})"
    return [f"disk: about {needed / 1e9:.1f} GB to come{more}, in {lab_cache()} and the hub's cache"]


def _units(settings: Settings, contract: Mapping[str, Any]) -> list[str]:
    """What does not carry over where the activations are not those that the profile was made for."""
    own = contract["profiles"][settings.profile]["settings"]
    data = settings.language_model
    if (own["model"], own["layer"]) == (data.model, data.layer):
        return []
    return [
        f"{UNIT}: those of {settings.profile} are for {own['model']} after layer {own['layer']} and do not carry over to "
        f"{data.model} after layer {data.layer}. Choose them anew: --set lr=X, --set l1_penalty=X."
    ]


def _forecast(settings: Settings, model: Outline, found: Plan) -> None:
    """How long training and scoring of this layer take in an execution."""
    sizes = settings.evals
    product = _product_seconds(settings)  # of a batch with the encoder
    found.training = settings.steps * STEP_PRODUCTS * product
    rows = tokens = 0.0
    chosen = evals.chosen(settings)
    if sizes and "core" in chosen:
        rows += sizes.eval_tokens
        tokens += (sizes.eval_tokens + 4 * min(sizes.loss_tokens, sizes.eval_tokens)) * model.parameters
    if "absorption" in chosen:
        count, counted = _words(settings, model)
        rows += count * absorption.encodings(settings, count)
        prepared = count * absorption.WORD_TOKENS * 2 * model.used / _operations_a_second(settings)
        words = f"absorption asks for {count:,} words of the vocabulary"
        words += "" if counted else ", if half of it are words (its tokenizer is not here)"
        found.lines.append(f"{words}: its preparation takes about {harvest.spoken(prepared)}")
    if sizes and "sparse_probing" in chosen:
        rows += probing.activation_tokens(probing.SparseProbing.classes, sizes)
    found.scoring = rows / settings.batch_size * product + 2 * tokens / _operations_a_second(settings)


def _hours(settings: Settings, contract: Mapping[str, Any], plans: Sequence[Plan]) -> list[str]:
    """How long an execution takes, and a campaign."""
    training, scoring = sum(each.training for each in plans), sum(each.scoring for each in plans)
    if not training:  # of no model, or of a smoke test
        return []
    spec = contract["profiles"][settings.profile]
    runs = spec.get("max_runs", 5)
    most = spec.get("baseline_seeds", 1) + runs * spec.get("run_seeds", [1])[-1]
    most += 2 * spec.get("holdout", {}).get("number", 0)
    parts = f"{harvest.spoken(training)} of training and {harvest.spoken(scoring)} of scoring"
    each = f"each execution: about {parts}, by matrix products timed here"
    if not _is_here(settings):
        each += f" on the CPU in float32, for want of {settings.device}"
    hours = harvest.spoken(most * (training + scoring))
    return [each, f"a campaign of {runs} runs: at most {most} executions, {hours}, matched controls apart"]


def _words(settings: Settings, model: Outline) -> tuple[int, bool]:
    """Words that absorption asks about, and whether they were counted."""
    data = settings.language_model
    if not model_files.files(data):
        return model.vocabulary // 2, False
    from transformers import AutoTokenizer

    return absorption.words(AutoTokenizer.from_pretrained(model_files.fetch(data, print), local_files_only=True)), True


def _is_here(settings: Settings) -> bool:
    import torch

    return settings.device != "cuda" or torch.cuda.is_available()


def _timed_on(settings: Settings, dtype: str) -> dict[str, Any]:
    """Device and type of the matrices that are timed: where the device is missing, those of a CPU that can do no better."""
    import torch

    from .models import torch_device

    if not _is_here(settings):
        return {"device": torch.device("cpu"), "dtype": torch.float32}
    return {"device": torch_device(settings.device), "dtype": getattr(torch, dtype)}


def _product_seconds(settings: Settings) -> float:
    """Of a batch and the encoder, with the threads that training has."""
    import torch

    timed_on = _timed_on(settings, "bfloat16" if settings.autocast else "float32")
    rows = min(settings.batch_size, 64)
    x = torch.ones(rows, settings.d_in, **timed_on)
    encoder = torch.ones(settings.d_in, settings.dict_size, **timed_on)
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        return _fastest(x, encoder) * settings.batch_size / rows
    finally:
        torch.set_num_threads(before)


def _operations_a_second(settings: Settings) -> float:
    """Of a language model, which reaches half of what one large product does."""
    import torch

    square = torch.ones(1024, 1024, **_timed_on(settings, settings.language_model.dtype))
    return 2 * 1024**3 / _fastest(square, square) / 2


def _fastest(one: Any, other: Any) -> float:
    fastest = float("inf")
    end = time.monotonic() + SECONDS
    for number in range(TRIES):  # the first ones are slow, and on a busy machine most
        if number and time.monotonic() > end:
            break
        begun = time.perf_counter()
        float((one @ other)[0, 0])  # reading a number waits for the device
        fastest = min(fastest, time.perf_counter() - begun)
    return fastest


def _what(settings: Settings) -> str:
    data = settings.language_model
    return (
        f"{data.harvest_tokens:,} rows x {settings.d_in} of {data.model} after layer {data.layer}, "
        f"{harvest.size(settings) / 1e9:.2f} GB in {lab_cache()}"
    )


def _seconds(settings: Settings, model: Outline) -> float:
    operations = 2 * model.used * settings.language_model.harvest_tokens
    return operations / _operations_a_second(settings) + DISK_PASSES * harvest.size(settings) / DISK_RATE


def gpu(settings: Settings) -> list[str]:
    """Whether the model, training and scoring have room on the GPU. Raises CannotPrepare where they have not."""
    if settings.device == "cpu":
        return []
    import torch

    from .models import outline, torch_device

    if torch_device(settings.device).type != "cuda":
        return []
    data = settings.language_model
    logits = LOGITS_BYTES * LOGITS_COPIES if evals.chosen(settings) else 0
    model = outline(data).parameters * getattr(torch, data.dtype).itemsize + max(FORWARD_BYTES, logits)
    parameters = 2 * settings.d_in * settings.dict_size
    codes = settings.batch_size * settings.dict_size
    needed = max(model, 4 * (TRAINING_COPIES * parameters + CODE_COPIES * codes))
    free, whole = torch.cuda.mem_get_info()
    line = f"GPU memory: about {needed / 1e9:.0f} GB needed, {free / 1e9:.0f} of {whole / 1e9:.0f} GB free"
    if needed > free:
        raise CannotPrepare(
            f"{line}. End what else runs there, choose another GPU by CUDA_VISIBLE_DEVICES, or train a smaller SAE: "
            "--set dict_size=N, --set batch_size=N."
        )
    return [line]


def _check_packages(settings: Settings) -> None:
    missing = model_files.missing_packages(settings.language_model)
    if evals.chosen(settings) and importlib.util.find_spec("sae_bench") is None:
        missing.append("sae-bench")
    if missing:
        raise CannotPrepare(f"not installed: {', '.join(missing)}. Profiles on language models need them: `make sae`.")
