"""A model for measuring: about 25 million random weights and a LoRA adapter, so that a token takes some milliseconds.

Run as a program with a folder, it builds both there, and leaves the caller's process without torch. The answers mean
nothing, but are ASCII text and never end by themselves: every answer is as long as it was allowed to be.
"""

import sys
from pathlib import Path
from typing import Any

SHAPE: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "initializer_range": 0.05,
}
RANK = 16


def base_folder(folder: Path) -> Path:
    """Where :func:`build` puts the base model."""
    return folder / "base"


def adapter_folder(folder: Path) -> Path:
    """Where :func:`build` puts the adapter."""
    return folder / "adapter"


def build(folder: Path) -> None:
    """Build base and adapter under ``folder``."""
    from tiny_models import build_tiny_adapter, build_tiny_base

    base = build_tiny_base(base_folder(folder), **SHAPE)
    _silence_all_but_ascii(base)
    build_tiny_adapter(base, adapter_folder(folder), rank=RANK, strength=0.02)


def _silence_all_but_ascii(base: Path) -> None:
    """Give special tokens and bytes that are not ASCII the logit 0: of many others one is always above it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    special = set(tokenizer.all_special_ids)
    unwanted = [i for i, text in enumerate(texts) if i in special or not (text.isascii() and text.isprintable())]
    with torch.no_grad():
        model.get_output_embeddings().weight[unwanted] = 0
    model.save_pretrained(base)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
