"""Activations are harvested once, whole and undamaged, and every row is one of the text's."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saelab
from saelab import harvest, model_files, store, text
from saelab.errors import CannotPrepare
from saelab.models import load_model
from saelab.settings import LanguageModelData, Settings
from saelab.store import Writer, open_harvest

from .small_models import WORDS, save_model
from .waiting import HANGS

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
ROWS = 600


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a text of 200 documents."""
    folder = tmp_path_factory.mktemp("place")
    save_model("gpt-neox", folder / "model")
    chance = np.random.default_rng(0)
    documents = [" ".join(chance.choice(WORDS, chance.integers(1, 30))) for _ in range(200)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in documents))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "lab"))
    return tmp_path / "lab"


@pytest.fixture
def settings(place: Path, cache: Path) -> Settings:
    values = saelab.load_settings(ROOT, {"HARNESS_PROFILE": "tiny-lm"})
    data = LanguageModelData(
        model=str(place / "model"),
        revision="",
        layer=1,
        dataset=str(place / "text.jsonl"),
        context=8,
        harvest_tokens=ROWS,
        dtype="float32",
        data_seed=0,
    )
    return replace(values, d_in=16, batch_size=64, steps=30, data=data)


class Said(list[str]):
    """What a person is told."""

    def __call__(self, line: str) -> None:
        self.append(line)


def changed(settings: Settings, **data: Any) -> Settings:
    return replace(settings, data=replace(settings.language_model, **data))


def rows_of(settings: Settings) -> torch.Tensor:
    """The rows as they should be: each sequence by itself, the whole model with a plain hook."""
    model, tokenizer = load_model(settings.language_model, CPU)
    kept = []
    model.gpt_neox.layers[1].register_forward_hook(lambda module, inputs, output: kept.append(output[0, 1:]))
    stream: list[int] = []
    for document in text.documents(settings.language_model.dataset, "train"):
        stream += [*tokenizer(document)["input_ids"], tokenizer.eos_token_id]
    rows = []
    for start in range(0, len(stream) - 6, 7):
        body = stream[start : start + 7]
        with torch.inference_mode():
            model(input_ids=torch.tensor([[tokenizer.bos_token_id, *body]]))
        rows.append(kept.pop()[torch.tensor(body) != tokenizer.eos_token_id])
    return torch.cat(rows)


def counted(rows: torch.Tensor) -> Counter[bytes]:
    return Counter(bytes(row) for row in rows.view(torch.uint16).numpy())


def test_rows_are_the_texts_without_special_tokens(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harvest, "BATCH_TOKENS", 8)  # as many sequences at once as in what it is compared with
    said = Said()
    made = harvest.ensure(settings, said)
    wanted = rows_of(settings)[:ROWS]
    assert (made.rows, made.width) == (ROWS, 16)
    got = torch.from_numpy(np.fromfile(made.folder / "block-00000.bf16", dtype=np.uint16)).view(torch.bfloat16)
    got = got.view(ROWS, 16)
    assert counted(got) == counted(wanted.to(torch.bfloat16))
    assert not torch.equal(got[:20], wanted.to(torch.bfloat16)[:20])
    left_out = made.facts["left_out"]
    assert f"{left_out} of " in said[-1] and "tokens are special ones or begin a sequence" in said[-1]
    assert "no padding" in said[-1]


def test_sequences_of_a_model_without_a_first_token_begin_with_what_ends_documents(
    settings: Settings, tmp_path: Path
) -> None:
    save_model("gpt-neox", tmp_path / "model", begins=False)
    _, tokenizer = load_model(changed(settings, model=str(tmp_path / "model")).language_model, CPU)
    words = [tokenizer.convert_tokens_to_ids(word) for word in WORDS]
    found = list(harvest._sequences(["w0 w1 w2", "w3", "w4 w5 w6 w7 w8"], tokenizer, 4))
    end = tokenizer.eos_token_id
    assert tokenizer.bos_token_id is None
    assert found == [[end, *words[:3]], [end, end, words[3], end], [end, *words[4:7]], [end, *words[7:9], end]]


def test_the_first_position_is_no_row_where_no_special_token_stands_there(settings: Settings) -> None:
    model, _ = load_model(settings.language_model, CPU)
    rows, tokens = harvest._rows(model, 1, [[5, 6, 7, 8], [9, 10, 11, 12]], [7], CPU)
    assert (rows.shape, tokens) == ((5, 16), 8)


