"""What GPUs an execution had: told in its record, held equal between a run and its reference, and counted in a budget."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.budget import Budget
from harness.campaign.campaign import Campaign, Options
from harness.campaign.contract import Contract
from harness.campaign.errors import BudgetSpent
from harness.campaign.journal import Journal
from harness.campaign.protocols import EXECUTED_ON, Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.environment import describe_environment
from harness.execution.executors import gpu
from harness.execution.executors.sandbox import MountPlan, plan
from harness.execution.executors.sandbox.plan import Mount
from harness.results.run_results import read_run
from harness.statistics.comparability import differences_of_scale
from harness.statistics.seed_group import unlike_members

from .executing import Workshop

SMI = "#!/bin/sh\necho '0, GPU-1, {}, 140000, 143771'\n"


@pytest.fixture
def put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Gives this machine a GPU, as its driver's program tells it."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    gpu._models.cache_clear()

    def put(name: str) -> None:
        program.write_text(SMI.format(name))
        program.chmod(0o755)

    yield put
    gpu._models.cache_clear()


def executed_on(folder: Path, gpu: str | None) -> Path:
    folder.mkdir()
    (folder / "final_info.json").write_text('{"settings": {"k": 1}, "metrics": {"loss": 0.5}}')
    if gpu:
        (folder / EXECUTED_ON).write_text(json.dumps({"gpu": gpu}))
    return folder


def test_runs_on_different_gpus_are_not_comparable_and_an_unknown_one_is_no_difference(tmp_path: Path) -> None:
    contract = Contract()
    runs = {name: read_run(executed_on(tmp_path / str(name), name), contract) for name in ("H200", "A100", "none", None)}
    assert "gpu" not in str(runs["H200"].metrics)

    def differences(one: str, other: str | None) -> dict[str, str]:
        return differences_of_scale(contract, runs[one].settings, runs[other].settings)

    assert differences("H200", "A100") == {"executed_on.gpu": "executed_on.gpu H200 against A100"}
    assert differences("H200", "none")
    assert not differences("H200", "H200") and not differences("H200", None)
    assert unlike_members(contract, {0: runs["H200"], 1: runs["A100"]}, None) == [
        "executed_on.gpu is A100 at seed 1 and H200 at seed 0"
    ]


def test_a_budget_of_gpu_hours_counts_each_gpu_of_each_execution(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    budget = Budget(Options(max_gpu_hours=1), journal)
    for step, had in (("run_0/execute", ["A100", "A100"]), ("run_1/execute", None)):
        journal.append("done", step=step, seconds=1, result={"outcome": {"seconds": 1200.0, "gpus": had}})
    journal.append("done", step="run_0/seed_1", seconds=0, result={"outcome": {"seconds": 1200.0, "gpus": ["A100"]}})
    with pytest.raises(BudgetSpent, match=r"--max-gpu-hours 1 is reached: 1\.00 GPU-hours are spent"):
        budget.check_execution(None)
    Budget(Options(max_gpu_hours=1.1), journal).check_execution(None)


def test_what_is_left_of_gpu_hours_must_hold_the_next_execution(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    budget = Budget(Options(max_gpu_hours=1), journal)
    journal.append("done", step="run_0/execute", seconds=1, result={"outcome": {"seconds": 900.0, "gpus": ["A100", "A100"]}})
    budget.check_execution(900.0)
    with pytest.raises(BudgetSpent, match=r"30\.0 GPU-minutes are left and the next execution is expected to take 33\.3"):
        budget.check_execution(1000.0)


def test_the_record_of_a_run_says_its_gpu(make_campaign: Callable[..., Campaign], put_in: Callable[[str], None]) -> None:
    put_in("NVIDIA H200")
    script: dict[str, Any] = {
        "run 1, attempt 1": {"text": "less", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}
    }
    campaign = make_campaign(script, max_runs=1)
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    for record in campaign.read_records():
        setting = record.settings["executed_on.gpu"]
        assert (setting.value, setting.source) == ("NVIDIA H200", "harness")
        assert "NVIDIA H200" in record.environment["gpu"]


LIBCUDA = """
#include <fcntl.h>
#include <stdlib.h>
int cuInit(unsigned flags) { open(getenv("MAKES"), O_CREAT, 0600); return 0; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_cuda_is_touched_once_outside_of_the_sandbox_where_its_driver_has_not_made_all_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, node = tmp_path / "dev", tmp_path / "dev" / "nvidia-uvm"
    devices.mkdir()
    (tmp_path / "cuda.c").write_text(LIBCUDA)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libcuda.so.1", "cuda.c"], cwd=tmp_path, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("MAKES", str(node))
    monkeypatch.setattr(gpu, "DEV", devices)
    gpu.make_devices()
    assert not node.exists()  # there is no card
    (devices / "nvidiactl").touch()
    gpu.make_devices()
    assert node.exists()
    monkeypatch.setenv("MAKES", str(tmp_path / "again"))
    gpu.make_devices()
    assert not (tmp_path / "again").exists()


def test_the_sandbox_has_the_devices_of_accelerators_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps", "kfd", "dri", "infiniband")
    for name in (*names, "sda", "kmsg", "mem", "fuse"):
        (tmp_path / name).touch()
    monkeypatch.setattr(plan, "DEV", tmp_path)
    mounts = MountPlan(Path("/"), tmp=Path("/var/tmp")).mounts()
    assert {each for each in mounts if each.target.parent == tmp_path} == {
        Mount("writable", tmp_path / name, tmp_path / name) for name in names
    }


def test_an_mps_daemon_is_reached_from_the_sandbox_and_recorded(
    sandboxed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens on a socket beside the pipe that it is known by; in the sandbox /tmp is another one."""
    pipes = tmp_path / "nvidia-mps"
    pipes.mkdir()
    monkeypatch.chdir(pipes)
    monkeypatch.setattr(gpu, "TMP", tmp_path)
    assert gpu.mps({}) is None
    os.mkfifo("control")
    assert gpu.mps({}) == pipes
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(pipes)}
    workshop = Workshop(tmp_path / "execution")
    code = "import os, socket; os.chdir(os.environ['CUDA_MPS_PIPE_DIRECTORY']); open('log', 'w').close()\n"
    code += "socket.socket(socket.AF_UNIX).connect('listens'); print('connected')"
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind("listens")
        daemon.listen()
        outcome = workshop.run_python(code, environment=workshop.job("x").environment | environment)
    assert (outcome.ended, workshop.log) == ("ok", b"connected\n")
    monkeypatch.setenv(*environment.popitem())
    assert describe_environment("no-python", Options())["mps"] == str(pipes)
