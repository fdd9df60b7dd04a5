"""`python -m saelab.prepare`: what an execution needs is there before it begins, or it is said what to do."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saelab import harvest, hub, plan, prepare
from saelab.cache import sha256
from saelab.errors import CannotPrepare
from saelab.evals import requirements
from saelab.settings import load_settings

from .small_models import WORDS, save_model, save_model_and_text
from .waiting import HANGS

ROOT = Path(__file__).parents[1]
CONTRACT = (ROOT / "experiment.toml").read_text()

Ask = Callable[..., str]

needs_sae_bench = pytest.mark.skipif(importlib.util.find_spec("sae_bench") is None, reason="sae-bench is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_text("llama", tmp_path_factory.mktemp("place"))


@pytest.fixture
def ask(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Prepares the profile `tiny-lm` with a smaller model and text, unless asked otherwise; returns what is printed."""
    small = {
        "model": str(place / "model"),
        "dataset": str(place / "text"),
        "d_in": 16,
        "context": 8,
        "harvest_tokens": 600,
        "evals": "",
    }
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "lab"))

    def ask(*arguments: str, profile: str = "tiny-lm", settings: dict[str, object] | None = None) -> str:
        monkeypatch.setenv("HARNESS_PROFILE", profile)
        overrides = {**(small if profile == "tiny-lm" else {}), **(settings or {})}
        monkeypatch.setenv("HARNESS_OVERRIDES", json.dumps(overrides))
        monkeypatch.setattr(sys, "argv", ["prepare", *arguments])
        prepare.main()
        return capsys.readouterr().out

    return ask


def test_what_would_be_made_is_said_then_made_then_found(ask: Ask, tmp_path: Path) -> None:
    would = ask("--dry-run")
    assert would.startswith("to harvest: 600 rows x 16 of /") and ", about " in would
    assert not (tmp_path / "lab").exists()
    done = ask()
    assert "harvesting 600 activations of /" in done and "harvested 600 rows" in done
    assert ask() == ""
    assert ask("--dry-run").startswith("there: 600 activations of /")
    assert "to make: what core, absorption need of /" in ask("--dry-run", settings={"evals": "core absorption"})
    several = {"layer": "1 2"}
    both = ask("--dry-run", settings=several)
    assert all(f"after layer {layer}" in both for layer in (1, 2)) and "2 layers: training, scoring and disk" in both
    assert "activations of" in ask(settings=several)
    again = ask("--dry-run", settings=several)
    assert again.count("there: 600 activations of /") == 2 and "to harvest" not in again


def test_a_world_of_known_features_is_said_then_made_then_found(ask: Ask, tmp_path: Path) -> None:
    what = "world public, data_seed 20 (its truth can be rebuilt from data_seed), 16 MB of rows\n"
    assert ask("--dry-run", profile="synthetic") == f"to make, in seconds: {what}"
    assert not (tmp_path / "lab").exists()
    assert ask(profile="synthetic") == ""
    assert ask("--dry-run", profile="synthetic") == f"there: {what}"


