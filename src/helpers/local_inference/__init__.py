"""The engine: one path from a request to an answer, for the app, the command line, batch and API.

Importing this package loads no torch; :class:`LocalInference` and the model process do when they start.
"""

from helpers.local_inference.generation_events import (
    AdapterEffect,
    FinishReason,
    GenerationEvent,
    GenerationFailed,
    GenerationFinished,
    GenerationResult,
    LoadedModel,
    ModelLoading,
    ModelReady,
    PromptProcessed,
    RenderedPrompt,
    ScoredToken,
    TextDelta,
    TokenScores,
    TopToken,
)
from helpers.local_inference.generation_handle import GenerationHandle
from helpers.local_inference.generation_settings import (
    BUILT_IN_PRESETS,
    DEFAULT_PRESET,
    EditableGenerationSettings,
    GenerationSettings,
    SettingRange,
    setting_range,
)
from helpers.local_inference.local_inference import LocalInference
from helpers.local_inference.requests import (
    ChatMessage,
    ContextOverflow,
    Dtype,
    GenerationRequest,
    ModelSelection,
    PromptRequest,
    Quantization,
    Role,
    ScoreRequest,
)
from helpers.local_inference.worker import ModelProcess, UnloadResult

__all__ = [
    "BUILT_IN_PRESETS",
    "DEFAULT_PRESET",
    "AdapterEffect",
    "ChatMessage",
    "ContextOverflow",
    "Dtype",
    "EditableGenerationSettings",
    "FinishReason",
    "GenerationEvent",
    "GenerationFailed",
    "GenerationFinished",
    "GenerationHandle",
    "GenerationRequest",
    "GenerationResult",
    "GenerationSettings",
    "LoadedModel",
    "LocalInference",
    "ModelLoading",
    "ModelProcess",
    "ModelReady",
    "ModelSelection",
    "PromptProcessed",
    "PromptRequest",
    "Quantization",
    "RenderedPrompt",
    "Role",
    "ScoreRequest",
    "ScoredToken",
    "SettingRange",
    "TextDelta",
    "TokenScores",
    "TopToken",
    "UnloadResult",
    "setting_range",
]
