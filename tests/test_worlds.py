"""Worlds of known features: rows that executions read, and a truth that only scores are made with."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import saelab
from harness.agents.agent_sandbox import AgentSandbox
from harness.execution.prepared_data import PreparedData
from harness.execution.scoring import sealed_folders
from saelab import worlds
from saelab.errors import CannotPrepare
from saelab.scoring import score_rows
from saelab.settings import Settings, SettingsError
from saelab.synthetic import Floats, build_world, sample_split

from .executing import Workshop
from .waiting import HANGS

ROOT = Path(__file__).parents[1]
QUICK = {"train_rows": 4096, "eval_rows": 1024}


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The laboratory's cache."""
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "lab"))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "lab"


def settings(**changed: object) -> Settings:
    return saelab.load_settings(ROOT, {"HARNESS_OVERRIDES": json.dumps(QUICK | changed)})


def prepared(**changed: object) -> Settings:
    found = settings(**changed)
    worlds.ensure(found, print)
    return found


def training_rows(found: Settings) -> set[bytes]:
    return set(map(bytes, worlds.activations(found)))


def test_the_public_world_is_the_generators_from_its_seed_alone() -> None:
    public = prepared()
    assert np.array_equal(worlds.activations(public), sample_split(public, "train", "")[1])
    truth = worlds.truth(public)
    magnitudes, rows = sample_split(public, "eval", "")
    assert np.array_equal(truth.arrays["magnitudes"], magnitudes) and np.array_equal(truth.arrays["activations"], rows)
    assert np.array_equal(truth.arrays["directions"], build_world(public, "").directions)
    assert worlds.told(public, truth)["truth"] == "can be rebuilt from data_seed"


def test_a_private_world_is_drawn_once_and_no_seed_gives_it(lab: Path) -> None:
    mine = prepared(world="mine")
    rows, truth = training_rows(mine), worlds.truth(mine)
    assert training_rows(prepared(world="mine")) == rows
    assert worlds.told(mine, truth)["truth"] == "is in this machine's cache alone"
    others = [prepared(world="other"), prepared(world="public"), prepared(world="mine", data_seed=21)]
    for other in others:
        assert rows.isdisjoint(training_rows(other))
        assert worlds.truth(other).world_id != truth.world_id
        assert not np.allclose(worlds.truth(other).arrays["directions"], truth.arrays["directions"])
    (bits,) = (
        file.read_text() for file in (lab / "truth").glob("mine-*/bits.hex") if file.parent == worlds.folders(mine)[1]
    )
    assert len(bytes.fromhex(bits)) == 16


def test_what_training_does_not_change_is_the_same_world() -> None:
    mine = prepared(world="mine")
    assert worlds.folders(settings(world="mine", k=3, steps=7, lr=1.0)) == worlds.folders(mine)


def test_nobody_but_its_owner_looks_at_the_truth(lab: Path) -> None:
    prepared(world="mine")
    assert stat.S_IMODE((lab / "truth").stat().st_mode) == 0o700
    (bits,) = (lab / "truth").glob("*/bits.hex")
    assert stat.S_IMODE(bits.stat().st_mode) == 0o600
    assert stat.S_IMODE(bits.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("part", ["rows", "truth"])
def test_a_half_that_is_lost_or_changed_is_made_again_and_both_belong_together(lab: Path, part: str) -> None:
    mine = prepared(world="mine")
    before, world_id = training_rows(mine), worlds.truth(mine).world_id
    (folder,) = (each for each in (lab / part).iterdir() if each.is_dir())
    (folder / "activations.npy").write_bytes(b"damaged")
    prepared(world="mine")
    # The bits lie with the truth: without it nobody has this world any more, and its rows are of another.
    assert (training_rows(mine) == before) is (part == "rows")
    assert (worlds.truth(mine).world_id == world_id) is (part == "rows")
    bits = (worlds.folders(mine)[1] / "bits.hex").read_text()
    assert training_rows(mine) == set(map(bytes, sample_split(mine, "train", bits)[1]))


def test_what_will_be_read_is_told_with_checksums() -> None:
    mine = prepared(world="mine")
    read = PreparedData(worlds.reads(mine))
    assert {Path(path).parent for path in worlds.reads(mine)} == set(worlds.folders(mine))
    assert read.altered(joined=True) is None
    other = PreparedData(worlds.reads(prepared(world="other")))
    assert len({read.digest, other.digest, PreparedData({}).digest}) == 3
    (worlds.folders(mine)[1] / "magnitudes.npy").write_bytes(b"other")
    assert read.altered(joined=True) == worlds.folders(mine)[1] / "magnitudes.npy"


def test_an_experiment_that_writes_into_a_batch_changes_no_row() -> None:
    mine = replace(prepared(world="mine"), steps=1)
    before = training_rows(mine)
    whole = torch.from_numpy(worlds.activations(mine))
    whole.zero_()
    for x in saelab.activations(mine):
        x.zero_()
    assert training_rows(mine) == before


def test_where_no_world_can_be_made_it_is_said_what_makes_it(lab: Path) -> None:
    lab.write_text("a file, and no folder")
    for ask in (worlds.activations, worlds.truth):
        with pytest.raises(
            CannotPrepare, match=r"^world mine, data_seed 20 .*cannot be written.*`python -m saelab.prepare`"
        ):
            ask(settings(world="mine"))


@pytest.mark.parametrize("name", ["", "../public", "a/b", ".", "x" * 65])
def test_a_name_that_is_no_name_of_a_world_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"world .*: expected public, or a name"):
        settings(world=name)


