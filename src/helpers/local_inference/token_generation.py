"""From prompt ids to answer ids: prefill in chunks, then one token at a time."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from errors import SettingsError
from helpers.local_inference import contrastive_search
from helpers.local_inference.forward_step import ForwardStep
from helpers.local_inference.generation_events import PromptProcessed
from helpers.local_inference.generation_settings import GenerationSettings
from helpers.local_inference.prefix_cache import TextState, has_recurrent_layers
from helpers.local_inference.sampling import Sampler

# As fast as larger chunks; half a billion weights answer a stop within half a second on one core, and the logits of
# as many tokens over a large vocabulary are some tens of megabytes.
PREFILL_CHUNK_TOKENS = 128


def chunk_tokens(cache: Any, prompt_tokens: int) -> int:
    """How many tokens of a prompt to compute at once: all of them where the layers are recurrent."""
    return max(1, prompt_tokens) if has_recurrent_layers(cache) else PREFILL_CHUNK_TOKENS


def generate_tokens(
    forward: Any,
    base: Any,
    prompt_ids: Sequence[int],
    settings: GenerationSettings,
    state: TextState,
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
) -> Iterator[PromptProcessed | int]:
    """Prefill progress, then the answer's token ids; the last may be a stop id.

    ``forward`` is the module that computes: ``base``, or ``base`` with an adapter active on it. ``state`` holds what
    is known of the prompt, and grows. The consumer ends an answer early by not asking for the next token. Raises
    ModelError for NaN, SettingsError for contrastive search with recurrent layers.
    """
    import torch

    device = base.get_input_embeddings().weight.device
    token_ids = torch.empty((1, len(prompt_ids) + max_new_tokens), dtype=torch.long, device=device)
    token_ids[0, : len(prompt_ids)] = torch.tensor(prompt_ids, device=device)
    contrastive = settings.penalty_alpha > 0
    if contrastive and has_recurrent_layers(state.cache):
        raise SettingsError(
            "Contrastive search (penalty_alpha) tries several tokens side by side, which the recurrent layers of "
            "this model do not allow.",
            "Set penalty_alpha to 0.",
            "This model cannot do that",
        )
    step = ForwardStep(forward, base, state.cache, state.tokens, keeps_directions=contrastive)
    sampler = Sampler(settings, device)

    length = len(prompt_ids)
    logits = state.logits
    chunk = chunk_tokens(state.cache, length)
    for start in range(state.tokens, length, chunk):
        end = min(start + chunk, length)
        logits = step(token_ids[:, start:end])
        yield PromptProcessed(end, length)
    assert logits is not None
    # Sampling changes logits in place.
    state.prompt_is_processed(logits.clone())
    if contrastive:
        yield from contrastive_search.search(step, token_ids, length, logits, sampler, settings, stop_ids)
        return
    while True:
        token = sampler.choose(token_ids[:, :length], logits)
        token_ids[0, length] = token
        length += 1
        yield token
        if token in stop_ids or length == token_ids.shape[1]:
            return
        logits = step(token_ids[:, length - 1 : length])
