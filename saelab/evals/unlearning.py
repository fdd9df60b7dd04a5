"""SAEBench's unlearning: does clamping latents take away dangerous knowledge and nothing else?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache import Say, lab_cache
from ..errors import CannotPrepare
from ..model_files import fetch
from ..settings import EvalSettings, LanguageModelData
from .bench import LLM_BATCH, Bench, Skip, link

if TYPE_CHECKING:
    from .bench_sae import BenchSAE

INSTRUCTED = {"gemma-2-2b": "google/gemma-2-2b-it", "gemma-2-9b": "google/gemma-2-9b-it"}
"""SAEBench has prompts for these two alone; an SAE of the base model is scored on the instructed one."""
CORPUS = "bio-forget-corpus.jsonl"
"""The text to forget, gated on the hub (cais/wmdp-bio-forget-corpus): it is looked for in `unlearning` of the cache."""
BATCH = LLM_BATCH // 8
"""Sequences here have 1,024 tokens instead of 128."""


def no_corpus(folder: Path) -> str:
    """What to do where the text to forget is not in `folder`."""
    return f"no text to forget: accept the terms of cais/wmdp-bio-forget-corpus on the hub and put {CORPUS} into {folder}"


class Unlearning:
    """Uses encode and decode."""

    main = ("unlearning.unlearning_score",)

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        return {}

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        """Find the questions that the language model answers right."""
        config = self._config(self._instructed(bench, say))
        from sae_bench.evals.unlearning.utils import metrics
        from sae_bench.sae_bench_utils.general_utils import str_to_dtype
        from transformer_lens import HookedTransformer

        say(f"unlearning: the questions that {config.model_name} answers right")
        model = HookedTransformer.from_pretrained_no_processing(
            config.model_name, device=bench.device, dtype=str_to_dtype(config.llm_dtype)
        )
        for name in config.dataset_names:
            metrics.save_target_question_ids(model, 2 * BATCH, str(folder), name)
            asked = {"target_metric": config.target_metric, "verbose": False}
            metrics.get_baseline_metrics(model, 2 * BATCH, str(folder), name, asked)

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        instructed = self._instructed(bench, lambda line: None)
        from sae_bench.evals.unlearning import main

        link(Path("artifacts/unlearning", instructed.name, "data"), fixed / "data")
        sae.cfg.model_name = instructed.name
        main.run_eval(self._config(instructed), [("sae", sae)], bench.device, str(out), force_rerun=True)

    def _instructed(self, bench: Bench, say: Say) -> Bench:
        """The instructed model, found in the working directory with the text to forget. Raises Skip."""
        base = bench.name.removesuffix("-it")
        if base not in INSTRUCTED:
            raise Skip(f"SAEBench asks its questions of gemma-2-2b-it and gemma-2-9b-it alone; the model is {bench.name}")
        corpus = lab_cache() / "unlearning"
        if not (corpus / CORPUS).is_file():
            raise Skip(no_corpus(corpus))
        data = bench.data
        if data.model != INSTRUCTED[base]:
            data = replace(data, model=INSTRUCTED[base], revision="main")
        try:
            folder = fetch(data, say)
        except CannotPrepare as error:
            raise Skip(str(error)) from error
        instructed = replace(bench, data=data, model=folder, official=INSTRUCTED[base])
        link(Path(instructed.official), folder)
        link(Path("sae_bench/evals/unlearning/data"), corpus)
        return instructed

    def _config(self, bench: Bench) -> Any:
        from sae_bench.evals.unlearning.eval_config import UnlearningEvalConfig

        return UnlearningEvalConfig(model_name=bench.name, llm_batch_size=BATCH, llm_dtype=bench.data.dtype)
