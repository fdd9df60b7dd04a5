"""SAEBench's sparse probing: how much do single latents say about what a text is? On two collections of data sets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache import Say
from ..fingerprint import content_hash
from ..settings import EvalSettings, LanguageModelData
from .bench import LLM_BATCH, SEED, Bench, Skip, link, local_copies

if TYPE_CHECKING:
    from .bench_sae import BenchSAE

TEXTS = (
    "LabHC/bias_in_bios_class_set1",
    "LabHC/bias_in_bios_class_set2",
    "LabHC/bias_in_bios_class_set3",
    "canrager/amazon_reviews_mcauley_1and5",
    "canrager/amazon_reviews_mcauley_1and5_sentiment",
    "fancyzhx/ag_news",
    "Helsinki-NLP/europarl",
)
"""SAEBench's data sets without codeparrot/github-code: no version of `datasets` that SAEBench works with can read that."""
SEVEN = "sparse_probing_7_sets"
"""What the result is called: a mean over seven data sets is not compared with SAEBench's over eight."""
STREAMED = ("Helsinki-NLP/europarl",)
"""Of these what SAEBench reads as a stream, some thousand sentences of tens of GB: no copy is kept."""
KNOWN_BYTES = {
    **dict.fromkeys((f"LabHC/bias_in_bios_class_set{number}" for number in (1, 2, 3)), 100_000_000),
    "canrager/amazon_reviews_mcauley_1and5": 327_000_000,
    "fancyzhx/ag_news": 32_000_000,
    "Helsinki-NLP/europarl": 0,
}
"""What the hub's pages say of sizes, for forecasts where it does not answer; of the class sets, which are parts of it, that
LabHC/bias_in_bios has 99.8 MB. None says the size of the sentiment set."""
PAIRED_TEXTS = ("LabHC/bias_in_bios_class_set1", "canrager/amazon_reviews_mcauley_1and5")
"""Of these the ones that tpp and scr use."""
TOKENS = 128
"""Of each text (SAEBench's default)."""
TEST_SHARE = 4
"""Texts for training a probe are so many times those for testing it (SAEBench: 4,000 and 1,000)."""


class SparseProbing:
    """SAEBench's own data sets, from the hub. Uses encode."""

    classes = 31
    """Of texts, in TEXTS together."""
    main = ("sae.sae_top_1_test_accuracy",)

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        return _texts(TEXTS, sizes)

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        say("sparse_probing: texts from the hub, and the language model's activations on them")
        sae = _any_sae(bench)
        _check_disk(folder, bench, sae.cfg.d_in, self.classes)
        self.run(bench, sae, folder, Path("unused"))

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        from sae_bench.evals.sparse_probing import main
        from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig

        config = SparseProbingEvalConfig(
            model_name=bench.name,
            llm_batch_size=LLM_BATCH,
            llm_dtype=bench.data.dtype,
            probe_train_set_size=bench.sizes.probing_rows,
            probe_test_set_size=bench.sizes.probing_rows // TEST_SHARE,
        )
        config.dataset_names = list(TEXTS)
        main.run_eval(config, [("sae", sae)], bench.device, str(out), force_rerun=True, artifacts_path=str(fixed))
        for file in out.rglob("*_eval_results.json"):
            result = json.loads(file.read_text(encoding="utf-8"))
            file.write_text(json.dumps(result | {"eval_type_id": SEVEN}), encoding="utf-8")


