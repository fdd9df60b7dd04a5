"""How aider's environment is made, with a small wheel in aider's place."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from harness.agents import aider_environment as environment
from harness.agents.aider_environment import aider_python, installed
from harness.campaign.errors import CannotGoOn


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch) -> Path:
    """A package index with one small package, which stands for aider; the cache is an empty folder."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "answer = 42\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(environment, "REQUIREMENT", "tiny==1.0")
    return folder


def answer_of(python: Path) -> str:
    return subprocess.run([python, "-c", "import tiny; print(tiny.answer)"], capture_output=True, text=True).stdout


@pytest.mark.slow
def test_half_an_environment_is_not_used_but_made_again_and_a_whole_one_is_found_afterwards(wheels, tmp_path):
    wheel = next(wheels.iterdir())
    wheel.rename(tmp_path / wheel.name)
    with pytest.raises(CannotGoOn, match=r"(?s)pip ended with 1.*No matching distribution.*harness agents install"):
        aider_python(lambda line: None)
    assert installed() is None
    left = [path for path in (tmp_path / "a cache").iterdir() if path.suffix != ".lock"]
    assert left == []
    # What a killed harness leaves: a folder that looks nearly whole.
    (tmp_path / wheel.name).rename(wheel)
    folder = environment._folder(f"{sys.version_info.major}.{sys.version_info.minor}")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "rest.txt").write_text("old")
    assert installed() is None
    lines: list[str] = []
    python = aider_python(lines.append)
    assert answer_of(python) == "42\n"
    assert python.is_relative_to(tmp_path / "a cache") and "tiny==1.0" in lines[0] and str(python.parents[1]) in lines[0]
    assert not (folder / "rest.txt").exists()
    lines.clear()
    assert aider_python(lines.append) == python == installed() and lines == []
    (python.parents[1] / "bin" / "python").unlink()
    assert installed() is None, "its interpreter was removed since"


@pytest.mark.slow
def test_two_processes_make_it_once(wheels):
    script = """
        from harness.agents import aider_environment as environment
        environment.REQUIREMENT = "tiny==1.0"
        print("ready", flush=True)
        input()
        print(environment.aider_python(print))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in "ab"
    ]
    for process in both:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    output = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(output).count("making an environment") == 1
    assert output[0].splitlines()[-1] == output[1].splitlines()[-1] == str(installed())


def test_without_a_fitting_python_it_says_which(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setattr(environment, "PYTHONS", ("3.98",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotGoOn, match=r"python3\.98"):
        aider_python(lambda line: None)
    shim = tmp_path / "python3.98"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    with pytest.raises(CannotGoOn, match=r"python3\.98"):
        aider_python(lambda line: None)
    shim.write_text("#!/bin/sh\necho Python 3.98.1\n")
    assert environment._base_python() == (str(shim), "3.98")


def test_a_cache_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CannotGoOn, match="HARNESS_CACHE"):
        aider_python(lambda line: None)
