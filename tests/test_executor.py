"""How an execution ends, what is kept of its output, and the limits that it is held to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.campaign.errors import CannotGoOn, InputError
from harness.campaign.protocols import AbortRule, Limits, Outcome
from harness.execution.executors import find_executor, idle
from harness.execution.executors.abort_rules import TrainingLog
from harness.execution.executors.disk import disk_usage
from harness.execution.executors.local import LocalExecutor
from harness.execution.executors.memory import file_system_use
from harness.execution.executors.output import HEAD, SEGMENT, OutputWriter, join, last_error, last_line
from harness.execution.executors.sandbox import available

from .executing import Workshop, begun, supervisor_of, wait
from .waiting import HANGS, until

MB = 1_000_000
FOREVER = "import time\nwhile True: time.sleep(1)\n"

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, which Linux has")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    # The name has what a person's folder may have.
    return Workshop(tmp_path / "Ünï code, with spaces")


# How it ends


def test_a_command_that_ends_well_is_ok_with_its_output(workshop):
    outcome = workshop.run_python("import sys; print('out'); print('err', file=sys.stderr)")
    assert (outcome.ended, outcome.exit_code) == ("ok", 0)
    assert workshop.log == b"out\nerr\n"
    assert outcome.log == "log.txt"
    assert outcome.peak_memory > MB
    assert 0 < outcome.seconds < 60


def test_the_command_runs_in_the_folder_and_reads_no_terminal(workshop):
    assert workshop.run("bash", "-c", "pwd; cat").ended == "ok"
    assert workshop.log.decode().strip() == str(workshop.folder)


def test_a_crash_says_the_exception_even_when_more_was_printed_after_it(workshop):
    code = "import atexit; atexit.register(print, 'bye')\ndef f(): raise ValueError('boom')\nf()"
    outcome = workshop.run_python(code)
    assert (outcome.ended, outcome.exit_code) == ("crashed", 1)
    assert outcome.why == "exit code 1: ValueError: boom"
    assert b"Traceback" in workshop.log


def test_a_crash_without_a_traceback_says_the_last_line(workshop):
    outcome = workshop.run("bash", "-c", "echo first; echo last; echo; exit 3")
    assert (outcome.ended, outcome.exit_code, outcome.why) == ("crashed", 3, "exit code 3: last")


def test_a_segmentation_fault_is_a_crash_that_names_the_signal(workshop):
    outcome = workshop.run_python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (outcome.ended, outcome.exit_code) == ("crashed", -signal.SIGSEGV)
    assert "SIGSEGV" in outcome.why
    assert not list(workshop.folder.glob("core*"))


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_signal_from_outside_is_killed(workshop, name):
    execution = workshop.submit_python("import os; open('pids', 'w').write(f'{os.getpid()}\\n')\n" + FOREVER)
    begun(workshop)
    os.kill(workshop.pids()[0], getattr(signal, name))
    outcome = wait(execution)
    assert outcome.ended == "killed"
    assert name in outcome.why


@pytest.mark.parametrize("command", ["no-such-command", "./no-such-file", "."])
def test_a_command_that_cannot_be_started_is_said_to_be_so(workshop, command):
    outcome = workshop.run(command, "--flag")
    assert (outcome.ended, outcome.exit_code) == ("not_started", None)
    assert command in outcome.why


def test_a_file_that_is_no_program_is_not_started(workshop):
    program = workshop.folder / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    outcome = workshop.run("./program")
    # bubblewrap has a shell try it, as a shell would.
    assert outcome.ended in ("not_started", "crashed")
    assert "Exec format error" in outcome.why or "./program" in outcome.why


def test_a_missing_folder_is_named(workshop):
    outcome = workshop.run("true", folder=workshop.folder / "missing")
    assert outcome.ended == "not_started"
    assert "copy/missing" in outcome.why


def test_the_command_has_a_session_of_its_own(workshop):
    execution = workshop.submit("bash", "-c", "echo $$ > pids; sleep 600")
    begun(workshop)
    assert os.getsid(workshop.pids()[0]) not in (os.getsid(0), os.getsid(supervisor_of(workshop).pid))
    execution.wait(lambda line: None, lambda: True)


def test_the_environment_is_exactly_what_was_given(workshop, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    given = {"PATH": os.environ["PATH"], "ODD": "ä\udc80\n="}
    assert workshop.run("cat", "/proc/self/environ", environment=given).ended == "ok"
    seen = dict(variable.split(b"=", 1) for variable in workshop.log.rstrip(b"\0").split(b"\0"))
    mark = seen.pop(b"HARNESS_EXECUTION")
    assert len(mark) == 32
    own = {b"PWD": os.fsencode(workshop.folder), b"TMPDIR": seen[b"TMPDIR"]}
    assert seen == {name.encode(): os.fsencode(value) for name, value in given.items()} | own


def test_no_key_of_the_person_is_in_the_environment_of_the_supervisor(workshop, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    execution = workshop.submit("bash", "-c", "echo $$ > pids; sleep 600")
    begun(workshop)
    assert "secret" not in supervisor_of(workshop).environ().values()
    execution.wait(lambda line: None, lambda: True)


@linux
def test_secrets_of_any_length_reach_the_command(workshop):
    secrets = {f"SECRET_{i}": "x" * 100_000 for i in range(3)}
    outcome = workshop.run("bash", "-c", "echo ${#SECRET_0} ${#SECRET_2}", secrets=secrets)
    assert (outcome.ended, workshop.log) == ("ok", b"100000 100000\n")


def test_the_executor_is_found_by_its_name_and_an_unknown_one_lists_the_known():
    assert isinstance(find_executor("local"), LocalExecutor)
    with pytest.raises(InputError, match="local"):
        find_executor("cluster")


def test_a_home_is_used_once(workshop):
    assert workshop.run("true").ended == "ok"
    with pytest.raises(CannotGoOn, match="home"):
        workshop.submit("true")


# Limits


def test_a_command_that_takes_too_long_is_timed_out_with_its_output_kept(workshop):
    # Time enough to begin on any machine; a shell begins soonest.
    outcome = workshop.run("bash", "-c", "echo begun; sleep 600", limits=Limits(time=2.5))
    assert (outcome.ended, outcome.why) == ("timed_out", "not finished after 2.5 s")
    assert workshop.log == b"begun\n"
    assert outcome.seconds >= 2.5


def test_a_look_that_takes_for_ever_does_not_hold_up_the_time_limit(tmp_path):
    # A disk that does not answer, as seen by the supervisor: the module is replaced before it starts.
    package = tmp_path / "site"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import time\nimport harness.execution.executors.disk as disk\ndisk.disk_usage = lambda folders: time.sleep(1200)\n"
    )
    code = (
        "import sys; from pathlib import Path; from harness.campaign.protocols import Limits\n"
        "from tests.executing import Workshop\n"
        "limits = Limits(time=2, disk=10**9)\n"
        "print(Workshop(Path(sys.argv[1])).run('bash', '-c', 'exec sleep 1000', limits=limits).ended)"
    )
    paths = os.pathsep.join([str(package), str(Path(__file__).parents[1])])
    command = [sys.executable, "-c", code, str(tmp_path / "work")]
    environment = os.environ | {"PYTHONPATH": paths}
    answer = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "timed_out\n"


def test_silence_is_a_stall(workshop):
    outcome = workshop.run_python("print('begun')\n" + FOREVER, limits=Limits(time=HANGS, silence=0.5))
    assert (outcome.ended, outcome.why) == ("stalled", "no output for 0.5 s")


TALKS = """
import os, time
begun = time.monotonic()
while time.monotonic() - begun < 4.5:
    {talk}
    time.sleep(0.05)
