"""Strength scales what an adapter adds, and merging computes the same; both leave the base as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine_requests import request_for, result_of
from errors import AdapterError, SettingsError
from helpers.local_inference import GenerationRequest, GenerationResult, Quantization
from helpers.local_inference.adapter_files import read_adapter_folder
from helpers.local_inference.engine import Engine
from tiny_models import build_tiny_adapter, build_tiny_base


def changed(request: GenerationRequest, **selection: Any) -> GenerationRequest:
    return replace(request, model=replace(request.model, **selection))


def answer(engine: Engine, base: Path, adapter: Path | None = None, **selection: Any) -> GenerationResult:
    return result_of(engine.stream(changed(request_for(base, adapter), **selection)))


def logits(engine: Engine, adapter: Path | None, strength: float = 1.0) -> torch.Tensor:
    (loaded,) = engine.bases.loaded
    forward = loaded.adapters.activate(read_adapter_folder(adapter) if adapter else None, strength)
    with torch.inference_mode():
        return forward(input_ids=torch.tensor([[5, 80, 17, 200]]), use_cache=False).logits.clone()


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_0_is_the_base_and_1_is_restored_exactly(kind: str, base: Path, tmp_path: Path, engine: Engine) -> None:
    adapter = build_tiny_adapter(base, tmp_path / kind, kind)
    answer(engine, base, adapter)
    alone, trained = logits(engine, None), logits(engine, adapter)
    assert not torch.equal(logits(engine, adapter, 0.3), trained)
    assert torch.equal(logits(engine, adapter, 0), alone)
    assert torch.equal(logits(engine, adapter), trained) and not torch.equal(alone, trained)


def test_two_strengths_share_the_attached_adapter_and_no_text(base: Path, adapter: Path, engine: Engine) -> None:
    first = answer(engine, base, adapter)
    half = answer(engine, base, adapter, adapter_strength=0.5)
    assert half.cached_tokens == 0 and half.model.adapter_strength == 0.5
    (loaded,) = engine.bases.loaded
    assert loaded.adapters.attachments == 1
    none = answer(engine, base, adapter, adapter_strength=0)
    assert none.token_ids == answer(engine, base).token_ids
    again = answer(engine, base, adapter)
    assert again.token_ids == first.token_ids and again.cached_tokens == first.prompt_tokens


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan")])
def test_a_strength_out_of_range_is_refused_with_the_range(
    strength: float, base: Path, adapter: Path, engine: Engine
) -> None:
    with pytest.raises(SettingsError, match="from 0 to 2"):
        answer(engine, base, adapter, adapter_strength=strength)


@pytest.mark.parametrize(
    ("kind", "config"), [("ia3", {}), ("lora", {"modules_to_save": ["lm_head"]}), ("lora", {"use_dora": True})]
)
def test_what_has_no_strength_is_refused_with_the_reason(
    kind: str, config: dict[str, Any], base: Path, tmp_path: Path, engine: Engine
) -> None:
    adapter = build_tiny_adapter(base, tmp_path / "adapter", kind, **config)
    for selection in ({"adapter_strength": 0.5}, {"merge_adapter": True}):
        with pytest.raises(AdapterError, match="cannot") as caught:
            answer(engine, base, adapter, **selection)
        assert caught.value.hint
    assert answer(engine, base, adapter).new_tokens


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_merged_answers_as_live_does_and_the_shared_base_is_untouched(
    family: str, tmp_path: Path, engine: Engine
) -> None:
    base = build_tiny_base(tmp_path / "base", family)
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    alone = answer(engine, base)
    weights = [parameter.clone() for parameter in engine.bases.loaded[0].model.parameters()]
    live = answer(engine, base, adapter)
    files = {path: path.read_bytes() for path in base.iterdir()}
    for strength in (1.0, 0.5):
        merged = answer(engine, base, adapter, merge_adapter=True, adapter_strength=strength)
        assert merged.model.merged and merged.model.effect is not None and not merged.cached_tokens
        assert merged.token_ids == answer(engine, base, adapter, adapter_strength=strength).token_ids
    assert answer(engine, base, adapter).token_ids == live.token_ids
    assert answer(engine, base).token_ids == alone.token_ids
    shared = next(loaded for loaded in engine.bases.loaded if loaded.adapters.attached)
    shared.adapters.detach_all()
    assert all(torch.equal(*pair) for pair in zip(shared.model.parameters(), weights, strict=True))
    assert files == {path: path.read_bytes() for path in base.iterdir()}


def test_a_static_cache_needs_a_cuda_gpu(base: Path, engine: Engine) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(SettingsError, match="CUDA"):
        answer(engine, base, static_cache=True)


def test_merging_into_quantised_weights_is_refused(base: Path, adapter: Path, engine: Engine) -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(AdapterError, match="round"):
        answer(engine, base, adapter, merge_adapter=True, quantization=Quantization.NF4)
