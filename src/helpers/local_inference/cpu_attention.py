"""Attention for one new token on the CPU, where key/value heads serve several query heads.

torch's own kernel for that case (``enable_gqa``) is slow on a CPU in bfloat16: at 4,096 tokens of context it takes
more than half of a token's time. The same sums in grouped form need no copies of keys and values.
"""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "adapter_playground_cpu"
# From here on two matrix products are faster than torch's fused kernel.
_LONG_CONTEXT = 1024


def install(model: Any) -> None:
    """Let ``model`` use :func:`attend`, where it uses torch's scaled dot product attention so far."""
    AttentionInterface.register(NAME, attend)
    # The masks stay those of "sdpa".
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """One unmasked query token in grouped form; everything else goes to transformers' own function.

    ``query`` (batch, heads, tokens, size); ``key`` and ``value`` (batch, key/value heads, context, size). The result
    is (batch, tokens, heads, size).
    """
    groups = int(getattr(module, "num_key_value_groups", 1))
    special = any(options.get(name) is not None for name in ("position_bias", "cache", "softcap"))
    if special or attention_mask is not None or groups == 1 or query.shape[2] != 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    return grouped(query, key, value, groups, scaling), None


def grouped(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, groups: int, scaling: float | None
) -> torch.Tensor:
    """Attention of one token, the query heads of one key/value head as rows of one product; shapes as above."""
    batch, heads, _, size = query.shape
    rows = query.reshape(batch, heads // groups, groups, size)
    if key.dtype == torch.bfloat16 and key.shape[2] >= _LONG_CONTEXT:
        scale = scaling if scaling is not None else size**-0.5
        scores = torch.matmul(rows * scale, key.transpose(2, 3))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
        found = torch.matmul(weights, value)
    else:
        found = F.scaled_dot_product_attention(rows, key, value, scale=scaling)
    return found.reshape(batch, 1, heads, value.shape[-1])
