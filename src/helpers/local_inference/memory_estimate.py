"""How much memory a model will need, and how much there is. Numbers in bytes; nothing is allocated."""

from dataclasses import dataclass

from helpers.base_models import BaseSummary
from helpers.local_inference.requests import Dtype, Quantization

# Left for other programs and for what a forward pass computes.
RESERVE_BYTES = 512 * 2**20
# A chat is rarely longer; a longer prompt counts as it is.
USUAL_CONTEXT_TOKENS = 4096
_DTYPE_BYTES = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2, Dtype.FLOAT16: 2}
# One scale for 64 weights, itself quantised: QLoRA (Dettmers et al. 2023), section 3.
_WEIGHT_BYTES = {Quantization.INT8: 1.01, Quantization.NF4: 0.52, Quantization.INT4: 0.52}


@dataclass(frozen=True)
class MemoryNeed:
    """What a model takes: weights, keys and values of the context, and the adapter."""

    weights: int
    context: int
    adapter: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.context + self.adapter

    def __str__(self) -> str:
        return (
            f"about {in_gigabytes(self.total)} (weights {in_gigabytes(self.weights)}, "
            f"context {in_gigabytes(self.context)}, adapter {in_gigabytes(self.adapter)})"
        )


@dataclass(frozen=True)
class Room:
    """What a choice of weights has to leave room for: tokens of context, the adapter's file, and the free memory."""

    free_bytes: int
    context_tokens: int = USUAL_CONTEXT_TOKENS
    adapter_bytes: int = 0

    def fits(self, need: MemoryNeed) -> bool:
        """Whether ``need`` and a reserve are free."""
        return need.total + RESERVE_BYTES <= self.free_bytes


def estimate(base: BaseSummary, quantization: Quantization | None, dtype: Dtype, room: Room) -> MemoryNeed:
    """The need of ``base`` held as ``quantization`` (None = as stored) and computing in ``dtype``."""
    width = _DTYPE_BYTES[dtype]
    tokens = min(base.context_length or room.context_tokens, max(room.context_tokens, USUAL_CONTEXT_TOKENS))
    heads = base.num_key_value_heads or base.num_attention_heads or 0
    size = base.head_dim or (base.hidden_size or 0) // max(1, base.num_attention_heads or 1)
    context = 2 * (base.num_layers or 0) * heads * size * tokens * width
    # PEFT holds adapters in float32; most are saved in half of that.
    return MemoryNeed(_weights(base, quantization, width), context, 2 * room.adapter_bytes)


def free_memory(device_kind: str) -> int:
    """Memory that a model on the device could take now."""
    import psutil
    import torch

    if device_kind == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def in_gigabytes(count: int) -> str:
    """For people: "14.2 GB"."""
    return f"{count / 1e9:.1f} GB"


def _weights(base: BaseSummary, quantization: Quantization | None, width: int) -> int:
    # Nearly every base is published in 16 bits.
    parameters = base.size_bytes // 2
    if quantization is None:
        return base.size_bytes
    if quantization is Quantization.NONE:
        return parameters * width
    embeddings = (base.vocabulary_size or 0) * (base.hidden_size or 0) * (1 if base.tied_embeddings else 2)
    embeddings = min(embeddings, parameters)
    # bitsandbytes leaves embeddings and output layer in full; the app's own 8 bits take in the output layer.
    return int((parameters - embeddings) * _WEIGHT_BYTES[quantization]) + embeddings * width