def test_training_gets_every_row_once_in_a_pass_in_an_order_of_its_seed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.Writer.__init__, "__defaults__", (100 * 2 * 16,))  # six blocks
    made = harvest.ensure(settings, print)
    assert [block.rows for block in made.blocks] == [100] * 6
    known = counted(rows_of(settings)[:ROWS].to(torch.bfloat16))

    def passes(seed: int) -> list[torch.Tensor]:
        got = list(saelab.activations(replace(settings, seed=seed, steps=18)))
        assert {(tuple(x.shape), x.dtype) for x in got} == {((64, 16), torch.float32)}
        return [torch.cat(got[:9]), torch.cat(got[9:])]

    first, second = passes(1)
    for one in (first, second):
        assert not counted(one.to(torch.bfloat16)) - known
    assert not torch.equal(first, second)
    assert all(map(torch.equal, passes(1), (first, second)))
    assert not torch.equal(passes(2)[0], first)
    half = next(saelab.activations(settings, dtype=torch.bfloat16))
    assert torch.equal(half.float(), next(saelab.activations(settings)))


def test_rows_are_shuffled_over_all_blocks(tmp_path: Path) -> None:
    writer = Writer(tmp_path, rows=1000, width=1, seed=3, block_bytes=2 * 256)
    numbers = np.arange(1000, dtype=np.uint16)[:, None]
    for start in range(0, 1200, 170):
        writer.add(numbers[start : start + 170])
    writer.finish({})
    made = open_harvest(tmp_path)
    assert made is not None and made.damage() == []
    assert [block.rows for block in made.blocks] == [256, 256, 256, 232]
    blocks = [np.fromfile(tmp_path / block.file, dtype=np.uint16) for block in made.blocks]
    order = np.concatenate(blocks)
    assert sorted(order) == list(range(1000))
    assert all(abs(block.mean() - 500) < 60 for block in blocks)
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
    assert sorted(path.name for path in tmp_path.iterdir()) == [*[f"block-0000{i}.bf16" for i in range(4)], "manifest.json"]


def test_a_text_that_ends_early_gives_what_it_has(settings: Settings) -> None:
    said = Said()
    made = harvest.ensure(changed(settings, harvest_tokens=50_000), said)
    assert 1000 < made.rows < 5000
    assert f"the text ends after {made.rows:,} of 50,000 rows" in "\n".join(said)
    with pytest.raises(CannotPrepare, match=f"batch_size 40000: .* has {made.rows} rows"):
        next(saelab.activations(replace(changed(settings, harvest_tokens=50_000), batch_size=40_000)))
    with pytest.raises(CannotPrepare, match="fills no sequence"):
        harvest.ensure(changed(settings, context=64, dataset=str(one_document(settings))), said)


def one_document(settings: Settings) -> Path:
    path = Path(settings.language_model.dataset).with_name("one.txt")
    path.write_text("w1 w2")
    return path


# --- the key -------------------------------------------------------------------------------------------------------------


def test_a_harvest_has_everything_in_its_key(settings: Settings, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "model", tmp_path / "model")
    (tmp_path / "text.jsonl").write_text((place / "text.jsonl").read_text() + '{"text": "w1"}\n')
    first = harvest.folder(settings.language_model)
    same = harvest.folder(changed(settings, model=str(tmp_path / "model")).language_model)
    assert first == same
    tokenizer = tmp_path / "model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("w49", "w50"))
    changes = {
        "model": str(tmp_path / "model"),
        "layer": 0,
        "dataset": str(tmp_path / "text.jsonl"),
        "context": 9,
        "harvest_tokens": ROWS + 1,
        "dtype": "bfloat16",
        "data_seed": 1,
    }
    assert changes.keys() == {field.name for field in fields(LanguageModelData)} - {"revision"}
    others = [harvest.folder(changed(settings, **{name: value}).language_model) for name, value in changes.items()]
    assert len({first, *others}) == 1 + len(changes)


