"""What an execution is not to read: earlier results, and a person's keys."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.executors.sandbox import available
from harness.execution.executors.sandbox.landlock import landlock_abi
from harness.execution.refusals import why_refused
from harness.execution.secret_files import secrets_around

from .executing import Workshop

pytestmark = pytest.mark.skipif(not available("landlock").confined, reason="the kernel has no Landlock")


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "campaign"
    (folder / "run_1").mkdir(parents=True)
    (folder / "run_1" / "final_info.json").write_text("{}")
    (folder / "notes.txt").write_text("notes")
    (tmp_path / "runs" / "data.txt").write_text("data")
    (tmp_path / "key").write_text("secret")
    (folder / "run_1" / "link to data").symlink_to(tmp_path / "runs" / "data.txt")
    (tmp_path / "runs" / "link to campaign").symlink_to(folder)
    return folder


def keys_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[..., Campaign], key: Path, **told: str) -> str:
    """What an experiment of a campaign reads of `key`, where the person's environment has `told`."""
    for name in ("HF_HOME", "HF_TOKEN_PATH", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache of the harness"))
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    (key.parent / "hub").mkdir()
    (key.parent / "hub" / "model").write_text("weights")
    experiment = tmp_path / "experiment" / "experiment.py"
    experiment.write_text(
        f"""
for path in ({str(key)!r}, {str(key.parent / "hub" / "model")!r}):
    try:
        print("read", open(path).read())
    except OSError as error:
        print(type(error).__name__)
"""
        + experiment.read_text()
    )
    made = make({"run 1, attempt 1": {"text": "ALL_COMPLETED"}}, max_runs=1)
    assert go_on(made, view=Silent(), stop=Stop()).exit_code == 0
    said = (made.run_folder(0) / "log.txt").read_text().splitlines()
    return "; ".join(said[said.index("read weights") - 1 :][:2])


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("x/huggingface/token", {"XDG_CACHE_HOME": "x"}),
        ("x/huggingface/stored_tokens", {"XDG_CACHE_HOME": "x"}),
        ("h/token", {"HF_HOME": "h"}),
        ("t/mine", {"HF_TOKEN_PATH": "t/mine"}),
        ("t/stored_tokens", {"HF_TOKEN_PATH": "t/mine"}),
        ("c/gh", {"XDG_CONFIG_HOME": "c"}),
        ("a/keys", {"AWS_SHARED_CREDENTIALS_FILE": "a/keys"}),
    ],
)
def test_no_experiment_reads_keys_where_the_persons_environment_puts_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_campaign: Callable[..., Campaign], key: str, told: dict[str, str]
) -> None:
    monkeypatch.setenv("HARNESS_SANDBOX", "landlock")  # elsewhere all of /tmp is hidden, which is where this test has them
    where = {name: str(tmp_path / "place" / value) for name, value in told.items()}
    said = keys_read(monkeypatch, tmp_path, make_campaign, tmp_path / "place" / key, **where)
    assert said == "PermissionError; read weights"


def read(workshop: Workshop, path: Path, **job: object) -> str:
    """What reading `path` printed in an execution: its text, or "refused"."""
    workshop.run_python(f"try: print(open({str(path)!r}).read())\nexcept OSError: print('refused')", **job)
    return workshop.log.decode().strip()


@pytest.mark.parametrize("name", ["run_1/final_info.json", "notes.txt", "../link to campaign/notes.txt"])
def test_what_is_hidden_cannot_be_read(sandboxed: str, campaign: Path, name: str) -> None:
    workshop = Workshop(campaign / ".harness")
    assert read(workshop, campaign / name, readable=(campaign.parent,), hidden=(campaign,)) == "refused"


def test_one_file_can_be_hidden(sandboxed: str, campaign: Path, tmp_path: Path) -> None:
    workshop = Workshop(campaign / ".harness")
    (tmp_path / "open").write_text("open")
    hides = {"readable": (tmp_path,), "hidden": (tmp_path / "key", campaign)}
    assert read(workshop, tmp_path / "key", **hides) == "refused"
    assert read(Workshop(campaign / ".again"), tmp_path / "open", **hides) == "open"


