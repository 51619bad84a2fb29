"""Contrastive search: a probable token that does not say what the text said already.

Su et al. 2022, "A Contrastive Framework for Neural Text Generation", equation 5: of the ``top_k`` most probable
tokens v the next is the one with the largest (1 − α) · p(v) − α · max over the text of cos(h_v, h_j), where h is the
last hidden state that the model computes at a token.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from helpers.local_inference.forward_step import ForwardStep
from helpers.local_inference.generation_settings import GenerationSettings
from helpers.local_inference.sampling import Sampler, no_numbers

if TYPE_CHECKING:
    import torch


def search(
    step: ForwardStep,
    token_ids: "torch.Tensor",
    length: int,
    logits: "torch.Tensor",
    sampler: Sampler,
    settings: GenerationSettings,
    stop_ids: Collection[int],
) -> Iterator[int]:
    """The answer's token ids after a prefill with ``step``, whose ``directions`` are those of the prompt.

    ``token_ids`` (1, room) holds ``length`` prompt tokens and takes up the answer; ``logits`` (1, vocabulary) follow
    the prompt. Each token costs one forward pass over ``top_k`` candidates. Raises ModelError for NaN.
    """
    import torch

    alpha = settings.penalty_alpha
    while True:
        probabilities = torch.softmax(sampler.penalized(token_ids[:, :length], logits), dim=-1)
        if torch.isnan(probabilities).any():
            raise no_numbers()
        likely, candidates = probabilities[0].topk(min(settings.top_k, probabilities.shape[-1]))
        text = step.directions[0]
        next_logits, directions = step.try_each(candidates)
        likeness = (directions @ text.T).amax(dim=-1)
        scores = (1 - alpha) * likely - alpha * likeness
        best = int(scores.argmax())
        if torch.isnan(scores[best]):
            raise no_numbers()
        token = int(candidates[best])
        step.keep(best)
        logits = next_logits[best : best + 1]
        token_ids[0, length] = token
        length += 1
        sampler.record(token)
        yield token
        if token in stop_ids or length == token_ids.shape[1]:
            return