"""


@pytest.mark.parametrize(
    "talk", ["print('.', end='')", "open('run_1/log.jsonl', 'a').write('{}\\n')"], ids=["output", "training log"]
)
def test_output_and_the_training_log_both_break_the_silence(workshop, talk):
    # A silence that no machine keeps between two of its words, nor before the first.
    limits = Limits(time=HANGS, silence=3.5)
    outcome = workshop.run_python(TALKS.format(talk=talk), limits=limits, training_log="log.jsonl")
    assert outcome.ended == "ok"
    assert outcome.seconds > 3.5


def test_memory_is_counted_over_the_whole_tree(workshop):
    hog = "x = bytearray(80_000_000); import time; time.sleep(600)"
    code = f"import subprocess, sys\nps = [subprocess.Popen([sys.executable, '-c', {hog!r}]) for _ in '12']\nps[0].wait()"
    outcome = workshop.run_python(code, limits=Limits(time=HANGS, memory=130 * MB))
    assert outcome.ended == "out_of_memory"
    assert "the limit is 130 MB" in outcome.why
    assert outcome.peak_memory > 130 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="shared pages are told apart on Linux only")
def test_memory_that_processes_share_counts_once(workshop):
    code = "x = bytearray(80_000_000)\nimport os, time\nfor _ in '123': os.fork() or time.sleep(1) or os._exit(0)\nfor _ in '123': os.wait()"
    assert workshop.run_python(code, limits=Limits(time=HANGS, memory=160 * MB)).ended == "ok"


IN_MEMORY = {
    "a memory file that no process maps": "import os; f = os.memfd_create('x')\nfor _ in range(20): os.write(f, b'x' * 10_000_000)\n",
    "a mapped page of a memory file that is written": "import mmap, os; f = os.memfd_create('x'); os.truncate(f, 4096)\n"
    "m = mmap.mmap(f, 4096); m[:1] = b'x'\nfor _ in range(20): os.write(f, b'x' * 10_000_000)\n",
    "a shared mapping": "import mmap; m = mmap.mmap(-1, 200_000_000)\nfor i in range(0, 200_000_000, 4096): m[i] = 1\n",
    "a file in /dev/shm": "import os; f = open('/dev/shm/harness-test', 'wb'); os.unlink(f.name)\n"
    "f.write(b'x' * 70_000_000)  # half the limit is all there is\nf.flush()\nx = bytearray(100_000_000)\n",
    "a thread whose process's first thread has ended": "import ctypes, threading\n"
    "def grow():\n    global x; x = bytearray(200_000_000)\n    while True: time.sleep(1)\n"
    "import time; threading.Thread(target=grow).start(); ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n",
}


@linux
@pytest.mark.parametrize("code", IN_MEMORY.values(), ids=IN_MEMORY.keys())
def test_memory_counts_wherever_it_is(workshop, code):
    outcome = workshop.run_python("import os\n" + code + FOREVER, limits=Limits(time=HANGS, memory=150 * MB))
    assert outcome.ended == "out_of_memory", outcome
    assert "the limit is 150 MB" in outcome.why


@linux
def test_memory_counts_in_a_file_system_of_its_own(workshop):
    if "mount" not in available("bubblewrap").held:
        pytest.skip("no mounts of one's own here")
    command = "mount -t tmpfs none /mnt && head -c 200000000 /dev/zero > /mnt/x && echo filled && sleep 600"
    # Root in the sandbox may not even do that.
    outcome = workshop.run("unshare", "-r", "-m", "bash", "-c", command, limits=Limits(time=HANGS, memory=150 * MB))
    assert outcome.ended == "out_of_memory" or b"filled" not in workshop.log


@linux
def test_a_path_that_leads_to_another_file_system_counts_nothing():
    """While a sandbox is set up its root moves: an execution of a second was ended for the 34 GB of the whole disk."""
    device = Path("/dev/shm").stat().st_dev
    assert file_system_use("/proc/self/root/dev/shm", device) > 0
    assert file_system_use("/proc/self/root/", device) == file_system_use("/nowhere", device) == 0


@linux
def test_pages_of_a_mapped_file_are_not_memory_of_the_experiment(workshop):
    (workshop.folder / "activations").write_bytes(b"x" * 200 * MB)
    code = """