def test_a_hard_way_round_is_closed_too(sandboxed: str, campaign: Path) -> None:
    workshop = Workshop(campaign / ".harness")
    workshop.run_python(
        f"import os\ntry: os.link({str(campaign / 'notes.txt')!r}, 'notes'); print(open('notes').read())\n"
        "except OSError as e: print(type(e).__name__)",
        hidden=(campaign,),
    )
    assert b"notes" not in workshop.log.splitlines()


def test_the_rest_can_be_read_and_the_working_copy_inside_it(sandboxed: str, campaign: Path) -> None:
    workshop = Workshop(campaign / ".harness")
    (workshop.folder / "own.txt").write_text("own")
    outcome = workshop.run_python(
        f"print(open('own.txt').read(), open({str(campaign.parent / 'data.txt')!r}).read())\n"
        "open('own.txt', 'w').write('new'); print(open('own.txt').read())\n"
        "import json, subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'print(6 * 7)']).decode())",
        readable=(campaign.parent,),
        hidden=(campaign, Path("/no/such/place")),
    )
    assert outcome.ended == "ok" and outcome.confined
    assert workshop.log.split() == [b"own", b"data", b"new", b"42"]


def test_without_anything_hidden_everything_can_be_read(sandboxed: str, campaign: Path) -> None:
    assert read(Workshop(campaign / ".harness"), campaign / "notes.txt", readable=(campaign,)) == "notes"


# --- devices, sockets ---


def printed(workshop: Workshop, code: str, **job: object) -> str:
    workshop.run_python(code, hidden=(workshop.home.parent / "nothing",), **job)
    return workshop.log.decode().strip()


def test_devices_are_those_that_programs_need(sandboxed: str, tmp_path: Path) -> None:
    """No disk, no kernel log; terminals and what is random work, and the graphics cards' names."""
    code = """
import os, pty, stat
wanted = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "kfd", "console"}
for name in sorted(os.listdir("/dev")):
    path = "/dev/" + name
    if os.path.islink(path) or stat.S_ISDIR(os.stat(path).st_mode) or name.startswith("nvidia"):
        continue
    for way in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, way | os.O_NONBLOCK | os.O_NOCTTY))
            if name not in wanted:
                print(name, "was opened")
        except OSError as error:
            if name in wanted - {"tty", "kfd", "console"}:
                print(name, error)
with open("/dev/null", "w") as null:
    print("x", file=null)
master, slave = pty.openpty()
os.write(slave, b"through a terminal")
print(os.read(master, 100).decode(), len(os.urandom(3)), open("/dev/zero", "rb").read(2))
"""
    assert printed(Workshop(tmp_path), code) == "through a terminal 3 b'\\x00\\x00'"


@pytest.mark.skipif(landlock_abi() < 6, reason="this kernel does not govern abstract sockets")
def test_no_abstract_socket_of_another_program_is_reached(sandboxed: str, tmp_path: Path) -> None:
    name = f"\0harness-test-{tmp_path.name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(name)
        theirs.listen()
        code = f"""
import socket
try:
    socket.socket(socket.AF_UNIX).connect({name!r})
    print("connected")
except OSError as error:
    print(type(error).__name__)
own = socket.socket(socket.AF_UNIX)
own.bind({name + "-own"!r}); own.listen()
socket.socket(socket.AF_UNIX).connect({name + "-own"!r})
print("own")
"""
        assert printed(Workshop(tmp_path), code).split() == ["PermissionError", "own"]


# --- files that hold a key ---


