"""Texts that begin alike are computed once, and nobody can tell from the answers."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine_requests import request_for, result_of
from helpers.local_inference import (
    ChatMessage,
    GenerationRequest,
    GenerationResult,
    GenerationSettings,
    ModelSelection,
    PromptProcessed,
)
from helpers.local_inference.engine import Engine
from helpers.local_inference.prefix_cache import AdapterForm, PrefixCache, TextState, new_state
from tiny_models import build_tiny_adapter, build_tiny_base

LONG = "Say hello to the sailor. " * 30
WORDS = ("Ahoy", "What is the capital of France?", "How does a cat sound?", "Answer as JSON.", "Grüße, 東京")


def asked(
    engine: Engine, base: Path, adapter: Path | None, messages: Sequence[ChatMessage], **settings: Any
) -> GenerationResult:
    values = {"temperature": 0, "max_new_tokens": 10, **settings}
    selection = ModelSelection(str(base), str(adapter) if adapter else None)
    return result_of(
        engine.stream(GenerationRequest(selection, tuple(messages), GenerationSettings.create(**values)))
    )


def conversation(*texts: str) -> list[ChatMessage]:
    return [ChatMessage("assistant" if position % 2 else "user", text) for position, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {"max_position_embeddings": 4096}),
        ("mistral", {"max_position_embeddings": 4096, "sliding_window": 64}),
        ("gpt2", {"n_positions": 4096}),
    ],
)
def test_answers_are_those_of_an_engine_that_computes_everything_anew(
    family: str, overrides: dict[str, Any], tmp_path: Path
) -> None:
    base = build_tiny_base(tmp_path / "base", family, **overrides)
    adapters = [None, *(build_tiny_adapter(base, tmp_path / f"adapter-{seed}", seed=seed) for seed in (1, 2))]
    remembers, forgets = Engine(), Engine(prefix_bytes=0)
    chance = random.Random(5)
    cached = 0
    texts = [LONG]
    for _ in range(30):
        adapter = chance.choice([adapters[1], adapters[1], *adapters])
        settings = {} if chance.random() < 0.7 else {"temperature": 1.2, "seed": 3}
        messages = conversation(*texts)
        found = asked(remembers, base, adapter, messages, **settings)
        assert found.token_ids == asked(forgets, base, adapter, messages, **settings).token_ids
        cached += found.cached_tokens
        step = chance.choice(["append", "append", "append", "regenerate", "edit", "shorten", "another"])
        if step == "append":
            texts = [*texts, found.text or "…", chance.choice(WORDS)]
        elif step == "edit":
            place = chance.randrange(0, len(texts), 2)
            texts = [*texts[:place], chance.choice(WORDS) + " " + texts[place][:200]]
        elif step == "shorten":
            texts = texts[: chance.randrange(1, len(texts) + 1, 2)]
        elif step == "another":
            texts = [chance.choice(WORDS)]
    assert cached > 500


def test_the_next_turn_computes_only_what_is_new(base: Path, adapter: Path, engine: Engine) -> None:
    first = asked(engine, base, adapter, conversation(LONG))
    assert first.cached_tokens == 0
    messages = conversation(LONG, first.text, "And then?")
    second = asked(engine, base, adapter, messages)
    assert second.cached_tokens >= first.prompt_tokens
    assert second.prompt_tokens - second.cached_tokens < 60
    assert asked(Engine(prefix_bytes=0), base, adapter, messages).token_ids == second.token_ids


def test_asking_the_same_again_computes_nothing_and_gives_the_same(base: Path, adapter: Path, engine: Engine) -> None:
    request = request_for(base, adapter, LONG, temperature=1.3, seed=9)
    first = result_of(engine.stream(request))
    events = list(engine.stream(request))
    second = result_of(events)
    assert second.token_ids == first.token_ids and second.cached_tokens == second.prompt_tokens
    assert not any(isinstance(event, PromptProcessed) for event in events)


def test_an_adapter_never_sees_what_another_computed(
    base: Path, adapter: Path, other_adapter: Path, engine: Engine
) -> None:
    asked(engine, base, adapter, conversation(LONG))
    for path in (other_adapter, None):
        assert asked(engine, base, path, conversation(LONG)).cached_tokens == 0
    assert asked(engine, base, adapter, conversation(LONG, "a", "b")).cached_tokens > 100


def test_two_conversations_that_begin_alike_do_not_push_each_other_out(base: Path, engine: Engine) -> None:
    first, second = "One? " + LONG, "Two? " + LONG
    system = ChatMessage("system", "Be brief.")
    answers = {}
    for text in (first, second):
        answers[text] = asked(engine, base, None, [system, *conversation(text)])
    for text in (first, second):
        again = asked(engine, base, None, [system, *conversation(text, answers[text].text, "More.")])
        assert again.cached_tokens >= answers[text].prompt_tokens


def test_a_stopped_answer_keeps_what_was_computed(base: Path, engine: Engine) -> None:
    request = request_for(base, prompt=LONG)
    seen: list[object] = []
    for event in engine.stream(request, lambda: any(isinstance(event, PromptProcessed) for event in seen)):
        seen.append(event)
    assert (
        200 <= result_of(engine.stream(request)).cached_tokens < result_of(engine.stream(request)).prompt_tokens + 1
    )


def test_a_full_sliding_window_is_not_cropped(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base", "mistral", sliding_window=64, max_position_embeddings=4096)
    first = asked(engine, base, None, conversation(LONG))
    appended = asked(engine, base, None, conversation(LONG, first.text, "And then?"))
    edited = asked(engine, base, None, conversation(LONG[:-20]))
    assert edited.cached_tokens == 0 < first.prompt_tokens <= appended.cached_tokens
    plain = Engine(prefix_bytes=0)
    assert edited.token_ids == asked(plain, base, None, conversation(LONG[:-20])).token_ids
    assert appended.token_ids == asked(plain, base, None, conversation(LONG, first.text, "And then?")).token_ids


def test_what_is_kept_stays_within_the_bytes_and_the_oldest_goes_first(base: Path) -> None:
    one_text = Engine()
    asked(one_text, base, None, conversation(LONG))
    budget = int(one_text.bases.loaded[0].prefixes.size_bytes * 2.2)
    engine = Engine(prefix_bytes=budget)
    texts = [f"{number} {LONG}" for number in range(3)]
    for text in texts:
        asked(engine, base, None, conversation(text))
        assert 0 < engine.bases.loaded[0].prefixes.size_bytes <= budget
    newest, oldest = (asked(engine, base, None, conversation(text)).cached_tokens for text in (texts[2], texts[0]))
    assert newest > 100 > oldest


def test_what_an_adapter_computed_goes_with_it(base: Path, adapter: Path, tmp_path: Path, engine: Engine) -> None:
    asked(engine, base, adapter, conversation(LONG))
    kept = engine.bases.loaded[0].prefixes.size_bytes
    ia3 = build_tiny_adapter(base, tmp_path / "ia3", "ia3")
    asked(engine, base, ia3, conversation("Ahoy"))
    assert engine.bases.loaded[0].prefixes.size_bytes < kept / 2
    assert asked(engine, base, adapter, conversation(LONG)).cached_tokens == 0


def test_a_state_that_cannot_go_back_is_not_kept() -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        "qwen3_next", num_hidden_layers=2, layer_types=["linear_attention", "full_attention"], vocab_size=32
    )
    state = new_state(config)
    prefixes = PrefixCache(10**9)
    prefixes.put(None, (1, 2, 3), 2, state)
    assert prefixes.size_bytes == 0 and prefixes.take(config, None, (1, 2, 3)).tokens == 0


def test_a_prompt_that_ends_inside_a_known_text_leaves_a_token_to_compute() -> None:
    from transformers import LlamaConfig

    config = LlamaConfig(num_hidden_layers=1)
    state = new_state(config)
    state.cache.update(torch.ones(1, 1, 6, 2), torch.ones(1, 1, 6, 2), 0)
    prefixes = PrefixCache(10**9)
    prefixes.put(AdapterForm("a"), (1, 2, 3, 4, 5, 6), 4, TextState(state.cache))
    assert prefixes.take(config, AdapterForm("b"), (1, 2, 3)).tokens == 0
    taken = prefixes.take(config, AdapterForm("a"), (1, 2, 3, 4, 5))
    assert taken.tokens == taken.cache.get_seq_length() == 4 and taken.logits is None