import mmap, time
with open('activations', 'rb') as file: store = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
for i in range(0, len(store), 4096): store[i]
time.sleep(1)
"""
    outcome = workshop.run_python(code, limits=Limits(time=HANGS, memory=150 * MB))
    assert (outcome.ended, outcome.why) == ("ok", "exit code 0")


@linux
def test_a_mapping_that_processes_share_counts_once(workshop):
    code = """
import mmap, os, time
shared = mmap.mmap(-1, 80_000_000)
for i in range(0, len(shared), 4096): shared[i] = 1
def child():
    for i in range(0, len(shared), 4096): shared[i]
    time.sleep(1)
    os._exit(0)
for _ in '123': os.fork() or child()
for _ in '123': os.wait()
"""
    assert workshop.run_python(code, limits=Limits(time=HANGS, memory=160 * MB)).ended == "ok"


def test_processes_without_number_are_ended(workshop):
    code = "import os, time\nfor _ in range(40): os.fork() or time.sleep(600)\n" + FOREVER
    outcome = workshop.run_python(code, limits=Limits(time=HANGS, processes=20))
    assert outcome.ended == "too_many_processes"
    assert outcome.why.endswith("of its processes ran at once; the limit is 20")


OUT_OF_MEMORY = {
    "Python": "raise MemoryError",
    "torch": "class OutOfMemoryError(RuntimeError): __module__ = 'torch'\nraise OutOfMemoryError('CUDA out of memory. Tried to')",
    "older torch": "raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')",
    "torch on CPU": 'raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried to allocate")',
}


@pytest.mark.parametrize("code", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY.keys())
def test_an_allocation_that_fails_is_out_of_memory(workshop, code):
    outcome = workshop.run_python(code)
    assert outcome.ended == "out_of_memory"
    assert outcome.exit_code == 1


@pytest.fixture
def memory_group(tmp_path):
    """A control group of 50 MB; needs root and a system that lets it make one."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"harness-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(50 * MB))
        except OSError:
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group for memory can be made here")


