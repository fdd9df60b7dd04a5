"""Real results of real campaigns (`data/gemma-2-2b`), as the folders that runs would have left, and other written ones."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

from harness.campaign.contract import Contract
from harness.results.reading import FINAL_INFO, Results, read_results

DATA = Path(__file__).parent / "data" / "gemma-2-2b"
BASELINES = Path(__file__).parents[1] / "baselines" / "gemma-2-2b"

RELU = "layer12_relu_l1_2441steps.json"
RUN_1 = "layer12_run1_topk_k40_488steps.json"
RUN_2 = "layer12_run2_topk_k40_2441steps.json"
K40 = "layer12_topk_k40_2441steps.json"
K320 = "layer12_topk_k320_2441steps.json"
ALL_ZERO = "layer19_degenerate_core.json"
ZERO_STEPS = "layer19_zero_steps_final_info.json"
_AMONG_BASELINES = {K40: "run_0", K320: "topk_k320", RELU: "relu_l1"}


def contract() -> Contract:
    return Contract.model_validate(tomllib.loads((DATA / "experiment.toml").read_text()))


def source(name: str) -> Path:
    """Where a recorded file lies: three of them are baselines that a campaign may begin with."""
    if name in _AMONG_BASELINES:
        return BASELINES / _AMONG_BASELINES[name] / "eval_results" / "recorded.json"
    return DATA / name


def recorded(folder: Path, *names: str) -> Results:
    """The first file as final_info.json, others under eval_results."""
    for place, name in enumerate(names):
        target = folder / (f"eval_results/{name}" if place else FINAL_INFO)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source(name), target)
    return read_results(folder)


def left(folder: Path, content: Any, name: str = FINAL_INFO) -> Results:
    """`content` as a run's file: text and bytes as they are, anything else as JSON."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, str | bytes) else json.dumps(content)
    target.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_results(folder)
