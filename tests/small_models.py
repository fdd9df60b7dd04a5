"""Tiny random language models of each family, with a tokenizer, as their makers' libraries save them."""

from __future__ import annotations

from pathlib import Path

WORDS = [f"w{number}" for number in range(50)]
SPECIAL = ["<pad>", "<bos>", "<eos>"]
_SIZE = {
    "vocab_size": len(WORDS) + len(SPECIAL),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
_KEYS = {"num_key_value_heads": 1, "head_dim": 8}

CONFIGS = {
    "gpt-neox": ("GPTNeoXConfig", _SIZE),
    "gpt-2": ("GPT2Config", {"vocab_size": _SIZE["vocab_size"], "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 64}),
    "llama": ("LlamaConfig", _SIZE | _KEYS),
    "gemma-2": ("Gemma2Config", _SIZE | _KEYS | {"query_pre_attn_scalar": 8, "sliding_window": 8}),
    "gemma-3": ("Gemma3TextConfig", _SIZE | _KEYS | {"query_pre_attn_scalar": 8, "sliding_window": 8}),
    "qwen-2": ("Qwen2Config", _SIZE | {"num_key_value_heads": 1}),
    "qwen-3": ("Qwen3Config", _SIZE | _KEYS),
}


def save_model(family: str, folder: Path, *, begins: bool = True) -> Path:
    """A model of `family` in `folder`; its weights are random and the same each time. Not every family's text `begins`."""
    # Here, because each worker of the suite imports this module, and few need what takes seconds.
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    kind, facts = CONFIGS[family]
    config = getattr(transformers, kind)(**facts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # larger than usual, so that each layer changes what comes out
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"pad_token": "<pad>", "eos_token": "<eos>"} | ({"bos_token": "<bos>"} if begins else {})
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    return folder


def save_model_and_text(family: str, folder: Path) -> Path:
    """The same in `folder/model`, and ten documents in `folder/text`."""
    save_model(family, folder / "model")
    (folder / "text").mkdir()
    for number in range(10):
        (folder / "text" / f"{number}.txt").write_text(" ".join(WORDS[number:] * 10))
    return folder
