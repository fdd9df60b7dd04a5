"""What a run costs beside its experiment, and whether the thousandth costs what the first did.

    python bench/many_runs.py                 10 and 100 runs; some minutes
    python bench/many_runs.py --runs 1000     half an hour on one core

A campaign of a small experiment and an agent that answers at once, beside the loop that AI-Scientist made the common one,
written here anew: a prompt with all results so far, one execution, the results appended to notes.txt, `git commit`. A run's
seconds are the mean of the last ten runs (of a tenth, where there are fewer) without those in which the experiment ran; the
brief is the last run's, in units of 4 characters; kB are of files of the campaign beyond what experiments left there; memory
is the harness's own. `log` and `status` are whole commands, Python's start included. The last line of the output is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign.campaign import Campaign, Options, create_campaign  # noqa: E402
from harness.campaign.idea import Idea  # noqa: E402
from harness.campaign.journal import read_events  # noqa: E402
from harness.campaign.protocols import AgentConfig, Reply, Silent, Workspace  # noqa: E402
from harness.campaign.stop import Stop  # noqa: E402
from harness.campaign.usage import Usage  # noqa: E402
from harness.continuation import go_on  # noqa: E402

SMALL = ROOT / "tests" / "small"
WORDS = "HYPOTHESIS: another start, another loss.\nPLAN: one start after the other.\nNOTES: "
NOTES = "The start of the descent is moved by a thousandth, all else stays as it was in the baseline. " * 4


class Agent:
    """Answers at once, with another start of the descent each time."""

    def __init__(self, config: AgentConfig) -> None:
        pass

    def check(self) -> str:
        return "one start after the other"

    def open(self, workspace: Workspace, history: Any = None) -> Conversation:
        return Conversation(workspace)

    def close(self) -> None:
        pass


class Conversation:
    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        (self.workspace.root / "experiment.py").write_text(changed(turn + 1))
        used = Usage(sent=len(text) // 4, received=len(WORDS + NOTES) // 4, cost=0.0, seconds=0.0, requests=1)
        return Reply(WORDS + NOTES, used, replies=(WORDS + NOTES,))

    def close(self) -> None:
        pass


class Watch(Silent):
    """Notes when each run was recorded."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def recorded(self, record: Any) -> None:
        self.times.append(time.monotonic())


def changed(number: int) -> str:
    return (SMALL / "experiment.py").read_text().replace("x = 5.0", f"x = {5 + number / 1000}")


def harness(folder: Path, runs: int) -> dict[str, Any]:
    """A campaign of this project."""
    shutil.copytree(SMALL, folder / "experiment")
    idea = Idea(Name="small", Title="Another start", Experiment="Begin the descent elsewhere.")
    options = Options(agent="bench.many_runs:Agent", max_runs=runs)
    campaign = create_campaign(folder / "runs", idea, folder / "experiment", options, python=sys.executable)
    watch = Watch()
    ending = go_on(campaign, view=watch, stop=Stop())
    assert ending.exit_code == 0, ending
    executed = [0.0] * (runs + 1)
    for event in read_events(campaign.journal):
        if event["event"] == "done" and isinstance(event["result"], dict) and "outcome" in event["result"]:
            executed[int(event["step"].split("/")[0].removeprefix("run_"))] += event["result"]["outcome"]["seconds"]
    last = max(1, min(10, runs // 10))
    took = watch.times[-1] - watch.times[-1 - last] - sum(executed[-last:])
    return {
        "seconds_a_run": took / last,
        "brief_tokens": len((campaign.attempt_folder(runs, 1) / "brief.md").read_text()) // 4,
        "kB_a_run": (size(campaign.root) - left(campaign, runs)) / runs / 1000,
        "MB": psutil.Process().memory_info().rss / 1e6,
        "log_seconds": command("log", campaign.root),
        "status_seconds": command("status", campaign.root),
    }


def size(folder: Path) -> int:
    """Bytes of its files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def left(campaign: Campaign, runs: int) -> int:
    """What experiments left in the folders of their runs."""
    names = ("final_info.json", "train_log.jsonl", "log.txt")
    files = [campaign.run_folder(run) / name for run in range(runs + 1) for name in names]
    return sum(file.lstat().st_size for file in files if file.exists())


def command(name: str, root: Path) -> float:
    begun = time.monotonic()
    subprocess.run([Path(sys.executable).with_name("harness"), name, str(root)], cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - begun


def loop(folder: Path, runs: int) -> dict[str, Any]:
    """The common loop: everything in one prompt, nothing checked."""
    shutil.copytree(SMALL, folder, dirs_exist_ok=True)
    notes, times = folder / "notes.txt", []
    results: dict[str, Any] = {}
    identity = {f"GIT_{who}_{what}": "loop@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    prompt = ""
    for run in range(runs + 1):
        begun = time.monotonic()
        prompt = f"{WORDS}\n{json.dumps(results)}\n{notes.read_text() if notes.exists() else ''}"
        if run:
            (folder / "experiment.py").write_text(changed(run))
        out = folder / f"run_{run}"
        out.mkdir()
        executed = time.monotonic()
        subprocess.run(
            [sys.executable, "experiment.py", f"--out_dir=run_{run}"], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        executed = time.monotonic() - executed
        results[f"run_{run}"] = json.loads((out / "final_info.json").read_text())
        with notes.open("a") as file:
            file.write(f"## Run {run}\n{results[f'run_{run}']}\n{NOTES}\n")
        subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
        subprocess.run(["git", "commit", "-qm", f"Run {run}"], cwd=folder, check=True, env=os.environ | identity)
        times.append(time.monotonic() - begun - executed)
    last = max(1, min(10, runs // 10))
    data = sum(path.lstat().st_size for path in folder.glob("run_*/*"))
    return {
        "seconds_a_run": sum(times[-last:]) / last,
        "brief_tokens": len(prompt) // 4,
        "kB_a_run": (size(folder) - data) / runs / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100], help="sizes of campaigns")
    found: dict[str, dict[str, Any]] = {}
    print("runs      s a run  tokens of the brief  kB a run     MB  log, s  status, s", flush=True)
    for runs in parser.parse_args().runs:
        for name, measure in (("harness", harness), ("loop", loop)):
            # Some levels down: what lies beside the experiment's folder is linked into its working copies.
            with tempfile.TemporaryDirectory(prefix="many-runs-") as folder:
                place = Path(folder, "a", "b", name)
                place.mkdir(parents=True)
                each = found[f"{name}_{runs}"] = measure(place, runs)
            row = f"{runs:<5} {name:8s} {each['seconds_a_run']:6.3f}  {each['brief_tokens']:19,}  {each['kB_a_run']:8.1f}"
            if "MB" in each:
                row += f"  {each['MB']:5.0f}  {each['log_seconds']:6.2f}  {each['status_seconds']:9.2f}"
            print(row, flush=True)
    print(json.dumps({"bench": "many_runs", "results": found}))


if __name__ == "__main__":
    main()
