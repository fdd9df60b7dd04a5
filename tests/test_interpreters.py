"""Pythons as uv, pyenv, conda and pipx lay them out in a home folder, and packages of its user: each executes in the sandbox,
which shows of that folder what the Python needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.campaign import Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.cli.running import experiment_python
from harness.execution.executors.local import LocalExecutor
from harness.execution.jobs import Jobs, Variant

from .conftest import OURS
from .executing import wait

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no sandbox elsewhere")
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
BASE = Path(sys.base_prefix)


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder, in no folder that is hidden anyway."""
    home = Path(tempfile.mkdtemp(prefix=OURS, dir="/var/tmp"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    yield home
    shutil.rmtree(home)


def installed(prefix: Path) -> Path:
    """A Python with a prefix of its own: its program is there, its library a link to that of the tests' Python."""
    (prefix / "bin").mkdir(parents=True)
    shutil.copy((BASE / "bin" / VERSION).resolve(), prefix / "bin" / VERSION)
    (prefix / "bin" / "python").symlink_to(VERSION)
    library = prefix / "lib" / VERSION
    (library / "site-packages").mkdir(parents=True)
    for each in (BASE / "lib" / VERSION).iterdir():
        if each.name != "site-packages":
            (library / each.name).symlink_to(each)
    return prefix


def packages(prefix: Path) -> Path:
    return prefix / "lib" / VERSION / "site-packages"


def environment_of(python: Path, folder: Path) -> Path:
    subprocess.run([python, "-m", "venv", "--without-pip", "--symlinks", folder], check=True)
    return folder


def of_uv(home: Path) -> tuple[str, Path]:
    """An environment in the project, whose Python is a link to one that uv keeps, by way of a link to its newest."""
    kept = home / ".local/share/uv/python"
    installed(kept / "cpython-3.99.1-linux-x86_64-gnu")
    (kept / "cpython-3.99-linux-x86_64-gnu").symlink_to("cpython-3.99.1-linux-x86_64-gnu")
    made = environment_of(kept / "cpython-3.99-linux-x86_64-gnu/bin/python", home / "project/.venv")
    return str(made / "bin/python"), packages(made)


def of_pyenv(home: Path) -> tuple[str, Path]:
    """By its shim, a script that asks a file which version is meant."""
    prefix = installed(home / ".pyenv/versions/3.99.1")
    (home / ".pyenv/version").write_text("3.99.1\n")
    (home / ".pyenv/shims").mkdir()
    shim = home / ".pyenv/shims/python"
    shim.write_text(
        f'#!/bin/sh\nread version < {home}/.pyenv/version\nexec {home}/.pyenv/versions/"$version"/bin/python "$@"\n'
    )
    shim.chmod(0o755)
    return str(shim), packages(prefix)


def of_conda(home: Path) -> tuple[str, Path]:
    prefix = installed(home / ".conda/envs/work")
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta/history").touch()
    return str(prefix / "bin/python"), packages(prefix)


def of_pipx(home: Path) -> tuple[str, Path]:
    """That of the environment which holds the harness, of a Python that is elsewhere, with an editable package beside."""
    base = installed(home / ".pyenv/versions/3.99.1")
    made = environment_of(base / "bin/python", home / ".local/share/pipx/venvs/harness")
    sources = home / ".src/package"
    sources.mkdir(parents=True)
    (packages(made) / "editable.pth").write_text(f"{sources}\n")
    return str(made / "bin/python"), sources


def of_its_user(home: Path) -> tuple[str, Path]:
    """`pip install --user`."""
    python = installed(home / ".python") / "bin/python"
    asked = [python, "-c", "import site; print(site.getusersitepackages())"]
    user_site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    assert user_site.is_relative_to(home / ".local")
    user_site.mkdir(parents=True)
    return str(python), user_site


CODE = """
import subprocess, sys
import mine
print(mine.x, subprocess.run(["python", "-c", "import mine; print(mine.x)"], capture_output=True, text=True).stdout.strip())
for name in sys.argv[1:]:
    try: print(open(name).read())
    except OSError: pass
"""


@pytest.mark.parametrize("layout", [of_uv, of_pyenv, of_conda, of_pipx, of_its_user])
def test_an_interpreter_in_a_hidden_folder_executes_and_no_key_beside_it_is_read(
    layout: Callable[[Path], tuple[str, Path]], sandboxed: str, person: Path, experiment: Path, tmp_path: Path
) -> None:
    """`python` in the experiment is the same one."""
    python, place = layout(person)
    (place / "mine.py").write_text("x = 'imported'")
    keys = [person / name / "key" for name in (".local", ".pyenv", ".conda", ".local/share", ".config")]
    for key in keys:
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text("secret")
    idea = Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller.")
    campaign = create_campaign(tmp_path / "runs", idea, experiment, Options(max_runs=1), python=experiment_python(python))
    opened = OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())
    place, jobs = campaign.execution("run_1/execute"), Jobs(opened)
    job = jobs.job(place, 1, Variant(0))
    job.out_dir.mkdir(parents=True)
    command = (jobs.python, "-c", CODE, *map(str, keys))
    job = replace(job, command=command, readable=(*job.readable, BASE))
    assert wait(LocalExecutor().submit(job, place / "job")).ended == "ok", (place / "job" / "log.txt").read_text()
    assert (place / "job" / "log.txt").read_text() == "imported imported\n"


def test_a_shim_is_taken_for_the_python_that_it_starts_and_an_environment_for_itself(person: Path) -> None:
    shim, _ = of_pyenv(person)
    assert experiment_python(shim) == str(person / ".pyenv/versions/3.99.1/bin/python")
    assert experiment_python(sys.executable) == sys.executable
    broken = person / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert experiment_python(str(broken)) == str(broken)  # doctor says what is wrong with it
    assert os.access(broken, os.X_OK)
