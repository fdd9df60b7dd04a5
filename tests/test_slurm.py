"""Executions as jobs of a real Slurm of one node, and what is read of Slurm's words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.campaign.campaign import Options
from harness.campaign.errors import CannotGoOn, InputError
from harness.campaign.files import remove
from harness.campaign.protocols import Execution, Limits, Outcome, Waits
from harness.cli import slurm_check
from harness.cli.doctor import diagnose
from harness.cli.doctor_check import Check
from harness.cli.executor_choice import chosen
from harness.execution.executors import RepeatedExecution, find_executor
from harness.execution.executors.home import Home
from harness.execution.executors.slurm.executor import SlurmExecutor
from harness.execution.executors.slurm.home import SlurmHome
from harness.execution.executors.slurm.queue import Queue, QueuedJob, _listed, read
from harness.execution.executors.slurm.settings import SlurmSettings
from tests import slurm_node
from tests.executing import Workshop, begun
from tests.slurm_node import CPUS, NODE, Node
from tests.test_resume import _make, drive, facts
from tests.waiting import until

QUICK = {"poll": 0.2, "gone": 2.0}
FOREVER = "echo $$ > pids; sleep 1000"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    if why := slurm_node.unavailable():
        pytest.skip(why)
    with slurm_node.running(tmp_path_factory.mktemp("slurm")) as started:
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{started.bin}{os.pathsep}{path}"
        try:
            yield started
        finally:
            os.environ["PATH"] = path


@pytest.fixture
def workshop(node: Node, tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "Ünï code, with spaces")


def submit(workshop: Workshop, *command: str, settings: dict[str, Any] | None = None, **changes: Any) -> Execution:
    return SlurmExecutor(**QUICK | (settings or {})).submit(workshop.job(*command, **changes), workshop.home)


def wait(execution: Execution, told: list[str] | None = None, stop: Callable[[], bool] = lambda: False) -> Outcome:
    return execution.wait(told.append if told is not None else lambda line: None, stop)


def number(workshop: Workshop) -> str:
    """Of the job; "" where none is known."""
    try:
        return (workshop.home / "job").read_text()
    except FileNotFoundError:
        return ""


def begun_anew(workshop: Workshop) -> str:
    """Wait until the job in hand executes. Returns its number."""
    until(lambda: number(workshop) and (workshop.folder / "pids").exists())
    return number(workshop)


@contextmanager
def repeated(workshop: Workshop) -> Iterator[Future[Outcome]]:
    """An execution that goes on for ever, begun again in a fresh folder as the harness does it. It is stopped at the end."""
    executor, ended = SlurmExecutor(**QUICK), threading.Event()
    job = workshop.job("bash", "-c", FOREVER)

    def begin() -> Execution:
        for folder in (workshop.home, workshop.folder, workshop.scratch):
            remove(folder)
        job.out_dir.mkdir(parents=True)
        return executor.submit(job, workshop.home)

    execution = RepeatedExecution(executor, workshop.home, begin)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(execution.wait, lambda line: None, ended.is_set)
        try:
            yield outcome
        finally:
            ended.set()


def test_a_job_executes_in_its_limits_and_leaves_its_outcome(workshop, node):
    outcome = wait(
        submit(workshop, "bash", "-c", "echo $$ > pids; pwd; echo $PYTHONPATH$SLURM_JOB_ID", settings={"constraint": "fast"})
    )
    assert (outcome.ended, outcome.exit_code, outcome.why) == ("ok", 0, "exit code 0")
    assert workshop.log.decode().split("\n")[:2] == [str(workshop.folder), ""]
    job = node.run("scontrol", "show", "job", number(workshop))
    assert f"JobName=harness-{Home(workshop.home).read_spec().mark}" in job
    assert "TimeLimit=00:25:00" in job and "Requeue=0" in job and "Features=fast" in job


def test_several_are_in_hand_at_once_and_slurm_is_asked_once_for_all(tmp_path, node, monkeypatch):
    asked: list[list[str]] = []

    def listed(names: Any) -> str:
        asked.append(list(names))
        return _listed(names)

    queue = Queue(listed)
    monkeypatch.setattr("harness.execution.executors.slurm.executor.QUEUE", queue)
    executor = SlurmExecutor(**QUICK)
    shops = [Workshop(tmp_path / str(index)) for index in range(4)]
    together = "touch here; for i in 0 1 2 3; do while [ ! -e ../../$i/copy/here ]; do sleep 0.1; done; done"
    readable = tuple(shop.folder for shop in shops)

    def execute(shop: Workshop) -> Outcome:
        return wait(executor.submit(shop.job("bash", "-c", together, readable=readable), shop.home))

    with ThreadPoolExecutor(4) as pool:
        assert [each.ended for each in pool.map(execute, shops)] == ["ok"] * 4
    assert max(map(len, asked)) == 4
    assert len({number(shop) for shop in shops}) == 4


def test_a_job_that_waits_says_why_and_one_that_is_not_wanted_never_begins(workshop, node):
    other = Workshop(workshop.folder.parents[1] / "other")
    holder = submit(other, "bash", "-c", FOREVER, settings={"cpus": CPUS})
    begun(other)
    told: list[str] = []
    waiting = submit(workshop, "bash", "-c", "echo never", settings={"cpus": 1})
    outcome = wait(waiting, told, lambda: any("Resources" in line for line in told))
    said = f"waits in Slurm's queue: Resources (job {number(workshop)})"
    assert isinstance(told[told.index(said)], Waits) and Home(workshop.home).waits_for() == said
    assert outcome.ended == "stopped"
    assert wait(holder, stop=lambda: True).ended == "stopped"
    assert state(node, number(workshop)) == "CANCELLED"
    assert not workshop.folder.joinpath("pids").exists()
    until(lambda: not other.running())


@pytest.mark.parametrize(
    ("limits", "code", "ended"),
    [
        (Limits(time=1), "import time; time.sleep(1000)", "timed_out"),
        (Limits(memory=60_000_000), "x = bytearray(10**9); import time; time.sleep(1000)", "out_of_memory"),
        (Limits(), "raise ValueError('boom')", "crashed"),
    ],
)
def test_limits_and_crashes_are_told_apart_as_on_one_machine(workshop, limits, code, ended):
    outcome = wait(submit(workshop, sys.executable, "-c", code, limits=limits))
    assert outcome.ended == ended, outcome


def test_what_slurm_ended_is_begun_once_more_and_what_it_ended_again_was_killed(workshop, node):
    with repeated(workshop) as outcome:
        for _ in range(2):
            job = begun_anew(workshop)
            node.run("scancel", job)
            until(lambda job=job: outcome.done() or number(workshop) not in ("", job))
    assert (outcome.result().ended, outcome.result().why) == ("killed", f"Slurm's job {job} on {NODE} was cancelled")
    until(lambda: not workshop.running())


def test_preemption_is_no_failure_however_often(workshop, node):
    with repeated(workshop) as outcome:
        for _ in range(2):
            job = begun_anew(workshop)
            urgent = node.run("sbatch", "--parsable", "--partition=urgent", f"--ntasks={CPUS}", "--wrap=sleep 1000").strip()
            until(lambda job=job: state(node, job) == "PREEMPTED", every=0.1)
            node.run("scancel", urgent)
            until(lambda job=job: number(workshop) not in ("", job))
        begun_anew(workshop)
        assert not outcome.done()
    assert outcome.result().ended == "stopped"


def test_a_failed_node_is_left_out_when_it_is_begun_again(workshop, node):
    executor = SlurmExecutor(**QUICK)
    execution = executor.submit(workshop.job("bash", "-c", FOREVER), workshop.home)
    begun(workshop)
    node.run("scontrol", "update", f"nodename={NODE}", "state=down", "reason=test")
    try:
        outcome = wait(execution)
        assert (outcome.ended, outcome.why) == ("lost", f"Slurm's job {number(workshop)} on {NODE}: the node failed")
        files = SlurmHome.found(workshop.home)
        assert files and f"--exclude={NODE}" in executor.options(files, workshop.job("true"))
    finally:
        node.run("scontrol", "update", f"nodename={NODE}", "state=resume", check=False)  # it may have come back itself
        node.become_ready()


def test_a_requeued_job_executes_nothing_in_its_used_folder(workshop, node):
    execution = submit(workshop, "bash", "-c", "echo x >> times; " + FOREVER)
    begun(workshop)
    node.run("scontrol", "update", f"jobid={number(workshop)}", "requeue=1")
    node.run("scontrol", "requeue", number(workshop))
    # Slurm holds a requeued job back for a while; that it waits again is enough.
    assert wait(execution).ended == "preempted"
    assert (workshop.folder / "times").read_text() == "x\n"


def test_who_was_killed_finds_the_job_again_by_its_home_alone(workshop, node):
    job = workshop.job("bash", "-c", "echo $$ > pids; while [ ! -e go ]; do sleep 0.1; done; echo done")
    submitted = ["own", "by_nobody_yet", "unknown_number"]
    for case in submitted:
        shop = Workshop(workshop.folder.parents[1] / case)
        job = replace(job, folder=shop.folder, out_dir=shop.out_dir, scratch=shop.scratch)
        if case == "by_nobody_yet":  # killed between its spec and sbatch
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("harness.execution.executors.slurm.executor.SlurmExecution.submit", lambda self: None)
                SlurmExecutor(**QUICK).submit(job, shop.home)
        else:
            SlurmExecutor(**QUICK).submit(job, shop.home)
        if case == "unknown_number":  # killed between sbatch and its answer
            (shop.home / "job").unlink()
        (shop.folder / "go").touch()
        found = SlurmExecutor(**QUICK).attach(shop.home)
        assert found and wait(found).ended == "ok"
        assert (shop.home / "log.txt").read_text() == "done\n"
    assert SlurmExecutor(**QUICK).attach(workshop.home) is None


def test_a_harness_that_is_killed_leaves_the_job_and_its_outcome(workshop, node):
    code = f"""
