"""SAEBench's absorption: does the latent of a first letter stay silent on words whose own latents carry the letter?"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache import Say
from ..memory import room
from ..settings import EvalSettings, LanguageModelData, Settings
from . import lens
from .bench import LLM_BATCH, Bench, Skip

if TYPE_CHECKING:
    from torch import Tensor

    from .bench_sae import BenchSAE

F1 = 0.6
"""A letter counts if a probe on the activations finds it this well (SAEBench's own value)."""
WORD_TOKENS = 90
"""Of SAEBench's prompt for one word, ten examples included; fewer where the tokenizer knows English well."""
EPOCHS = 50
"""Of SAEBench's training of sparse probes."""
CODES_SHARE = 0.5
"""Of the memory there is, what the codes of all words may take, where they are kept and not made again and again."""
NUMBER = {"float32": 4, "bfloat16": 2}
"""Bytes of a code."""


class Absorption:
    """Uses encode and W_dec."""

    main = ("mean.mean_full_absorption_score",)

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        return {}

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        """Train the probes for first letters."""
        from sae_bench.evals.absorption import common
        from sae_bench.sae_bench_utils.general_utils import str_to_dtype
        from transformer_lens import HookedTransformer

        config = self._config(bench)
        say("absorption: probes for the 26 first letters")
        model = HookedTransformer.from_pretrained_no_processing(
            bench.official, device=bench.device, dtype=str_to_dtype(bench.data.dtype)
        )
        with _words_in_order(), lens.stopped_after(bench.data.layer):
            common.load_or_train_probe(
                model=model,
                base_template=config.prompt_template,
                pos_idx=config.prompt_token_pos,
                layer=bench.data.layer,
                probes_dir=folder,
                device=bench.device,
            )

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        from sae_bench.evals.absorption import main

        from .negligible import Sizes

        sae.sizes = Sizes(sae.W_dec)
        config = self._config(bench)
        config.precalc_k_sparse_probe_sae_acts = codes_fit(_trained_on(fixed), sae.cfg.d_sae, bench.data.dtype)
        with _words_in_order(), _results_in(out, fixed) as found, lens.stopped_after(bench.data.layer):
            main.run_eval(config, [("sae", sae)], bench.device, str(out), force_rerun=True)
        letters = _letters(Path("artifacts/absorption/sae_custom_sae_k_sparse_probing.json"))
        if len(letters) < bench.sizes.absorption_letters:
            raise Skip(
                f"the language model does not know its letters well enough after layer {bench.data.layer}: probes find "
                f"{len(letters)} of 26 first letters with F1 above {F1}, and the setting absorption_letters asks for "
                f"{bench.sizes.absorption_letters}"
            )
        sae.own_scores["bought_by_negligible_codes"] = _bought(*found, letters=letters)

    def _config(self, bench: Bench) -> Any:
        from sae_bench.evals.absorption.eval_config import AbsorptionEvalConfig

        return AbsorptionEvalConfig(
            model_name=bench.name,
            llm_batch_size=LLM_BATCH,
            llm_dtype=bench.data.dtype,
            min_GT_probe_f1=F1,
            max_k_value=bench.sizes.absorption_latents,
            min_feats_for_eval=bench.sizes.absorption_letters,
        )


def codes_fit(words: int, d_sae: int, dtype: str) -> bool:
    """Whether there is memory for the codes of so many words: SAEBench puts them together of parts, so it is taken twice."""
    available = room()
    return available is not None and 2 * words * d_sae * NUMBER[dtype] <= CODES_SHARE * available


def _trained_on(fixed: Path) -> int:
    """How many words the probes that `fill` made were trained on."""
    import numpy as np

    (made,) = fixed.rglob("data.npz")
    with np.load(made) as found:
        return len(found["y_train"])


def encodings(settings: Settings, words: int) -> int:
    """How often the SAE is asked to encode each of so many words."""
    sizes = settings.evals
    if sizes is None or codes_fit(words, settings.dict_size, settings.language_model.dtype):
        return 2
    return EPOCHS + len(string.ascii_lowercase) * sizes.absorption_latents


def words(tokenizer: Any) -> int:
    """How many words of the vocabulary the probes are trained on, and each SAE is scored on."""
    from sae_bench.evals.absorption.vocab import get_alpha_tokens

    return len(get_alpha_tokens(tokenizer))


@contextlib.contextmanager
def _words_in_order() -> Iterator[None]:
    """SAEBench draws words from the tokenizer's vocabulary as that lists it, which is another order each time it is loaded:
    no seed would give the same score twice. Here the words are drawn from the same list, sorted."""
    from sae_bench.evals.absorption import common, feature_absorption

    words: Any = common.get_alpha_tokens

    def in_order(*args: Any, **options: Any) -> list[str]:
        return sorted(words(*args, **options))

    common.get_alpha_tokens = feature_absorption.get_alpha_tokens = in_order
    try:
        yield
    finally:
        common.get_alpha_tokens = feature_absorption.get_alpha_tokens = words


@contextlib.contextmanager
def _results_in(out: Path, probes: Path) -> Iterator[list[Any]]:
    """Probes are found in `probes`, intermediate results go to `out`. Yields the table of the words that SAEBench looked at;
    where the latent of a letter fires in some by a code that is negligible, another one follows, without such codes.

    Both are arguments that SAEBench's `run_eval` does not pass on. Left at their defaults they are folders inside the
    installed package, named by the model: a small model that goes by a real one's name would leave its probes for the real
    one.
    """
    from sae_bench.evals.absorption import main

    probing: Any = main.run_k_sparse_probing_experiment
    absorbing: Any = main.run_feature_absortion_experiment
    seen, found = out / "k_sparse_probing", list[Any]()

    def absorbed(sae: BenchSAE, **given: Any) -> Any:
        drawn = random.getstate()
        scored = functools.partial(absorbing, sparse_probing_experiment_dir=seen, probes_dir=probes, **given)
        found.append(scored(sae=sae, experiment_dir=out / "feature_absorption"))
        sizes = sae.sizes
        if sizes and _fires_negligibly(found[0], sizes.least):
            random.setstate(drawn)  # the same prompts
            found.append(scored(sae=sae.without_negligible(sizes), experiment_dir=out / "without_negligible"))
        return found[0]

    main.run_k_sparse_probing_experiment = functools.partial(probing, experiment_dir=seen, probes_dir=probes)
    main.run_feature_absortion_experiment = absorbed
    try:
        yield found
    finally:
        main.run_k_sparse_probing_experiment = probing
        main.run_feature_absortion_experiment = absorbing


def _letters(probes: Path) -> list[str]:
    """The letters that the probes find, by the table that SAEBench leaves in the working directory."""
    return [letter["letter"] for letter in json.loads(probes.read_text()) if letter["f1_probe"] > F1]


def _fires_negligibly(words: Any, least: Tensor) -> bool:
    """Whether a latent of a letter fires in any of these words by a code below `least`: otherwise such codes keep none from
    being called absorbed."""
    rows = zip(words["split_feats"], words["split_feat_acts"], strict=True)
    return any(0 < code < least[latent] for latents, codes in rows for latent, code in zip(latents, codes, strict=True))


def _bought(words: Any, without: Any = None, *, letters: list[str]) -> float:
    """By how much either score of absorption is lower for codes that are too small to do anything."""
    from sae_bench.evals.absorption.main import _aggregate_results_df

    if without is None:
        return 0.0
    tables = (_aggregate_results_df(each) for each in (words, without))
    scores = ["mean_absorption_fraction", "full_absorption_rate"]
    one, other = (each.loc[each["letter"].isin(letters), scores].mean() for each in tables)
    return max(0.0, float((other - one).max()))
