"""Slots: what executions have of a machine for themselves, whoever started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign, Options
from harness.campaign.errors import InputError
from harness.campaign.metric import Metric
from harness.campaign.protocols import Share
from harness.execution.executors.home import Home
from harness.execution.executors.local import LocalExecutor
from harness.execution.executors.machine import Machine, _gpus, choose_gpus, default_jobs, this_machine
from harness.execution.executors.slots import Slot, take
from harness.execution.shares import share
from tests.executing import Workshop, begun, supervisor_of, wait
from tests.waiting import until

WAITS = "\nwhile not os.path.exists('gate'): time.sleep(0.02)"
TOLD = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), len(os.sched_getaffinity(0)))"


class Waiting:
    """One that takes a share in a thread."""

    def __init__(self, machine: Machine, share: Share) -> None:
        self.said, self.goes_on, self.slot = [""], True, None
        self._thread = threading.Thread(target=self._take, args=(machine, share), daemon=True)
        self._thread.start()

    def _take(self, machine: Machine, share: Share) -> None:
        self.slot: Slot | None = take(machine, share, lambda: self.goes_on, self.said.append)

    def waits_for(self, text: str) -> None:
        until(lambda: text in self.said[-1])

    def end(self) -> None:
        """Until it has its share, and let go of it."""
        self._thread.join()
        if self.slot:
            self.slot.end()


@contextmanager
def taken(machine: Machine, share: Share) -> Iterator[Slot]:
    slot = take(machine, share, lambda: True, lambda text: None)
    assert slot
    yield slot
    slot.end()


@pytest.fixture
def two_cores(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "slots", (0, 1))


def test_who_waits_says_for_what_since_when_and_who_has_it(two_cores: Machine) -> None:
    with taken(two_cores, Share("hierarchy: run_1 seed_2", threads=2)):
        second = Waiting(two_cores, Share("topk: run_0 execute", threads=1))
        second.waits_for("for 1 core, held by hierarchy: run_1 seed_2")
        assert second.said[-1].startswith("waiting since ")
    second.end()
    assert second.slot and second.said[-1] == ""


def test_what_needs_all_is_not_passed_by_what_needs_little(two_cores: Machine) -> None:
    with taken(two_cores, Share("a", threads=1)):
        large = Waiting(two_cores, Share("large", alone=True))
        large.waits_for("for 2 cores, held by a")
        small = Waiting(two_cores, Share("small", threads=1))
        small.waits_for("its turn, behind large")
    until(lambda: large.slot)
    small.waits_for("for 1 core, held by large")
    large.end()
    small.end()
    assert small.slot


def test_who_gives_up_leaves_the_queue_and_has_nothing(two_cores: Machine) -> None:
    with taken(two_cores, Share("a", threads=1)):
        large = Waiting(two_cores, Share("large", threads=2))
        large.waits_for("2 cores")
        large.goes_on = False
        large.end()
        assert large.slot is None
        with taken(two_cores, Share("small", threads=1)) as slot:
            assert slot.cores == {1}


def program(folder: Path, *lines: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    (folder / "nvidia-smi").chmod(0o755)


CARDS = "echo '0, GPU-aa, A100, 81000, 81920'; echo '1, GPU-bb, A100, 81000, 81920'"


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with two GPUs, on one of which somebody computes."""
    program(tmp_path / "bin", f'case "$1" in *compute-apps*) echo GPU-bb;; *) {CARDS};; esac')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_CORES", "4")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _gpus.cache_clear()  # a process asks for them once
    yield tmp_path
    _gpus.cache_clear()


def test_only_idle_gpus_are_taken_unless_they_are_chosen(two_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = this_machine()
    assert machine and set(machine.gpus) == {"GPU-aa", "GPU-bb"}
    assert default_jobs(machine, Share(""), None) == 1
    with taken(machine, Share("a")) as slot:
        assert slot.gpu == "GPU-aa"
        second = Waiting(machine, Share("b"))
        second.waits_for("GPU-aa is held by a; GPU-bb is in use by a process that is not the harness's")
        second.goes_on = False
        second.end()
        with taken(machine, Share("c", threads=1, gpu_memory=0)) as other:
            assert other.gpu == ""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back
        choose_gpus("1, 0")
        chosen = this_machine()
        assert chosen and default_jobs(chosen, Share(""), None) == 2
        with taken(chosen, Share("d")) as other:
            assert other.gpu == "GPU-bb"
    with pytest.raises(InputError, match=r"--gpus 0,7: no GPU 7\. This machine has 0, 1"):
        choose_gpus("0,7")


def test_several_share_a_gpu_where_the_contract_says_how_much_memory_one_takes(two_gpus: Path) -> None:
    machine, quarter = this_machine(), Share("a", threads=1, gpu_memory=20 << 30)
    assert machine and default_jobs(machine, quarter, None) == 4
    with taken(machine, quarter) as one, taken(machine, quarter) as two, taken(machine, quarter) as three:
        assert {one.gpu, two.gpu, three.gpu} == {"GPU-aa"}
        whole = Waiting(machine, Share("b", threads=1))
        whole.waits_for("GPU-aa is held by a")
        whole.goes_on = False
        whole.end()
    too_large = Waiting(machine, Share("c", gpu_memory=90 << 30))
    too_large.waits_for("GPU-aa is too small")
    too_large.goes_on = False
    too_large.end()


@pytest.mark.parametrize(
    ("machine", "takes", "memory", "jobs"),
    [
        (None, Share(""), None, 1),
        (Machine(Path("x"), tuple(range(16))), Share("", threads=4), None, 4),
        (Machine(Path("x"), tuple(range(16))), Share("", threads=4), 1 << 60, 1),
        (Machine(Path("x"), tuple(range(16))), Share(""), None, 1),
        (Machine(Path("x"), tuple(range(16))), Share("", threads=4, alone=True), None, 1),
        (
            Machine(Path("x"), tuple(range(16)), gpus={"a": 80000, "b": 80000}, only_idle=False),
            Share("", threads=4),
            None,
            2,
        ),
    ],
    ids=["no_slots", "cores", "memory", "unknown_threads", "alone", "gpus"],
)
def test_as_many_at_once_as_there_is_room_for(machine: Machine | None, takes: Share, memory: int | None, jobs: int) -> None:
    assert default_jobs(machine, takes, memory) == jobs


def test_one_at_a_time_where_people_submit_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, tuple(range(16)))
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert default_jobs(machine, Share("", threads=1), None) == 1
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert default_jobs(machine, Share("", threads=1), None) == 16


