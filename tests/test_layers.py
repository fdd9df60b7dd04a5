"""Several layers in one execution: an SAE for each, each scored after its own, and their mean is the run's number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.results.reading import read_results
from saelab import layers

from .small_models import save_model_and_text

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_text("gpt-neox", tmp_path_factory.mktemp("place"))


def trained(place: Path, layer: int | str) -> Path:
    """The out_dir of the experiment as it is shipped, executed as a process."""
    out_dir = place / f"run {layer}"
    settings = {"model": str(place / "model"), "dataset": str(place / "text"), "layer": layer, "d_in": 16, "context": 8}
    settings |= {"harvest_tokens": 600, "evals": "", "dict_size": 32, "k": 4, "steps": 6, "batch_size": 64, "log_every": 2}
    told = {
        "HARNESS_PROFILE": "tiny-lm",
        "HARNESS_OVERRIDES": json.dumps(settings),
        "HARNESS_LAB_CACHE": str(place / "lab"),
        "HARNESS_SCORER_FOLLOWS": "1",
    }
    command = [sys.executable, "experiment.py", f"--out_dir={out_dir}"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **told}, check=True, capture_output=True)
    return out_dir


@pytest.mark.slow
def test_an_experiment_that_knows_of_one_layer_trains_on_each(place: Path) -> None:
    together, alone = trained(place, "2 0"), trained(place, 0)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (together / "sae" / "layer_0", alone / "sae")]
    assert weights[0] == weights[1]
    assert weights[0] != (together / "sae" / "layer_2" / "weights.safetensors").read_bytes()

    parts = [json.loads((together / "sae" / f"layer_{layer}" / "trained.json").read_text()) for layer in (2, 0)]
    whole = json.loads((together / "final_info.json").read_text())
    assert whole["settings"] == parts[0]["settings"] | {"layer": "2 0"}
    losses = [part["metrics"]["final_loss"] for part in parts]
    assert losses[0] != losses[1] == json.loads((alone / "final_info.json").read_text())["metrics"]["final_loss"]
    assert whole["metrics"]["final_loss"] == pytest.approx(sum(losses) / 2)
    assert whole["metrics"]["train_seconds"] == pytest.approx(sum(part["metrics"]["train_seconds"] for part in parts))
    log = [json.loads(line) for line in (together / "train_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 4, 6, 7, 8, 10, 12]


def test_scores_are_means_over_layers_and_each_layers_own_are_details(tmp_path: Path) -> None:
    def left(layer: int, name: str, content: dict[str, Any]) -> None:
        (tmp_path / f"layer_{layer}").mkdir(exist_ok=True)
        (tmp_path / f"layer_{layer}" / f"{name}.json").write_text(json.dumps(content))

    for layer, score, rows in ((12, 0.25, 100), (19, 0.75, 300)):
        evaluated = {
            "eval_type_id": "absorption_first_letter",
            "sae_cfg_dict": {"hook_layer": layer, "d_sae": 64},
            "eval_result_metrics": {"mean": {"mean_full_absorption_score": score, "letters": 20}},
            "eval_result_details": [{"first_letter": "a", "score": score}],
        }
        left(layer, "absorption", evaluated)
        verified = {"d_in": 16, "layer": layer, "k": 4, "l1_penalty": layer}
        left(layer, "facts", {"verified": verified, "remarks": [], "rows": rows, "l0": score, "most_in_a_row": layer})
    left(12, "core", evaluated | {"eval_type_id": "core"})
    left(19, "skipped", {"skipped": {"core": "no text"}})

    layers.join_scores(tmp_path / ".", (12, 19))
    assert sorted(file.name for file in tmp_path.rglob("*.json")) == ["absorption.json", "facts.json", "skipped.json"]
    assert json.loads((tmp_path / "skipped.json").read_text()) == {"skipped": {"core": "after layer 19: no text"}}
    assert json.loads((tmp_path / "facts.json").read_text()) == {
        "verified": {"d_in": 16, "k": 4, "layer": "12 19"},
        "remarks": [],
        "rows": 400,
        "l0": 0.625,
        "most_in_a_row": 19,
    }
    out_dir = tmp_path / "run_1"
    (out_dir / "eval_results").mkdir(parents=True)
    (tmp_path / "absorption.json").rename(out_dir / "eval_results" / "absorption.json")
    (out_dir / "final_info.json").write_text('{"settings": {"layer": "12 19"}, "metrics": {}}')
    found = read_results(out_dir)
    assert found.numbers == {"absorption.mean_full_absorption_score": 0.5, "absorption.letters": 20}
    assert (found.settings["layer"], found.findings) == ("12 19", [])
    of_each = {row.key: row.value for row in found.rows if row.key.startswith("eval_result_details")}
    assert of_each == {
        "eval_result_details[layer 12].mean_full_absorption_score": 0.25,
        "eval_result_details[layer 12].letters": 20,
        "eval_result_details[layer 19].mean_full_absorption_score": 0.75,
        "eval_result_details[layer 19].letters": 20,
        "eval_result_details[layer 12, a].score": 0.25,
        "eval_result_details[layer 19, a].score": 0.75,
    }
