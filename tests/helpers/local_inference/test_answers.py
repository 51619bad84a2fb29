"""What bounds and ends an answer, and what is asked before one is begun."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine_requests import request_for, result_of
from errors import AdapterError, EmptyPromptError, ModelError, PromptTooLongError
from helpers.local_inference import (
    ChatMessage,
    ContextOverflow,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    ModelLoading,
    ModelReady,
    ModelSelection,
    PromptProcessed,
    PromptRequest,
    ScoreRequest,
    TextDelta,
)
from helpers.local_inference.engine import Engine
from tiny_models import build_tiny_adapter, build_tiny_base


@pytest.fixture(scope="module")
def short_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose context holds 64 tokens."""
    return build_tiny_base(tmp_path_factory.mktemp("short"), max_position_embeddings=64)


@pytest.mark.parametrize("prompt", ["", "   \n\t "])
def test_an_empty_prompt_is_refused_before_anything_is_loaded(prompt: str, base: Path, engine: Engine) -> None:
    with pytest.raises(EmptyPromptError):
        list(engine.stream(request_for(base, prompt=prompt)))
    assert engine.bases.loads == 0


@pytest.mark.parametrize("roles", [(), ("user", "assistant"), ("system",)])
def test_a_conversation_without_a_question_at_its_end_is_refused(
    roles: tuple[str, ...], base: Path, engine: Engine
) -> None:
    messages = tuple(ChatMessage(role, "Ahoy") for role in roles)  # type: ignore[arg-type]
    request = GenerationRequest(ModelSelection(str(base)), messages, request_for(base).settings)
    with pytest.raises(EmptyPromptError):
        list(engine.stream(request))


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(short_base: Path, engine: Engine) -> None:
    request = request_for(short_base, prompt="Say hello to the sailor. " * 30)
    tokens = engine.render(PromptRequest(request.model, request.messages)).token_count
    with pytest.raises(PromptTooLongError) as caught:
        list(engine.stream(request))
    assert str(tokens) in caught.value.message and "64" in caught.value.message
    assert engine.bases.loads == 0


def conversation(turns: int, last: str = "And now?") -> tuple[ChatMessage, ...]:
    messages = [ChatMessage("system", "Be brief.")]
    for turn in range(turns):
        messages += [ChatMessage("user", f"Question {turn}"), ChatMessage("assistant", f"Reply {turn}")]
    return (*messages, ChatMessage("user", last))