@pytest.mark.parametrize("command", ["{hog}", "{hog}; exit $?"], ids=["itself", "by a shell"])
def test_what_the_kernel_ends_for_lack_of_memory_is_out_of_memory(workshop, memory_group, command):
    hog = f"{sys.executable} -c 'bytearray(200_000_000)'"
    os.mkfifo(workshop.folder / "go")
    execution = workshop.submit("bash", "-c", "echo $$ > pids; read < go; " + command.format(hog=hog))
    begun(workshop)
    (memory_group / "cgroup.procs").write_text(str(workshop.pids()[0]))
    (workshop.folder / "go").write_text("go\n")
    outcome = wait(execution)
    assert outcome.ended == "out_of_memory"
    assert "lack of memory" in outcome.why


def test_running_out_of_memory_and_recovering_is_not_out_of_memory(workshop):
    code = "import traceback\ntry: raise MemoryError\nexcept MemoryError: traceback.print_exc()\nraise ValueError('later')"
    outcome = workshop.run_python(code)
    assert (outcome.ended, outcome.why) == ("crashed", "exit code 1: ValueError: later")


def test_too_much_output_ends_it(workshop):
    outcome = workshop.run("yes", limits=Limits(time=HANGS, output=3 * MB))
    assert (outcome.ended, outcome.why) == ("too_much_output", "it wrote more than 3 MB of output")
    assert len(workshop.log) < HEAD + 2 * SEGMENT + 100


def test_output_just_before_the_end_counts_too(workshop):
    # The supervisor sleeps while the command writes and ends.
    code = "echo $$ > pids; until [ -e go ]; do sleep 0.01; done; printf %05000d 1"
    execution = workshop.submit("bash", "-c", code, limits=Limits(output=4000))
    begun(workshop)
    supervisor = supervisor_of(workshop)
    supervisor.suspend()
    (workshop.folder / "go").touch()
    until(lambda: not workshop.running())
    supervisor.resume()
    assert wait(execution).ended == "too_much_output"


def test_many_files_are_too_much_disk(workshop):
    code = f"for i in range(50): open(f'run_1/{{i}}', 'wb').write(b'x' * 100_000)\n{FOREVER}"
    outcome = workshop.run_python(code, limits=Limits(time=HANGS, disk=2 * MB))
    assert outcome.ended == "too_much_disk"
    assert "the limit is 2 MB" in outcome.why


ON_DISK = {
    "folders": "for i in range(3000): os.makedirs(f'run_1/{i}')\n",
    "empty files": "for i in range(3000): open(f'run_1/{i}', 'w').close()\n",
    "a file without a name": "f = open('x', 'wb'); os.unlink('x')\nfor _ in range(3): f.write(b'x' * 1_000_000); f.flush()\n",
    "files without a name that are mapped": "import mmap; maps = []\nfor _ in range(3):\n    f = open('x', 'wb+'); os.unlink('x'); "
    "f.truncate(1_000_000); maps.append(mmap.mmap(f.fileno(), 0)); f.close(); maps[-1].write(b'x' * 1_000_000)\n",
}


@linux
@pytest.mark.parametrize("code", ON_DISK.values(), ids=ON_DISK.keys())
def test_disk_is_counted_whatever_takes_it(workshop, code):
    outcome = workshop.run_python("import os\n" + code + FOREVER, limits=Limits(time=HANGS, disk=2 * MB))
    assert outcome.ended == "too_much_disk"


