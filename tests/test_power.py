"""What a finished step has written outlives a power cut.

The campaign lies in a file system of its own, in an image. What stands in the image at an instant is what a power cut at that
instant would leave on the disk.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.journal import Journal
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on

Make = Callable[..., Campaign]
RESUMED = ("start", "run_1/attempt_1/turn", "run_1/record")
"""Steps after which a power cut is followed by a resume; after all others it is looked at what is left."""


def mount(image: Path, place: Path) -> Path:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True, capture_output=True)
    return place


def unmount(place: Path) -> None:
    subprocess.run(["umount", place], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An image with a file system that is mounted where campaigns are made."""
    image, place = tmp_path / "disk", tmp_path / "runs"
    with image.open("wb") as file:
        file.truncate(32_000_000)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
        mount(image, place)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield image
    finally:
        unmount(place)


def test_what_a_finished_step_has_written_outlives_a_power_cut(
    disk: Path, tmp_path: Path, make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {"text": "HYPOTHESIS: less.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}
    campaign = make_campaign({"run 1, attempt 1": change, "run 2, attempt 1": {"text": "ALL_COMPLETED"}})
    append, cuts = Journal.append, tmp_path / "cuts"
    cuts.mkdir()

    def append_and_copy(self: Journal, event: str, **facts: Any) -> None:
        append(self, event, **facts)
        if event == "done":
            shutil.copyfile(disk, cuts / facts["step"].replace("/", "."))

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append_and_copy)
        assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    records = [record.metrics for record in campaign.read_records()]
    assert len(records) == 2
    unmount(tmp_path / "runs")
    for image in sorted(cuts.iterdir()):
        mount(image, tmp_path / "runs")
        try:
            _is_whole(campaign, image.name)
            if image.name in [step.replace("/", ".") for step in RESUMED]:
                assert go_on(Campaign(campaign.root), view=Silent(), stop=Stop()).exit_code == 0
                assert [record.metrics for record in campaign.read_records()] == records
        finally:
            unmount(tmp_path / "runs")
    mount(disk, tmp_path / "runs")


def _is_whole(campaign: Campaign, after: str) -> None:
    done = [step for step, _ in Journal(campaign.journal)._done.items()]
    assert done[-1].replace("/", ".") == after
    fsck = subprocess.run(["git", "fsck", "--strict"], cwd=campaign.root, capture_output=True, text=True, check=False)
    assert fsck.returncode == 0, fsck.stderr
    for step in done:
        if step.endswith("/record"):
            run = int(step.removesuffix("/record").removeprefix("run_"))
            assert json.loads(campaign.record_file(run).read_text())["run"] == run
            assert json.loads((campaign.run_folder(run) / "final_info.json").read_text())["metrics"]
