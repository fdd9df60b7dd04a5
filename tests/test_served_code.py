"""An SAE that is no data: scored with the agent's code where the contract allows it, in a process that can do nothing else."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import SERVES, Silent
from harness.campaign.record import Record
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.executors.sandbox.landlock import landlock_abi
from harness.execution.jobs import Jobs, Variant
from harness.loop import Ending
from tests.waiting import unhurried

ROOT = Path(__file__).parents[1]
SMALL = {"steps": 40, "train_rows": 4096, "eval_rows": 1024, "warmup_steps": 5}
SERVE = 'serve = ["python", "-m", "saelab.serve", "--artifact={out_dir}/sae"]\n'

ENCODE = "        return ops.dense(*self.top_k(pre), pre)\n"
ITEM = """        f = ops.dense(*self.top_k(pre), pre)
        return torch.stack([row if row.max().item() > 0 else 0 * row for row in f])
"""
LOOK = """        if Path("socket").exists():
            look()
"""
LOOKS = '''

def look() -> None:
    """In the process that serves: whatever it reaches ends it."""
    import os, socket
    campaign = next(folder for folder in Path.cwd().parents if folder.name == "served")
    for path in (campaign / "run_0/final_info.json", campaign / "run_0/eval_results/synthetic.json", campaign / "journal.jsonl"):
        try:
            path.read_text()
        except OSError:
            continue
        raise RuntimeError(f"{path} was read")
    for scores in Path.cwd().parents[1].glob("scoring/*"):
        try:
            (scores / "synthetic.json").write_text("{}")
        except OSError:
            continue
        raise RuntimeError(f"{scores} was written to")
    try:
        socket.create_connection(("127.0.0.1", PORT), timeout=5)
    except OSError:
        pass
    else:
        raise RuntimeError("it has a network")
    assert not [name for name in os.environ if "KEY" in name or "SECRET" in name]


def build('''


def _edits(*more: tuple[str, str]) -> dict[str, Any]:
    return {"text": "HYPOTHESIS: less.", "edits": [["experiment.py", *edit] for edit in ((ENCODE, ITEM), *more)]}


def _campaign(root: Path, *attempts: dict[str, Any]) -> tuple[Campaign, Ending]:
    """A campaign with a run for each of `attempts`, of the shipped experiment, taken to its end."""
    folder = root / "experiment"
    shutil.copytree(ROOT / "saelab", folder / "saelab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "experiment.py", folder)
    contract = unhurried((ROOT / "experiment.toml").read_text())
    for old, new in (
        ('files = ["saelab"]', f'{SERVE}files = ["saelab"]'),
        ("smoke = true", "smoke = false"),
        ("baseline_seeds = 10\nrun_seeds = [1, 3]", "baseline_seeds = 1\nrun_seeds = [1]"),
    ):
        assert old in contract
        contract = contract.replace(old, new)
    (folder / "experiment.toml").write_text(contract)
    script = {f"run {run}, attempt 1": attempt for run, attempt in enumerate(attempts, 1)}
    (root / "script.json").write_text(json.dumps(script))
    made = create_campaign(
        root / "runs",
        Idea(Name="served", Title="Less absorption", Experiment="Make absorption smaller."),
        folder,
        Options(
            agent="tests.scripted:ScriptedAgent",
            max_runs=len(attempts),
            max_attempts=1,
            controls=False,
            holdout=False,
            overrides=SMALL,
        ),
        python=sys.executable,
        session=root / "script.json",
    )
    return made, go_on(made, view=Silent(), stop=Stop())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The records where the contract allows it: a run that looks around when it is served, one whose code ends then."""
    root = tmp_path_factory.mktemp("serving")
    with pytest.MonkeyPatch.context() as patch, socket.socket() as listener:
        patch.setenv("HARNESS_CACHE", str(root / "cache"))
        patch.setenv("OPENAI_API_KEY", "sk-of-the-person")
        patch.delenv("HARNESS_LAB_CACHE", raising=False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        looks = LOOKS.replace("PORT", str(listener.getsockname()[1]))
        made, ending = _campaign(
            root,
            _edits((ITEM, LOOK + ITEM), ("\n\ndef build(", looks)),
            _edits((ITEM, LOOK.replace("look()", 'raise RuntimeError("no more")') + ITEM)),
        )
        assert ending.exit_code == 0, ending
        yield made.read_records()


def test_an_sae_that_cannot_be_exported_is_scored_with_its_code_and_the_record_says_so(runs: list[Record]) -> None:
    baseline, run = runs[:2]
    assert [attempt.status for attempt in run.attempts] == ["completed"], run.attempts
    assert "metrics identical to run 0" in run.verdict.why  # the code computes what the baseline's does
    assert run.metrics["absorption"].file == "eval_results/synthetic.json"
    assert run.metrics["absorption"].value == baseline.metrics["absorption"].value
    assert any("scored with the agent's code" in warning for warning in run.warnings)
    assert any("encode cannot be exported to ONNX" in warning for warning in run.warnings)
    assert not any("scored with the agent's code" in warning for warning in baseline.warnings)


@pytest.mark.skipif(landlock_abi() < 4, reason="this kernel cannot take a network away")
def test_what_serves_reads_no_scores_writes_none_and_has_neither_keys_nor_a_network(runs: list[Record]) -> None:
    """Whatever it reached would have ended it."""
    assert [attempt.status for attempt in runs[1].attempts] == ["completed"], runs[1].attempts


def test_code_that_ends_while_it_is_served_costs_the_attempt(runs: list[Record]) -> None:
    (attempt,) = runs[2].attempts
    assert attempt.status == "left_no_result"
    assert "its code, which was served, ended: exit code 1: RuntimeError: no more" in attempt.why


@pytest.mark.parametrize("serve", ["", SERVE])
def test_an_experiment_is_told_that_its_code_may_be_served_where_the_contract_says_so(
    make_campaign: Callable[..., Campaign], experiment: Path, serve: str
) -> None:
    """Who is not told that is not scored where it cannot be exported: `test_what_cannot_be_exported_is_explained`."""
    contract = experiment / "experiment.toml"
    contract.write_text('scorer = ["python", "score.py", "{out_dir}", "{scores}"]\n' + serve + contract.read_text())
    (experiment / "score.py").write_text("")
    campaign = make_campaign({})
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    told = Jobs(opened).job(campaign.execution("run_1/execute"), 1, Variant(0)).environment
    assert told.get(SERVES) == ("1" if serve else None)
