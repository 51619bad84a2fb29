"""Requests to the engine that the benchmarks share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.local_inference import (
    ChatMessage,
    Dtype,
    GenerationFinished,
    GenerationRequest,
    GenerationResult,
    GenerationSettings,
    ModelSelection,
    Quantization,
)
from helpers.local_inference.engine import Engine

SENTENCE = "Say hello to the sailor. "


def answer(engine: Engine, wish: GenerationRequest) -> GenerationResult:
    """What ``engine`` answers."""
    *_, last = engine.stream(wish)
    assert isinstance(last, GenerationFinished)
    return last.result


def request(
    base: Path,
    adapter: Path | None,
    turns: Sequence[str],
    quantization: Quantization,
    tokens: int,
    *,
    merge: bool = False,
) -> GenerationRequest:
    """A greedy request in bfloat16; ``turns`` are of the user and the assistant in turn."""
    messages = tuple(ChatMessage("assistant" if i % 2 else "user", text) for i, text in enumerate(turns))
    path = str(adapter) if adapter else None
    selection = ModelSelection(str(base), path, quantization=quantization, dtype=Dtype.BFLOAT16, merge_adapter=merge)
    return GenerationRequest(selection, messages, GenerationSettings(temperature=0, max_new_tokens=tokens))


def story(tokenizer: Any, tokens: int) -> str:
    """A text of about ``tokens`` tokens."""
    return SENTENCE * (tokens // len(tokenizer(SENTENCE)["input_ids"]))


def next_turn(told: str, number: int) -> list[str]:
    """A conversation that goes on from ``told``; each ``number`` asks another question."""
    return [told, "Ahoy.", f"And what is answer number {number} to the question of the sailor?"]