def test_the_scores_of_version_1_are_what_they_were() -> None:
    """Where this fails a score means something else than before: raise VERSION of `saelab.scorer`, and write the new ones."""
    from saelab.scorer.__main__ import VERSION

    public = settings()
    world = build_world(public, "")
    magnitudes, rows = sample_split(public, "eval", "")

    class Absorbing:
        """Each latent carries a part of its feature's parent."""

        W = world.directions + 0.7 * world.directions[world.parent] * (world.parent >= 0)[:, None]

        def encode(self, x: Floats) -> Floats:
            return np.maximum(x @ self.W.T - 0.9, 0)

        def decode(self, f: Floats) -> Floats:
            return f @ self.W

    scores = score_rows(Absorbing(), world, magnitudes, rows)
    of_version_1 = {
        "explained_variance": -14.6845,
        "mse": 2.145,
        "cosine": 0.8706,
        "l0": 18.2783,
        "f1": 0.3859,
        "absorption": 0.0141,
        "hierarchy_quality": 0.8296,
        "dead_latents": 0,
        "mcc": 0.8881,
        "uniqueness": 1,
        "bought_by_negligible_codes": 0.0026,
        "negligible_share": 0.0572,
    }
    assert VERSION == 1
    assert scores == pytest.approx(of_version_1, abs=5e-4)


STEALS = """
import os, sys
from pathlib import Path
for folder in map(Path, sys.argv[2:]):
    try:
        for file in [*folder.iterdir(), *folder.rglob("*"), *map(Path, sys.argv[1].split(":"))]:
            if file.is_file():
                print("stolen:", file, len(file.read_bytes()))
    except OSError as error:
        print("refused:", error.strerror)
print("tried")
"""


def test_no_execution_reads_the_truth_and_every_one_reads_the_rows(tmp_path: Path, lab: Path, sandboxed: str) -> None:
    mine = prepared(world="mine")
    rows, truth = worlds.folders(mine)
    files = ":".join(map(str, sorted(truth.iterdir())))

    def read(*folders: Path) -> str:
        shop = Workshop(tmp_path / folders[0].parent.name)
        command = (sys.executable, "-c", STEALS, files, *map(str, folders))
        assert shop.run(*command, readable=(lab,), hidden=sealed_folders()).ended == "ok"
        return shop.log.decode()

    assert "stolen" not in read(truth, truth.parent)
    assert f"stolen: {rows / 'activations.npy'}" in read(rows)


def test_no_agent_reads_the_truth(tmp_path: Path, lab: Path, sandboxed: str) -> None:
    mine = prepared(world="mine")
    truth = worlds.folders(mine)[1]
    (tmp_path / "workspace").mkdir()
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-c", STEALS, ":".join(map(str, sorted(truth.iterdir()))), str(truth), str(truth.parent)]
    readable = (Path(sys.prefix), Path(sys.base_prefix), lab)
    with AgentSandbox(tmp_path / "workspace", tmp_path / "home", readable=readable) as agent:
        box = agent.sandbox
        done = subprocess.run(
            box.command(command), preexec_fn=box.enter, capture_output=True, text=True, timeout=HANGS, check=True
        )
    assert "stolen" not in done.stdout and done.stdout.endswith("tried\n")


def test_what_joined_the_read_files_spoils_all_that_ran_then_unless_a_scorer_was_at_work(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("1")
    read = PreparedData({str(tmp_path / "rows"): hashlib.sha256(b"1").hexdigest()})
    with read.scored():
        (tmp_path / "of_the_scorer").write_text("2")
        assert read.altered(joined=True) is None
    assert read.altered(joined=False) is None
    assert read.altered(joined=True) is None
    (tmp_path / "planted").write_text("3")
    assert [read.altered(joined=True), read.altered(joined=True)] == [tmp_path / "planted"] * 2