import os, signal
from tests.test_slurm import *
shop = Workshop(Path({str(workshop.home.parent)!r}))
submit(shop, "bash", "-c", "echo $$ > pids; while [ ! -e go ]; do sleep 0.1; done")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    assert done.returncode == -signal.SIGKILL
    begun(workshop)
    until(Home(workshop.home).is_alive)  # `harness clean` leaves it alone
    (workshop.folder / "go").touch()
    found = SlurmExecutor(**QUICK).attach(workshop.home)
    assert found and wait(found).ended == "ok"


def test_the_node_of_a_test_ends_with_the_process_that_asked_for_it(node, tmp_path):
    folder = tmp_path / "node"
    code = f"""
import os, signal
from pathlib import Path
from tests.slurm_node import running
with running(Path({str(folder)!r})) as node:
    node.run("sbatch", "--wrap=sleep 1000", "--output=/dev/null")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    assert done.returncode == -signal.SIGKILL
    until(lambda: not folder.exists())
    assert not Node(folder).processes()


def test_a_controller_that_is_away_changes_nothing(workshop, node):
    other = Workshop(workshop.folder.parents[1] / "other")
    running = submit(other, "bash", "-c", "echo $$ > pids; while [ ! -e go ]; do sleep 0.1; done")
    begun(other)
    node.stop_controller()
    told: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        # Slurm's commands try for a while themselves.
        waiting = pool.submit(lambda: wait(submit(workshop, "true"), told))
        goes_on = pool.submit(wait, running)
        until(lambda: any("accepts no job" in line for line in told))
        (other.folder / "go").touch()
        assert goes_on.result().ended == "ok"
        node.start_controller()
        assert waiting.result().ended == "ok"


def test_a_job_that_dies_without_a_word_is_a_loss(workshop, node):
    execution = submit(workshop, "bash", "-c", FOREVER)
    begun(workshop)
    for step in {each for each in node.processes() if each.name().startswith("slurmstepd")}:
        with suppress(psutil.NoSuchProcess):  # one ends with another
            for process in step.children(recursive=True):
                process.kill()
    outcome = wait(execution)
    assert outcome.ended == "lost" and "without an outcome" in outcome.why


def test_what_slurm_refuses_is_said_in_its_words(workshop):
    with pytest.raises(CannotGoOn, match=r"invalid partition specified: nowhere.*harness doctor --executor slurm"):
        submit(workshop, "true", settings={"partition": "nowhere"})


def test_a_node_that_cannot_start_the_harness_is_an_error_and_no_failed_attempt(workshop, monkeypatch):
    monkeypatch.setattr("harness.execution.executors.slurm.executor.sys.executable", "/not/shared/python")
    with pytest.raises(CannotGoOn, match=r"/not/shared/python.*must lie on a file system that the nodes share"):
        wait(submit(workshop, "true"))


def test_a_second_job_for_one_execution_executes_nothing(workshop, node):
    execution = submit(workshop, "bash", "-c", "echo x >> times; echo $$ > pids; while [ ! -e go ]; do sleep 0.1; done")
    begun(workshop)
    twin = node.run("sbatch", "--parsable", "--output=/dev/null", str(workshop.home / "sbatch.sh")).strip()
    until(lambda: state(node, twin) == "COMPLETED", every=0.1)
    (workshop.folder / "go").touch()
    assert wait(execution).ended == "ok"
    assert (workshop.folder / "times").read_text() == "x\n"


def test_what_is_no_job_or_gets_a_key_is_executed_where_the_harness_runs(workshop):
    for index, changes in enumerate([{"part": "scorer"}, {"secrets": {"OPENAI_API_KEY": "k"}}]):
        shop = Workshop(workshop.folder.parents[1] / str(index))
        executor = SlurmExecutor(**QUICK)
        assert wait(executor.submit(shop.job("true", **changes), shop.home)).ended == "ok"
        assert not (shop.home / "sbatch.sh").exists()
        assert executor.attach(shop.home)
    assert wait(submit(workshop, "true", part="scorer", settings={"jobs": "experiment,scorer"})).ended == "ok"
    assert (workshop.home / "sbatch.sh").exists()


def test_the_gpus_of_the_node_are_told_and_those_of_the_login_node_are_not_there(workshop, node, tmp_path):
    nvidia = node.bin / "nvidia-smi"
    nvidia.write_text(
        "#!/bin/sh\necho '0, GPU-1, NVIDIA H200, 140000, 143771'\necho '1, GPU-2, NVIDIA H200, 140000, 143771'\n"
    )
    nvidia.chmod(0o755)
    try:
        environment = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "7"}
        outcome = wait(submit(workshop, "bash", "-c", "echo ${CUDA_VISIBLE_DEVICES-none}", environment=environment))
    finally:
        nvidia.unlink()
    assert (outcome.ended, workshop.log, outcome.gpus) == ("ok", b"none\n", ("NVIDIA H200", "NVIDIA H200"))


def test_a_job_has_the_gpu_that_it_asked_for_and_another_waits_for_it(workshop, node):
    """Slurm counts GPUs here that are none; which one is a job's its node says, as Slurm does where there are some."""
    nvidia, prolog = node.bin / "nvidia-smi", node.folder / "task_prolog"
    nvidia.write_text(
        "#!/bin/sh\necho '0, GPU-1, NVIDIA A100, 40000, 40960'\necho '1, GPU-2, NVIDIA H200, 140000, 143771'\n"
    )
    nvidia.chmod(0o755)
    before = prolog.read_text()
    prolog.write_text("#!/bin/sh\necho export CUDA_VISIBLE_DEVICES=1\n")
    node.run("scontrol", "update", f"nodename={NODE}", "gres=gpu:1")
    other = Workshop(workshop.folder.parents[1] / "other")
    told: list[str] = []
    try:
        holder = submit(other, "bash", "-c", FOREVER, settings={"gres": "gpu:1"})
        begun(other)
        waiting = submit(workshop, "bash", "-c", "echo $CUDA_VISIBLE_DEVICES", settings={"gres": "gpu:1"})
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(wait, waiting, told)
            until(lambda: any("Resources" in line for line in told))
            assert wait(holder, stop=lambda: True).ended == "stopped"
            outcome = ended.result()
    finally:
        prolog.write_text(before)
        nvidia.unlink()
    assert (outcome.ended, workshop.log, outcome.gpus) == ("ok", b"1\n", ("NVIDIA H200",))
    assert "TresPerNode=gres:gpu:1" in node.run("scontrol", "show", "job", number(workshop))


