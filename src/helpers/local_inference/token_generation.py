"""From prompt ids to answer ids: prefill in chunks, then one token at a time."""

import inspect
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from helpers.local_inference.generation_events import PromptProcessed
from helpers.local_inference.generation_settings import GenerationSettings
from helpers.local_inference.sampling import Sampler

if TYPE_CHECKING:
    import torch

PREFILL_CHUNK_TOKENS = 256


def generate_tokens(
    forward: Any,
    base: Any,
    prompt_ids: Sequence[int],
    settings: GenerationSettings,
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
) -> Iterator[PromptProcessed | int]:
    """Prefill progress, then the answer's token ids; the last may be a stop id.

    ``forward`` is the module that computes: ``base``, or ``base`` with an adapter active on it. The consumer ends an
    answer early by not asking for the next token. Raises ModelError for NaN.
    """
    import torch
    from transformers import DynamicCache

    device = base.get_input_embeddings().weight.device
    token_ids = torch.empty((1, len(prompt_ids) + max_new_tokens), dtype=torch.long, device=device)
    token_ids[0, : len(prompt_ids)] = torch.tensor(prompt_ids, device=device)
    step = _Step(forward, base, DynamicCache(config=base.config))
    sampler = Sampler(settings, device)

    for start in range(0, len(prompt_ids), PREFILL_CHUNK_TOKENS):
        end = min(start + PREFILL_CHUNK_TOKENS, len(prompt_ids))
        logits = step(token_ids[:, start:end])
        yield PromptProcessed(end, len(prompt_ids))
    length = len(prompt_ids)
    while True:
        token = sampler.choose(token_ids[:, :length], logits)
        token_ids[0, length] = token
        length += 1
        yield token
        if token in stop_ids or length == token_ids.shape[1]:
            return
        logits = step(token_ids[:, length - 1 : length])


class _Step:
    """One forward pass that goes on from the cache."""

    def __init__(self, forward: Any, base: Any, cache: Any) -> None:
        self._forward = forward
        self._options: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if "logits_to_keep" in inspect.signature(base.forward).parameters:
            # Without it the vocabulary projection runs for every prompt token.
            self._options["logits_to_keep"] = 1

    def __call__(self, token_ids: "torch.Tensor") -> "torch.Tensor":
        """Logits after the last of ``token_ids`` (1, tokens): (1, vocabulary) in float32, owned by the caller."""
        import torch

        # Entered and left at each step: a generator that is suspended inside would switch it on for its consumer.
        with torch.inference_mode():
            logits = self._forward(input_ids=token_ids, **self._options).logits
            return logits[:, -1].to(copy=True, dtype=torch.float32)  # type: ignore[no-any-return]