class SaeProbes:
    """The data sets inside the package sae-probes. Uses encode."""

    main = ("sae.sae_top_1_test_accuracy",)

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        return {"datasets": sizes.probing_datasets}

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        """The language model's activations, and how well probes on them do without an SAE."""
        from sae_probes import run_baseline_evals

        names = self._datasets(bench.sizes)
        say(f"sparse_probing_sae_probes: the language model's activations on {len(names)} data sets")
        run_baseline_evals(
            model_name=bench.name,
            hook_name=bench.hook,
            setting="normal",
            method="logreg",
            results_path=folder,
            model_cache_path=folder / "activations",
            datasets=names,
            device=bench.device,
            seed=SEED,
        )

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        from sae_bench.evals.sparse_probing_sae_probes import main
        from sae_bench.evals.sparse_probing_sae_probes.eval_config import SparseProbingSaeProbesEvalConfig

        # What is found for an SAE is kept by its name and never made again; what is found without one is the same for all.
        results = Path("results")
        results.mkdir()
        baseline = f"baseline_results_{bench.name}"
        link(results / baseline, fixed / baseline)
        activations = Path("activations")  # SAEBench writes the place into its result, which holds no place of the machine
        link(activations, fixed / activations)
        config = SparseProbingSaeProbesEvalConfig(
            model_name=bench.name,
            random_seed=SEED,
            dataset_names=self._datasets(bench.sizes),
            results_path=str(results),
            model_cache_path=str(activations),
        )
        main.run_eval(config, [("sae", sae)], bench.device, str(out), force_rerun=True)

    def _datasets(self, sizes: EvalSettings) -> list[str]:
        from sae_probes import DATASETS

        known: list[str] = list(DATASETS)
        if sizes.probing_datasets == "all":
            return known
        names = sizes.probing_datasets.split()
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise Skip(
                f"probing_datasets: sae-probes has no {' '.join(unknown) or 'data set without a name'}; `all` are all"
            )
        return names


class Removal:
    """SAEBench's tpp (does removing a class's latents hurt that class alone?) and scr (does removing a spurious concept's
    latents remove the spurious correlation?). Use encode, decode and W_dec."""

    def __init__(self, *, scr: bool) -> None:
        self.scr = scr
        self.classes = 48 if scr else 10  # scr: eight pairs, each in six mixtures
        self.main: tuple[str, ...] = (
            "scr_metrics.scr_metric_threshold_10" if scr else "tpp_metrics.tpp_threshold_10_total_metric",
        )

    def fixed_by(self, data: LanguageModelData, sizes: EvalSettings) -> dict[str, object]:
        return _texts(PAIRED_TEXTS, sizes)

    def fill(self, bench: Bench, folder: Path, say: Say) -> None:
        say(f"{'scr' if self.scr else 'tpp'}: texts from the hub, the language model's activations, and probes on them")
        sae = _any_sae(bench)
        _check_disk(folder, bench, sae.cfg.d_in, self.classes)
        self.run(bench, sae, folder, Path("unused"))

    def run(self, bench: Bench, sae: BenchSAE, fixed: Path, out: Path) -> None:
        from sae_bench.evals.scr_and_tpp import main
        from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig

        config = ScrAndTppEvalConfig(
            model_name=bench.name,
            perform_scr=self.scr,
            llm_batch_size=LLM_BATCH,
            llm_dtype=bench.data.dtype,
            train_set_size=bench.sizes.probing_rows,
            test_set_size=bench.sizes.probing_rows // TEST_SHARE,
        )
        config.dataset_names = list(PAIRED_TEXTS)
        config.n_values = [n for n in config.n_values if n <= sae.cfg.d_sae]
        main.run_eval(config, [("sae", sae)], bench.device, str(out), force_rerun=True, artifacts_path=str(fixed))


def _texts(names: tuple[str, ...], sizes: EvalSettings) -> dict[str, object]:
    """What decides the texts: their names and number, and the content of those that are local copies."""
    copies = [file for folder in local_copies() for file in sorted(folder.rglob("*")) if file.is_file()]
    return {"names": names, "rows": sizes.probing_rows, "copies": content_hash(copies)}


def activation_tokens(classes: int, sizes: EvalSettings) -> float:
    """Tokens of all texts of so many classes: what activations are kept of, and rows that an SAE is asked to encode."""
    return classes * sizes.probing_rows / 2 * (1 + 1 / TEST_SHARE) * TOKENS


def _check_disk(folder: Path, bench: Bench, width: int, classes: int) -> None:
    """Raises Skip where there is no room for the language model's activations on all tokens of all texts."""
    import torch

    needed = activation_tokens(classes, bench.sizes) * width * getattr(torch, bench.data.dtype).itemsize
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Skip(
            f"no room: the language model's activations on its texts need {needed / 1e9:.0f} GB in {folder.parent}, "
            f"{free / 1e9:.0f} GB are free. --set probing_rows=N takes fewer texts."
        )


def _any_sae(bench: Bench) -> BenchSAE:
    """What SAEBench keeps of the language model does not depend on the SAE: the coordinates will do."""
    from transformers import AutoConfig

    from .bench_sae import BenchSAE, Identity

    config: Any = AutoConfig.from_pretrained(bench.model, local_files_only=True)
    return BenchSAE(Identity(int(config.get_text_config().hidden_size)), bench)
