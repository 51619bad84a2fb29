"""The engine in a Python script."""

import json
from pathlib import Path

import pytest

from engine_requests import result_of
from errors import ModelNotFoundError, SettingsError
from helpers.local_inference import BUILT_IN_PRESETS, ChatMessage, GenerationSettings, LocalInference, TextDelta
from tiny_models import build_tiny_base

GREEDY = GenerationSettings(temperature=0, max_new_tokens=16)


def test_the_example_of_the_documentation_works(base: Path, adapter: Path) -> None:
    with LocalInference(base, adapter) as model:
        settings = model.generation_settings()
        settings.max_new_tokens = 12
        settings.seed = 1
        texts = model.generate(texts=["Why are the LLM models important?", "Ahoy"], settings=settings)
        assert len(texts) == 2 and texts[0] != texts[1]
        assert texts == model.generate(texts=["Why are the LLM models important?", "Ahoy"], settings=settings)
        assert "max_new_tokens=12" in str(settings)


def test_chat_stream_and_generate_give_the_same_answer(base: Path, adapter: Path) -> None:
    with LocalInference(base, adapter) as model:
        messages = [ChatMessage("user", "Ahoy")]
        events = list(model.stream(messages, GREEDY))
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert text == result_of(events).text == model.chat(messages, GREEDY).text
        assert model.generate(["Ahoy"], GREEDY) == [text]
        assert "Ahoy" in model.render(messages).text


def test_default_settings_are_the_models_own_recommendation_and_are_shown(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base", max_position_embeddings=128)
    (base / "generation_config.json").write_text(json.dumps({"temperature": 0.3, "top_k": 40, "min_p": 7}))
    settings = LocalInference(base).generation_settings()
    balanced = BUILT_IN_PRESETS["Balanced"]
    assert settings.frozen() == balanced.with_changes(temperature=0.3, top_k=40, max_new_tokens=128)


def test_a_greedy_model_recommends_greedy(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base")
    (base / "generation_config.json").write_text(json.dumps({"do_sample": False, "temperature": 0.6}))
    assert LocalInference(base).generation_settings().greedy


def test_assigning_a_value_out_of_range_says_the_range(base: Path) -> None:
    settings = LocalInference(base).generation_settings()
    with pytest.raises(SettingsError, match="from 0 to 2"):
        settings.temperature = 3
    with pytest.raises(SettingsError, match="no setting"):
        settings.temprature = 1  # type: ignore[attr-defined]
    assert settings.temperature == 0.7


def test_an_unknown_quantization_is_refused_when_the_object_is_made(base: Path) -> None:
    with pytest.raises(ValueError, match="int3"):
        LocalInference(base, quantization="int3")


def test_a_base_that_is_nowhere_says_so(tmp_path: Path) -> None:
    with LocalInference(tmp_path / "nowhere") as model, pytest.raises(ModelNotFoundError, match="nowhere"):
        model.generate(["Ahoy"])