@pytest.mark.parametrize("profile", ["tiny-lm", "synthetic"])
def test_where_nothing_is_to_be_done_torch_is_not_loaded(ask: Ask, profile: str) -> None:
    ask(profile=profile)
    command = [sys.executable, "-X", "importtime", "-m", "saelab.prepare"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "saelab.harvest" in loaded and loaded.isdisjoint({"torch", "transformers", "datasets"})
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layer": 9}, "layer 9: {model} has 3 decoder layers, 0 to 2"),
        ({"model": "/nowhere"}, "model /nowhere: no config.json there"),
        ({"d_in": 17}, "d_in 17: the residual stream of {model} has width 16. --set d_in=16."),
        ({"context": 100}, "context 100: {model} takes at most 64 tokens"),
        ({"dataset": "/nowhere.jsonl"}, "dataset /nowhere.jsonl: no text there"),
        ({"harvest_tokens": 10**13}, "`harness cache` shows what can go"),
        ({"dtype": "float16"}, "dtype 'float16': expected float32 or bfloat16"),
        ({"depth": 3}, "unknown setting depth"),
        pytest.param(
            {"device": "cuda"},
            "sees no GPU here. --set device=cpu computes without",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_what_cannot_be_prepared_is_found_by_the_dry_run(
    ask: Ask, place: Path, settings: dict[str, object], words: str
) -> None:
    for arguments in (["--dry-run"], []):
        with pytest.raises(SystemExit) as ended:
            ask(*arguments, settings=settings)
        assert str(ended.value).startswith("prepare: ") and words.format(model=place / "model") in str(ended.value)


def test_a_gpu_with_too_little_memory_is_said(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(plan, "_forecast", lambda *_: None)  # which is timed on that GPU
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5_000_000_000, 8_000_000_000))
    for arguments in (["--dry-run"], []):
        said = ask(*arguments, settings={"device": "cuda"})
        assert said.startswith("GPU memory: about 2 GB needed, 5 of 8 GB free\n")
        with pytest.raises(SystemExit, match=r"about 13 GB needed, 5 of 8 GB free. .* --set dict_size=N"):
            ask(*arguments, settings={"device": "cuda", "dict_size": 1_000_000})
    if importlib.util.find_spec("sae_bench"):  # SAEBench holds several arrays of logits at once
        scored = {"device": "cuda", "evals": "core absorption", "eval_dataset": "docstrings"}
        assert ask("--dry-run", settings=scored).startswith("GPU memory: about 4 GB needed")


def test_a_data_set_that_only_code_of_its_authors_reads_is_refused_and_others_have_a_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub
    from huggingface_hub.hf_api import DatasetInfo

    def files(self: object, name: str, **options: object) -> DatasetInfo:
        names = {"a/scripted": ("scripted.py",), "a/plain": ("README.md", "data/1.parquet", "data/2.parquet")}[name]
        return DatasetInfo(id=name, siblings=[{"rfilename": each, "size": 10} for each in names], tags=[])

    monkeypatch.setattr(huggingface_hub, "auth_check", lambda name, **options: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", files)
    assert hub.data_set_bytes("a/plain:with-a-configuration") == 30
    with pytest.raises(CannotPrepare, match="code of its authors, which is not executed here"):
        hub.data_set_bytes("a/scripted")


def test_texts_that_are_read_as_a_stream_take_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "data_set_bytes", lambda name: 10**13 if "europarl" in name else 10)
    settings = load_settings(ROOT, {"HARNESS_PROFILE": "gemma-2-2b"})
    need = requirements.need_of("sparse_probing", settings)
    assert (need.download, round(need.disk / 1e9, 1)) == (60, 45.7)


def test_packages_that_are_missing_are_named(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    for arguments in (["--dry-run"], []):
        with pytest.raises(SystemExit, match=r"not installed: transformers. Profiles .* `make sae`"):
            ask(*arguments)


def test_an_experiment_that_cannot_write_the_cache_is_told_what_to_do(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "file" / "lab"))
    overrides = {"model": str(place / "model"), "dataset": str(place / "text"), "d_in": 16, "context": 8, "evals": ""}
    settings = load_settings(ROOT, {"HARNESS_PROFILE": "tiny-lm", "HARNESS_OVERRIDES": json.dumps(overrides)})
    with pytest.raises(CannotPrepare, match=r"are not harvested, and the cache cannot be written: .*`python -m saelab.prep"):
        prepare.harvested(settings, print)
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "lab"))
    assert prepare.harvested(settings, print).rows > 500  # by hand it harvests what it needs
    with pytest.raises(CannotPrepare, match=r"d_in 8: the harvested rows have width 16"):
        prepare.harvested(replace(settings, d_in=8), print)


