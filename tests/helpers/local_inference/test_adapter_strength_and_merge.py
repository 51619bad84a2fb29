"""Strength scales what an adapter adds, and merging computes the same; both leave the base as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine_requests import request_for, result_of
from errors import AdapterError, SettingsError
from helpers.local_inference import GenerationRequest, GenerationResult, Quantization
from helpers.local_inference.adapter_files import read_adapter_folder
from helpers.local_inference.base_model_cache import LoadedBase
from helpers.local_inference.engine import Engine
from helpers.local_inference.prefix_cache import AdapterForm
from tiny_models import VOCABULARY_SIZE, build_tiny_adapter, build_tiny_base


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


def without_embeddings(adapter: Path) -> Path:
    """As PEFT saves it with ``save_embedding_layers=False``: what it trained, without the base's own embeddings."""
    file = adapter / "adapter_model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(file).items() if "lora_" in name}
    save_file(tensors, file)
    return adapter


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["embed_tokens"]},
        {"target_modules": ["embed_tokens", "q_proj", "lm_head"]},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 1}},
        {"init_lora_weights": "gaussian"},
    ],
)
def test_every_kind_of_plain_lora_has_a_strength_and_is_merged(
    config: dict[str, Any], base: Path, tmp_path: Path, engine: Engine
) -> None:
    adapter = without_embeddings(build_tiny_adapter(base, tmp_path / "adapter", **config))
    answer(engine, base, adapter)
    alone, trained, half = logits(engine, None), logits(engine, adapter), logits(engine, adapter, 0.5)
    assert torch.equal(logits(engine, adapter, 0), alone) and torch.equal(logits(engine, adapter), trained)
    assert not torch.equal(half, trained) and not torch.equal(half, alone)
    merged = answer(engine, base, adapter, merge_adapter=True, adapter_strength=0.5)
    assert merged.token_ids == answer(engine, base, adapter, adapter_strength=0.5).token_ids
    weights = next(loaded.model for loaded in engine.bases.loaded if loaded.merged_effect is not None)
    with torch.inference_mode():
        found = weights(input_ids=torch.tensor([[5, 80, 17, 200]]), use_cache=False).logits
    torch.testing.assert_close(found, half, atol=1e-3, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize("added", [0, 6])
def test_an_adapter_that_brings_embeddings_has_no_strength(added: int, tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base")
    trained = build_tiny_base(tmp_path / "trained", vocab_size=VOCABULARY_SIZE + added)
    adapter = build_tiny_adapter(trained, tmp_path / "adapter", target_modules=["embed_tokens", "q_proj"])
    for selection in ({"adapter_strength": 0.0}, {"merge_adapter": True}):
        with pytest.raises(AdapterError, match=r"cannot .* changes the base's own weights"):
            answer(engine, base, adapter, **selection)


def test_adalora_has_a_strength_and_is_not_merged(base: Path, tmp_path: Path, engine: Engine) -> None:
    adapter = build_tiny_adapter(base, tmp_path / "adapter", "adalora")
    answer(engine, base, adapter)
    alone, trained = logits(engine, None), logits(engine, adapter)
    assert torch.equal(logits(engine, adapter, 0), alone)
    assert torch.equal(logits(engine, adapter), trained) and not torch.equal(trained, alone)
    with pytest.raises(AdapterError, match="ADALORA"):
        answer(engine, base, adapter, merge_adapter=True)


def test_other_strengths_replace_the_merged_base(base: Path, adapter: Path, engine: Engine) -> None:
    answer(engine, base, adapter)
    for strength in (1.0, 0.5, 1.5, 0.75, 0.25):
        merged = answer(engine, base, adapter, merge_adapter=True, adapter_strength=strength)
        assert len(engine.bases.loaded) == 2
    assert any("copy of the base of its own" in note for note in merged.model.notes)
    needs = [loaded.needed_bytes for loaded in engine.bases.loaded]
    assert engine.bases.reclaimable_bytes() == sum(needs) > max(needs)


def test_a_strength_never_answers_with_what_another_computed(base: Path, adapter: Path, engine: Engine) -> None:
    long = "Say hello to the sailor. " * 20
    for strength in (1.0, 0.5, 1.0, 0.5, 0.0):
        selection = changed(request_for(base, adapter, long), adapter_strength=strength)
        seen, fresh = result_of(engine.stream(selection)), result_of(Engine(prefix_bytes=0).stream(selection))
        assert seen.token_ids == fresh.token_ids
        folder, ids = read_adapter_folder(adapter), [*range(40, 60)]
        (loaded,) = engine.bases.loaded
        form = AdapterForm(folder.fingerprint, strength)
        prompt = (*engine_prompt(loaded, form), *ids)
        state = loaded.prefixes.take(loaded.model.config, form, prompt)
        assert state.tokens > 100
        forward = loaded.adapters.activate(folder, strength)
        with torch.inference_mode():
            rest = torch.tensor([prompt[state.tokens :]])
            found = forward(input_ids=rest, past_key_values=state.cache).logits[0, -1]
            wanted = forward(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def engine_prompt(loaded: LoadedBase, form: AdapterForm) -> tuple[int, ...]:
    """The longest text that is kept of ``form``."""
    return max((entry.token_ids for entry in loaded.prefixes._entries if entry.adapter == form), key=len)


def test_a_static_cache_needs_a_cuda_gpu(base: Path, engine: Engine) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(SettingsError, match="CUDA"):
        answer(engine, base, static_cache=True)


def test_merging_into_quantised_weights_is_refused(base: Path, adapter: Path, engine: Engine) -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(AdapterError, match="round"):
        answer(engine, base, adapter, merge_adapter=True, quantization=Quantization.NF4)
