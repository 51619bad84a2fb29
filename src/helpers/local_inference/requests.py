"""What is asked of the engine. Plain frozen values: they cross from the app process to the model process."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from helpers.local_inference.generation_settings import GenerationSettings

Role = Literal["system", "user", "assistant"]


class Quantization(StrEnum):
    """How the base's weights are held. AUTO lets the policy choose and say why; INT4 is bitsandbytes' plain fp4."""

    AUTO = "auto"
    NONE = "none"
    INT8 = "int8"
    INT4 = "int4"
    NF4 = "nf4"


class Dtype(StrEnum):
    """The floating-point type to compute in. AUTO = what the device does well."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class ContextOverflow(StrEnum):
    """What to do where the conversation is longer than the context: refuse with the counts, or leave out the oldest
    turns (never the system prompt or the last question)."""

    REFUSE = "refuse"
    DROP_OLDEST = "drop_oldest"


@dataclass(frozen=True)
class ChatMessage:
    """One message of the conversation as the model gets it."""

    role: Role
    content: str


@dataclass(frozen=True)
class ModelSelection:
    """Which model answers. Named in every request; there is no global "current adapter".

    ``base_model``: a local folder or a Hugging Face id. ``adapter_path``: an adapter folder, None = the base alone.
    ``run_path``: the training run's output folder, searched for tokenizer and template after the adapter folder.
    ``adapter_strength`` scales what the adapter adds, 0 to 2: 0 = the base's answers, 1 = as it was trained.
    ``merge_adapter``: compute the adapter into a copy of the weights, which decodes faster; never with quantised
    weights. ``static_cache``: on CUDA, compile decoding over a cache of fixed size; unquantised weights only.
    """

    base_model: str
    adapter_path: str | None = None
    run_path: str | None = None
    quantization: Quantization = Quantization.AUTO
    dtype: Dtype = Dtype.AUTO
    adapter_strength: float = 1.0
    merge_adapter: bool = False
    static_cache: bool = False


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to one conversation."""

    model: ModelSelection
    messages: tuple[ChatMessage, ...]
    settings: GenerationSettings
    on_overflow: ContextOverflow = ContextOverflow.REFUSE


@dataclass(frozen=True)
class ScoreRequest:
    """How probable ``answer`` is after ``messages``: a text, or the ids of an answer as the model chose them.

    A text is tokenised as the chat template writes an assistant's turn. ``with_end_of_turn``: the token that ends the
    turn is scored too, as it is counted in training; for ids it changes nothing.
    The adapter is computed live, at its strength; ``merge_adapter`` and ``static_cache`` change nothing here.
    """

    model: ModelSelection
    messages: tuple[ChatMessage, ...]
    answer: str | tuple[int, ...]
    with_end_of_turn: bool = True


@dataclass(frozen=True)
class PromptRequest:
    """The exact prompt the model would get for these messages, and its length. Loads no weights.

    A prompt that is too long is told as it is, also with REFUSE. ``max_new_tokens``: the room for an answer that
    DROP_OLDEST leaves.
    """

    model: ModelSelection
    messages: tuple[ChatMessage, ...]
    on_overflow: ContextOverflow = ContextOverflow.REFUSE
    max_new_tokens: int = 0