def test_scratch_counts_as_disk_and_so_does_what_is_written_just_before_the_end(workshop):
    code = f"open({str(workshop.scratch / 'x')!r}, 'wb').write(b'x' * 900_000); open('y', 'wb').write(b'x' * 900_000)"
    assert workshop.run_python(code, limits=Limits(disk=MB)).ended == "too_much_disk"


def test_one_file_cannot_overshoot_the_disk_limit(workshop):
    code = "f = open('run_1/x', 'wb')\nfor _ in range(100): f.write(b'x' * 1_000_000)"
    outcome = workshop.run_python(code, limits=Limits(disk=2 << 20))
    assert outcome.ended == "too_much_disk"
    assert (workshop.out_dir / "x").stat().st_size <= 2 << 20


def test_disk_is_counted_without_following_links_and_each_file_once(tmp_path):
    folder = tmp_path / "folder"
    (folder / "scratch").mkdir(parents=True)
    (folder / "scratch" / "file").write_bytes(b"x" * 65536)
    (folder / "again").hardlink_to(folder / "scratch" / "file")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"x" * MB)
    (folder / "link").symlink_to(tmp_path / "outside" / "file")
    (folder / "way out").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(folder)
    subprocess.run(["sync", "-f", str(folder)], check=False)
    assert 65536 <= disk_usage((folder, folder / "scratch")) < 2 * 65536


# Abort rules


def aborted(workshop: Workshop, lines: str, steps: int = 3, silence: float | None = None) -> Outcome:
    """A job that writes `lines` to its training log and goes on, silently, until it is aborted, or stalled by `silence`."""
    return workshop.run_python(
        f"open('run_1/log.jsonl', 'w').write({lines!r})\n" + FOREVER,
        abort=(AbortRule("loss", steps),),
        training_log="log.jsonl",
        limits=Limits(time=HANGS, silence=silence),
    )


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", '"nan"', "true", "1e999"])
def test_a_loss_that_is_not_finite_ends_it(workshop, value):
    outcome = aborted(workshop, f'{{"loss": 1.0}}\n{{"loss": {value}}}\n', steps=1)
    assert outcome.ended == "aborted"
    assert "loss" in outcome.why
    assert "log.jsonl, line 2" in outcome.why


BAD = '{"loss": NaN}\n'


@pytest.mark.parametrize("anew", [BAD, '{"loss": 1}'.ljust(2 * len(BAD) - 1) + "\n" + BAD], ids=["shorter", "another file"])
def test_a_training_log_that_is_begun_anew_is_counted_anew(tmp_path, anew):
    log = TrainingLog(tmp_path, "log.jsonl", (AbortRule("loss", 3),))
    (tmp_path / "log.jsonl").write_text(BAD + BAD)
    assert log.read() == (True, "")
    (tmp_path / "anew").write_text(anew)
    (tmp_path / "anew").replace(tmp_path / "log.jsonl")
    assert log.read() == (True, "")


def test_only_consecutive_lines_count(workshop):
    bad, good = '{"loss": NaN}\n', '{"loss": 2}\n'
    assert aborted(workshop, bad + bad + good + bad + bad, silence=3.0).ended == "stalled"
    assert (workshop.out_dir / "log.jsonl").exists(), "it had begun"


def test_lines_without_the_key_neither_count_nor_make_good(workshop):
    other = '{"eval": 1}\nno json\n[1]\n' + "[" * 20_000 + "\n"
    outcome = aborted(workshop, ('{"loss": NaN}\n' + other) * 3)
    assert outcome.ended == "aborted"
    assert "3 consecutive lines" in outcome.why


@pytest.mark.parametrize("name", ["log.jsonl", "logs/log.jsonl"])
@pytest.mark.parametrize("link", ["run_1", "run_1/logs", "run_1/log.jsonl"])
def test_a_training_log_is_not_read_through_a_link(workshop, link, name):
    elsewhere = workshop.scratch / "elsewhere"
    for log in (elsewhere / "log.jsonl", elsewhere / "logs" / "log.jsonl"):
        log.parent.mkdir(exist_ok=True)
        log.write_text('{"loss": NaN}\n')
    target = elsewhere / "log.jsonl" if link.endswith("jsonl") else elsewhere
    code = f"""
import os, pathlib, time
if {link!r} == "run_1":
    os.rmdir("run_1")
os.symlink({str(target)!r}, {link!r})
time.sleep(1.5)
"""
    outcome = workshop.run_python(code, abort=(AbortRule("loss", 1),), training_log=name)
    assert outcome.ended == "ok", outcome