def test_a_smoke_test_has_a_small_harvest_of_its_own(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for number in range(10):
        (tmp_path / "text" / f"{number}.txt").write_text(" ".join(WORDS[number:] * 30))
    monkeypatch.setenv("HARNESS_SMOKE", "1")
    done = ask(settings={"harvest_tokens": 10_000, "dataset": str(tmp_path / "text")})
    assert "harvested 4,096 rows" in done


def spoilt(place: Path, folder: Path, what: str) -> Path:
    """A copy of the model with one fault."""
    shutil.copytree(place / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    if what == "tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif what == "weights":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif what == "encoder":
        (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 60, "hidden_size": 16}))
    elif what == "seq2seq":
        (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 60, "d_model": 16}))
    else:
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 5000}))
    return folder


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("tokenizer", "no tokenizer there (tokenizer.json)"),
        ("weights", "not all weights are there in safetensors"),
        ("encoder", "bert is an encoder. Expected a causal language model"),
        ("seq2seq", "no causal language model that transformers"),
    ],
)
def test_a_local_model_that_is_none_is_found_by_the_dry_run(
    ask: Ask, place: Path, tmp_path: Path, what: str, words: str
) -> None:
    folder = spoilt(place, tmp_path / "spoilt", what)
    for arguments in (["--dry-run"], []):
        with pytest.raises(SystemExit) as ended:
            ask(*arguments, settings={"model": str(folder)})
        assert words in str(ended.value) and len(str(ended.value)) < 700


def test_all_that_is_in_the_way_is_said_at_once(ask: Ask) -> None:
    settings = {"layer": 9, "dataset": "/nowhere.txt", "evals": "core unlearning", "eval_dataset": "/no.txt"}
    for arguments in (["--dry-run"], []):
        with pytest.raises(SystemExit) as ended:
            ask(*arguments, settings=settings)
        said = str(ended.value)
        for each in (
            "layer 9: ",
            "dataset /nowhere.txt: no text there",
            "core: dataset /no.txt: no text there",
            "(core: without it there is no explained_variance, l0, cosine, mse, ce_recovered, and no run can be judged)",
            'absorption is not among the evals: without it there is no absorption, and no run can be judged: --set evals="',
            "unlearning will be skipped: SAEBench asks its questions of gemma-2-2b and gemma-2-9b alone; the model is model",
        ):
            assert f"- {each}" in said or f"\n{each}" in said


def test_what_is_in_the_way_of_any_of_several_layers_is_said_before_the_first_is_made(ask: Ask, tmp_path: Path) -> None:
    settings = {"layer": "1 8 9", "dataset": "/nowhere.txt"}
    for arguments in (["--dry-run"], []):
        with pytest.raises(SystemExit) as ended:
            ask(*arguments, settings=settings)
        said = str(ended.value)
        assert "- layer 8: " in said and "- layer 9: " in said
        assert said.count("dataset /nowhere.txt: no text there") == said.count("to harvest: 600 rows") == 1
    with pytest.raises(SystemExit, match=r"layer 9: .* has 3 decoder layers"):
        ask(settings={"layer": "1 9"})
    assert not (tmp_path / "lab").exists()


