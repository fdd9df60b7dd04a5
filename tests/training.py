"""Executions of the SAE experiment in this process, as shipped or as a recorded session edits it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import saelab
from harness.agents.answer import Answer, parse
from harness.agents.chat_history import read_session
from harness.campaign.contract_file import load_contract
from harness.results.run_results import read_run
from saelab.artifact_files import ARTIFACT
from saelab.scorer.__main__ import main as score

ROOT = Path(__file__).parents[1]
SOURCE = (ROOT / "experiment.py").read_text(encoding="utf-8")
CONTRACT = load_contract(ROOT)
QUICK = {"steps": 40, "train_rows": 8192, "eval_rows": 2048, "warmup_steps": 5}


def load(source, folder):
    """The module that `source` is, in `folder` beside the contract."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.py").write_text(source, encoding="utf-8")
    (folder / "experiment.toml").write_bytes((ROOT / "experiment.toml").read_bytes())
    spec = importlib.util.spec_from_file_location("experiment_under_test", folder / "experiment.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    # Not by its loader, which takes what it compiled before for a source of the same size and second.
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


def quick_settings(overrides=QUICK):
    return saelab.load_settings(ROOT, {"HARNESS_OVERRIDES": json.dumps(overrides)})


def train(trainer, steps):
    """The losses of the first steps."""
    reports = [trainer.update(x) for x, _ in zip(saelab.activations(trainer.settings), range(steps), strict=False)]
    return [float(report["loss"]) for report in reports]


def left(out_dir):
    """The settings and metrics in a run's folder, and no finding but that an encoder is more than its weights."""
    results = read_run(out_dir, CONTRACT)
    assert [found for found in results.findings if "are not what encode.onnx encodes with" not in found.problem] == []
    return results.settings, results.numbers


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Call `execute(overrides, seed=…, smoke=…, source=…)`: the settings and metrics that the experiment leaves."""

    def call(overrides=None, seed=0, smoke=False, source=SOURCE):
        monkeypatch.setenv("HARNESS_OVERRIDES", json.dumps({**QUICK, **(overrides or {})}))
        monkeypatch.setenv("HARNESS_SEED", str(seed))
        monkeypatch.setenv("HARNESS_SMOKE", str(int(smoke)))
        monkeypatch.setenv("HARNESS_SCORER_FOLLOWS", "1")
        monkeypatch.delenv("HARNESS_PROFILE", raising=False)
        call.out_dir = tmp_path / f"run_{len(list(tmp_path.iterdir()))}"
        load(source, tmp_path / "code").main(call.out_dir)
        score(call.out_dir / ARTIFACT, call.out_dir / "eval_results")
        return left(call.out_dir)

    return call


# --- recorded sessions ---------------------------------------------------------------------------------------------------

BLOCK = re.compile(
    r"^experiment\.py\n```python\n<{7} SEARCH\n(.*?)^={7}\n(.*?)^>{7} REPLACE\n```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Turn:
    label: str
    answer: Answer
    before: str
    """The code that the agent was given."""
    parent: str
    """The code of the run that this run starts from."""
    code: str


def turns(session: str) -> Iterator[Turn]:
    """The turns of sessions/NAME.md; fails where an edit does not fit the code that the turn is given."""
    codes = {"baseline": SOURCE}
    start, code, parent = "baseline", SOURCE, SOURCE
    for turn in read_session(ROOT / "sessions" / f"{session}.md"):
        run, attempt = re.fullmatch(r"run (\d+), attempt (\d+)", turn.label).groups()
        if attempt == "1":
            code, start = codes[start], "baseline"
            parent = code
        before = code
        (reply,) = turn.replies
        blocks = BLOCK.findall(reply)
        assert len(blocks) == reply.count("<<<<<<< SEARCH")
        for search, replacement in blocks:
            assert code.count(search) == 1, search
            code = code.replace(search, replacement)
        answer = parse(reply)
        yield Turn(turn.label, answer, before, parent, code)
        codes[f"run_{run}"] = code
        start = answer.start_from or start  # of the next run