# Whole campaigns


@pytest.mark.slow
def test_a_campaign_that_is_killed_at_every_event_has_the_records_of_one_that_is_not(tmp_path, node):
    change = {"text": "HYPOTHESIS: the loss falls.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}
    script = {"run 1, attempt 1": change, "run 2, attempt 1": {"text": "ALL_COMPLETED"}}
    here = _make(tmp_path / "here", script, max_runs=1)
    assert drive(here).returncode == 0
    there = _make(tmp_path / "there", script, max_runs=1, executor="slurm", executor_settings=QUICK)
    done = drive(there, str(tmp_path / "seen"), "journal")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= 10
    mine, theirs = facts(there), facts(here)
    for record in mine:
        assert record["settings"].pop("executed_on.gpu")["value"] == "none"
    assert mine == theirs
    jobs = node.run("squeue", "--noheader", "--states=all", "--format=%T %k")
    assert f"COMPLETED {there.local}/executions/run_1.execute/job" in jobs.replace(".attempt_1", "")
    assert not [line for line in jobs.splitlines() if str(there.root) in line and not line.startswith("COMPLETED")]


def test_doctor_says_whether_slurm_takes_jobs_and_executes_one(node, experiment, tmp_path):
    runs = tmp_path / "runs"

    def examine(**slurm: str) -> dict[str, Check]:
        asked: dict[str, Any] = dict.fromkeys(("profile", "model", "architect", "reviewer"))
        chosen = {"executor": "slurm", "executor_settings": slurm | QUICK}
        found = diagnose(
            experiment=experiment, agent="replay", python=sys.executable, runs=runs, overrides={}, executor=chosen, **asked
        )
        return {check.name: check for check in found if check.name in ("slurm", "gpu", "baseline")}

    well = examine(constraint="fast")
    assert (well["slurm"].state, well["baseline"].state) == ("ok", "ok"), well
    assert "gpu" not in well and "--constraint=fast" in well["slurm"].detail
    assert not list(runs.iterdir())
    ill = examine(partition="nowhere")
    assert ill["slurm"].state == "fail" and "invalid partition" in ill["slurm"].detail
    assert ill["baseline"].detail == "not checked, since slurm failed"


def test_without_slurm_doctor_names_what_is_not_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    check = slurm_check.slurm({}, Limits())
    assert (check.state, check.detail) == ("fail", "sbatch, squeue, scancel: not on PATH")


# What is chosen


def test_settings_of_yours_are_taken_and_the_command_line_replaces_them(tmp_path, monkeypatch):
    file = tmp_path / "config.toml"
    file.write_text('[executor.slurm]\npartition = "gpu"\ncpus = 4\nextra = ["--reservation=night"]\n')
    monkeypatch.setenv("HARNESS_SETTINGS", str(file))
    assert chosen(None, ()) == {}
    assert chosen("slurm", ())["executor_settings"] == {"partition": "gpu", "cpus": 4, "extra": ["--reservation=night"]}
    given = chosen(None, ("partition=cpu", "extra=--exclusive", "extra=--nice=10"))
    settings = {"partition": "cpu", "cpus": 4, "extra": ["--exclusive", "--nice=10"]}
    assert given == {"executor": "slurm", "executor_settings": settings}
    campaign = Options(executor="slurm", executor_settings={"qos": "long"})
    assert chosen(None, ("partition=cpu",), campaign)["executor_settings"] == {"qos": "long", "partition": "cpu"}
    for wrong in (("local", ("partition=cpu",)), ("slurm", ("partition",)), ("slurm", ("colour=red",))):
        with pytest.raises(InputError, match="slurm"):
            chosen(*wrong)


# What Slurm says


def test_of_the_jobs_of_one_name_the_one_that_goes_on_counts_else_the_last():
    lines = (
        "a|7|CANCELLED|node1|None\na|9|COMPLETED|node[1-2]|None\na|8|PENDING||Priority\nb|3|FAILED|node1|NonZeroExitCode\n"
    )
    found = read(lines + "b|12|TIMEOUT|node1|TimeLimit\n\nnot a line\n")
    assert found["a"] == QueuedJob("a", "8", "PENDING", "", "Priority")
    assert (found["b"].number, found["b"].has_ended) == ("12", True)


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("x|5|CANCELLED by 1000|node1|None", "CANCELLED"),  # sacct
        ("x|5|CANCELLED+|node1|", "CANCELLED"),
        ("x|5_1|PENDING|(null)|ReqNodeNotAvail, UnavailableNodes:node[1-3]", "PENDING"),
        ("x|5|COMPLETING|node1|None", "COMPLETING"),
    ],
)
def test_states_are_read_in_all_their_spellings(line, state):
    job = read(line)["x"]
    assert job.state == state
    assert job.has_ended == (state == "CANCELLED") and job.waits == (state == "PENDING")


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        *(("TIMEOUT", "timed_out"), ("OUT_OF_MEMORY", "out_of_memory"), ("NODE_FAIL", "lost"), ("BOOT_FAIL", "lost")),
        *(("PREEMPTED", "preempted"), ("CANCELLED", "lost"), ("COMPLETED", "killed")),
    ],
)
def test_what_ended_a_job_is_told_apart(tmp_path, monkeypatch, state, ended):
    (tmp_path / "home").mkdir()
    files = SlurmHome(tmp_path / "home", "mark")
    monkeypatch.setattr("harness.execution.executors.slurm.executor.SlurmHome.found", lambda path: files)
    queue = Queue(lambda names: f"{files.name}|4|{state}|node7|None")
    monkeypatch.setattr("harness.execution.executors.slurm.executor.QUEUE", queue)
    files.write_outcome(Outcome("killed", -15, "ended from outside by SIGTERM", 3.0, None, "log.txt", True))
    execution = SlurmExecutor(**QUICK).attach(files.path)
    assert execution and wait(execution).ended == ended


