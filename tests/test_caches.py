"""What an execution has of its person's caches, variables and home folder, and honest programs that live on them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.contract import Contract
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution import caches
from harness.execution.variables import experiment_environment, not_passed_on


def test_what_is_cached_is_read_and_what_is_written_stays_in_the_execution(tmp_path: Path) -> None:
    person, home = tmp_path / "person", tmp_path / "home"
    (person / "hub" / ".locks" / "m").mkdir(parents=True)
    (person / "hub" / ".locks" / "m" / "x.lock").touch()
    (person / "hub" / "model").write_text("weights")
    (person / "token").write_text("hf_secret")
    found = caches.find({"HF_HOME": str(person), "XDG_CACHE_HOME": str(tmp_path / "none")}, ["mine"])
    caches.make(found, home, tmp_path / "kept")
    own = home / ".cache" / "huggingface"
    assert (own / "hub" / "model").read_text() == "weights"
    assert not (own / "token").exists()
    (own / "hub" / ".locks" / "m" / "x.lock").write_text("locked")
    (own / "hub" / "new").write_text("x")
    assert (home / ".cache" / "mine").is_dir()
    assert sorted(path.name for path in person.rglob("*")) == [".locks", "hub", "m", "model", "token", "x.lock"]
    assert (person / "hub" / ".locks" / "m" / "x.lock").read_text() == ""
    assert caches.variables(found, home)["HF_HOME"] == str(own)


def test_a_large_cache_is_linked_folder_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_MOST_LINKS", 5)
    for number in range(4):
        (tmp_path / "torch" / f"folder {number}").mkdir(parents=True)
        (tmp_path / "torch" / f"folder {number}" / "file").write_text("x")
    caches.make([caches.Cache("", "torch", tmp_path / "torch")], tmp_path / "home", tmp_path / "kept")
    own = tmp_path / "home" / ".cache" / "torch"
    assert len(list(own.glob("*/file"))) == 4
    (own / "new").touch()


def test_what_the_baseline_compiled_is_there_for_the_next_and_no_other_changes_it(tmp_path: Path) -> None:
    for name, code in (("baseline", "compiled"), ("run", "poisoned")):
        caches.make([], tmp_path / name, tmp_path / "kept")
        kernel = tmp_path / name / ".cache" / "triton" / "kernel"
        if name == "run":
            assert kernel.read_text() == "compiled"
            kernel.unlink()
        kernel.write_text(code)
        caches.keep(tmp_path / name, tmp_path / "kept")
    assert (tmp_path / "kept" / "triton" / "kernel").read_text() == "compiled"


def test_harmless_variables_are_passed_on_and_keys_are_not() -> None:
    person = {
        "PYTHONPATH": "/x",
        "HTTPS_PROXY": "http://proxy:1",
        "HF_ENDPOINT": "m",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HIP_VISIBLE_DEVICES": "0",
        "NCCL_DEBUG": "INFO",
        "TOKENIZERS_PARALLELISM": "false",
        "SSL_CERT_FILE": "/c",
    }
    kept = {
        "HF_TOKEN": "hf_x",
        "http_proxy": "http://me:secret@proxy:1",
        "OPENAI_API_KEY": "sk",
        "MY_SETTING": "1",
        "LOGNAME": "x",
    }
    told = experiment_environment(Contract(), person | kept)
    assert person.items() <= told.items()
    assert not kept.keys() & told.keys()
    asked = {"MY_SETTING", "os"}
    assert not_passed_on(Contract(), person | kept, asked) == ["HF_TOKEN", "MY_SETTING", "http_proxy"]
    assert not_passed_on(Contract(environment=["MY_SETTING"]), person | kept, asked) == ["HF_TOKEN", "http_proxy"]


HONEST = """
def tried(name, what):
    try:
        print(name, what(), flush=True)
    except BaseException as error:
        print(name, "fails:", type(error).__name__, error, flush=True)

def loader():
    import torch
    data = torch.utils.data.TensorDataset(torch.arange(8))
    return sum(len(batch[0]) for batch in torch.utils.data.DataLoader(data, batch_size=2, num_workers=2))

def tables():
    import datasets
    pathlib.Path("pairs.json").write_text('[{"a": 1}, {"a": 2}]')
    table = datasets.load_dataset("json", data_files="pairs.json", split="train")
    again = datasets.load_dataset("json", data_files="pairs.json", split="train")
    return len(table), len(again.map(lambda row: {"b": row["a"]}, num_proc=2))

