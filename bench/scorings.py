"""How many honest SAEs the scorer refuses, or the contract calls invalid.

    python bench/scorings.py [--number 1000] [--shipped]

Trains so many SAEs with the shipped experiment, hands each over, and has it scored and checked as a run is: TopK, BatchTopK
and Matryoshka with k from 2 to 6, standard SAEs with an L1 penalty from 0.6 to 2, each with a seed of its own, in a small
world (40 features in 24 dimensions, 48 latents, 200 steps) or, with `--shipped`, in the shipped one. None of them has a
trick, so each refusal and each broken rule is a mistake. Each is scored once more as if nothing were known of its encoder's
operations: then 256 rows of a batch are looked at, alone and in other company.

The last line is one JSON object. Exit code 1 where one was refused or invalid.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import saelab  # noqa: E402
from harness.campaign.contract_file import load_contract  # noqa: E402
from harness.results.run_results import read_run  # noqa: E402
from harness.results.sanity import check_sanity  # noqa: E402
from saelab import worlds  # noqa: E402
from saelab.artifact_files import ARTIFACT  # noqa: E402
from saelab.scorer import graph  # noqa: E402
from saelab.scorer.__main__ import main as score  # noqa: E402
from saelab.scorer.graph import Refused  # noqa: E402

SMALL = {"roots": 4, "children": 3, "grandchildren": 2, "active_roots": 1.5, "d_in": 24, "dict_size": 48}
SMALL |= {"steps": 200, "batch_size": 256, "train_rows": 16384, "eval_rows": 4096, "log_every": 100}
KINDS = [{"architecture": name, "k": k} for k in (2, 3, 4, 6) for name in ("topk", "batchtopk", "matryoshka")]
KINDS += [{"architecture": "standard", "l1_penalty": penalty} for penalty in (0.6, 1.0, 1.4, 2.0)]


def problems(number: int, common: dict[str, Any], folder: Path) -> list[str]:
    """What is said against the SAE of this number, by scorer and contract."""
    os.environ["HARNESS_OVERRIDES"] = json.dumps(common | KINDS[number % len(KINDS)])
    os.environ["HARNESS_SEED"] = str(number)
    experiment = importlib.import_module("experiment")
    experiment.main(folder)
    found = []
    for known in (True, False):
        with tempfile.TemporaryDirectory() as scores:
            own = graph.is_row_independent
            if not known:
                graph.is_row_independent = lambda model: False
            try:
                score(folder / ARTIFACT, Path(scores))
                results = read_run(folder, CONTRACT, scores=Path(scores))
                found += check_sanity(CONTRACT, "synthetic", results) if known else []
            except Refused as refused:
                found.append(f"refused: {refused}")
            finally:
                graph.is_row_independent = own
    return found


CONTRACT = load_contract(ROOT)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--shipped", action="store_true", help="in the shipped world, at its own steps")
    asked = parser.parse_args()
    os.chdir(ROOT)
    os.environ |= {"HARNESS_PROFILE": "synthetic", "HARNESS_SCORER_FOLLOWS": "1"}
    common: dict[str, Any] = {} if asked.shipped else SMALL
    os.environ["HARNESS_OVERRIDES"] = json.dumps(common)
    worlds.ensure(saelab.load_settings(ROOT), lambda line: print(line))
    wrong: dict[int, list[str]] = {}
    for number in range(asked.number):
        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as quiet:
            out, sys.stdout = sys.stdout, quiet
            try:
                said = problems(number, common, Path(folder) / "run_1")
            finally:
                sys.stdout = out
        if said:
            wrong[number] = said
            print(f"SAE {number} ({KINDS[number % len(KINDS)]}): {'; '.join(said)}", flush=True)
    print(json.dumps({"saes": asked.number, "refused_or_invalid": len(wrong)}))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
