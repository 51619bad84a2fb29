"""The engine on a CUDA GPU."""

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine_requests import request_for, result_of
from helpers.local_inference import Dtype, GenerationRequest, ModelSelection, Quantization
from helpers.local_inference.engine import Engine
from helpers.local_inference.quantization_policy import find_bitsandbytes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU"),
]


def with_choice(request: GenerationRequest, quantization: Quantization, dtype: Dtype) -> GenerationRequest:
    selection = ModelSelection(request.model.base_model, request.model.adapter_path, None, quantization, dtype)
    return GenerationRequest(selection, request.messages, request.settings)


def test_the_model_computes_on_the_gpu_and_each_adapter_keeps_its_answer(
    base: Path, adapter: Path, other_adapter: Path, engine: Engine
) -> None:
    first = result_of(engine.stream(request_for(base, adapter)))
    assert first.model.device == "cuda"
    (loaded,) = engine.bases.loaded
    assert {parameter.device.type for parameter in loaded.model.parameters()} == {"cuda"}
    other = result_of(engine.stream(request_for(base, other_adapter)))
    again = result_of(engine.stream(request_for(base, adapter)))
    assert first.token_ids == again.token_ids != other.token_ids and engine.bases.loads == 1


def test_same_seed_same_text(base: Path, engine: Engine) -> None:
    request = request_for(base, temperature=1.2, seed=3)
    assert result_of(engine.stream(request)).text == result_of(engine.stream(request)).text


@pytest.mark.skipif(not find_bitsandbytes(), reason="bitsandbytes is not installed")
@pytest.mark.parametrize("quantization", [Quantization.NF4, Quantization.INT8])
def test_quantised_weights_answer_with_an_adapter(
    quantization: Quantization, base: Path, adapter: Path, engine: Engine
) -> None:
    request = with_choice(request_for(base, adapter), quantization, Dtype.AUTO)
    result = result_of(engine.stream(request))
    assert result.new_tokens > 0 and result.model.quantization != "none"


def test_a_known_text_is_not_computed_again_and_the_answer_stays(base: Path, adapter: Path, engine: Engine) -> None:
    request = request_for(base, adapter, "Say hello to the sailor. " * 30)
    first, second = (result_of(engine.stream(request)) for _ in range(2))
    assert second.cached_tokens == second.prompt_tokens and second.token_ids == first.token_ids
    assert first.model.effect is not None and first.model.effect.matched_layers == 14


def test_a_static_cache_gives_the_same_answer(base: Path, adapter: Path, engine: Engine) -> None:
    plain = with_choice(request_for(base, adapter), Quantization.NONE, Dtype.FLOAT32)
    static = replace(plain, model=replace(plain.model, static_cache=True))
    assert result_of(engine.stream(static)).token_ids == result_of(engine.stream(plain)).token_ids


def test_letting_go_of_the_models_gives_the_memory_back(base: Path, engine: Engine) -> None:
    def without_models() -> int:
        engine.bases.clear()
        gc.collect()
        torch.cuda.empty_cache()
        return int(torch.cuda.memory_allocated())

    # The first answer leaves what CUDA's libraries keep for themselves.
    result_of(engine.stream(request_for(base)))
    before = without_models()
    result_of(engine.stream(request_for(base)))
    assert torch.cuda.memory_allocated() > before
    assert without_models() <= before
