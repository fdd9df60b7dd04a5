"""Set-up and packaging: what a person types first works, and an installed harness has all that a checkout has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import HANGS, until

ROOT = Path(__file__).parent.parent

PYTHON = """#!/bin/sh
# Stands for any Python: writes down what it is asked for, and makes an environment with itself in it.
echo "$(basename "$0") $*" >>"$LOG"
case "$1 $2" in
--version*) echo "Python 3.12.1" ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip")
    if [ -e "$LOG.slow" ]; then touch "$LOG.waits"; while [ -e "$LOG.slow" ]; do sleep 0.05; done; fi
    if [ -e "$LOG.kill" ]; then kill -9 "$PPID"; fi
    if [ -e "$LOG.fail" ]; then echo "no network"; exit 1; fi ;;
-c*) [ ! -e "$LOG.old" ] ;;
esac
"""


class Checkout:
    """A copy of what set-up reads, with a Python that only pretends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a checkout"
        self.folder.mkdir()
        for name in ("setup.sh", "constraints.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        programs = folder / "programs"
        programs.mkdir()
        for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
            (programs / name).write_text(PYTHON)
            (programs / name).chmod(0o755)
        self._log = folder / "log"
        self._environment = {"PATH": f"{programs}:{os.environ['PATH']}", "LOG": str(self._log)}

    def set_up(self, what: str) -> subprocess.CompletedProcess[str]:
        self._log.write_text("")
        command = ["bash", str(self.folder / "setup.sh"), what]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=HANGS)

    def start(self, what: str) -> subprocess.Popen[str]:
        command = ["bash", str(self.folder / "setup.sh"), what]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True)

    def switch(self, name: str, on: bool = True) -> None:
        switch = self._log.with_name(f"log.{name}")
        switch.touch() if on else switch.unlink()

    def is_on(self, name: str) -> bool:
        return self._log.with_name(f"log.{name}").exists()

    @property
    def asked(self) -> list[str]:
        """What was asked for, without the looks at versions."""
        return [line for line in self._log.read_text().splitlines() if " -m " in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_second_set_up_does_nothing(checkout: Checkout) -> None:
    first = checkout.set_up("dev")
    assert first.returncode == 0, first.stderr
    assert checkout.asked[0].split()[:3] == ["python3", "-m", "venv"]
    again = checkout.set_up("dev")
    assert (again.returncode, again.stdout, checkout.asked) == (0, "", [])
    assert checkout.set_up("run").stdout == ""


def test_everything_is_installed_as_pinned(checkout: Checkout) -> None:
    checkout.set_up("sae")
    installs = [line for line in checkout.asked if "pip install" in line]
    assert len(installs) == 4
    assert all("-c constraints.txt" in line for line in installs)


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_an_interrupted_set_up_is_begun_afresh_by_the_next(checkout: Checkout, how: str) -> None:
    checkout.switch(how)
    assert checkout.set_up("run").returncode != 0
    half = checkout.folder / ".venv" / "half"
    half.touch()
    checkout.switch(how, on=False)
    assert checkout.set_up("run").returncode == 0
    assert not half.exists()
    assert checkout.set_up("run").stdout == ""


def test_a_failed_installation_says_what_to_do(checkout: Checkout) -> None:
    checkout.switch("fail")
    done = checkout.set_up("run")
    assert done.returncode == 1
    assert "no network" in done.stdout and "Check the network" in done.stderr


def test_new_pins_are_installed_into_the_environment_that_is_there(checkout: Checkout) -> None:
    checkout.set_up("dev")
    with (checkout.folder / "constraints.txt").open("a") as file:
        file.write("six==1.16.0\n")
    checkout.set_up("dev")
    assert [line for line in checkout.asked if " -m venv" in line] == []
    assert len([line for line in checkout.asked if "pip install" in line]) == 5


def test_a_checkout_that_was_moved_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.set_up("run")
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    checkout.set_up("run")
    assert len([line for line in checkout.asked if " -m venv" in line]) == 1


def test_without_a_python_that_is_new_enough_it_says_so(checkout: Checkout) -> None:
    checkout.switch("old")
    done = checkout.set_up("run")
    assert done.returncode == 1
    assert "needs Python 3.11 or newer; python3 is Python 3.12.1" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_a_torchvision_that_does_not_fit_is_removed(checkout: Checkout) -> None:
    checkout.set_up("sae")
    assert "python -m pip uninstall -qq -y torchvision" in checkout.asked


def test_two_set_ups_at_once_are_one(checkout: Checkout) -> None:
    checkout.switch("slow")
    with checkout.start("run") as first:
        until(lambda: checkout.is_on("waits"))
        with checkout.start("run") as second:
            assert second.stdout is not None
            said = second.stdout.readline()  # before the first goes on
            checkout.switch("slow", on=False)
            said += second.communicate(timeout=HANGS)[0]
        first.communicate(timeout=HANGS)
    assert (first.returncode, second.returncode) == (0, 0)
    assert said == "set-up: waiting for another one in this checkout\n"
    assert len([line for line in checkout.asked if " -m venv" in line]) == 1


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for requirement in wanted:
        name = re.split(r"[\[<>=]", requirement)[0].lower()
        assert name == "harness" or re.search(rf"^{re.escape(name)}==", pinned, re.MULTILINE), requirement


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs a script with the harness as a wheel installs it, outside the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    quiet = ["-qq", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", *quiet, "--no-build-isolation", "-w", folder, ROOT], check=True, timeout=HANGS)
    (wheel,) = folder.glob("harness-*.whl")
    subprocess.run([*pip, "install", *quiet, "--no-index", "--target", folder / "site", wheel], check=True, timeout=HANGS)

    def run(script: str, *arguments: str) -> str:
        command = [sys.executable, "-c", f"import harness\nprint(harness.__file__)\n{script}", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(folder / "site")}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HANGS)
        assert done.returncode == 0, done.stderr
        place, _, rest = done.stdout.partition("\n")
        assert Path(place).is_relative_to(folder / "site")
        return rest

    return run


def test_an_installed_harness_makes_an_experiment(installed: Callable[..., str], tmp_path: Path) -> None:
    said = installed(
        "import sys\nfrom harness.cli.main import main\nsys.argv = ['harness', 'init', sys.argv[1]]\nmain()",
        str(tmp_path / "mine"),
    )
    assert "harness run ideas/first.json" in said
    made = sorted(path.relative_to(tmp_path / "mine") for path in (tmp_path / "mine").rglob("*") if path.is_file())
    source = ROOT / "templates" / "init"
    template = [path.relative_to(source) for path in source.rglob("*.*") if "__pycache__" not in path.parts]
    assert made == sorted([*template, Path(".schemas/contract.json"), Path(".schemas/idea.json")])


def test_an_installed_harness_has_its_templates_and_sessions(installed: Callable[..., str]) -> None:
    names = [path.name for path in (ROOT / "templates").glob("*.j2")]
    assert names
    installed(f"from harness.campaign.text import template\nfor name in {names}: template(name)")
    sessions = installed("from pathlib import Path\nprint(*(Path(harness.__file__).parent / 'sessions').iterdir())")
    assert sorted(Path(path).name for path in sessions.split()) == sorted(
        path.name for path in (ROOT / "sessions").iterdir()
    )
