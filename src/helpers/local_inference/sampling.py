"""From logits to the next token: transformers' own processors in transformers' order, and an own random generator."""

from typing import TYPE_CHECKING

from errors import ModelError
from helpers.local_inference.generation_settings import GenerationSettings

if TYPE_CHECKING:
    import torch


class Sampler:
    """Chooses one token at a time by ``settings``, whose ``seed`` must be set.

    Only what ``settings`` say is applied; nothing is taken over from the model's own generation config.
    """

    def __init__(self, settings: GenerationSettings, device: "torch.device") -> None:
        import torch
        from transformers import (
            LogitsProcessorList,
            MinPLogitsWarper,
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        # The order is that of GenerationMixin._get_logits_processor.
        self._processors = LogitsProcessorList()
        if settings.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(float(settings.repetition_penalty)))
        self._generator: torch.Generator | None = None
        if settings.greedy:
            return
        if settings.seed is None:
            raise ValueError("the seed of sampled settings must be set")
        self._generator = torch.Generator(device).manual_seed(settings.seed)
        if settings.temperature != 1:
            self._processors.append(TemperatureLogitsWarper(float(settings.temperature)))
        if settings.top_k:
            self._processors.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            self._processors.append(TopPLogitsWarper(float(settings.top_p)))
        if settings.min_p:
            self._processors.append(MinPLogitsWarper(float(settings.min_p)))

    def choose(self, token_ids: "torch.Tensor", logits: "torch.Tensor") -> int:
        """The next token id. ``token_ids``: (1, tokens so far); ``logits``: (1, vocabulary) in float32, overwritten.

        Raises ModelError where the model computed no numbers (NaN).
        """
        import torch

        scores = self._processors(token_ids, logits)  # type: ignore[arg-type]
        if self._generator is None:
            token = int(scores.argmax(dim=-1))
            # argmax takes NaN for the largest number.
            if torch.isnan(scores[0, token]):
                raise _no_numbers()
            return token
        probabilities = torch.softmax(scores, dim=-1)
        if torch.isnan(probabilities).any():
            raise _no_numbers()
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def _no_numbers() -> ModelError:
    return ModelError(
        "The model computed no valid numbers (NaN), so there is no next token.",
        "Choose dtype “float32” or “bfloat16”, or another quantization; check the adapter with the adapter doctor.",
        "The model computed no valid numbers",
    )
