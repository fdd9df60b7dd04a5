"""What an execution is not to read: earlier results, and a person's keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.executors.confinement import Confinement

from .executing import Workshop

pytestmark = pytest.mark.skipif(not Confinement([]).possible, reason="the kernel has no Landlock")


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


def read(workshop: Workshop, path: Path, **job: object) -> str:
    """What reading `path` printed in an execution: its text, or the error."""
    workshop.run_python(f"try: print(open({str(path)!r}).read())\nexcept OSError as e: print(type(e).__name__)", **job)
    return workshop.log.decode().strip()


@pytest.mark.parametrize("name", ["run_1/final_info.json", "notes.txt", "../link to campaign/notes.txt"])
def test_what_is_hidden_cannot_be_read(campaign: Path, name: str) -> None:
    workshop = Workshop(campaign / ".harness")
    assert read(workshop, campaign / name, hidden=(campaign,)) == "PermissionError"


def test_one_file_can_be_hidden(campaign: Path, tmp_path: Path) -> None:
    workshop = Workshop(campaign / ".harness")
    assert read(workshop, tmp_path / "key", hidden=(tmp_path / "key", campaign)) == "PermissionError"


def test_a_hard_way_round_is_closed_too(campaign: Path) -> None:
    workshop = Workshop(campaign / ".harness")
    workshop.run_python(
        f"import os\ntry: os.link({str(campaign / 'notes.txt')!r}, 'notes'); print(open('notes').read())\n"
        "except OSError as e: print(type(e).__name__)",
        hidden=(campaign,),
    )
    assert b"notes" not in workshop.log.splitlines()


def test_the_rest_can_be_read_and_the_working_copy_inside_it(campaign: Path) -> None:
    workshop = Workshop(campaign / ".harness")
    (workshop.folder / "own.txt").write_text("own")
    outcome = workshop.run_python(
        f"print(open('own.txt').read(), open({str(campaign.parent / 'data.txt')!r}).read())\n"
        "open('own.txt', 'w').write('new'); print(open('own.txt').read())\n"
        "import json, subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'print(6 * 7)']).decode())",
        hidden=(campaign, Path("/no/such/place")),
    )
    assert outcome.ended == "ok" and outcome.confined
    assert workshop.log.split() == [b"own", b"data", b"new", b"42"]


def test_without_anything_hidden_everything_can_be_read(campaign: Path) -> None:
    assert read(Workshop(campaign / ".harness"), campaign / "notes.txt") == "notes"
