"""`harness clean` tells what is on disk and removes what is named, and nothing else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.agents.workspace_folder import WorkspaceFolder
from harness.campaign.errors import CannotGoOn
from harness.campaign.journal import locked
from harness.campaign.protocols import Job
from harness.cli.clean import Item, remove, usage
from harness.cli.main import cli
from harness.execution.executors.local import LocalExecutor

from .executing import READABLE

MB = 10**6


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "runs"


def make_campaign(runs: Path, name: str) -> Path:
    root = runs / name
    (root / ".harness").mkdir(parents=True)
    for file in ("campaign.json", "journal.jsonl", "idea.json"):
        (root / file).write_text("{}\n")
    return root


def left_workspace(root: Path) -> Path:
    """The agent's workspace that a killed harness left."""
    workspace = WorkspaceFolder(root / ".harness").begin()
    (workspace / "run_1").mkdir()
    return workspace


def find(runs: Path, kind: str, name: str = "") -> Item:
    found = [item for item in usage(runs) if item.kind == kind and (not name or item.name == name)]
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def execution(runs: Path) -> Iterator[Path]:
    """A campaign whose harness is gone and whose experiment still runs."""
    root = make_campaign(runs, "orphaned")
    place = root / ".harness" / "executions" / "run_1.execute"
    (place / "copy" / "run_1").mkdir(parents=True)
    job = Job(
        (sys.executable, "-c", "import time; time.sleep(600)"),
        place / "copy",
        place / "copy" / "run_1",
        place / "scratch",
        {"PATH": os.environ["PATH"]},
        readable=READABLE,
    )
    started = LocalExecutor().submit(job, place / "job")
    yield root
    started.wait(lambda line: None, lambda: True)


def test_sizes_are_those_on_disk(runs: Path) -> None:
    root = make_campaign(runs, "one")
    (root / "run_0").mkdir()
    (root / "run_0" / "weights").write_bytes(bytes(3 * MB))
    os.link(root / "run_0" / "weights", root / "run_0" / "again")
    assert 3 * MB <= find(runs, "campaign").size < 3.2 * MB


def test_what_a_link_leads_to_neither_counts_nor_goes(runs: Path, tmp_path: Path) -> None:
    root = make_campaign(runs, "one")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(bytes(3 * MB))
    (root / "link").symlink_to(outside)
    (root / "run_0").mkdir()
    (root / "run_0" / "link").symlink_to(outside)
    item = find(runs, "campaign")
    assert item.size < MB
    remove(item)
    assert not root.exists()
    assert (outside / "precious").exists()


def test_a_campaign_that_is_a_link_is_left_alone(runs: Path, tmp_path: Path) -> None:
    elsewhere = make_campaign(tmp_path / "elsewhere", "one")
    (elsewhere / ".harness" / "executions" / "run_1.execute").mkdir(parents=True)
    runs.mkdir()
    (runs / "one").symlink_to(elsewhere)
    item = find(runs, "campaign")
    with pytest.raises(CannotGoOn, match="is a link"):
        remove(item)
    assert (elsewhere / "campaign.json").exists()
    assert [each.kind for each in usage(runs)] == ["campaign"]


def test_working_copies_that_lie_elsewhere_are_left_alone(runs: Path, tmp_path: Path) -> None:
    root = make_campaign(runs, "one")
    (tmp_path / "elsewhere" / "executions" / "precious").mkdir(parents=True)
    (root / ".harness").rmdir()
    (root / ".harness").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotGoOn, match="harness is a link"):
        remove(find(runs, "campaign"))
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["executions"]


def test_folders_deeper_than_recursion_goes_are_removed(runs: Path) -> None:
    here = os.open(make_campaign(runs, "one"), os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    remove(find(runs, "campaign"))
    assert not (runs / "one").exists()


def test_removing_working_copies_keeps_the_campaign(runs: Path) -> None:
    root = make_campaign(runs, "one")
    (root / ".harness" / "executions" / "run_1.execute" / "copy").mkdir(parents=True)
    workspace = left_workspace(root)
    (root / ".harness" / "history.json").write_text("[]")
    remove(find(runs, "working copies"))
    assert not workspace.exists()
    assert not (root / ".harness" / "executions" / "run_1.execute").exists()
    assert (root / "journal.jsonl").exists() and (root / ".harness" / "history.json").exists()
    assert [item.kind for item in usage(runs)] == ["campaign"]


def test_a_campaign_that_a_living_process_holds_is_never_touched(runs: Path) -> None:
    root = make_campaign(runs, "one")
    workspace = left_workspace(root)
    items = usage(runs)
    with locked(root / ".harness" / "lock"):
        for item in items:
            with pytest.raises(CannotGoOn, match="a process runs this campaign"):
                remove(item)
    assert workspace.exists() and (root / "journal.jsonl").exists()
    remove(find(runs, "campaign"))
    assert not root.exists() and not workspace.exists()


def test_a_workspace_that_a_campaign_names_and_the_harness_did_not_make_is_left_alone(runs: Path, tmp_path: Path) -> None:
    root = make_campaign(runs, "one")
    (tmp_path / "precious").mkdir()
    (root / ".harness" / "workspace.json").write_text(json.dumps({"path": str(tmp_path / "precious")}))
    assert [item.kind for item in usage(runs)] == ["campaign"]
    remove(find(runs, "campaign"))
    assert (tmp_path / "precious").exists()


def test_an_experiment_that_outlived_its_harness_keeps_its_working_copy(runs: Path, execution: Path) -> None:
    for item in usage(runs):
        assert "still runs" in item.in_use
        with pytest.raises(CannotGoOn, match="still runs"):
            remove(item)
    assert (execution / ".harness" / "executions" / "run_1.execute" / "copy").exists()


def test_nothing_else_in_the_folders_is_listed(runs: Path, tmp_path: Path) -> None:
    make_campaign(runs, "one")
    (runs / "mine").mkdir()
    (runs / "mine" / "file").write_text("mine")
    assert [(item.kind, item.name) for item in usage(runs)] == [("campaign", "one")]


def test_a_campaign_is_named_by_its_path_like_everywhere(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    kept, gone = make_campaign(runs.parent / "out", "kept"), make_campaign(runs.parent / "out", "gone")
    left_workspace(kept)
    done = CliRunner().invoke(cli, ["clean", "--yes", "out/gone", "out/kept:copies"])
    assert done.exit_code == 0, done.output
    assert kept.is_dir() and not gone.exists()
    assert [item.kind for item in usage(runs.parent / "out")] == ["campaign"]
    assert "there is no such thing" in CliRunner().invoke(cli, ["clean", "out/gone"]).output


def test_a_campaign_that_cannot_be_locked_is_not_removed_and_it_is_said_why(runs: Path) -> None:
    root = make_campaign(runs, "done")
    (root / ".harness" / "lock").mkdir()
    with pytest.raises(CannotGoOn, match=r"done: cannot be removed: .*lock: Is a directory"):
        remove(find(runs, "campaign"))
    assert (root / "journal.jsonl").exists()
