"""`harness cache` tells what the caches hold and removes what is named, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.campaign.errors import CannotGoOn
from harness.cli.cache import Cached, age, cached, remove
from harness.cli.main import cli
from saelab.cache import make_once

MB = 10**6


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_LAB_CACHE", raising=False)
    return tmp_path / "cache"


def harvest(cache: Path, name: str = "harvests/model-layer1") -> Path:
    """A folder of the laboratory, as the laboratory makes it."""

    def make(folder: Path) -> None:
        (folder / "block").write_bytes(bytes(2 * MB))

    return make_once(cache / "lab" / name, make, print, what="activations of a model")


def environment(cache: Path) -> Path:
    folder = cache / "aider-1.0-py3.11"
    (folder / "bin").mkdir(parents=True)
    (folder / "complete").write_text("aider\n")
    return folder


def one(name: str) -> Cached:
    found = [item for item in cached() if item.name == name]
    assert len(found) == 1, cached()
    return found[0]


def test_each_thing_is_listed_with_what_it_is_and_its_size(cache: Path) -> None:
    harvest(cache)
    harvest(cache, "evals/core-1")
    environment(cache)
    for seed in ("1", "2", "3.77.new"):
        (cache / "baselines" / ("f" * 32) / seed).mkdir(parents=True)
    (cache / "lab" / "hashes").mkdir()
    (cache / "lab" / "hashes" / "a.txt").write_text("hash")
    (cache / "lab" / "corpus").mkdir()
    (cache / "lab" / "corpus" / "mine.jsonl").write_text("{}")
    (cache / "lab" / "empty").mkdir()
    (cache / "lab" / "harvests" / "killed.new").mkdir()
    (cache / "mine").mkdir()
    found = {item.name: item.what for item in cached()}
    assert found == {
        "aider-1.0-py3.11": "an agent's packages",
        "baselines/ffffffffffff": "results of an unmodified experiment, 2 seeds",
        "corpus": "not made by the harness",
        "evals/core-1": "activations of a model",
        "harvests/killed.new": "unfinished; nothing reads it",
        "harvests/model-layer1": "activations of a model",
        "hashes": "hashes of large files",
    }
    assert 2 * MB <= one("harvests/model-layer1").size < 2.1 * MB
    assert [item.name for item in cached() if not item.is_made_again] == ["corpus"]


def test_age_is_told_in_the_unit_that_fits(cache: Path) -> None:
    folder = harvest(cache)
    for seconds, words in ((5, "5 s"), (130, "2 min"), (7 * 3600, "7 h"), (9 * 86_400, "9 d")):
        os.utime(folder, (time.time() - seconds,) * 2)
        assert age(one("harvests/model-layer1")) == words


def test_what_is_removed_is_gone_and_nothing_else(cache: Path) -> None:
    folder, other = harvest(cache), harvest(cache, "harvests/other")
    remove(one("harvests/model-layer1"))
    assert not folder.exists() and (other / "block").exists()
    assert [item.name for item in cached()] == ["harvests/other"]
    assert (harvest(cache) / "block").exists()  # and is made again


def test_what_cannot_be_removed_whole_does_not_pass_for_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = harvest(cache)

    def fail(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path / "block"))

    with monkeypatch.context() as failing, pytest.raises(CannotGoOn, match="block: cannot be removed: Permission denied"):
        failing.setattr(shutil, "rmtree", fail)
        remove(one("harvests/model-layer1"))
    assert not folder.exists()
    assert [item.what for item in cached()] == ["unfinished; nothing reads it"]
    remove(cached()[0])
    assert cached() == []


def test_what_is_being_made_stays(cache: Path) -> None:
    folder = harvest(cache)
    folder.rename(folder.with_name(folder.name + ".new"))
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CannotGoOn, match="another process is making it"):
            remove(one("harvests/model-layer1.new"))


def test_what_a_process_reads_or_was_started_from_stays(cache: Path) -> None:
    folder = harvest(cache)
    with (
        (folder / "block").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
        pytest.raises(CannotGoOn, match=f"process {os.getpid()} uses it"),
    ):
        remove(one("harvests/model-layer1"))
    remove(one("harvests/model-layer1"))
    sleep = shutil.which("sleep")
    assert sleep
    python = environment(cache) / "bin" / "python"
    python.symlink_to(sleep)
    with subprocess.Popen([python, "600"]) as process:
        try:
            with pytest.raises(CannotGoOn, match=f"process {process.pid} uses it"):
                remove(one("aider-1.0-py3.11"))
        finally:
            process.kill()
    remove(one("aider-1.0-py3.11"))
    assert cached() == []


def test_what_a_link_leads_to_neither_counts_nor_goes(cache: Path, tmp_path: Path) -> None:
    harvest(cache)
    elsewhere = tmp_path / "elsewhere"
    (cache / "lab" / "harvests" / "model-layer1").rename(elsewhere)
    (cache / "lab" / "harvests" / "model-layer1").symlink_to(elsewhere)
    item = one("harvests/model-layer1")
    assert item.size == 0
    with pytest.raises(CannotGoOn, match=f"is a link to {elsewhere}"):
        remove(item)
    assert (elsewhere / "block").exists()


def test_a_manifest_that_cannot_be_read_is_said(cache: Path) -> None:
    folder = harvest(cache)
    for content in ("{", "[]", '{"kind": 1}'):
        (folder / "manifest.json").write_text(content)
        assert [item.what for item in cached()] == ["its manifest.json cannot be read"]


def ask(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(cli, ["cache", *arguments], input=answer)


def test_the_command_lists_and_removes_only_what_is_named_after_asking(cache: Path) -> None:
    assert ask().output == "Nothing in the caches.\n"
    folder = harvest(cache)
    (cache / "lab" / "corpus").mkdir()
    (cache / "lab" / "corpus" / "mine.jsonl").write_text("{}")
    assert "harvests/model-layer1" in ask().output and "activations of a model" in ask().output
    wrong = ask("--remove", "harvests")
    assert wrong.exit_code == 2 and "There is: corpus, harvests/model-layer1" in wrong.output
    assert ask("--all", answer="n\n").exit_code == 130 and folder.exists()
    assert ask("--all", "--yes").exit_code == 0 and not folder.exists()
    assert [item.name for item in cached()] == ["corpus"]
    assert ask("--remove", "corpus", answer="y\n").output.endswith("removed corpus\n")
    assert cached() == []


def test_the_harness_reads_manifests_without_the_laboratory(cache: Path) -> None:
    harvest(cache)
    code = "import sys, harness.cli.cache as c; print(c.cached()[0].what, {'torch', 'saelab', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "activations of a model set()\n"
    assert json.loads((cache / "lab" / "harvests" / "model-layer1" / "manifest.json").read_text())["what"]
