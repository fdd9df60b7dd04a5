"""A real Slurm of one node, for tests: made of Debian's packages, which are unpacked beside the caches and not installed.

    python -m tests.slurm_node fetch           download and unpack the packages, and see that a node starts
    python -m tests.slurm_node start FOLDER    start a node; prints what to put before PATH
    python -m tests.slurm_node stop FOLDER     end it with all that it runs, and remove FOLDER

Everything of a node lies in its folder and listens on loopback: controller, daemon, and commands that know their node (`bin`),
so that PATH alone says which cluster is meant. It has no accounting, so no `sacct`, like many clusters. Tests download
nothing: where `fetch` was not called, or could not do it, `unavailable()` says so. The node of a test ends with the process
that asked for it, however that ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom

import psutil

from harness.campaign.files import remove
from harness.campaign.paths import cache_folder
from tests.waiting import HANGS, until

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins")
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
NODE = "node1"
CPUS = 8
"""What the node says it has: jobs of tests mostly wait."""
_STARTS_WITHIN = 120.0
"""Seconds for the first node on a machine; where it takes longer, the tests are not for this machine."""
_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge=20
KillWait=5
MessageTimeout=2
DefMemPerCPU=100
MailProg=/bin/true
TaskProlog={folder}/task_prolog
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer_batch,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SlurmdParameters=config_overrides
GresTypes=gpu
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={node} NodeAddr=127.0.0.1 NodeHostname={host} CPUs={cpus} RealMemory=16000 Feature=fast
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={node} MaxTime=INFINITE State=UP PriorityTier=2
"""


class CannotHave(Exception):
    """Why there is no Slurm to be had."""


def fetched() -> Path:
    """Where the unpacked packages lie, of which a node has been started once."""
    return cache_folder() / "slurm"


def unavailable() -> str:
    """Why no node can be started here, "" where one can."""
    if os.getuid() != 0:
        return "a one-node Slurm needs root"
    if not fetched().is_dir():
        return f"no Slurm in {fetched()}: python -m tests.slurm_node fetch"
    return ""


def fetch() -> Path:
    """The folder with the unpacked packages. Raises CannotHave."""
    if os.getuid() != 0:
        raise CannotHave("a one-node Slurm needs root")
    target = fetched()
    if target.is_dir():
        return target
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise CannotHave("a one-node Slurm is made of Debian's packages, and there is no apt-get here")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="slurm-") as folder:
        debs, root = Path(folder, "debs"), Path(folder, "root")
        debs.mkdir()
        try:
            names = _missing()
        except CannotHave:
            _output("apt-get", "update", "-qq")
            names = _missing()
        _output("apt-get", "download", "-qq", *names, cwd=debs)
        for deb in debs.glob("*.deb"):
            _output("dpkg", "-x", str(deb), str(root))
        try:
            with running(Path(folder, "node"), root, _STARTS_WITHIN):
                pass
        except (AssertionError, OSError, ValueError, subprocess.SubprocessError, StopIteration) as error:
            raise CannotHave(f"a node of Debian's Slurm does not start here: {error!r}") from error
        with suppress(OSError):  # another was first
            root.rename(target)
    return target


def _missing() -> list[str]:
    """The packages, and what they need that this system has not."""
    said = _output("apt-get", "install", "--simulate", "--no-install-recommends", "--reinstall", *PACKAGES)
    return [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]


