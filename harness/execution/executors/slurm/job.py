"""What a job of Slurm's runs: our supervisor, and beside it a heartbeat on the shared file system.

`python -m harness.execution.executors.slurm.job HOME MARK`, from the script that was submitted. The execution is claimed
first, by renaming a file: a job that Slurm begins a second time, one of an execution that was given up meanwhile, or the
second of two that were submitted for one, executes nothing.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from .. import cgroup, supervisor
from ..gpu import VISIBLE, models
from ..home import SUPERVISOR_MARK, Home
from ..local import supervisor_environment
from ..sandbox import available, make_tmp
from .home import BEAT, SlurmHome

OF_THE_NODE = (VISIBLE, "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""Variables that say what a job has of its node: those of the place that it was submitted from mean nothing there."""


def main(home: Path, mark: str) -> None:
    files = SlurmHome(home, mark)
    if not files.claim():
        if os.environ.get("SLURM_RESTART_COUNT", "0") != "0" and files.is_claimed():
            files.put_back.touch()
        return
    node = {
        "node": platform.node(),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "gpus": models(os.environ.get(VISIBLE)) or (),
    }
    files.node.write_text(json.dumps(node), encoding="utf-8")
    _fit_to_node(files)
    environment = supervisor_environment() | {SUPERVISOR_MARK: mark}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", supervisor.__name__, str(home)],
        cwd="/",
        env=environment,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    assert process.stdin
    with process.stdin as told:
        told.write(b"{}")  # no secrets: a job that has some is not executed here
    while True:
        files.beat()
        try:
            process.wait(BEAT)
            return
        except subprocess.TimeoutExpired:
            # Another execution has its folder by now: nothing of this one may be written there.
            if not files.is_claimed():
                process.kill()


def _fit_to_node(files: Home) -> None:
    """Have the spec say what this node has: its sandbox, a folder for temporary files, its part of the GPUs."""
    spec = files.read_spec()
    job, parts = spec.job, available()
    environment = {name: value for name, value in job.environment.items() if name not in OF_THE_NODE}
    environment |= {name: os.environ[name] for name in OF_THE_NODE if name in os.environ}
    job = replace(job, environment=environment)
    tmp = make_tmp(parts, job.scratch)
    files.write_spec(replace(spec, job=job, parts=parts, tmp=tmp, group=cgroup.place(spec.mark)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