def test_the_accounting_is_asked_where_the_controller_has_forgotten(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    files = SlurmHome(tmp_path / "home", "mark")
    sacct = tmp_path / "sacct"
    sacct.write_text(f"#!/bin/sh\necho '{files.name}|4|TIMEOUT|node7|None'\n")
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("harness.execution.executors.slurm.executor.SlurmHome.found", lambda path: files)
    monkeypatch.setattr("harness.execution.executors.slurm.executor.QUEUE", Queue(lambda names: ""))
    files.offer()
    files.claim()
    execution = SlurmExecutor(poll=0.01, gone=0.05).attach(files.path)
    assert execution and wait(execution).ended == "timed_out"


def test_a_setting_that_is_none_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"executor slurm: partion: no such setting\. Known: partition, account"):
        find_executor("slurm", {"partion": "gpu"})
    with pytest.raises(InputError, match="executor slurm: cpus"):
        find_executor("slurm", {"cpus": "many"})


def test_slurm_has_five_minutes_more_than_the_execution():
    settings = SlurmSettings.of({"account": "me", "constraint": "a100", "cpus": "4", "extra": "--reservation=night"})
    assert settings.options(Limits(time=90, memory=4 * 10**9)) == [
        *("--nodes=1", "--ntasks=1", "--time=7", "--mem=4769M", "--cpus-per-task=4", "--account=me", "--constraint=a100"),
        "--reservation=night",
    ]


def state(node: Node, job: str) -> str:
    return node.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T", check=False).strip()
