"""How many tokens the first brief takes, beside a prompt with the same results pasted as JSON.

    python bench/brief_tokens.py

Two recorded baselines of Gemma-2-2B (TopK at k=40 and at k=320), the idea `ideas/hierarchy.json`, and the contract that
belongs to these results, written out below: four metrics, all numbers that were recorded, and no word of an interface,
since the prompt with pasted results has none. `shipped` is what a campaign of the shipped contract begins with, at its
profile for Gemma-2-2B and with the same two baselines: it also tells what `saelab` offers and every setting of the profile.
Tokens are counted by aider's tokenizer for gpt-4o, without network; `harness agents install aider` makes its environment.
The last line of the output is one JSON object.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from harness.agents.aider import count_tokens
from harness.agents.brief import Column, Situation, brief, results_table, settings_table
from harness.agents.situation import Situations
from harness.campaign.campaign import Options, create_campaign
from harness.campaign.contract import Contract, Profile, SanityRule
from harness.campaign.idea import Idea, load_ideas
from harness.campaign.journal import Journal
from harness.campaign.metric import Metric
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import Silent
from harness.campaign.record import Record, VerdictRecord
from harness.campaign.stop import Stop
from harness.execution.executions import Executions
from harness.execution.executors import find_executor
from harness.report.recorder import Recorder
from harness.results.reading import read_results

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "baselines" / "gemma-2-2b"
BASELINES = {
    "run_0": RECORDED / "run_0" / "eval_results" / "recorded.json",
    "k=320": RECORDED / "topk_k320" / "eval_results" / "recorded.json",
}
ONE_RUN_MORE = ROOT / "tests" / "data" / "gemma-2-2b" / "layer12_run1_topk_k40_488steps.json"
PROFILE = "gemma-2-2b"
MODEL = "gpt-4o"
GOAL = 2_000

CONTRACT = Contract(
    description="Train a sparse autoencoder on a language model's activations; SAEBench scores it.",
    metric=[
        Metric(name="absorption.mean_absorption_score", better="lower", target=0.01, primary=True),
        Metric(name="unlearning.unlearning_score", better="higher", target=0.1),
        Metric(name="sparse_probing.sae_top_1_test_accuracy", better="higher", target=0.74),
        Metric(name="autointerp.autointerp_score", better="higher"),
    ],
    sanity=[
        SanityRule(value="training.training_steps", above=0, at_least="steps"),
        SanityRule(value="training.final_loss", present=True, finite=True),
        SanityRule(value="core.l0", above=0),
        SanityRule(value="core.l0", at_most="k", times=1.02, when={"dict_class": "AutoEncoderTopK"}),
        SanityRule(value="core.cossim", above=0),
    ],
    comparable=["k", "steps", "dict_size", "activation_dim", "lm_name", "layer", "dict_class"],
    profiles={PROFILE: Profile(description="Gemma-2-2B, residual stream after layer 12")},
)


def column(label: str, file: Path) -> Column:
    """A result file as the harness reads it from a run's folder."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(file, Path(folder) / "final_info.json")
        results = read_results(Path(folder))
    return Column(label, results.numbers, results.settings)


def situation(idea: Idea, columns: tuple[Column, ...], records: tuple[Record, ...]) -> Situation:
    settings = columns[0].settings
    return Situation(idea, CONTRACT, PROFILE, settings, columns, records, run=len(records) + 1, attempt=1, max_runs=10)


def shipped(idea: Idea) -> str:
    """The first brief of a campaign of the shipped experiment, `--profile gemma-2-2b --baseline given`."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(profile=PROFILE, baseline="given", max_runs=10)
        campaign = create_campaign(Path(folder), idea, ROOT, options, python=sys.executable)
        shutil.rmtree(campaign.given / "relu_l1")  # two baselines, as above
        opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
        recorder = Recorder(opened, Executions(opened, find_executor("local")))
        recorder.start()
        recorder.record_baseline()
        return brief(Situations(opened).before(1, 1))


def pasted(idea: Idea, files: list[Path]) -> str:
    """The prompt of older harnesses: idea and whole result dicts."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return f"{idea.model_dump_json(exclude_none=True)}\n\nResults:\n" + "\n".join(json.dumps(result) for result in results)


def measure() -> dict[str, int | None]:
    """The tokens of each text; None where aider's environment has not been made."""
    idea = load_ideas(ROOT / "ideas" / "hierarchy.json").choose(None)
    columns = tuple(column(label, file) for label, file in BASELINES.items())
    later = column("run_1", ONE_RUN_MORE)
    tried = Record(run=1, status="completed", verdict=VerdictRecord(kind="inconclusive"), commit="", parent=0)
    texts = {
        "pasted": pasted(idea, list(BASELINES.values())),
        "pasted_one_run_more": pasted(idea, [*BASELINES.values(), ONE_RUN_MORE]),
        "brief": brief(situation(idea, columns, ())),
        "brief_one_run_more": brief(situation(idea, (*columns, later), (tried,))),
        "table": results_table(columns) + "\n" + settings_table(columns),
        "shipped": shipped(idea),
    }
    return dict(zip(texts, count_tokens(*texts.values(), model=MODEL) or [None] * len(texts), strict=True))


def main() -> int:
    tokens = measure()
    if None in tokens.values():
        print("aider's environment has not been made: run `harness agents install aider` first.", file=sys.stderr)
        return 2
    for name, count in tokens.items():
        print(f"{name.replace('_', ' '):<22}{count:>8,} tokens")
    print(json.dumps({"goal": GOAL, "model": MODEL, **tokens}))
    return 0 if (tokens["brief"] or 0) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
