"""No folder for temporary files stays for good, however its process ended."""

from __future__ import annotations

import os
from pathlib import Path

from harness.campaign.temporary import TemporaryFolder, remove_left
from harness.execution import baseline_cache
from tests.hindrance import in_a_child, killed
from tests.in_memory import put_in_memory, take_out_of_memory


def age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    def is_killed() -> None:
        with TemporaryFolder(tmp_path) as folder:
            Path(folder, "file").write_text("x")
            killed()

    in_a_child(is_killed)
    (left,) = tmp_path.iterdir()
    with TemporaryFolder(tmp_path) as mine:
        for folder in tmp_path.iterdir():
            age(folder)
        remove_left(tmp_path)
        assert not left.exists() and Path(mine).is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_only_just_made_and_what_is_no_folder_of_the_harness_stay(tmp_path: Path) -> None:
    for name in ("harness-temporary-made", "harness-other", "harness-temporary-link"):
        (tmp_path / name).mkdir() if "link" not in name else (tmp_path / name).symlink_to("harness-other")
    age(tmp_path / "harness-other")
    remove_left(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_results_of_a_baseline_that_a_killed_process_was_keeping_are_gone_when_the_next_are_kept(tmp_path: Path) -> None:
    results, place = tmp_path / "results", tmp_path / "kept"
    for folder in (results, place / f"0.{os.getppid()}.new", place / f"1.{2**22 + 1}.new"):  # no process has that number
        folder.mkdir(parents=True)
    baseline_cache.store(place, 1, results)
    assert sorted(path.name for path in place.iterdir()) == [f"0.{os.getppid()}.new", "1"]


def test_what_a_test_left_in_memory_lies_on_the_disk_in_the_end(tmp_path: Path) -> None:
    def is_left() -> None:
        for name in ("left", "empty"):
            (tmp_path / name).mkdir()
            put_in_memory(tmp_path / name)
        (tmp_path / "left" / "folder").mkdir()
        (tmp_path / "left" / "folder" / "file").write_text("x")
        for name in ("left", "empty"):
            take_out_of_memory(tmp_path / name)
            assert not (tmp_path / name).is_mount()

    in_a_child(is_left)
    assert (tmp_path / "left" / "folder" / "file").read_text() == "x"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "left" / "folder" / "file"]
