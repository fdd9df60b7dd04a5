"""What the sandbox adds to the time of an execution.

    python bench/sandbox.py [--rounds 30]

`python -c pass` as an execution, from its submission until its outcome: under each mechanism that this system has, and
without one, in turns; cold, and forked from a warm process as scorers are. Beside them `bwrap` alone with an execution's
namespaces. Medians in milliseconds, and what the mechanism adds. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign.protocols import Job, WarmStart  # noqa: E402
from harness.execution.executors.local import LocalExecutor  # noqa: E402
from harness.execution.executors.sandbox.parts import FORCED, available  # noqa: E402

BWRAP = [
    "bwrap",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--",
    "true",
]


def execution(executor: LocalExecutor, place: Path, warm: bool) -> float:
    """Milliseconds of one."""
    folder = place / "copy"
    (folder / "out").mkdir(parents=True)
    start = WarmStart(ROOT, ("json",), place.parent / "warm.txt") if warm else None
    job = Job(
        (sys.executable, "-c", "pass"), folder, folder / "out", place / "scratch", {"PATH": os.environ["PATH"]}, warm=start
    )
    begun = time.monotonic()
    outcome = executor.submit(job, place / "home").wait(lambda line: None, lambda: False)
    took = time.monotonic() - begun
    assert outcome.ended == "ok", outcome
    shutil.rmtree(place)
    return took * 1000


def bubblewrap_alone() -> float:
    begun = time.monotonic()
    subprocess.run(BWRAP, check=True)
    return (time.monotonic() - begun) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="executions of each kind (30)")
    rounds = parser.parse_args().rounds
    mechanisms: list[str] = [name for name in ("none", "landlock", "bubblewrap") if available(name).mechanism == name]
    executors = {name: LocalExecutor() for name in mechanisms}
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-sandbox-") as folder:
        for each in range(rounds + 1):
            for name in mechanisms:
                os.environ[FORCED] = name
                for kind in ("cold", "warm"):
                    took = execution(executors[name], Path(folder, f"{name}_{kind}_{each}"), kind == "warm")
                    if each:  # the first has warmed up
                        found.setdefault((name, kind), []).append(took)
            if "bubblewrap" in mechanisms and each:
                found.setdefault(("bwrap alone", "cold"), []).append(bubblewrap_alone())
    print("                cold, ms   adds   warm, ms   adds")
    medians = {key: statistics.median(values) for key, values in found.items()}
    for name in dict.fromkeys(name for name, _ in medians):
        row = f"{name:14s}"
        for kind in ("cold", "warm"):
            if (name, kind) in medians:
                row += f"  {medians[name, kind]:8.0f}"
                row += f"  {medians[name, kind] - medians['none', kind]:5.0f}" if name in executors else ""
        print(row)
    said = {f"{name}_{kind}_ms": round(value, 1) for (name, kind), value in medians.items()}
    print(json.dumps({"bench": "sandbox", "rounds": rounds, **said}))


if __name__ == "__main__":
    main()
