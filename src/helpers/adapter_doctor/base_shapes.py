"""The shape of every module of a base model: from its safetensors headers, or from its config where those lack it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from helpers.base_models import BaseSummary, shard_names
from helpers.safetensors_header import read_header

EMBEDDING_NAMES = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
HEAD_NAMES = ("lm_head", "embed_out", "output")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")
_TRANSPOSED_TYPES = {"gpt2", "openai-gpt"}
_TRANSPOSED_LEAVES = {"c_attn", "c_proj", "c_fc", "q_attn"}
# Model types whose layers are all alike and named as in Llama, so that config.json alone gives every shape.
_UNIFORM_TYPES = frozenset(
    str.split("""
    llama mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3_text phi3 granite smollm3 olmo olmo2
    cohere cohere2 stablelm starcoder2 gpt2
    """)
)
_PACKED_SUFFIXES = (".qweight", ".weight_packed")


@dataclass(frozen=True)
class BaseShapes:
    """Weight shapes as (out features, in features), for embeddings (rows, width).

    ``modules``: by the checkpoint's module name, None = packed, so that the shape is not written there; empty = no
    weights could be looked into. ``tails``: the same names by their part from the layer on.
    """

    summary: BaseSummary
    modules: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    tails: dict[str, list[str]] = field(default_factory=dict)

    def has_module(self, module: str) -> bool | None:
        """Whether the base has ``module``; None = it cannot be known."""
        if self.modules:
            return bool(self._candidates(module))
        return True if self._from_config(module) else None

    def shapes_of(self, module: str) -> list[tuple[int, ...]]:
        """The shapes that ``module`` may have in the base; [] = not known or not there."""
        held = [self.modules[name] for name in self._candidates(module)]
        known = [_oriented(self.summary.model_type, module, shape) for shape in held if shape is not None]
        if (known or self.modules) and len(known) == len(held):
            return known
        from_config = self._from_config(module)
        return [from_config] if from_config else []

    def leaves(self) -> list[str]:
        """Names of the adaptable modules inside the layers, such as q_proj."""
        inside = {
            leaf(name)
            for name, shape in self.modules.items()
            if _LAYER.search(name) and (not shape or len(shape) > 1)
        }
        return sorted(inside)

    def _candidates(self, module: str) -> list[str]:
        if module in self.modules:
            return [module]
        names = self.tails.get(tail(module), [])
        if not names and leaf(module) in HEAD_NAMES:
            # Tied embeddings: the head is the embedding matrix and is not stored.
            return [name for name in self.modules if leaf(name) in EMBEDDING_NAMES and self.summary.tied_embeddings]
        return names

    def _from_config(self, module: str) -> tuple[int, int] | None:
        if self.summary.model_type not in _UNIFORM_TYPES:
            return None
        return _config_shapes(self.summary, module).get(leaf(module))


def read_base_shapes(summary: BaseSummary) -> BaseShapes:
    """Read the shapes of the base in ``summary.path``; raises ModelError, SafetensorsDamagedError, OSError."""
    index = summary.path / "model.safetensors.index.json"
    single = summary.path / "model.safetensors"
    if single.is_file():
        files = [single]
    elif index.is_file():
        files = [summary.path / shard for shard in shard_names(index)]
    else:
        files = []
    modules = dict(_modules(files))
    tails: dict[str, list[str]] = defaultdict(list)
    for name in modules:
        tails[tail(name)].append(name)
    return BaseShapes(summary, modules, dict(tails))


def layer_number(module: str) -> int | None:
    """The layer a module belongs to, None = none."""
    match = _LAYER.search(module)
    return int(match.group(1)) if match else None


def leaf(module: str) -> str:
    """The last part of a module's name."""
    return module.rpartition(".")[2]


def tail(module: str) -> str:
    """A module's name from its layer list on: the part that does not depend on how the model is wrapped."""
    match = _LAYER.search(module)
    return module[match.start() :].lstrip(".") if match else leaf(module)


def _modules(files: Iterable[Path]) -> Iterable[tuple[str, tuple[int, ...] | None]]:
    for file in files:
        for tensor in read_header(file).tensors:
            packed = tensor.name.endswith(_PACKED_SUFFIXES)
            if packed or tensor.name.endswith(".weight"):
                # bitsandbytes keeps 4-bit weights as bytes in a column of their own length.
                packed = packed or (tensor.dtype == "U8" and tensor.shape[-1:] == (1,))
                yield tensor.name.rpartition(".")[0], None if packed else tensor.shape


def _oriented(model_type: str, module: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    # GPT-2's Conv1D keeps its weight as (in, out).
    if model_type in _TRANSPOSED_TYPES and leaf(module) in _TRANSPOSED_LEAVES:
        return tuple(reversed(shape))
    return shape


def _config_shapes(base: BaseSummary, module: str) -> dict[str, tuple[int, int]]:
    hidden, heads, head_dim = base.hidden_size, base.num_attention_heads, base.head_dim
    if not (hidden and heads and head_dim):
        return {}
    queries, keys = heads * head_dim, (base.num_key_value_heads or heads) * head_dim
    shapes = {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "qkv_proj": (queries + 2 * keys, hidden),
        "c_attn": (3 * hidden, hidden),
    }
    inner = base.intermediate_size or (4 * hidden if base.model_type == "gpt2" else None)
    if inner and not base.has_experts:
        shapes |= {
            "gate_proj": (inner, hidden),
            "up_proj": (inner, hidden),
            "gate_up_proj": (2 * inner, hidden),
            "down_proj": (hidden, inner),
            "c_fc": (inner, hidden),
            "c_proj": (hidden, inner if ".mlp." in module else hidden),
        }
    if base.vocabulary_size:
        shapes |= {name: (base.vocabulary_size, hidden) for name in ("lm_head", "embed_tokens", "wte")}
    return shapes