def test_the_fewest_oldest_turns_are_left_out_where_the_user_chose_so(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base", max_position_embeddings=256)
    plain = replace(request_for(base, max_new_tokens=8), messages=conversation(30))
    with pytest.raises(PromptTooLongError):
        list(engine.stream(plain))
    result = result_of(engine.stream(replace(plain, on_overflow=ContextOverflow.DROP_OLDEST)))
    (note,) = [note for note in result.model.notes if "left out" in note]
    shown = engine.render(PromptRequest(plain.model, plain.messages, ContextOverflow.DROP_OLDEST, max_new_tokens=8))
    assert (shown.token_count, shown.notes) == (result.prompt_tokens, result.model.notes)
    left_out = next(int(word) for word in note.split() if word.isdecimal())

    def tokens_without(turns: int) -> int:
        whole = conversation(30)
        kept = (whole[0], *whole[1 + 2 * turns :])
        return engine.render(PromptRequest(plain.model, kept)).token_count

    assert result.prompt_tokens == tokens_without(left_out) <= 256 - 8
    assert tokens_without(left_out - 1) > 256 - 8


def test_nothing_is_left_out_of_a_conversation_that_fits(base: Path, engine: Engine) -> None:
    request = replace(request_for(base), messages=conversation(3))
    plain = result_of(engine.stream(request))
    chosen = result_of(engine.stream(replace(request, on_overflow=ContextOverflow.DROP_OLDEST)))
    assert (chosen.prompt_tokens, chosen.token_ids) == (plain.prompt_tokens, plain.token_ids)
    assert chosen.model.notes == plain.model.notes


def test_a_last_question_that_is_too_long_alone_is_refused_with_the_counts(short_base: Path, engine: Engine) -> None:
    last = "Say hello to the sailor. " * 30
    alone = (ChatMessage("system", "Be brief."), ChatMessage("user", last))
    request = replace(
        request_for(short_base), messages=conversation(4, last), on_overflow=ContextOverflow.DROP_OLDEST
    )
    tokens = engine.render(PromptRequest(request.model, alone)).token_count
    with pytest.raises(PromptTooLongError) as caught:
        list(engine.stream(request))
    assert f"{tokens} tokens" in caught.value.message and f"{tokens - 63} too many" in caught.value.message


def test_the_context_bounds_the_answer(short_base: Path, engine: Engine) -> None:
    result = result_of(engine.stream(request_for(short_base, max_new_tokens=1000, repetition_penalty=1.3)))
    assert result.finish_reason is FinishReason.LENGTH
    assert result.prompt_tokens + result.new_tokens == 64


def test_the_last_token_may_be_the_end_of_the_turn(base: Path, tmp_path: Path, engine: Engine) -> None:
    free = result_of(engine.stream(request_for(base)))
    result = result_of(engine.stream(request_for(base, max_new_tokens=5)))
    assert result.finish_reason is FinishReason.LENGTH and result.new_tokens == 5
    assert result.token_ids == free.token_ids[:5]


def test_a_stop_sequence_ends_the_answer_and_is_not_shown(base: Path, adapter: Path, engine: Engine) -> None:
    free = result_of(engine.stream(request_for(base, adapter)))
    stop = free.text[4:7]
    events = list(engine.stream(request_for(base, adapter, stop=(stop,))))
    result = result_of(events)
    assert result.finish_reason is FinishReason.STOP
    assert result.text == free.text[: free.text.index(stop)]
    assert result.text == "".join(event.text for event in events if isinstance(event, TextDelta))
    assert result.new_tokens < free.new_tokens


def test_prompt_progress_is_told_in_tokens(base: Path, engine: Engine) -> None:
    request = request_for(base, prompt="Say hello to the sailor. " * 60)
    progress = [event for event in engine.stream(request) if isinstance(event, PromptProcessed)]
    done = [event.done_tokens for event in progress]
    assert len(done) > 2 and done == sorted(done)
    assert done[-1] == progress[-1].total_tokens


def test_stopping_in_the_prompt_ends_without_text(base: Path, engine: Engine) -> None:
    request = request_for(base, prompt="Say hello to the sailor. " * 40)
    list(engine.stream(request_for(base)))
    events: list[GenerationEvent] = []
    for event in engine.stream(request, lambda: any(isinstance(event, PromptProcessed) for event in events)):
        events.append(event)
    assert sum(isinstance(event, PromptProcessed) for event in events) == 1
    result = result_of(events)
    assert result.finish_reason is FinishReason.STOPPED and result.text == "" and result.new_tokens == 0


def test_stopping_while_the_weights_load_ends_the_loading(base: Path, engine: Engine) -> None:
    reports: list[ModelLoading] = []
    events = list(engine.stream(request_for(base), lambda: len(reports) == 3, reports.append))
    assert len(reports) == 3 and reports[-1].done_bytes != reports[-1].total_bytes
    assert result_of(events).finish_reason is FinishReason.STOPPED
    assert not any(isinstance(event, ModelReady) for event in events)
    assert engine.bases.loaded == ()
    assert result_of(engine.stream(request_for(base))).new_tokens > 0


def test_an_answer_that_nobody_reads_to_its_end_leaves_the_engine_usable(
    base: Path, adapter: Path, engine: Engine
) -> None:
    expected = result_of(engine.stream(request_for(base, adapter))).token_ids
    for event in engine.stream(request_for(base, adapter)):
        if isinstance(event, TextDelta):
            assert not torch.is_inference_mode_enabled()
            break
    assert result_of(engine.stream(request_for(base, adapter))).token_ids == expected


def test_statistics_count_tokens_and_time(base: Path, engine: Engine) -> None:
    result = result_of(engine.stream(request_for(base)))
    assert result.new_tokens == len(result.token_ids) == 24
    assert 0 < result.time_to_first_token < result.seconds
    assert result.tokens_per_second == pytest.approx(23 / (result.seconds - result.time_to_first_token), rel=0.2)
    document = result.to_json()
    assert document["model"]["quantization_reason"] and document["model"]["versions"]["torch"] == torch.__version__
    assert document["model"]["context_length"] == 100_000


STRATEGIES: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "frequency_penalty": 0.5},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"temperature": 1},
    {"temperature": 0.7, "dynatemp_range": 0.5},
    {"temperature": 1, "top_k": 1},
    {"temperature": 1, "top_p": 0.5},
    {"temperature": 1, "min_p": 0.1},
    {"temperature": 1, "typical_p": 0.5},
]


def with_no_numbers(file: Path, name: str, number: float = math.nan) -> None:
    """Write ``number`` into one row of a saved tensor."""
    tensors = load_file(file)
    tensors[name][7] = number
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_saved_base_with_no_numbers_is_an_error_in_every_strategy_and_the_next_request_works(
    number: float, base: Path, adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    expected = result_of(engine.stream(request_for(base, adapter))).token_ids
    damaged = Path(shutil.copytree(base, tmp_path / "damaged"))
    # One row of the last layer: all but one of the logits are numbers.
    with_no_numbers(damaged / "model.safetensors", "lm_head.weight", number)
    for strategy in STRATEGIES:
        events: list[GenerationEvent] = []
        with pytest.raises(ModelError, match="no valid numbers") as caught:
            events.extend(engine.stream(request_for(damaged, **strategy)))
        assert caught.value.hint and not any(isinstance(event, TextDelta) for event in events)
    if math.isnan(number):
        with pytest.raises(ModelError, match="no valid numbers"):
            list(engine.stream(request_for(damaged, adapter)))
    assert result_of(engine.stream(request_for(base, adapter))).token_ids == expected


@pytest.mark.parametrize("config", [{}, {"bias": "all"}], ids=["lora", "rewrites the base"])
@pytest.mark.filterwarnings("ignore:.*bias:UserWarning")
def test_an_adapter_with_no_numbers_is_an_error_in_every_strategy_and_the_next_request_works(
    config: dict[str, Any], base: Path, adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    expected = result_of(engine.stream(request_for(base, adapter))).token_ids
    damaged = build_tiny_adapter(base, tmp_path / "damaged", **config)
    name = "base_model.model.model.layers.1.self_attn.o_proj.lora_B.weight"
    with_no_numbers(damaged / "adapter_model.safetensors", name)
    kind = ModelError if config else AdapterError
    for strategy in STRATEGIES:
        events: list[GenerationEvent] = []
        with pytest.raises(kind, match="no valid numbers") as caught:
            events.extend(engine.stream(request_for(base, damaged, **strategy)))
        assert caught.value.hint and not any(isinstance(event, TextDelta) for event in events)
    with pytest.raises(kind, match="no valid numbers"):
        engine.score(ScoreRequest(request_for(base, damaged).model, request_for(base).messages, "Ahoy"))
    assert result_of(engine.stream(request_for(base, adapter))).token_ids == expected
