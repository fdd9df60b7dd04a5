"""SAEBench's core: reconstruction, sparsity, and what the language model loses with the SAE in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .. import text
from ..cache import Say
from ..settings import EvalSettings, LanguageModelData
from .bench import TEXT, Bench, link
from .lens import vocabulary

if TYPE_CHECKING:
    from .bench_sae import BenchSAE

PROMPTS = 16
"""Sequences of a batch (SAEBench's own number), where their logits have room."""
LOGITS_BYTES = 2**29
"""Of a batch's logits in float32. SAEBench holds several such arrays at once (LOGITS_COPIES)."""
LOGITS_COPIES = 7
CHARS_A_TOKEN = 8
"""More than any tokenizer needs of English or code: so much text is laid by for each token that is asked for."""


class Core:
    """Uses encode and decode; the encoder's weights for some metrics on weights only."""

    main = ("sparsity.l0", "reconstruction_quality.explained_variance")

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        return evaluation_text(data, sizes)

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        write_text(bench.sizes, folder)

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        from sae_bench.evals.core.main import multiple_evals

        from .negligible import Sizes

        link(Path(TEXT), fixed)
        sae.sizes = Sizes(sae.W_dec)
        prompts = prompts_at_once(bench.data.context, vocabulary(bench.model))
        tokens = prompts * bench.data.context
        multiple_evals(
            [("sae", sae)],
            n_eval_reconstruction_batches=max(min(bench.sizes.loss_tokens, bench.sizes.eval_tokens) // tokens, 1),
            n_eval_sparsity_variance_batches=max(bench.sizes.eval_tokens // tokens, 1),
            eval_batch_size_prompts=prompts,
            compute_featurewise_density_statistics=True,
            compute_featurewise_weight_based_metrics=True,
            exclude_special_tokens_from_reconstruction=True,  # no SAE is trained on them
            dataset=TEXT,
            context_size=bench.data.context,
            output_folder=str(out),
            dtype=bench.data.dtype,
            device=bench.device,
            force_rerun=True,
        )
        sae.own_scores["negligible_share"] = sae.sizes.share


def in_words(error: str) -> str:
    """What SAEBench logged, where it says a cause: its shares are of what the language model loses without the layer."""
    if "division by zero" not in error:
        return error
    return (
        "the language model predicts the same with this layer's output as with zeros in its place, within its dtype's "
        "rounding; an SAE there has nothing to recover. Choose another layer or a model with trained weights, or "
        "--set dtype=float32"
    )


def prompts_at_once(context: int, vocabulary: int) -> int:
    """Sequences of a batch, by the room that their logits need."""
    return min(PROMPTS, max(LOGITS_BYTES // (4 * context * vocabulary), 1))


def evaluation_text(data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
    """What decides the text."""
    return {"text": text.identity(sizes.eval_dataset), "tokens": sizes.eval_tokens}


def write_text(sizes: EvalSettings, folder: Path) -> None:
    """Documents that no SAE is trained on, as a data set in `folder`. Raises CannotPrepare where they cannot be had."""
    wanted = CHARS_A_TOKEN * sizes.eval_tokens
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for document in text.documents(sizes.eval_dataset, "eval"):
            file.write(json.dumps({"text": document}) + "\n")
            wanted -= len(document)
            if wanted < 0:
                return