def test_the_cores_of_a_gpu_do_not_depend_on_how_many_run() -> None:
    machine = Machine(Path("x"), tuple(range(16)), gpus={"a": None, "b": None})
    assert [machine.cores_of(each) for each in (Share(""), Share("", threads=3), Share("", gpu_memory=0))] == [8, 3, 16]


@pytest.mark.parametrize(
    ("unit", "is_time"),
    [("ms", True), ("s", True), ("tokens/s", True), ("GB/ s", True), ("seconds", True), ("", False), ("bits", False)],
)
def test_a_metric_in_units_of_time_is_measured_alone(unit: str, is_time: bool) -> None:
    assert Metric(name="it", unit=unit).is_time == is_time


def test_a_share_is_what_the_profile_says(
    make_campaign: Callable[..., Campaign], experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = experiment / "experiment.toml"
    text = contract.read_text().replace("rate = 0.05 }", 'rate = 0.05, threads = 3, device = "cuda" }\ngpu_memory = "20GB"')
    contract.write_text(text.replace('name = "loss"', 'name = "loss"\nunit = "ms"'))
    campaign = make_campaign({})
    place = campaign.execution("run_1/seed_2") / "scoring"
    found = share(campaign, campaign.options(), {}, place)
    assert found == Share("small: run_1 seed_2 scoring", 3, 20 * 10**9, True)
    options = campaign.options().model_copy(update={"overrides": {"threads": 1, "device": "cpu"}})
    assert share(campaign, options, {}) == Share("small: ", 1, 0, True)
    assert share(campaign, Options(), {"OMP_NUM_THREADS": "5"}).threads == 5


@pytest.fixture
def one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_CORES", "1")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_slot_is_held_by_the_execution_and_free_when_it_ends_however_it_does(tmp_path: Path, one_core: None) -> None:
    first, second = Workshop(tmp_path / "first"), Workshop(tmp_path / "second")
    hold = f"import os, time; open('pids', 'w').write('1\\n'){WAITS}"
    if (harness := os.fork()) == 0:  # it is gone at once
        try:
            first.submit_python(hold, share=Share("first", threads=1))
        finally:
            os._exit(0)
    os.waitpid(harness, 0)
    begun(first)
    execution = second.submit_python(TOLD, share=Share("second", threads=1))
    until(lambda: "for 1 core, held by first" in Home(second.home).waits_for())
    supervisor_of(first).send_signal(signal.SIGKILL)
    assert wait(execution).ended == "ok"
    assert second.log == b"None 1\n"
    LocalExecutor().attach(first.home)  # ends what is left of it


def test_who_waits_can_be_stopped(tmp_path: Path, one_core: None) -> None:
    first, second = Workshop(tmp_path / "first"), Workshop(tmp_path / "second")
    hold = f"import os, time; open('pids', 'w').write('1\\n'){WAITS}"
    execution = first.submit_python(hold, share=Share("first", threads=1))
    begun(first)  # two that wait come in the order in which they ask, which is not that in which they were submitted
    waiting = second.submit_python("open('ran', 'w')", share=Share("second", threads=1))
    ticks: list[str] = []
    outcome = waiting.wait(ticks.append, lambda: any("held by first" in each for each in ticks))
    assert (outcome.ended, outcome.seconds) == ("stopped", 0.0)
    assert not (second.folder / "ran").exists()
    (first.folder / "gate").touch()
    assert wait(execution).ended == "ok"


def test_a_gpu_is_an_executions_own_where_it_has_all_of_it(two_gpus: Path) -> None:
    machine = this_machine()
    assert machine is not None
    for asked, alone in ((Share("a"), True), (Share("b", gpu_memory=20 << 30), False), (Share("c", gpu_memory=0), False)):
        with taken(machine, asked) as slot:
            assert slot.has_gpu_alone == alone


def test_an_execution_sees_its_gpu_alone(two_gpus: Path) -> None:
    workshop = Workshop(two_gpus / "one")
    assert workshop.run(sys.executable, "-c", TOLD, share=Share("a", threads=2)).ended == "ok"
    assert workshop.log.startswith(b"GPU-aa ")
