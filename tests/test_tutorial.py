"""The tutorial's files and commands, executed as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign
from tests.waiting import HANGS

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder after everything was typed, and what was printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    blocks = BLOCK.findall(PAGE.read_text())
    for _, title, content in blocks:
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(content)
    script = "set -e\n" + "".join(content for language, _, content in blocks if language == "bash")
    commands = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "HARNESS_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "classifier", done.stdout + done.stderr


def test_the_tutorials_change_comes_to_a_verdict(followed: tuple[Path, str]) -> None:
    baseline, run = Campaign(followed[0] / "runs" / "decay").read_records()
    assert len(baseline.seeds) == 5 and not baseline.ignores_seed
    assert run.status == "completed" and run.verdict.kind != "inconclusive", run.verdict


def test_what_the_tutorial_says_is_printed_is_printed(followed: tuple[Path, str]) -> None:
    assert "The step size falls to zero." in followed[1]
    assert (followed[0] / "runs" / "decay" / "report.html").exists() or (followed[0] / "runs" / "decay-report.html").exists()