def test_a_training_log_that_is_no_file_does_no_harm(workshop):
    code = "import os; os.mkfifo('run_1/log.jsonl')"
    outcome = workshop.run_python(code, abort=(AbortRule("loss", 1),), training_log="log.jsonl")
    assert outcome.ended == "ok"


# Output


def test_output_that_is_not_text_is_kept_as_it_is(workshop):
    outcome = workshop.run_python("import os, sys; os.write(1, bytes(range(256)) * 4 + b'\\n\\xff\\xfe last'); sys.exit(1)")
    assert workshop.log == bytes(range(256)) * 4 + b"\n\xff\xfe last"
    assert outcome.why == "exit code 1: \ufffd\ufffd last"


def test_of_a_flood_the_beginning_and_the_end_are_kept_and_what_is_left_out_is_said(workshop):
    lines = 2_000_000
    assert workshop.run("bash", "-c", f"echo FIRST; seq -w {lines}; echo LAST").ended == "ok"
    log = workshop.log
    total = len("FIRST\n") + lines * 8 + len("LAST\n")
    assert log.startswith(b"FIRST\n0000001\n")
    assert log.endswith(b"%07d\nLAST\n" % lines)
    assert HEAD + SEGMENT <= len(log) <= HEAD + 2 * SEGMENT + 100
    before, _, rest = log.partition(b"\n[... ")
    left_out, _, after = rest.partition(b" bytes of output are left out here ...]\n")
    assert len(before) == HEAD
    assert len(before) + int(left_out) + len(after) == total
    assert [path.name for path in workshop.home.glob("log*")] == ["log.txt"]


def test_output_a_little_larger_than_the_beginning_is_kept_whole(workshop):
    size = HEAD + SEGMENT + 5
    assert workshop.run_python(f"print('x' * {size})").ended == "ok"
    assert workshop.log == b"x" * size + b"\n"