def _output(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotHave(f"{' '.join(command[:2])}: {error}") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise CannotHave(f"{' '.join(command[:2])} fails: {''.join(last)}")
    return done.stdout


class Node:
    """A Slurm of one node in a folder."""

    def __init__(self, folder: Path, packages: Path | None = None) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self._packages = packages or fetch()

    def start(self, within: float = HANGS) -> None:
        """Start controller and daemon, and wait until the node takes jobs, for so many seconds."""
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True)
        [plugins] = {path.parent for path in self._packages.rglob("auth_none.so")}
        libraries = [str(path) for path in self._packages.glob("usr/lib/*-linux-gnu")]
        controller, daemon = _free_ports(2)
        host = socket.gethostname().partition(".")[0]
        conf = self.folder / "slurm.conf"
        conf.write_text(
            _CONF.format(
                host=host, controller=controller, daemon=daemon, plugins=plugins, folder=self.folder, node=NODE, cpus=CPUS
            )
        )
        (self.folder / "task_prolog").write_text("#!/bin/sh\n")  # a test may have it say what jobs are told of their node
        (self.folder / "task_prolog").chmod(0o755)
        # Each command in an environment of its own: jobs and tests must not inherit these libraries.
        told = f"SLURM_CONF={conf} LD_LIBRARY_PATH={':'.join([str(plugins), *libraries])}"
        for name in (*COMMANDS, "slurmctld-wlm", "slurmd-wlm"):
            [program] = [path for place in ("bin", "sbin") for path in self._packages.glob(f"usr/{place}/{name}")]
            (self.bin / name).write_text(f'#!/bin/sh\nexec env {told} {program} "$@"\n')
            (self.bin / name).chmod(0o755)
        self.start_controller()
        self.start_daemon()
        self.become_ready(within)

    def start_controller(self) -> None:
        self._start("slurmctld", "-i")

    def become_ready(self, within: float = HANGS) -> None:
        """Wait until the node takes jobs."""
        until(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T", check=False), every=0.1, within=within)

    def stop_controller(self) -> None:
        self._end("slurmctld")

    def start_daemon(self) -> None:
        stepd = next(self._packages.glob("usr/sbin/slurmstepd-wlm"))
        self._start("slurmd", "-N", NODE, "-d", str(stepd))

    def stop_daemon(self) -> None:
        self._end("slurmd")

    def stop(self) -> None:
        """End all that was started, jobs included, and remove the folder."""
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    for each in [process, *process.children(recursive=True)]:
                        each.kill()
            psutil.wait_procs(left, timeout=1)
        remove(self.folder)

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        """What a command of Slurm's prints."""
        done = subprocess.run([self.bin / command, *arguments], capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def _start(self, daemon: str, *arguments: str) -> None:
        """Start a daemon, which goes to the background, in a session of its own."""
        with (self.folder / f"{daemon}.out").open("ab") as out:
            command = [self.bin / f"{daemon}-wlm", *arguments]
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True, timeout=60, start_new_session=True
            )

    def _end(self, daemon: str) -> None:
        found = [each for each in self.processes() if each.name().startswith(f"{daemon}-wlm")]
        for process in found:
            process.send_signal(signal.SIGTERM)
        psutil.wait_procs(found)

    def processes(self) -> list[psutil.Process]:
        """The node's daemons, its jobs, and those that watch these."""
        found = [each for each in psutil.process_iter() if self._is_ours(each)]
        # Who watches a job writes its title over its environment.
        parents = [parent for each in found if (parent := _parent(each)) and parent.name().startswith("slurmstepd")]
        return [*found, *parents]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("SLURM_CONF") == str(self.folder / "slurm.conf")
        except psutil.Error:
            return False


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except psutil.Error:
        return None


def _free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on, below those that systems give to who names none: others, such as tests beside
    this one, get theirs from there until the daemons have taken these."""
    found: list[int] = []
    while len(found) < number:
        port = SystemRandom().randrange(6000, 15000)
        with suppress(OSError), socket.socket() as tried:
            tried.bind(("127.0.0.1", port))
            found.append(port)
    return found


@contextmanager
def running(folder: Path, packages: Path | None = None, within: float = HANGS) -> Iterator[Node]:
    """A node for as long as the block runs, and no longer than this process."""
    node = Node(folder, packages)
    # The daemons and their jobs leave our process tree; what ends them waits for the end of a pipe that only we hold.
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.slurm_node", "guard", folder],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        node.start(within)
        yield node
    finally:
        assert guard.stdin
        guard.stdin.close()
        guard.wait()


def main(action: str, *arguments: str) -> None:
    try:
        if action == "fetch":
            print(fetch())
        elif action == "start":
            node = Node(Path(arguments[0]).absolute())
            node.start()
            print(f'export PATH="{node.bin}:$PATH"')
        elif action in ("stop", "guard"):
            if action == "guard":
                sys.stdin.read()
            Node(Path(arguments[0]).absolute(), fetched()).stop()
        else:
            sys.exit(__doc__)
    except CannotHave as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
