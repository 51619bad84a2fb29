"""The model the engine is measured on: a Llama with random weights of about half a billion parameters, and adapters.

Run as a program with a folder and a number of layers, it builds them there. Its answers mean nothing.
"""

import shutil
import sys
from pathlib import Path

ADAPTERS = 4
RANK = 16
SHAPE = {
    "vocab_size": 32000,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "initializer_range": 0.02,
}
LAYERS = 28


def base_folder(folder: Path) -> Path:
    """Where :func:`build` puts the base model."""
    return folder / "base"


def adapter_folders(folder: Path) -> list[Path]:
    """Where :func:`build` puts the adapters."""
    return [folder / f"adapter-{number}" for number in range(ADAPTERS)]


def build(folder: Path, layers: int = LAYERS) -> None:
    """Build the base in bfloat16 and LoRA adapters on all its linear layers under ``folder``."""
    from safetensors.torch import load_file, save_file

    from tiny_models import build_tiny_adapter, build_tiny_base

    base = build_tiny_base(base_folder(folder), dtype="bfloat16", num_hidden_layers=layers, **SHAPE)
    first, *others = adapter_folders(folder)
    build_tiny_adapter(base, first, rank=RANK, strength=0.02)
    for number, other in enumerate(others, start=2):
        shutil.copytree(first, other)
        tensors = {name: tensor / number for name, tensor in load_file(first / "adapter_model.safetensors").items()}
        save_file(tensors, other / "adapter_model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    build(Path(sys.argv[1]), int(sys.argv[2]))
