"""How much of the ideal several slots give: campaigns whose executions sleep, against the critical path of what they need.

    python bench/parallel.py                 five minutes
    python bench/parallel.py --seconds 1     one minute, in which the harness's own time counts five times as much

A campaign executes the baseline, then 15 further seeds of it, then one run; `--slots` says how many executions may be in
hand at once, on however many cores (they only sleep). The ideal is the time of the longest chain of rounds, without anything
else: for several campaigns on as many slots, all executions one after another on each slot. A share is ideal / measured; the
time in which records are written and interpreters start is lost. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign.campaign import Campaign, Options, create_campaign  # noqa: E402
from harness.campaign.idea import Idea  # noqa: E402
from harness.campaign.protocols import Silent  # noqa: E402
from harness.campaign.stop import Stop  # noqa: E402
from harness.continuation import go_on  # noqa: E402
from harness.execution.executors.machine import CORES  # noqa: E402

SEEDS = 16
EXECUTIONS = SEEDS + 1
SCRIPT = {"run 1, attempt 1": {"text": "HYPOTHESIS: less.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.06']]}}


def make(folder: Path, seconds: float) -> Campaign:
    """A new campaign in `folder`, whose executions sleep."""
    experiment = folder / "experiment"
    shutil.copytree(ROOT / "tests" / "small", experiment, ignore=shutil.ignore_patterns("__pycache__"))
    with (experiment / "experiment.py").open("a") as code:
        code.write(f"\nimport time\nif not os.environ.get('HARNESS_SMOKE'):\n    time.sleep({seconds})\n")
    contract = experiment / "experiment.toml"
    text = contract.read_text().replace("rate = 0.05 }", f"rate = 0.05, threads = 1 }}\nbaseline_seeds = {SEEDS}")
    contract.write_text(text)
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT))
    return create_campaign(
        folder / "runs",
        Idea(Name="sleeps", Title="Sleeping", Experiment="Sleep."),
        experiment,
        Options(agent="tests.scripted:ScriptedAgent", max_runs=1),
        python=sys.executable,
        session=script,
    )


def measure(campaigns: int, slots: int, seconds: float) -> float:
    """Seconds that as many campaigns take at once, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="harness-parallel-") as place:
        os.environ[CORES] = str(slots)
        made = []
        for number in range(campaigns):
            folder = Path(place, str(number))
            folder.mkdir()
            made.append(make(folder, seconds))
        begun = time.monotonic()
        children = [start(campaign, slots, Path(place)) for campaign in made]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        took = time.monotonic() - begun
    if any(codes):
        raise SystemExit(f"a campaign ended with {max(codes)}")
    return took


def start(campaign: Campaign, slots: int, place: Path) -> int:
    """Take a campaign to its end in a fork. The slots are shared, the cache of baselines is its own."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        cache = campaign.root.parents[1] / "cache"
        (cache).mkdir()
        (place / "slots").mkdir(exist_ok=True)
        (cache / "slots").symlink_to(place / "slots")
        os.environ["HARNESS_CACHE"] = str(cache)
        ending = go_on(campaign, view=Silent(), stop=Stop(), jobs=slots)
        code = ending.exit_code
        if code:
            print(ending.message, file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="that an execution sleeps (5)")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--campaigns", type=int, default=8, help="at once, on as many slots (8; 0: not measured)")
    arguments = parser.parse_args()
    rows = [(1, slots, 2 + math.ceil((SEEDS - 1) / slots)) for slots in arguments.slots]
    if arguments.campaigns:
        rows.append((arguments.campaigns, arguments.campaigns, EXECUTIONS))
    print(f"{'campaigns':>9} {'slots':>5} {'ideal':>8} {'measured':>8} {'share':>5}")
    found = []
    for campaigns, slots, rounds in rows:
        ideal, took = rounds * arguments.seconds, measure(campaigns, slots, arguments.seconds)
        found.append({"campaigns": campaigns, "slots": slots, "ideal": ideal, "seconds": took, "share": ideal / took})
        print(f"{campaigns:>9} {slots:>5} {ideal:>6.1f} s {took:>6.1f} s {ideal / took:>5.2f}", flush=True)
    print(json.dumps({"sleep": arguments.seconds, "rows": found}))


if __name__ == "__main__":
    main()
