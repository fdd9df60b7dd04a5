"""Campaigns for tests: a small experiment of the standard library and a scripted agent; everything else is real."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import Campaign, Options, create_campaign
from harness.idea import Idea

SMALL = Path(__file__).parent / "small"

# As a terminal leaves them: nohup and a shell's background ignore some, and what is started here would inherit that.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder with the small experiment."""
    return Path(shutil.copytree(SMALL, tmp_path / "experiment", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def make_campaign(tmp_path: Path, experiment: Path) -> Callable[..., Campaign]:
    """Makes a campaign of the small experiment whose agent follows a script (see tests/scripted.py)."""

    def make(script: dict[str, Any], **options: Any) -> Campaign:
        session = tmp_path / "script.json"
        session.write_text(json.dumps(script))
        return create_campaign(
            tmp_path / "runs",
            Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
            experiment,
            Options(agent="tests.scripted:ScriptedAgent", **{"max_runs": 2} | options),
            python=sys.executable,
            session=session,
        )

    return make
