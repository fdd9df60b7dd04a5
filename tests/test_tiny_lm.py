"""The language model that this machine trains itself, in a version of a few steps."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from saelab import text, tiny_lm
from saelab.tiny_lm import FIRST_LETTER, LETTERS, Recipe, ensure, place

RECIPE = Recipe(vocabulary=600, width=16, layers=2, heads=2, context=48, steps=4, text_rows=2, spelling_rows=2)
DOCUMENTS = [f"Return the value number {n} of the given mapping, or a default." for n in range(200)]


@pytest.fixture
def documents(monkeypatch) -> list[tuple[str, str]]:
    """What was asked for; there are few documents, so that a test takes no minute."""
    asked = []

    def few(dataset: str, split: str) -> list[str]:
        asked.append((dataset, split))
        return DOCUMENTS

    monkeypatch.setattr(text, "documents", few)
    return asked


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "documents", lambda dataset, split: DOCUMENTS)
        return ensure(tmp_path_factory.mktemp("lab"), lambda line: None, RECIPE)


def test_the_model_is_a_folder_as_the_hub_has_them(model):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, local_files_only=True)

    assert loaded.config.model_type == "gpt_neox"
    assert (loaded.config.num_hidden_layers, loaded.config.hidden_size) == (2, 16)
    assert len(tokenizer) == loaded.config.vocab_size <= RECIPE.vocabulary
    assert {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token} == {tiny_lm.END, tiny_lm.PAD}
    assert not list(model.glob("*.bin"))


def test_transformer_lens_computes_the_same_under_the_name_that_saebench_uses(model, tmp_path):
    import transformers
    from transformer_lens import HookedTransformer

    (tmp_path / "EleutherAI").mkdir()
    (tmp_path / "EleutherAI" / "pythia-70m-deduped").symlink_to(model)
    tokens = torch.arange(2, 40).reshape(2, -1)
    with contextlib.chdir(tmp_path), torch.no_grad():
        hooked = HookedTransformer.from_pretrained_no_processing("pythia-70m-deduped", device="cpu", dtype=torch.float32)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(model)
        assert torch.allclose(hooked(tokens), loaded(tokens).logits, atol=1e-4)


def test_words_of_the_question_and_letters_are_one_token_each(model):
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    for word in [" has", " the", " first", " letter", ":", "\n", *(f" {letter}" for letter in LETTERS)]:
        assert len(tokenizer.encode(word).ids) == 1, word
    assert len(tokenizer.encode(FIRST_LETTER).ids) == 5


def test_the_same_text_gives_the_same_model(model, documents, tmp_path):
    again = ensure(tmp_path, lambda line: None, RECIPE)

    assert again != model
    for name in ("model.safetensors", "tokenizer.json", "config.json", "training.json"):
        assert (again / name).read_bytes() == (model / name).read_bytes(), name


def test_it_is_trained_once(model, documents, tmp_path):
    said: list[str] = []
    made = ensure(tmp_path, said.append, RECIPE)
    assert any("step 4 of 4" in line for line in said)

    said.clear()
    assert ensure(tmp_path, said.append, RECIPE) == made == place(tmp_path, RECIPE)
    assert said == []
    assert documents == [("docstrings", "model")]  # which no SAE is trained or scored on


def test_what_a_killed_training_left_is_no_model(documents, tmp_path):
    beside = place(tmp_path, RECIPE).with_name(place(tmp_path, RECIPE).name + ".new")
    beside.mkdir(parents=True)
    (beside / "config.json").write_text("{")

    assert json.loads((ensure(tmp_path, lambda line: None, RECIPE) / "config.json").read_text())["model_type"] == "gpt_neox"
    assert not beside.exists()


def test_another_recipe_or_python_is_another_model(tmp_path, monkeypatch):
    here = place(tmp_path, RECIPE)

    assert place(tmp_path, dataclasses.replace(RECIPE, steps=5)) != here
    assert place(tmp_path) != here
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert place(tmp_path, RECIPE) != here


def test_the_folder_says_what_the_model_was_trained_on(model):
    note = json.loads((model / "training.json").read_text())

    assert note["text"] == hashlib.sha256("\0".join(DOCUMENTS).encode()).hexdigest()
    assert note["docstrings of Python"]
    assert note["recipe"] == dataclasses.asdict(RECIPE)


def test_spelling_is_learned_where_a_letter_comes_next(model):
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    speller = tiny_lm._Speller(tokenizer)

    for question in (speller.question, []):
        for row, letter_next in speller.rows(3, 64, question, np.random.default_rng(0)):
            assert len(row) == len(letter_next) == 64
            assert sum(letter_next) >= 64 // (len(question) + 3) - 1
            for at in (at for at, next_ in enumerate(letter_next) if next_):
                word = tokenizer.decode([row[at - len(question)]])
                assert tokenizer.decode([row[at + 1]]) == f" {word.strip()[0].upper()}"


def test_training_leaves_chance_and_threads_as_they_were(documents, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()

    ensure(tmp_path, lambda line: None, RECIPE)

    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_a_vocabulary_without_room_for_the_letters_is_refused(documents, tmp_path):
    with pytest.raises(ValueError, match="vocabulary too small"):
        ensure(tmp_path, lambda line: None, dataclasses.replace(RECIPE, vocabulary=270))

    assert not place(tmp_path, dataclasses.replace(RECIPE, vocabulary=270)).exists()
