"""The engine: one path from a request to an answer, for the app, the command line, batch and API.

Importing this package loads no torch; :class:`LocalInference` and the model process do when they start.
"""

from helpers.local_inference.generation_events import (
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
    TextDelta,
)
from helpers.local_inference.generation_settings import (
    BUILT_IN_PRESETS,
    DEFAULT_PRESET,
    GenerationSettings,
    SettingRange,
    setting_range,
)
from helpers.local_inference.requests import (
    ChatMessage,
    Dtype,
    GenerationRequest,
    ModelSelection,
    PromptRequest,
    Quantization,
    Role,
)

__all__ = [
    "BUILT_IN_PRESETS",
    "DEFAULT_PRESET",
    "ChatMessage",
    "Dtype",
    "FinishReason",
    "GenerationEvent",
    "GenerationFailed",
    "GenerationFinished",
    "GenerationRequest",
    "GenerationResult",
    "GenerationSettings",
    "LoadedModel",
    "ModelLoading",
    "ModelReady",
    "ModelSelection",
    "PromptProcessed",
    "PromptRequest",
    "Quantization",
    "RenderedPrompt",
    "Role",
    "SettingRange",
    "TextDelta",
    "setting_range",
]
