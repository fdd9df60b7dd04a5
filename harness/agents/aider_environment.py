"""aider's own virtual environment, made on first use under the user's cache folder.

aider pins about a hundred packages exactly, and no version of them resolves together with those of an SAE laboratory: so
it gets an environment and a process of its own. The folder is named by the versions of aider and Python.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..campaign.errors import CannotGoOn
from ..campaign.paths import cache_folder

REQUIREMENT = "aider-chat==0.86.2"

PYTHONS = ("3.12", "3.11")
"""aider needs a Python below 3.13; 3.10 does not know PYTHONSAFEPATH, without which aider's linter would import modules
that lie in the workspace."""


def installed() -> Path | None:
    """The Python of aider's environment, or None where it has not been made yet (or not to its end)."""
    for version in PYTHONS:
        folder = _folder(version)
        # The interpreter is a link to the one that made the environment, which may have been removed since.
        if (folder / "complete").is_file() and (folder / "bin" / "python").exists():
            return folder / "bin" / "python"
    return None


def aider_python(on_output: Callable[[str], None]) -> Path:
    """The Python of aider's environment, which is made first where it is missing (about 700 MB, a minute or two).

    `on_output` gets a line now and then while it is made. Two processes never make it at once: the second waits. Raises
    CannotGoOn with the end of pip's output and what to do.
    """
    found = installed()
    if found:
        return found
    base, version = _base_python()
    folder = _folder(version)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock"), on_output):
            return installed() or _make(folder, base, on_output)
    except OSError as error:
        raise CannotGoOn(
            f"aider's environment cannot be made in {folder}: {error}. Free some disk space there, or set HARNESS_CACHE "
            "to a folder with 1 GB to spare."
        ) from error


def _make(folder: Path, base: str, on_output: Callable[[str], None]) -> Path:
    on_output(f"making an environment for {REQUIREMENT} in {folder} (once; a minute or two)")
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    _step("venv", [base, "-m", "venv", str(folder)], folder, lambda line: None)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    _step("pip", [*pip, REQUIREMENT], folder, lambda line: _tell_progress(line, on_output))
    (folder / "complete").write_text(REQUIREMENT + "\n", encoding="utf-8")
    on_output(f"{REQUIREMENT} is installed")
    return python


def _tell_progress(line: str, on_output: Callable[[str], None]) -> None:
    if line.startswith(("Collecting ", "Installing ", "Building ")):
        on_output(line if len(line) <= 100 else line[:97] + "...")


def _step(name: str, command: list[str], folder: Path, on_line: Callable[[str], None]) -> None:
    """Run one step of the making; its output goes to `on_line`. A failure removes what was made."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    end: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            end.append(line.rstrip())
            on_line(end[-1])
    if process.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        todo = {
            "venv": "Install Python's venv module (Debian and Ubuntu: the package python3-venv), then try again.",
            "pip": "Check the network, pip's index settings and the free disk space, then try again: "
            "`harness agents install aider`.",
        }[name]
        output = "\n".join(f"  {line}" for line in end)
        raise CannotGoOn(
            f"aider's environment could not be made: {name} ended with {process.returncode} in {folder}:\n{output}\n{todo}"
        )


def _folder(version: str) -> Path:
    return cache_folder() / f"aider-{REQUIREMENT.partition('==')[2]}-py{version}"


def _base_python() -> tuple[str, str]:
    """A Python that aider works with, and its version."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own in PYTHONS:
        return sys.executable, own
    for version in PYTHONS:
        found = shutil.which(f"python{version}")
        if found and _answers(found, version):
            return found, version
    raise CannotGoOn(
        f"aider needs Python {' or '.join(PYTHONS)}, this is {own}, and no {' or '.join('python' + v for v in PYTHONS)} is "
        "on PATH. Install one of them, or choose another agent with --agent."
    )


def _answers(python: str, version: str) -> bool:
    """Whether `python` runs and is `version`: a version manager's shim may stand for one that is not installed."""
    try:
        result = subprocess.run([python, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0 and re.match(rf"Python {re.escape(version)}\.", result.stdout) is not None


@contextmanager
def _locked(path: Path, on_output: Callable[[str], None]) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_output(f"another process is making aider's environment; waiting for it ({path})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