def cached():
    import datasets
    table = datasets.load_dataset("json", data_files=PERSON + "/data/pairs.json", split="train")
    return len(table), pathlib.Path(table.cache_files[0]["filename"]).resolve().is_relative_to(PERSON)

def ranks():
    pathlib.Path("ranks.py").write_text(
        "import torch, torch.distributed as d\\n"
        "d.init_process_group('gloo'); x = torch.ones(1); d.all_reduce(x); print(int(x)) if d.get_rank() == 0 else None\\n"
    )
    return subprocess.run(["torchrun", "--nproc_per_node=2", "ranks.py"], capture_output=True, text=True).stdout.strip()

def main():
    import socket
    with multiprocessing.Manager() as manager:
        print("manager", len(manager.list([1])))
    tried("python", lambda: subprocess.run(["python", "-c", "import sys; print(sys.executable)"], capture_output=True, text=True).stdout.strip() == sys.executable)
    tried("data", lambda: pathlib.Path("~/data/x").expanduser().read_text() + pathlib.Path(PERSON, "data/x").read_text())
    tried("cache", lambda: pathlib.Path("~/.cache/mine/x").expanduser().read_text())
    tried("dot", lambda: pathlib.Path(PERSON, ".bashrc").read_text())
    if TORCH:
        tried("loader", loader)
        tried("ranks", ranks)
    if DATASETS:
        tried("tables", tables)
        tried("cached", cached)

if __name__ == "__main__":
    import multiprocessing, pathlib, subprocess, sys
    main()
"""


CACHES = "import datasets, sys; datasets.load_dataset('json', data_files=sys.argv[1])"


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's home folder, with a key and, where datasets are installed, a cached one."""
    person = tmp_path_factory.mktemp("person").resolve()
    texts = {"data/x": "data", ".cache/mine/x": "cached", ".bashrc": "export ANTHROPIC_API_KEY=secret"}
    for path, text in (texts | {"data/pairs.json": '[{"a": 1}, {"a": 2}]'}).items():
        (person / path).parent.mkdir(parents=True, exist_ok=True)
        (person / path).write_text(text)
    if importlib.util.find_spec("datasets"):
        told = {"HF_HOME": str(person / ".cache/huggingface"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
        subprocess.run(
            [sys.executable, "-c", CACHES, str(person / "data/pairs.json")], env=told, capture_output=True, check=True
        )
    return person


@pytest.fixture
def said_by(
    sandboxed: str, tmp_path: Path, make_campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch, person: Path
) -> Callable[[str], str]:
    """What a baseline prints that goes on with this code."""

    def executed(code: str) -> str:
        monkeypatch.setenv("HOME", str(person))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        experiment = tmp_path / "experiment" / "experiment.py"
        experiment.write_text(experiment.read_text() + code)
        contract = experiment.with_name("experiment.toml")
        contract.write_text('caches = ["mine"]\n' + contract.read_text().replace("smoke = true", "smoke = false"))
        made = make_campaign({"run 1, attempt 1": {"text": "ALL_COMPLETED"}}, max_runs=1)
        assert go_on(made, view=Silent(), stop=Stop()).exit_code == 0
        return (made.run_folder(0) / "log.txt").read_text()

    return executed


def test_honest_programs_live_in_it(said_by: Callable[[str], str], person: Path) -> None:
    names = {name.upper(): importlib.util.find_spec(name) is not None for name in ("torch", "datasets")}
    constants = "".join(f"{name} = {value!r}\n" for name, value in (names | {"PERSON": str(person)}).items())
    said = said_by(constants + HONEST)
    wanted = ["manager 1", "python True", "data datadata", "cache cached"]
    wanted += ["loader 8", "ranks 2"] * names["TORCH"] + ["tables (2, 2)", "cached (2, True)"] * names["DATASETS"]
    assert set(wanted) <= set(said.splitlines()), said
    assert "secret" not in said


COMPILED = """
if __name__ == "__main__":
    import pathlib, os, torch
    compiled, x = torch.compile(lambda x: torch.relu(x @ x.T).sum(dim=1)), torch.randn(8, 4)
    print("compiled", torch.allclose(compiled(x), torch.relu(x @ x.T).sum(dim=1), atol=1e-4))
    print("kept", any(path.suffix == ".so" for path in pathlib.Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*")))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++", path="/usr/bin:/bin") is None, reason="no C++ compiler here")
def test_torch_compiles_in_it(said_by: Callable[[str], str]) -> None:
    """Fifteen seconds of a processor."""
    pytest.importorskip("torch")
    said = said_by(COMPILED)
    assert {"compiled True", "kept True"} <= set(said.splitlines()), said
