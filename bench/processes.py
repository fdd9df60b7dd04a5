"""How long after its time limit an execution of thousands of processes is ended that all ignore SIGTERM.

    python bench/processes.py [--processes 5000] [--limit 15]

Under each mechanism that this system has: seconds from the limit until the outcome is there, of which one is what each
process gets to tidy up. Needs a C compiler. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign.protocols import Job, Limits  # noqa: E402
from harness.execution.executors.local import LocalExecutor  # noqa: E402
from harness.execution.executors.sandbox.parts import FORCED, available  # noqa: E402

FORKS = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
    int made = 0;
    signal(SIGTERM, SIG_IGN);
    for (int each = atoi(words[1]); each > 0; each--) {
        int child = fork();
        if (child == 0) for (;;) pause();
        made += child > 0;
    }
    printf("%d", made);
    fflush(stdout);
    for (;;) pause();
}
"""


def beyond(place: Path, processes: int, limit: float) -> float:
    """Seconds."""
    folder = place / "copy"
    (folder / "out").mkdir(parents=True)
    (place / "forks.c").write_text(FORKS)
    subprocess.run(["cc", "-o", folder / "forks", place / "forks.c"], check=True)
    command, limits = (str(folder / "forks"), str(processes)), Limits(time=limit)
    job = Job(command, folder, folder / "out", place / "scratch", {"PATH": os.environ["PATH"]}, limits)
    begun = time.monotonic()
    outcome = LocalExecutor().submit(job, place / "home").wait(lambda line: None, lambda: False)
    took = time.monotonic() - begun
    assert (outcome.ended, (place / "home/log.txt").read_text()) == ("timed_out", str(processes)), outcome
    return took - limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=5000)
    parser.add_argument("--limit", type=float, default=15.0, help="seconds, in which all are there (15)")
    asked = parser.parse_args()
    found = {}
    for name in ("bubblewrap", "landlock", "none"):
        if available(name).mechanism == name:
            os.environ[FORCED] = name
            with tempfile.TemporaryDirectory(prefix="bench-processes-", dir="/var/tmp") as folder:
                found[f"{name}_s"] = round(beyond(Path(folder), asked.processes, asked.limit), 1)
            print(f"{name:12s} {found[f'{name}_s']:6.1f} s beyond the limit")
    print(json.dumps({"bench": "processes", "processes": asked.processes, **found}))


if __name__ == "__main__":
    main()
