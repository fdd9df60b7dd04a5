"""The campaign of the profile gemma-2-2b from end to end on two cores and without the hub: its settings but for size,
SAEBench itself, the code that scores on a GPU, and a model of Gemma-2's architecture with random weights, whose embeddings
tell first letters apart.

    .venv/bin/python bench/dry_gemma.py FOLDER                     the model, then the campaign, in FOLDER: a few minutes
    .venv/bin/python bench/dry_gemma.py FOLDER --max-runs 3        with options of `harness run`
"""

from __future__ import annotations

import os
import string
import sys
from pathlib import Path

import torch
import transformers

from saelab import text, tiny_lm

ROOT = Path(__file__).parents[1]
WIDTH, VOCABULARY = 64, 1200
SIZES = {
    "device": "cpu",
    "scoring_backend": "torch",
    "threads": 1,
    "layer": 1,
    "d_in": WIDTH,
    "dict_size": 256,
    "k": 8,
    "lr": 2e-3,
    "steps": 60,
    "warmup_steps": 5,
    "batch_size": 256,
    "context": 32,
    "harvest_tokens": 16_384,
    "dataset": "docstrings",
    "evals": "core absorption",
    "eval_dataset": "docstrings",
    "eval_tokens": 4096,
    "loss_tokens": 1024,
    "absorption_letters": 8,
    "absorption_latents": 2,
}


def make_model(folder: Path) -> None:
    documents = list(text.documents(text.DOCSTRINGS, "model"))
    tokenizer = tiny_lm.train_tokenizer(documents[:2000], VOCABULARY)
    config = transformers.Gemma2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=64,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    letters = torch.randn(26, WIDTH)
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        embeddings.normal_(std=0.1)
        for token in range(len(embeddings)):
            word = tokenizer.decode([token]).strip().lower()
            if word and word[0] in string.ascii_lowercase:
                embeddings[token] += 0.5 * letters[string.ascii_lowercase.index(word[0])]
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tiny_lm.END,
        eos_token=tiny_lm.END,
        unk_token=tiny_lm.END,
        pad_token=tiny_lm.PAD,
    ).save_pretrained(folder)


def main(folder: Path, options: list[str]) -> None:
    model = folder / "a model of Gemma's kind"
    if not model.exists():
        make_model(model)
    settings = [f"--set={name}={value}" for name, value in {"model": model, **SIZES}.items()]
    harness = str(Path(sys.executable).parent / "harness")
    idea, profile = str(ROOT / "ideas" / "hierarchy.json"), "gemma-2-2b"
    command = [
        harness,
        "run",
        idea,
        "--experiment",
        str(ROOT),
        "--profile",
        profile,
        "--out",
        str(folder / "runs"),
        *settings,
    ]
    os.execv(harness, [*command, *(options or ["--max-runs", "1", "--no-holdout"])])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