def test_files_with_a_key_are_found_by_what_is_in_them(tmp_path: Path) -> None:
    experiment = tmp_path / "project" / "experiment"
    secret = {
        ".env": "OPENAI_API_KEY=sk-proj-0123456789abcdef",
        "../.env.local": "DEBUG=1\nexport HF_TOKEN='hf_0123456789abcdefgh'\r\n",
        "conf/deploy": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk",
        "told.env": "API_KEY=0123456789abcdef0123",
    }
    harmless = {
        "experiment.py": "API_KEY = 'sk-proj-0123456789abcdef'",
        "run.sh": "export OPENAI_API_KEY=$KEY_OF_MINE\nTOKEN=none",
        "vocab.txt": "key=value\ntoken = 17",
        "venv/pyvenv.cfg": "home = /usr",
        "venv/lib/cert.pem": "-----BEGIN PRIVATE KEY-----",
        "../other/below.env": "API_KEY=0123456789abcdef0123",
    }
    for name, text in (secret | harmless).items():
        (experiment / name).parent.mkdir(parents=True, exist_ok=True)
        (experiment / name).write_text(text)
    found = secrets_around((experiment, experiment.parent), ["told.env"])
    assert {path.name for path in found} == {".env", ".env.local", "deploy"}


def test_what_the_contract_names_is_read_though_it_holds_a_key(
    sandboxed: str, make_campaign: Callable[..., Campaign], experiment: Path
) -> None:
    (experiment / ".env").write_text("OPENAI_API_KEY=sk-proj-0123456789abcdef\n")
    (experiment / "other.env").write_text("OPENAI_API_KEY=sk-proj-of-the-other-0\n")
    contract = experiment / "experiment.toml"
    contract.write_text('readable = [".env"]\n' + contract.read_text())
    code = experiment / "experiment.py"
    looks = f"""
for name in ('.env', {str(experiment / "other.env")!r}):
    try:
        print("read", open(name).read())
    except OSError as error:
        print(error)
"""
    code.write_text(looks + code.read_text())
    made = make_campaign({"run 1, attempt 1": {"text": "ALL_COMPLETED"}}, max_runs=1)
    assert go_on(made, view=Silent(), stop=Stop()).exit_code == 0
    said = (made.run_folder(0) / "log.txt").read_text()
    assert said.count("read ") == 1 and "of-the-other" not in said, said


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: '{own}/.cache/mine/x'", 'caches = ["mine"]'),
        ("PermissionError: [Errno 13] Permission denied: '{home}/.bashrc'", "begins with a dot"),
        ("OSError: [Errno 30] Read-only file system: '{home}/data/x'", "writes to its working copy"),
        ("OSError: [Errno 30] Read-only file system: '../shared.txt'", "writes to its working copy"),
        ("OSError: [Errno 30] Read-only file system: '/not here/mine/shared.txt'", "writes to its working copy"),
        ("PermissionError: [Errno 13] Permission denied: '/not here/locked'", ""),
        ("PermissionError: [Errno 13] Permission denied: 'locked'", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: '../x'", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: '{runs}/other/run_1/x'", "what others left"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '{home}/nowhere'", ""),
        ("PermissionError: [Errno 13] Permission denied: '{copy}/locked'", ""),
        ("ValueError: no", ""),
        ("NameError: name 'get_ipython' is not defined", "no notebook"),
        ("EOFError: EOF when reading a line", "no standard input"),
        ("ImportError: Cannot load backend 'TkAgg' which requires the 'tk' interactive framework", 'matplotlib.use("Agg")'),
        ('_tkinter.TclError: couldn\'t connect to display ":0"', "no display"),
    ],
)
def test_an_error_of_the_sandbox_says_so_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, sentence: str
) -> None:
    home, runs = tmp_path / "person", tmp_path / "runs"
    copy, own = (runs / "mine/.harness/executions/run_1" / name for name in ("copy", "scratch/home"))
    for path in (home / ".cache/mine/x", home / ".bashrc", home / "data/x", runs / "other/run_1/x", copy / "locked"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("harness.execution.refusals.TMP", Path("/not here"))
    told = why_refused(f"exit code 1: {said.format(home=home, runs=runs, copy=copy, own=own)}", (copy, own), runs, own)
    assert (sentence in told) and bool(told) == bool(sentence)
    (copy / "go.sh").write_text("")
    not_started = "./go.sh: Permission denied (command: ./go.sh run_0; folder: .)"
    assert "chmod +x ./go.sh" in why_refused(not_started, (copy, own), runs, own)
    (copy / "go.sh").chmod(0o755)
    assert why_refused(not_started, (copy, own), runs, own) == ""
