"""A whole campaign of an ordinary user, where the tests are root's: elsewhere every other test is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.execution.executors import cgroup

from .conftest import OURS, SMALL

NOBODY = 65_123
PYTHON = "/usr/bin/python3"
"""That of the tests may lie where root alone may look."""
ROOT = Path(__file__).parents[1]
SITE = next(path for path in sys.path if path.endswith("site-packages"))


def runs_here() -> str:
    """Why it cannot be tried here, "" where it can."""
    if os.geteuid() != 0:
        return "the tests are an ordinary user's"
    asked = [PYTHON, "-c", "import sys; print(sys.version_info[:2]); import harness, pydantic, psutil"]
    try:
        done = as_ordinary(asked, Path("/"))
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return (
        "" if done.stdout.strip() == str(sys.version_info[:2]) else f"{PYTHON} cannot run the harness: {done.stderr[-200:]}"
    )


def as_ordinary(command: list[str], home: Path, **told: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{SITE}",
        "HARNESS_CORES": "0",
    }
    return subprocess.run(
        command,
        cwd=home,
        env=environment | told,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def home() -> Iterator[Path]:
    why = runs_here()
    if why:
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix=OURS, dir="/var/tmp"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


LOOKS = """
import os
print("user", os.getuid(), "capabilities", [line.split()[1].strip("0") for line in open("/proc/self/status") if "CapEff" in line])
for name, act in {
    "reads keys": lambda: open(HOME + "/.bashrc").read(),
    "reads the records": lambda: os.listdir(HOME + "/runs/small") and open(HOME + "/runs/small/campaign.json").read(),
    "writes outside": lambda: open(HOME + "/experiment/experiment.py", "a").close(),
}.items():
    try:
        act()
        print("it", name)
    except OSError:
        pass
"""

CAMPAIGN = """
import sys
from pathlib import Path
from harness.campaign.campaign import Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.protocols import Silent
from harness.campaign.record import Record
from harness.campaign.stop import Stop
from harness.continuation import go_on
home = Path.home()
idea = Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller.")
options = Options(agent="tests.scripted:ScriptedAgent", max_runs=1)
made = create_campaign(home / "runs", idea, home / "experiment", options, python=sys.executable, session=home / "script.json")
print(go_on(made, view=Silent(), stop=Stop()).exit_code)
record = Record.read(made.run_folder(1))
print(record.status, record.environment["sandbox"].split(":")[0].split(" ")[0])
"""
SCRIPT = {"run 1, attempt 1": {"text": "HYPOTHESIS: it falls", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}}


def test_a_campaign_of_an_ordinary_user_goes_to_its_end_and_nothing_of_theirs_is_reached(sandboxed: str, home: Path) -> None:
    shutil.copytree(SMALL, home / "experiment")
    experiment = home / "experiment" / "experiment.py"
    experiment.write_text(f"HOME = {str(home)!r}\n{LOOKS}\n{experiment.read_text()}")
    (home / ".bashrc").write_text("export ANTHROPIC_API_KEY=secret")
    (home / "script.json").write_text(json.dumps(SCRIPT))
    for path in (home, *home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    done = as_ordinary([PYTHON, "-c", CAMPAIGN], home, HARNESS_SANDBOX=sandboxed)
    assert done.stdout.split() == ["0", "completed", sandboxed if sandboxed == "bubblewrap" else "Landlock"], done.stderr
    for run in (0, 1):
        log = (home / "runs" / "small" / f"run_{run}" / "log.txt").read_text().splitlines()
        assert log[0] == f"user {NOBODY} capabilities ['']"
        assert not [line for line in log if line.startswith("it ")]


GROUP_OF_ITS_OWN = """
import os, sys
from pathlib import Path
from harness.execution.executors import cgroup
from tests.executing import Workshop, group_of
print(cgroup.available())
workshop = Workshop(Path.home())
print(workshop.run("cat", "/proc/self/cgroup").ended)
print([line for line in workshop.log.decode().splitlines() if line.startswith("0::")][0].rpartition("/")[0])
print(group_of(workshop).exists())
"""


@pytest.mark.skipif(cgroup.available() is None, reason="needs cgroup v2 of Linux 5.14, and to be allowed to make groups")
def test_an_ordinary_user_has_groups_in_what_was_delegated_and_nowhere_else(home: Path) -> None:
    own = cgroup.available()
    assert own is not None
    folder = own / home.name
    folder.mkdir()
    for each in (folder, folder / "cgroup.procs", folder / "cgroup.subtree_control"):
        os.chown(each, NOBODY, NOBODY)
    try:
        # As a session manager begins it.
        enters = f"echo $$ > {folder}/cgroup.procs; exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {PYTHON} -c '{GROUP_OF_ITS_OWN}'"
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONPATH": f"{ROOT}:{SITE}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(["sh", "-c", enters], env=environment, capture_output=True, text=True, check=False)
        above = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        said = [str(folder), "ok", f"{above.rstrip('/')}/{folder.name}", "False"]
        assert done.stdout.splitlines() == said, done.stderr
    finally:
        cgroup.end_left_over(folder)
    asked = as_ordinary([PYTHON, "-c", "from harness.execution.executors import cgroup; print(cgroup.available())"], home)
    assert asked.stdout == "None\n"