def test_a_harvest_is_keyed_by_the_hubs_commit_and_the_format(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    of_hub = changed(settings, model="some/model", revision="main", dataset="docstrings").language_model
    assert harvest.folder(of_hub) is None
    refs = tmp_path / "models--some--model" / "refs"
    refs.mkdir(parents=True)
    found = []
    for commit in ("a" * 40, "b" * 40):
        (refs / "main").write_text(commit)
        found.append(harvest.folder(of_hub))
    assert harvest.folder(replace(of_hub, revision="a" * 40)) == found[0]
    monkeypatch.setattr(harvest, "FORMAT", 2)
    found.append(harvest.folder(of_hub))
    assert None not in found and len(set(found)) == 3


def test_neither_seed_nor_sae_make_another_harvest(settings: Settings) -> None:
    first = harvest.ensure(settings, print)
    said = Said()
    again = harvest.ensure(replace(settings, seed=9, dict_size=1024, k=3, batch_size=7), said)
    assert again.folder == first.folder and said == []


# --- made once, whole or not at all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_block_is_found_and_harvested_again(settings: Settings, damage: str) -> None:
    made = harvest.ensure(settings, print)
    block = made.folder / made.blocks[0].file
    content = block.read_bytes()
    if damage == "flipped":
        block.write_bytes(content[:999] + bytes([content[999] ^ 1]) + content[1000:])
    elif damage == "truncated":
        block.write_bytes(content[:-2])
    else:
        block.unlink()
    with pytest.raises(CannotPrepare, match=r"block-00000.bf16 .*`python -m saelab.prepare` harvests it again"):
        next(saelab.activations(settings))
    said = Said()
    harvest.ensure(settings, said)
    assert [line for line in said if "harvesting again" in line] == [said[0]]
    assert block.read_bytes() == content
    assert next(saelab.activations(settings)).shape == (64, 16)


def test_a_manifest_that_cannot_be_read_is_no_harvest(settings: Settings) -> None:
    made = harvest.ensure(settings, print)
    for content in ("", "{", "[]", "{}"):
        (made.folder / "manifest.json").write_text(content)
        assert harvest.find(settings) is None
    assert harvest.ensure(settings, print).rows == ROWS


def test_a_model_that_is_made_anew_with_its_harvest_gets_the_harvest_of_what_it_is_then(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = harvest.ensure(settings, print)
    manifest = made.folder / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({name: value for name, value in facts.items() if name != "sha256"}))
    fetched, other = model_files.fetch, Path(settings.language_model.model) / "other.json"

    def fetch(*arguments: Any, **options: Any) -> Path:
        other.write_text("{}")
        return fetched(*arguments, **options)

    monkeypatch.setattr(model_files, "fetch", fetch)
    again = harvest.ensure(settings, print)
    assert again.folder == harvest.folder(settings.language_model) != made.folder


SLOWLY = """
import pickle, sys, time
from pathlib import Path
from saelab import harvest

settings, gate = pickle.loads(bytes.fromhex(sys.argv[1])), Path(sys.argv[2])
quickly, harvest.BATCH_TOKENS = harvest._rows, 80

def slowly(*arguments):
    while not gate.exists():
        time.sleep(0.02)
    return quickly(*arguments)

harvest._rows = slowly
harvest.ensure(settings, lambda line: print(line, flush=True))
"""


@pytest.fixture
def start(settings: Settings) -> Callable[[Path], subprocess.Popen[str]]:
    """Begins a harvest in a process of its own that goes on when a file is there, and waits until it is at work."""

    def begin(gate: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SLOWLY, pickle.dumps(settings).hex(), str(gate)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and "harvesting" in process.stdout.readline()
        return process

    return begin


def test_a_killed_harvest_publishes_nothing_and_the_next_begins_anew(
    settings: Settings, cache: Path, start: Callable[[Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    with start(tmp_path / "gate") as process:
        process.kill()
    left = [path.name for path in (cache / "harvests").iterdir() if path.is_dir()]
    assert len(left) == 1 and left[0].endswith(".new")
    assert harvest.find(settings) is None
    made = harvest.ensure(settings, print)
    assert made.damage() == [] and [path for path in made.folder.parent.iterdir() if path.is_dir()] == [made.folder]


@pytest.mark.slow
def test_two_processes_make_one_harvest(
    settings: Settings, start: Callable[[Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    said, gate = Said(), tmp_path / "gate"

    def say(line: str) -> None:
        said(line)
        gate.touch()  # not before this one waits

    with start(gate) as process:
        made = harvest.ensure(settings, say)
        assert process.wait(HANGS) == 0
    assert said == [f"another process is making {made.folder.name}; waiting for it"]
    assert made.rows == ROWS


def test_what_fails_leaves_nothing(settings: Settings, cache: Path) -> None:
    for wrong, words in (({"layer": 7}, "layer 7"), ({"context": 65}, "takes at most 64 tokens")):
        with pytest.raises(CannotPrepare, match=words):
            harvest.ensure(changed(settings, **wrong), print)
    with pytest.raises(CannotPrepare, match=r"d_in 32: .* has width 16\. --set d_in=16"):
        harvest.ensure(replace(settings, d_in=32), print)
    assert [path for path in (cache / "harvests").iterdir() if path.is_dir()] == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_done(
    settings: Settings, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=600_000_000))
    said = Said()
    with pytest.raises(CannotPrepare) as caught:
        harvest.ensure(changed(settings, harvest_tokens=10_000_000), said)
    assert "preparing takes 0.6 GB" in str(caught.value) and "has 0.6 GB free, of which 0.5 GB stay free" in str(
        caught.value
    )
    assert "`harness cache`" in str(caught.value) and said == []


def test_a_disk_that_fills_up_meanwhile_is_said(settings: Settings, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a device that is always full")
    monkeypatch.setattr(Writer, "_arrived", lambda self, block: Path("/dev/full"))
    with pytest.raises(CannotPrepare, match="GB free"):
        harvest.ensure(settings, print)
    assert [path for path in (cache / "harvests").iterdir() if path.is_dir()] == []


def test_activations_that_are_not_finite_are_refused(settings: Settings, tmp_path: Path, place: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(place / "model", tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["gpt_neox.embed_in.weight"][10] = float("inf")
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(CannotPrepare, match="NaN or infinity"):
        harvest.ensure(changed(settings, model=str(tmp_path / "model")), print)


# --- text ----------------------------------------------------------------------------------------------------------------


def test_docstrings_for_the_model_training_and_evaluation_share_no_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    for part in ("asyncio", "email", "unittest"):  # the whole library takes four seconds
        shutil.copytree(library / part, tmp_path / part)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "other.py").write_text('"""Not every Python has this."""')
    (tmp_path / "broken.py").write_text("def (")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    text._docstrings.cache_clear()
    sides = {side: list(text.documents("docstrings", side)) for side in ("model", "train", "eval")}
    text._docstrings.cache_clear()
    found = [each for some in sides.values() for each in some]
    assert len(set(found)) == len(found) > 500 and all(each.strip() for each in found)
    assert inspect.getdoc(asyncio.gather) in found and "Not every Python has this." not in found
    share = {side: len(some) / len(found) for side, some in sides.items()}
    assert share == pytest.approx({"model": 0.4, "train": 0.45, "eval": 0.15}, abs=0.05)
    assert sides["train"] != sorted(sides["train"])


def test_a_document_is_on_the_same_side_wherever_it_comes_from(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    documents = [f"document {number}" for number in range(300)]
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "a.jsonl").write_text("".join(json.dumps({"content": each}) + "\n" for each in documents[:150]))
    (tmp_path / "lines" / "b.jsonl").write_text("".join(json.dumps({"text": each}) + "\n\n" for each in documents[150:]))
    parquet.write_table(Table.from_pydict({"id": list(range(300)), "text": documents}), tmp_path / "all.parquet")
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    for number, document in enumerate(documents):
        (tmp_path / "texts" / "deep" / f"{number}.txt").write_text(document)
    found = {}
    for dataset in ("lines", "all.parquet", "texts"):
        train, held_out = (set(text.documents(str(tmp_path / dataset), side)) for side in ("train", "eval"))
        assert train | held_out == set(documents) and not train & held_out
        assert list(text.documents(str(tmp_path / dataset), "model")) == []
        found[dataset] = train
    assert found["lines"] == found["all.parquet"] == found["texts"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"text": "x"}\n{', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"body": "x", "id": 1}\n', "a.jsonl: no column with text: it has body, id"),
        ("a.csv", "x", "no text there. Expected a file or a folder with files that end in .jsonl, .parquet, .txt"),
    ],
)
def test_text_that_cannot_be_read_is_said(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CannotPrepare, match=words):
        list(text.documents(str(tmp_path / name), "train"))


# --- a GPU ---------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_harvests_what_the_cpu_harvests(settings: Settings, cache: Path) -> None:
    one = harvest.ensure(settings, print)
    on_cpu = torch.cat(list(saelab.activations(settings)))
    shutil.rmtree(one.folder)
    harvest.ensure(replace(settings, device="cuda"), print)
    batches = list(saelab.activations(replace(settings, device="cuda")))
    assert all(x.is_cuda for x in batches)
    assert torch.allclose(torch.cat(batches).cpu(), on_cpu, rtol=2**-7, atol=2**-7)
