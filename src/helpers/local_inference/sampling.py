"""From logits to the next token: transformers' own processors in transformers' order, and an own random generator."""

from typing import TYPE_CHECKING

from errors import ModelError
from helpers.local_inference.generation_settings import GenerationSettings

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessorList

_MOST_LIKELY = 1024


class Sampler:
    """Chooses one token at a time by ``settings``, whose ``seed`` must be set.

    Only what ``settings`` say is applied; nothing is taken over from the model's own generation config. The order is
    that of transformers' GenerationMixin._get_logits_processor: repetition penalty, n-grams, own penalties,
    temperature, top-k, top-p, min-p, typical-p. In greedy decoding only the penalties apply.
    """

    def __init__(self, settings: GenerationSettings, device: "torch.device") -> None:
        import torch
        from transformers import (
            LogitsProcessorList,
            NoRepeatNGramLogitsProcessor,
            RepetitionPenaltyLogitsProcessor,
        )

        self._processors = LogitsProcessorList()
        if settings.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(float(settings.repetition_penalty)))
        if settings.no_repeat_ngram_size:
            self._processors.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
        self._penalties = AnswerPenalties(settings.frequency_penalty, settings.presence_penalty)
        self._generator: torch.Generator | None = None
        self._warpers = LogitsProcessorList()
        self._dynamic: DynamicTemperature | None = None
        if settings.greedy:
            return
        if settings.seed is None:
            raise ValueError("the seed of sampled settings must be set")
        self._generator = torch.Generator(device).manual_seed(settings.seed)
        if settings.dynatemp_range:
            self._dynamic = DynamicTemperature(
                settings.temperature, settings.dynatemp_range, settings.dynatemp_exponent
            )
        self._warpers = _warpers(settings)

    def penalized(self, token_ids: "torch.Tensor", logits: "torch.Tensor") -> "torch.Tensor":
        """``logits`` (1, vocabulary) with the penalties for ``token_ids`` (1, tokens so far), before any sampling."""
        return self._penalties(self._processors(token_ids, logits))  # type: ignore[arg-type]

    def record(self, token: int) -> None:
        """Tell which token the answer goes on with; :meth:`choose` does so by itself."""
        self._penalties.record(token)

    def choose(self, token_ids: "torch.Tensor", logits: "torch.Tensor") -> int:
        """The next token id. ``token_ids``: (1, tokens so far); ``logits``: (1, vocabulary) in float32, overwritten.

        Raises ModelError where the model computed no numbers (NaN, infinity).
        """
        token = self._pick(token_ids, self.penalized(token_ids, logits))
        self.record(token)
        return token

    def _pick(self, token_ids: "torch.Tensor", scores: "torch.Tensor") -> int:
        import torch

        if self._generator is None:
            token = int(scores.argmax(dim=-1))
            # argmax takes NaN for the largest number.
            if not scores[0, token] < torch.inf:
                raise no_numbers()
            return token
        if self._dynamic is not None:
            scores = self._dynamic(scores)
        probabilities = torch.softmax(self._warpers(token_ids, scores), dim=-1)  # type: ignore[arg-type]
        if torch.isnan(probabilities).any():
            raise no_numbers()
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


class AnswerPenalties:
    """Frequency and presence penalty: logit − count · frequency − (1 if count > 0) · presence.

    ``count`` is how often the answer, without the prompt, has the token so far: the definition of OpenAI's API
    reference, "Frequency and presence penalties".
    """

    def __init__(self, frequency: float, presence: float) -> None:
        self._frequency = frequency
        self._presence = presence
        self._seen: set[int] = set()
        self._sums: torch.Tensor | None = None

    def __call__(self, logits: "torch.Tensor") -> "torch.Tensor":
        """``logits`` (1, vocabulary) less what their tokens have earned."""
        import torch

        if not self._frequency and not self._presence:
            return logits
        if self._sums is None:
            self._sums = torch.zeros_like(logits[0])
        return logits - self._sums

    def record(self, token: int) -> None:
        """The answer goes on with ``token``."""
        if self._sums is not None:
            self._sums[token] += self._frequency if token in self._seen else self._frequency + self._presence
            self._seen.add(token)


class DynamicTemperature:
    """A temperature between ``middle`` − ``reach`` (never below 0) and ``middle`` + ``reach``, by the entropy.

    temperature = low + (high − low) · (H / H_max) ** exponent, with H the entropy of the probabilities and H_max the
    entropy of equal ones: the definition of llama.cpp's sampler "temp_ext". At 0 only the most probable token stays.
    """

    def __init__(self, middle: float, reach: float, exponent: float) -> None:
        self._low, self._high = max(0.0, middle - reach), middle + reach
        self._exponent = exponent

    def __call__(self, logits: "torch.Tensor") -> "torch.Tensor":
        import torch

        logs = torch.log_softmax(logits, dim=-1)
        entropy = -(logs.exp() * logs).nansum(dim=-1)
        most = torch.log(torch.tensor(float(logits.shape[-1]), device=logits.device))
        share = (entropy / most).clamp(0, 1) ** self._exponent
        # The smallest normal number stands for 0: the quotient still tells the first from the second.
        temperature = (self._low + (self._high - self._low) * share).clamp_min(torch.finfo(logits.dtype).tiny)
        # Differences to the largest first: a tiny temperature must not make the largest itself infinite.
        return (logits - logits.max(dim=-1, keepdim=True).values) / temperature[:, None]


class TopP:
    """transformers' TopPLogitsWarper without sorting the vocabulary, which takes 11 ms at 150,000 tokens.

    A token stays where the more probable ones together are below ``top_p``. Those that stay are nearly always among
    the first thousand; where they are not, transformers decides.
    """

    def __init__(self, top_p: float) -> None:
        from transformers import TopPLogitsWarper

        self._top_p = top_p
        self._sorting = TopPLogitsWarper(top_p)

    def __call__(self, token_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        likely = torch.softmax(scores, dim=-1).topk(min(_MOST_LIKELY, scores.shape[-1]))
        reached = likely.values.cumsum(dim=-1)
        if scores.shape[-1] > _MOST_LIKELY and not reached[0, -1] >= self._top_p:
            sorted_out: torch.Tensor = self._sorting(token_ids, scores)
            return sorted_out
        stays = likely.indices[0, (reached - likely.values)[0] < self._top_p]
        kept = torch.full_like(scores, -torch.inf)
        kept[0, stays] = scores[0, stays]
        return kept


def _warpers(settings: GenerationSettings) -> "LogitsProcessorList":
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TypicalLogitsWarper,
    )

    warpers = LogitsProcessorList()
    if settings.temperature != 1 and not settings.dynatemp_range:
        warpers.append(TemperatureLogitsWarper(float(settings.temperature)))
    if settings.top_k:
        warpers.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        warpers.append(TopP(float(settings.top_p)))
    if settings.min_p:
        warpers.append(MinPLogitsWarper(float(settings.min_p)))
    if settings.typical_p < 1:
        warpers.append(TypicalLogitsWarper(float(settings.typical_p)))
    return warpers


def no_numbers() -> ModelError:
    """The error for logits that are not numbers."""
    return ModelError(
        "The model computed no valid numbers (NaN or infinity), so there is no next token.",
        "Choose dtype “float32” or “bfloat16”, or another quantization. If that changes nothing, the weights are "
        "damaged: download the base model again, or check the adapter with the adapter doctor.",
        "The model computed no valid numbers",
    )
