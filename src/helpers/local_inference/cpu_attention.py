"""Attention on the CPU in bfloat16, where key/value heads serve several query heads.

torch's own kernel is slow there: for one new token at 4,096 tokens of context it takes more than half of the time,
and for a next turn's tokens keys and values are first repeated for every query head. The same sums as plain matrix
products over grouped heads need no copies and are three times as fast.
"""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "adapter_playground_cpu"
# From here on two matrix products are faster than torch's fused kernel for one token.
_LONG_CONTEXT = 1024
# Scores of so many query tokens at a time that they take no more than this many numbers.
_MOST_SCORES = 32 * 2**20


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
    """One unmasked query token, or masked ones of one text in bfloat16, in grouped form; the rest as transformers.

    ``query`` (batch, heads, tokens, size); ``key`` and ``value`` (batch, key/value heads, context, size). The result
    is (batch, tokens, heads, size).
    """
    groups = int(getattr(module, "num_key_value_groups", 1))
    special = any(options.get(name) is not None for name in ("position_bias", "cache", "softcap"))
    if not special and attention_mask is None and query.shape[2] == 1 and groups > 1:
        return grouped(query, key, value, groups, scaling), None
    if not special and attention_mask is not None and _is_one_masked_text(query, key, attention_mask):
        return masked(query, key, value, attention_mask, scaling), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)


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


def masked(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Attention of several tokens of one text; shapes as above, with a batch of 1.

    ``mask`` (1, 1, tokens, context): True where a token sees a position; each token sees at least one.
    """
    _, heads, tokens, size = query.shape
    _, key_heads, context, _ = key.shape
    scale = scaling if scaling is not None else size**-0.5
    hidden = mask[0, 0].logical_not()
    # A causal mask hides positions only among the newest; a sliding one from the beginning.
    first = int(hidden.any(dim=0).int().argmax())
    found = query.new_empty(1, heads, tokens, value.shape[-1])
    step = max(1, _MOST_SCORES // (heads * context))
    for start in range(0, tokens, step):
        part = slice(start, min(start + step, tokens))
        rows = query[0, :, part].reshape(key_heads, -1, size)
        scores = torch.baddbmm(rows.new_empty(()), rows, key[0].transpose(1, 2), beta=0, alpha=scale)
        by_token = scores.view(heads, -1, context)[..., first:]
        by_token.masked_fill_(hidden[part, first:], -torch.inf)
        # Computed in float32 inside, and rounded to bfloat16 once.
        weights = torch.softmax(scores, dim=-1)
        found[0, :, part] = torch.bmm(weights, value[0]).view(heads, -1, value.shape[-1])
    return found.transpose(1, 2).contiguous()


def _is_one_masked_text(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor) -> bool:
    """Padded batches stay with torch: a row that sees nothing has no softmax."""
    one_text = query.shape[0] == 1 and query.dtype == key.dtype == torch.bfloat16 and mask.dtype == torch.bool
    return one_text and tuple(mask.shape) == (1, 1, query.shape[2], key.shape[2])
