"""What the engine reports while it works: frozen values that cross from the model process to the app."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from errors import PlaygroundError
from helpers.local_inference.generation_settings import GenerationSettings
from helpers.local_inference.requests import GenerationRequest


class FinishReason(StrEnum):
    """Why an answer ended: end-of-turn or stop sequence, token limit, or the user's Stop."""

    STOP = "stop"
    LENGTH = "length"
    STOPPED = "stopped"


@dataclass(frozen=True)
class AdapterEffect:
    """What an adapter does to its base, measured once after it was attached.

    ``matched_layers``: layers of the base that it is attached to. On a fixed prompt: ``largest_logit_change`` against
    the base alone, and ``changed_top_tokens``, the share (0..1) of positions where another token is the most
    probable one. Both are None where the adapter changes the base's own weights, so that there is no plain base to
    compare with.
    """

    matched_layers: int
    largest_logit_change: float | None
    changed_top_tokens: float | None


@dataclass(frozen=True)
class LoadedModel:
    """What answered: stored with every answer so that it can be explained and repeated.

    ``adapter_*`` and ``peft_type`` are None when the base alone answered. ``quantization_reason`` and ``notes`` are
    sentences for the user. ``context_length`` is in tokens, None = the config does not say. ``effect`` is None for
    the base alone, else that of the adapter at strength 1.
    ``merged``: the adapter is in the weights. ``kernel`` says what computes
    where that is more than plain PyTorch, else it is empty.
    """

    base_model: str
    adapter_path: str | None
    adapter_fingerprint: str | None
    peft_type: str | None
    rank: int | None
    quantization: str
    quantization_reason: str
    dtype: str
    device: str
    context_length: int | None
    tokenizer_source: str
    template_source: str
    notes: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    effect: AdapterEffect | None = None
    kernel: str = ""
    adapter_strength: float = 1.0
    merged: bool = False


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt after the chat template. ``text`` shows special tokens; ``token_count`` is what the model gets."""

    text: str
    token_count: int
    context_length: int | None
    tokenizer_source: str
    template_source: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class GenerationResult:
    """One finished answer. Times in seconds; ``tokens_per_second`` counts decoding after the first token.

    ``token_ids`` are the answer's ids as the model chose them, with the stop id where it ended by one.
    ``cached_tokens``: how many of the prompt's tokens were known from an earlier text and not computed again.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    new_tokens: int
    seconds: float
    time_to_first_token: float
    tokens_per_second: float
    seed: int
    settings: GenerationSettings
    model: LoadedModel
    token_ids: tuple[int, ...] = ()
    cached_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """The document that ``generate --json`` prints."""
        return {
            "text": self.text,
            "finish_reason": str(self.finish_reason),
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "new_tokens": self.new_tokens,
            "seconds": self.seconds,
            "time_to_first_token": self.time_to_first_token,
            "tokens_per_second": self.tokens_per_second,
            "seed": self.seed,
            "settings": self.settings.model_dump(mode="json"),
            "model": {**asdict(self.model), "versions": dict(self.model.versions)},
        }


@dataclass(frozen=True)
class TopToken:
    """The most probable token at a place, and its probability (0..1)."""

    text: str
    token_id: int
    probability: float


@dataclass(frozen=True)
class ScoredToken:
    """One token of a given answer. Log-probabilities are natural logarithms.

    ``text`` is what became whole UTF-8 with it, possibly empty, or the name of a special token. ``adapter_*`` are
    None for the base alone; ``base_*`` where the plain base is not in memory beside the adapter (it changes the
    base's weights or its vocabulary).
    """

    text: str
    token_id: int
    adapter_logprob: float | None
    base_logprob: float | None
    adapter_top: TopToken | None
    base_top: TopToken | None


@dataclass(frozen=True)
class TokenScores:
    """A given answer, token by token, and its loss under adapter and base.

    A loss is the mean of the tokens' negative log-probabilities, in nats per token: what a trainer that counts the
    answer alone reports for one sample. None as the log-probabilities of :class:`ScoredToken`.
    """

    tokens: tuple[ScoredToken, ...]
    adapter_loss: float | None
    base_loss: float | None
    model: LoadedModel


@dataclass(frozen=True)
class ModelLoading:
    """Loading goes on. ``stage`` is a sentence for the user; bytes are None where they cannot be known."""

    stage: str
    done_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True)
class ModelReady:
    """The model is in memory; ``seconds`` is 0 when it already was."""

    model: LoadedModel
    seconds: float


@dataclass(frozen=True)
class PromptProcessed:
    """Prefill progress, in prompt tokens."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class TextDelta:
    """New text, whole UTF-8; all deltas joined are the final text. ``new_tokens`` counts from the start."""

    text: str
    new_tokens: int


@dataclass(frozen=True)
class GenerationFinished:
    """The last event of an answer that ended well or was stopped."""

    result: GenerationResult


@dataclass(frozen=True)
class GenerationFailed:
    """The last event of an answer that failed."""

    error: PlaygroundError


GenerationEvent = ModelLoading | ModelReady | PromptProcessed | TextDelta | GenerationFinished | GenerationFailed


def stopped_before_loading(request: GenerationRequest) -> GenerationResult:
    """The result of a request that was stopped before its model was ready: no text, nothing known of the model."""
    settings = request.settings.with_seed()
    model = LoadedModel(
        base_model=request.model.base_model,
        adapter_path=request.model.adapter_path,
        adapter_fingerprint=None,
        peft_type=None,
        rank=None,
        quantization=str(request.model.quantization),
        quantization_reason="Stopped before the model was loaded.",
        dtype=str(request.model.dtype),
        device="",
        context_length=None,
        tokenizer_source="",
        template_source="",
        notes=("Stopped before the model was loaded.",),
        versions=(),
    )
    return GenerationResult("", FinishReason.STOPPED, 0, 0, 0.0, 0.0, 0.0, settings.seed or 0, settings, model)
