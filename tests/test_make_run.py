"""What `make run` does, on a scale of seconds: the shipped idea, experiment and session, the real aider, the real scorer.

Twenty executions, each of which would import torch for as long as it then takes: they are forked from a process that has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.campaign.campaign import Campaign
from harness.cli.main import cli
from harness.execution import baseline_cache as kept
from harness.execution.executors import EXECUTORS

from .quick_executor import QUICK_WITH_TORCH
from .training import QUICK, ROOT
from .waiting import unhurried


@pytest.mark.slow
def test_the_shipped_session_takes_its_idea_through_the_shipped_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("experiment.py", "saelab"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile)(ROOT / name, tmp_path / name)
    contract = unhurried((ROOT / "experiment.toml").read_text(encoding="utf-8"))
    for many, few in (
        ("baseline_seeds = 10", "baseline_seeds = 2"),
        ("run_seeds = [1, 3]", "run_seeds = [1]"),
        ("number = 6", "number = 5"),
    ):
        assert many in contract
        contract = contract.replace(many, few)
    (tmp_path / "experiment.toml").write_text(contract, encoding="utf-8")
    settings = [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "root", lambda: tmp_path / "baselines")
    monkeypatch.setitem(EXECUTORS, "local", QUICK_WITH_TORCH)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "DEEPSEEK_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    idea, out = str(ROOT / "ideas" / "hierarchy.json"), str(tmp_path / "runs")
    done = CliRunner().invoke(cli, ["run", idea, "--experiment", str(tmp_path), "--out", out, "--max-runs", "3", *settings])
    assert done.exit_code == 0, done.output

    campaign = Campaign(tmp_path / "runs" / "hierarchy")
    baseline, *runs = campaign.read_records()
    assert [record.status for record in (baseline, *runs)] == ["completed"] * 4
    assert [[attempt.status for attempt in record.attempts] for record in runs] == [
        ["completed"],
        ["rejected", "completed"],
        ["smoke_test_failed", "completed"],
    ]
    assert "Only comments" in runs[1].attempts[0].why
    assert "must match the size of tensor" in runs[2].attempts[0].why
    assert len({record.metrics["final_loss"].value for record in (baseline, *runs)}) == 4
    assert all(0 <= record.metrics["absorption"].value <= 1 for record in (baseline, *runs))
    assert (baseline.settings["steps"].value, len(baseline.seeds)) == (QUICK["steps"], 2)
    notes = campaign.notes.read_text(encoding="utf-8")
    assert all(f"=== Run {number} " in notes for number in range(4)) and "=== The end " in notes
    [held_out] = campaign.holdouts()
    assert held_out["status"] in ("confirmed", "not_confirmed") and not held_out["accepted"]
    assert len({pair["settings"]["world"] for pair in held_out["pairs"]}) == len(held_out["pairs"]) == 5
    assert all(len(set(held_out["metrics"]["absorption"][whose])) == 5 for whose in ("run", "reference"))
    assert "in 5 new worlds, a fresh seed in each" in " ".join(done.output.split())
    log = subprocess.run(["git", "log", "--format=%s", "--reverse"], cwd=campaign.root, capture_output=True, text=True)
    assert [re.sub(r": [^:]*$", "", line) for line in log.stdout.splitlines()] == [
        "Start: Parents from the decoder",
        "Run 0",
        "Run 1, attempt 1",
        "Run 1",
        "Run 2, attempt 1",
        "Run 2, attempt 2",
        "Run 2",
        "Run 3, attempt 1",
        "Run 3, attempt 2",
        "Run 3",
        "Held-out evaluation",
        "Where the campaign stands",
    ]