def test_layers_need_room_together(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    of_one = 2 * 600 * 16
    free = shutil.disk_usage("/")._replace(free=harvest.SPARE_BYTES + 2 * of_one)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    ask("--dry-run")
    with pytest.raises(SystemExit, match=r"preparing takes 0\.0 GB"):
        ask("--dry-run", settings={"layer": "1 2"})


def test_time_and_units_are_said_before_anything_is_made(ask: Ask) -> None:
    said = ask("--dry-run")
    assert (
        "lr, l1_penalty and the auxiliary loss are in the units of the activations: those of tiny-lm are for tiny-lm" in said
    )
    assert re.search(r"each execution: about .* of training and .* of scoring, by matrix products timed here", said)
    assert "a campaign of 5 runs: at most 18 executions, " in said  # three baselines, five runs, five held-out pairs
    assert "disk: about 0.0 GB to come" in said
    untrained = ask("--dry-run", settings={"model": "tiny-lm", "dataset": "docstrings", "d_in": 64, "layer": 0})
    assert "to train: tiny-lm" in untrained and "do not carry over to tiny-lm after layer 0" in untrained


@needs_sae_bench
def test_without_a_hub_sizes_and_hours_are_forecast_all_the_same(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(plan, "SECONDS", 0.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        ask("--dry-run", profile="gemma-2-2b")
    said = str(ended.value)
    for each in (
        "device cuda: torch",
        "model google/gemma-2-2b: it is not on this machine, and the hub does not answer",
        "data set monology/pile-uncopyrighted: cannot be read from the hub",
        "core: data set HuggingFaceFW/fineweb:sample-10BT: cannot be read from the hub",
        "sparse_probing will be skipped: LabHC/bias_in_bios_class_set1, ",
        "unlearning will be skipped: no text to forget",
        "to download: google/gemma-2-2b, 10.5 GB",
        # About 80 GB: model and harvest, and the activations that sparse probing keeps.
        "disk: about 33.5 GB to come (with sparse_probing 45.7 GB more, and about 0.7 GB of texts (the size of canrager/amazon_"
        "reviews_mcauley_1and5_sentiment is unknown); with unlearning 5.2 GB more",
        "absorption asks for 128,000 words of the vocabulary, if half of it are words",
    ):
        assert f"- {each}" in said
    assert re.search(
        r"each execution: about .* of training and .* of scoring, .* on the CPU in float32, for want of cuda", said
    )
    assert "a campaign of 3 runs: at most 22 executions, " in said
    with pytest.raises(SystemExit, match=r"- layer 30: google/gemma-2-2b has 26 decoder layers, 0 to 25\."):
        ask("--dry-run", profile="gemma-2-2b", settings={"layer": 30})


def test_the_width_is_compared_where_the_harvest_is_there_too(ask: Ask) -> None:
    ask()
    for arguments in (["--dry-run"], []):
        with pytest.raises(SystemExit, match=r"d_in 17: the harvested rows have width 16. --set d_in=16"):
            ask(*arguments, settings={"d_in": 17})


@needs_sae_bench
def test_a_model_that_cannot_be_scored_is_found_before_it_is_harvested(ask: Ask, place: Path, tmp_path: Path) -> None:
    import transformers

    folder = spoilt(place, tmp_path / "my-model", "")
    config = transformers.PhimoeConfig(
        vocab_size=53, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for arguments in (["--dry-run"], []):
        with pytest.raises(SystemExit, match=r"knows no model 'my-model' and, in a local folder, no phimoe"):
            ask(*arguments, settings={"model": str(folder), "evals": "core"})
    assert not (tmp_path / "lab").exists()


@needs_sae_bench
def test_what_will_be_read_is_said_with_checksums_and_what_was_planted_is_made_again(
    ask: Ask, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_READS", str(tmp_path / "reads.json"))
    without_letters = CONTRACT.replace('sources = ["synthetic.absorption"', 'sources = ["core.kl_div_score"', 1)
    (tmp_path / "experiment.toml").write_text(without_letters)
    monkeypatch.chdir(tmp_path)
    model = save_model("gpt-neox", tmp_path / "neox")
    settings: dict[str, object] = {"model": str(model), "evals": "core", "eval_dataset": str(place / "text")}
    ask(settings=settings)
    reads = {Path(path): digest for path, digest in json.loads((tmp_path / "reads.json").read_text()).items()}
    assert all(sha256(path) == digest for path, digest in reads.items())
    names = {path.relative_to(tmp_path).parts[0] if path.is_relative_to(tmp_path) else path.name for path in reads}
    assert names == {"lab", "neox", *(f"{number}.txt" for number in range(10))}
    (core,) = (file.parent for file in (tmp_path / "lab" / "evals").glob("core-*/train.jsonl"))
    (harvest,) = (tmp_path / "lab" / "harvests").glob("neox-*/block-00000.bf16")
    assert {core / "train.jsonl", core / "manifest.json", harvest, harvest.parent / "manifest.json"} < reads.keys()
    assert ask(settings=settings) == ""
    text = (core / "train.jsonl").read_text()
    for planted, content in (("probe.pth", "a pickle"), ("train.jsonl", text.upper())):
        (core / planted).write_text(content)
        ask(settings=settings)
        assert not (core / "probe.pth").exists()
        assert (core / "train.jsonl").read_text() == text