def test_joining_again_after_an_interruption_loses_nothing(tmp_path):
    output = OutputWriter(tmp_path)
    output.write(b"head" * (HEAD // 4) + b"end")
    segment = tmp_path / f"log.txt.{HEAD}"
    kept = segment.read_bytes()
    output.close()
    whole = (tmp_path / "log.txt").read_bytes()
    # Interrupted after the whole was in place and before the segments were gone.
    segment.write_bytes(kept)
    join(tmp_path)
    assert (tmp_path / "log.txt").read_bytes() == whole == b"head" * (HEAD // 4) + b"end"
    assert not segment.exists()


def test_the_disk_never_holds_more_than_ten_megabytes_of_a_flood(workshop):
    execution = workshop.submit("bash", "-c", "yes | head -c 200000000")
    most = 0

    def look(line: str) -> None:
        nonlocal most
        most = max(most, disk_usage((workshop.home,)))

    assert execution.wait(look, lambda: False).ended == "ok"
    assert HEAD < most < 10 * MB


def test_the_last_line_is_told_while_it_runs(workshop):
    told: list[str] = []
    execution = workshop.submit_python("import time\nprint('begun')\nprint('\\r 10%', end='')\n" + FOREVER)
    outcome = execution.wait(told.append, lambda: bool(told and told[-1]))
    assert told[-1] == "10%"
    assert outcome.ended == "stopped"


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (b"", ""),
        (b"one\ntwo\n\n", "two"),
        (b"one\r\ntwo\r\n", "two"),
        (b" 10%|#   |\r 20%|##  |", "20%|##  |"),
        (b"finished 100%\rdone", "doneshed 100%"),
        (b"finished 100%\r\x1b[Kdone", "done"),
        (b"\x1b[31mred\x1b[0m\n", "red"),
        (b"\xff\x00bell\x07\n", "\ufffd bell"),
        (b"x" * 5000, "x" * 1000),
    ],
)
def test_the_last_line_is_what_a_terminal_would_show(output, shown):
    assert last_line(output) == shown


def test_the_error_is_the_last_exception_of_a_chain_and_its_first_line():
    output = b"""Traceback (most recent call last):
  File "a.py", line 1
KeyError: 1

During handling of the above exception, another exception occurred:

[rank0]: Traceback (most recent call last):
[rank0]:   File "a.py", line 2
[rank0]:     f()
[rank0]: torch.AcceleratorError: CUDA error: an illegal address
Search for it in the documentation.
"""
    assert last_error(output) == "[rank0]: torch.AcceleratorError: CUDA error: an illegal address"


def test_a_traceback_long_before_the_end_is_not_how_it_ended():
    output = b"Traceback (most recent call last):\n  File\nKeyError: 1\n" + b"step\n" * 2000 + b"giving up\n"
    assert last_error(output) == "giving up"


# Stopping


def test_stop_ends_it(workshop):
    execution = workshop.submit_python(FOREVER)
    outcome = execution.wait(lambda line: None, lambda: True)
    assert (outcome.ended, outcome.why) == ("stopped", "stopped by you")
    assert LocalExecutor().attach(workshop.home).wait(lambda line: None, lambda: False) == outcome


def test_what_ended_before_the_stop_keeps_its_outcome(workshop):
    execution = workshop.submit("true")
    until(lambda: (workshop.home / "outcome.json").exists())
    assert execution.wait(lambda line: None, lambda: True).ended == "ok"


def test_a_clock_that_is_set_back_changes_nothing(workshop, monkeypatch):
    now = time.time()
    execution = workshop.submit("sleep", "0.5")
    monkeypatch.setattr(time, "time", lambda: now - 1e6)
    outcome = wait(execution)
    assert outcome.ended == "ok"
    assert outcome.seconds >= 0.5


RESULTS = "import json, os, threading, time\nwrite = lambda: json.dump({'loss': 1}, open('run_1/final_info.json', 'w'))\n"


@pytest.mark.parametrize(
    "hangs",
    ["threading.Thread(target=time.sleep, args=(10**6,)).start()", "time.sleep(10**6) if os.fork() else os._exit(0)"],
)
def test_who_has_complete_results_and_does_nothing_more_is_ended_well(tmp_path: Path, hangs: str) -> None:
    workshop = Workshop(tmp_path)
    limits = Limits(time=HANGS, silence=HANGS, idle=2.0)
    outcome = workshop.run_python(f"{RESULTS}write()\n{hangs}", limits=limits, results="final_info.json")
    assert (outcome.ended, outcome.why.partition(":")[0]) == ("ok", "the process did not exit")


@pytest.mark.parametrize(
    "goes_on",
    [
        "print(n, flush=True); time.sleep(0.5)",
        "write(); time.sleep(0.5)",
        "t = time.process_time()\n while time.process_time() < t + 0.5: pass",
    ],
    ids=["output", "files", "processor"],
)
def test_who_writes_results_each_epoch_and_goes_on_is_left_alone(tmp_path: Path, goes_on: str) -> None:
    workshop = Workshop(tmp_path)
    code = f"{RESULTS}write()\nfor n in range(8):\n {goes_on}\nprint('to the end')"
    limits = Limits(time=HANGS, idle=2.0)
    outcome = workshop.run_python(code, limits=limits, results="final_info.json")
    assert (outcome.ended, outcome.why) == ("ok", "exit code 0")


@pytest.mark.parametrize(("share", "is_busy"), [(40, True), (0, False)])
def test_who_waits_for_a_gpu_is_not_idle(tmp_path, monkeypatch, share, is_busy):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\necho 0\necho {share}\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(idle, "_processor_seconds", lambda: 0.0)
    (tmp_path / "final_info.json").write_text('{"loss": 1}')
    idleness = idle.Idleness(tmp_path / "final_info.json", [tmp_path])
    idleness.look(0.0)
    still_for = idleness.look(0.0)
    assert (idleness.is_busy, still_for > 0) == (is_busy, not is_busy)


@pytest.mark.parametrize("results", ["", "{}", '{"loss": '])
def test_who_waits_without_complete_results_is_stalled(tmp_path: Path, results: str) -> None:
    workshop = Workshop(tmp_path)
    (workshop.out_dir / "final_info.json").write_text(results)
    limits = Limits(time=HANGS, silence=3.0, idle=0.1)
    outcome = workshop.run_python("import time; time.sleep(10**6)", limits=limits, results="final_info.json")
    assert outcome.ended == "stalled"
