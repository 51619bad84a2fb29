"""Requests to the engine, as tests write them."""

from collections.abc import Iterable
from pathlib import Path

from helpers.local_inference import (
    ChatMessage,
    GenerationEvent,
    GenerationFinished,
    GenerationRequest,
    GenerationResult,
    GenerationSettings,
    ModelSelection,
)


def request_for(
    base: Path | str, adapter: Path | None = None, prompt: str = "Say hello to the sailor.", **settings: object
) -> GenerationRequest:
    """A single-turn request; greedy and short unless ``settings`` say otherwise."""
    values = {"temperature": 0, "max_new_tokens": 24, **settings}
    return GenerationRequest(
        ModelSelection(str(base), str(adapter) if adapter is not None else None),
        (ChatMessage("user", prompt),),
        GenerationSettings.create(**values),
    )


def result_of(events: Iterable[GenerationEvent]) -> GenerationResult:
    """The result in the last event."""
    *_, last = events
    assert isinstance(last, GenerationFinished)
    return last.result
