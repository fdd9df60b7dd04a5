"""SAEBench's autointerp: can a language model say from examples what a latent stands for, and recognise it by that?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache import Say
from ..settings import EvalSettings, LanguageModelData
from .bench import LLM_BATCH, TEXT, Bench, Skip, link
from .core import evaluation_text, write_text

if TYPE_CHECKING:
    from .bench_sae import BenchSAE

KEY, BASE_URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"
"""From the environment of the scorer: the judge's key and, where it is not OpenAI's own service, its address."""


class AutoInterp:
    """Uses encode. The judge is the model that SAEBench names, gpt-4o-mini, at OpenAI or wherever OPENAI_BASE_URL leads."""

    main = ("autointerp.autointerp_score",)

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        return evaluation_text(data, sizes)

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        write_text(bench.sizes, folder)

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        from sae_bench.evals.autointerp import main
        from sae_bench.evals.autointerp.eval_config import AutoInterpEvalConfig

        key = os.environ.get(KEY)
        if not key:
            raise Skip(f"no judge: it needs {KEY} (and {BASE_URL}, where the judge is not OpenAI's) where the scorer runs")
        link(Path(TEXT), fixed)
        config = AutoInterpEvalConfig(
            model_name=bench.name,
            n_latents=bench.sizes.autointerp_latents,
            dataset_name=TEXT,
            llm_context_size=bench.data.context,
            llm_batch_size=LLM_BATCH,
            llm_dtype=bench.data.dtype,
            total_tokens=bench.sizes.eval_tokens,
        )
        main.run_eval(config, [("sae", sae)], bench.device, key, str(out), force_rerun=True)
