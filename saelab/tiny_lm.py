"""`tiny-lm`: a small GPT-NeoX that this machine trains itself, so that SAEs on a language model need no download.

It is trained in about a minute of one core on two things: docstrings of the standard library (`text.documents`, the side
`model`, which no SAE is trained or scored on), and the spelling of its own vocabulary, which is what SAEBench's absorption
asks about. Of the spelling only the letters are learned: which words come in such a list is chance.

The same Python gives the same docstrings; other versions have others, so their models differ, and scores of SAEs on them
are not comparable. `training.json` beside the weights says the version and the hash of the text. Training is deterministic
on one machine; another processor rounds differently.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import text
from .cache import is_as_made, make_once

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

NAME = "tiny-lm"
END, PAD = "<|endoftext|>", "<|padding|>"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FIRST_LETTER = " has the first letter:"
"""As in SAEBench's absorption: each word of it must be one token there, and the letter with its space one more."""

_VERSION = 1  # of what is trained from the same recipe and text
_FOLDER = "models"


@dataclass(frozen=True)
class Recipe:
    """What the model is and how it is trained."""

    vocabulary: int = 3584
    width: int = 64
    layers: int = 3
    heads: int = 4
    context: int = 128
    """Tokens of a training sequence; the model takes up to 1,024."""
    steps: int = 400
    text_rows: int = 10
    """Sequences of docstrings in a batch."""
    spelling_rows: int = 3
    """Sequences in a batch of each of the two kinds of spelling."""
    initial_std: float = 0.06
    lr: float = 5e-3
    """With twice as much its activations grow so large that SAEBench's explained variance is no share any more."""
    warmup_steps: int = 50
    seed: int = 0


TINY = Recipe()


def ensure(cache: Path, say: Callable[[str], None], recipe: Recipe = TINY) -> Path:
    """The folder of the model, in the format of the hub, trained first where it is missing.

    `cache` is the laboratory's. Made once for all processes, whole or not at all. Raises OSError where the cache cannot be
    written.
    """
    what = f"{NAME}, a language model that this machine trained"
    return make_once(place(cache, recipe), lambda folder: _make(folder, recipe, say), say, what=what, is_whole=is_as_made)


def place(cache: Path, recipe: Recipe = TINY) -> Path:
    """Where the model lies, or will lie."""
    key = json.dumps([_VERSION, asdict(recipe), text.identity(text.DOCSTRINGS)], sort_keys=True)
    return cache / _FOLDER / f"{NAME}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _make(folder: Path, recipe: Recipe, say: Callable[[str], None]) -> None:
    import torch

    transformers: Any = importlib.import_module("transformers")  # untyped
    transformers.utils.logging.disable_progress_bar()
    say(f"{NAME}: reading the standard library's docstrings")
    documents = list(text.documents(text.DOCSTRINGS, "model"))
    tokenizer = train_tokenizer(documents, recipe.vocabulary)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would sum in another order on each machine
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model, loss = _train(documents, tokenizer, recipe, say)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END, pad_token=PAD
    ).save_pretrained(folder)
    note = {
        **text.identity(text.DOCSTRINGS),
        "text": hashlib.sha256("\0".join(documents).encode()).hexdigest(),
        "loss of the last tenth of its steps": loss,
        "recipe": asdict(recipe),
    }
    (folder / "training.json").write_text(json.dumps(note, indent=1), encoding="utf-8")


def train_tokenizer(documents: list[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE in which the words of FIRST_LETTER, and each letter with its space, are one token each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    spelled = "\n".join(f"word{FIRST_LETTER} {letter}" for letter in LETTERS)
    tokenizer.train_from_iterator([*documents, *[spelled] * 100], trainer)
    return tokenizer


class _Speller:
    """Sequences of words and their first letters, as tokens, and where in them a letter comes next."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        letters = {letter: _only(tokenizer, f" {letter}") for letter in LETTERS}
        self.newline = _only(tokenizer, "\n")
        self.end = _only(tokenizer, END)
        self.question = tokenizer.encode(FIRST_LETTER).ids
        self.letter_of: dict[int, int] = {}
        for token in range(tokenizer.get_vocab_size()):
            word = tokenizer.decode([token]).removeprefix(" ")
            if word.isascii() and word.isalpha():
                self.letter_of[token] = letters[word[0].upper()]
        self.words = list(self.letter_of)

    def rows(self, n: int, length: int, question: list[int], chance: Any) -> Iterator[tuple[list[int], list[bool]]]:
        """`n` lists of `word question letter`, a line each, of `length` tokens."""
        for _ in range(n):
            row, letter_next = [self.end], [False]
            while len(row) < length:
                word = self.words[chance.integers(len(self.words))]
                row += [self.newline, word, *question, self.letter_of[word]]
                letter_next += [False] * (1 + len(question)) + [True, False]
            yield row[:length], [*letter_next[: length - 1], False]


def _only(tokenizer: Tokenizer, word: str) -> int:
    ids = tokenizer.encode(word).ids
    if len(ids) != 1:
        raise ValueError(f"{word!r} is {len(ids)} tokens, not one: vocabulary too small")
    return int(ids[0])


def _train(documents: list[str], tokenizer: Tokenizer, recipe: Recipe, say: Callable[[str], None]) -> tuple[Any, float]:
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    chance = np.random.default_rng(recipe.seed)
    speller = _Speller(tokenizer)
    encoded = tokenizer.encode_batch(documents)
    stream = torch.tensor([token for each in encoded for token in [speller.end, *each.ids]])
    model: Any = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=recipe.width,
            intermediate_size=4 * recipe.width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=1024,
            initializer_range=recipe.initial_std,
            bos_token_id=speller.end,
            eos_token_id=speller.end,
            use_cache=False,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.01)
    n, length = recipe.text_rows, recipe.context
    losses: list[float] = []
    say(f"{NAME}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(stream):,} tokens of text")
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            decay = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
            group["lr"] = recipe.lr * decay * min((step + 1) / recipe.warmup_steps, 1.0)
        starts = chance.integers(0, len(stream) - length, n)
        spelled = [
            *speller.rows(recipe.spelling_rows, length, speller.question, chance),
            *speller.rows(recipe.spelling_rows, length, [], chance),
        ]
        tokens = torch.stack(
            [*(stream[start : start + length] for start in starts), *(torch.tensor(row) for row, _ in spelled)]
        )
        letter_next = torch.tensor([places for _, places in spelled])
        hidden = model.gpt_neox(input_ids=tokens).last_hidden_state  # [rows, length, width]
        text_loss = cross_entropy(_logits(model, hidden[:n, :-1].flatten(0, 1)), tokens[:n, 1:].flatten())
        letters = tokens[n:].roll(-1, dims=1)[letter_next]
        # Only letters are learned of the spelling, and only they need the expensive product with the vocabulary.
        loss = text_loss + cross_entropy(_logits(model, hidden[n:][letter_next]), letters)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(text_loss.item())
        if (step + 1) % max(recipe.steps // 8, 1) == 0:
            say(f"{NAME}: step {step + 1} of {recipe.steps}, loss {losses[-1]:.2f}")
    last = losses[-max(recipe.steps // 10, 1) :]
    return model.eval(), sum(last) / len(last)


def _logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.get_output_embeddings()(hidden)
    return logits
