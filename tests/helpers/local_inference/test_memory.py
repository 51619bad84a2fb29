"""Memory: estimated before loading, shared while it lasts, given back in order, and its end is an error in words."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from engine_requests import request_for, result_of
from errors import OutOfMemoryError
from helpers.base_models import BaseSummary
from helpers.local_inference import Dtype, Quantization
from helpers.local_inference.engine import Engine
from helpers.local_inference.memory_estimate import Room, estimate
from helpers.local_inference.quantization_policy import Device, choose_weights
from tiny_models import build_tiny_adapter, build_tiny_base

CPU, CUDA, OLD_CPU = Device("cpu", True, False), Device("cuda", True, True), Device("cpu", False, False)
GB = 10**9
# Llama 3.1 8B, as its config says.
EIGHT_BILLION = BaseSummary(
    name="base",
    path=Path(),
    model_type="llama",
    hidden_size=4096,
    num_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=14336,
    vocabulary_size=128256,
    context_length=131072,
    quantization=None,
    tied_embeddings=False,
    is_composite=False,
    has_experts=False,
    size_bytes=16_060_000_000,
)


def answer(engine: Engine, base: Path, adapter: Path | None = None) -> tuple[int, ...]:
    return result_of(engine.stream(request_for(base, adapter))).token_ids


@pytest.mark.parametrize(
    ("quantization", "dtype", "weights"),
    [
        (Quantization.NONE, Dtype.BFLOAT16, 16.06),
        (Quantization.NONE, Dtype.FLOAT32, 32.12),
        (Quantization.INT8, Dtype.BFLOAT16, 9.1),
        (Quantization.NF4, Dtype.BFLOAT16, 5.7),
    ],
)
def test_the_estimate_counts_weights_context_and_adapter(
    quantization: Quantization, dtype: Dtype, weights: float
) -> None:
    need = estimate(EIGHT_BILLION, quantization, dtype, Room(0, 8192, 50_000_000))
    assert need.weights / GB == pytest.approx(weights, rel=0.03)
    assert need.context == 2 * 32 * 8 * 128 * 8192 * (4 if dtype is Dtype.FLOAT32 else 2)
    assert need.adapter == 100_000_000 and need.total == need.weights + need.context + need.adapter


def test_the_context_of_the_model_bounds_the_estimate() -> None:
    short = replace(EIGHT_BILLION, context_length=1024)
    contexts = [estimate(base, None, Dtype.BFLOAT16, Room(0, 100_000)).context for base in (short, EIGHT_BILLION)]
    assert contexts[1] == contexts[0] * 100_000 // 1024


@pytest.mark.parametrize(
    ("device", "free", "chosen", "said"),
    [
        (CPU, 64 * GB, Quantization.NONE, "64.0 GB are free"),
        (CPU, 12 * GB, Quantization.INT8, "12.0 GB are free"),
        (CPU, 8 * GB, Quantization.NF4, "8.0 GB are free"),
        (CPU, 2 * GB, Quantization.NF4, "Even that may not fit"),
        (OLD_CPU, 12 * GB, Quantization.NF4, "Smaller weights"),
        (CUDA, 24 * GB, Quantization.NF4, "24.0 GB are free"),
        (CUDA, 4 * GB, Quantization.NF4, "may not fit"),
    ],
)
def test_the_automatic_choice_fits_into_what_is_free_and_gives_the_numbers(
    device: Device, free: int, chosen: Quantization, said: str
) -> None:
    choice = choose_weights(
        device, Quantization.AUTO, Dtype.AUTO, EIGHT_BILLION, has_bitsandbytes=True, room=Room(free)
    )
    assert choice.quantization is chosen and said in choice.reason


def test_what_is_asked_for_is_done_whatever_is_free() -> None:
    choice = choose_weights(CPU, Quantization.NONE, Dtype.AUTO, EIGHT_BILLION, room=Room(GB))
    assert choice.quantization is Quantization.NONE


def test_a_choice_does_not_change_with_the_memory_that_the_model_itself_takes(
    base: Path, adapter: Path, engine: Engine
) -> None:
    automatic = result_of(engine.stream(request_for(base))).model
    answer(engine, base, adapter)
    assert result_of(engine.stream(request_for(base))).model == automatic and engine.bases.loads == 1


@pytest.fixture
def bases(tmp_path: Path) -> list[Path]:
    return [build_tiny_base(tmp_path / str(seed), seed=seed) for seed in range(3)]


def with_free_memory(engine: Engine, free: Callable[[], int]) -> None:
    """Let ``engine`` believe that ``free()`` bytes are free."""
    engine.bases._free_bytes = free


def test_bases_stay_while_memory_is_free(bases: list[Path], engine: Engine) -> None:
    with_free_memory(engine, lambda: 10**12)
    first = [answer(engine, base) for base in bases]
    assert [answer(engine, base) for base in bases] == first
    assert engine.bases.loads == 3


def test_the_least_recently_used_base_goes_when_memory_is_needed(bases: list[Path], engine: Engine) -> None:
    # There is room for two.
    with_free_memory(engine, lambda: 10**12 if len(engine.bases.loaded) < 2 else 0)
    for number in (0, 1, 0):
        answer(engine, bases[number])
    recent = engine.bases.loaded[-1]
    answer(engine, bases[2])
    assert engine.bases.loaded[0] is recent and len(engine.bases.loaded) == 2
    answer(engine, bases[0])
    assert engine.bases.loads == 3


def test_kept_texts_go_before_a_base_does(bases: list[Path], engine: Engine) -> None:
    with_free_memory(
        engine, lambda: 0 if any(loaded.prefixes.size_bytes for loaded in engine.bases.loaded) else 10**12
    )
    answer(engine, bases[0])
    answer(engine, bases[1])
    assert [bool(loaded.prefixes.size_bytes) for loaded in engine.bases.loaded] == [False, True]


def test_the_least_recently_used_adapter_goes_when_memory_is_needed(
    base: Path, adapter: Path, other_adapter: Path, engine: Engine
) -> None:
    free = 10**12
    with_free_memory(engine, lambda: free)
    expected = [answer(engine, base, path) for path in (adapter, other_adapter)]
    attached = engine.bases.loaded[0].adapters
    free = 0
    assert [answer(engine, base, path) for path in (adapter, other_adapter)] == expected
    assert attached.attached == 2, "what is in memory needs no more"
    attached.detach_all()
    assert [answer(engine, base, path) for path in (adapter, other_adapter)] == expected
    assert attached.attached == 1 and engine.bases.loads == 1


def bytes_in_memory(engine: Engine) -> int:
    """Of every parameter and buffer of the one base and all that is attached to it, counting shared memory once."""
    (loaded,) = engine.bases.loaded
    tensors = [*loaded.model.parameters(), *loaded.model.buffers()]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def test_ten_adapters_of_one_base_take_the_base_and_ten_adapters(base: Path, tmp_path: Path, engine: Engine) -> None:
    answer(engine, base)
    alone = bytes_in_memory(engine)
    adapters = [build_tiny_adapter(base, tmp_path / str(seed), seed=seed) for seed in range(10)]
    saved = [
        sum(tensor.nbytes for tensor in load_file(path / "adapter_model.safetensors").values()) for path in adapters
    ]
    for path in adapters:
        answer(engine, base, path)
    assert engine.bases.loads == 1 and engine.bases.loaded[0].adapters.attached == 10
    assert bytes_in_memory(engine) == alone + sum(saved)
    engine.bases.loaded[0].adapters.detach_all()
    assert bytes_in_memory(engine) == alone


def test_running_out_of_memory_is_explained_and_the_next_answer_works(base: Path, engine: Engine) -> None:
    expected = answer(engine, base)
    (loaded,) = engine.bases.loaded

    def ask_for_too_much(*_: Any) -> None:
        torch.empty(2**55)

    hook = loaded.model.register_forward_pre_hook(ask_for_too_much)
    with pytest.raises(OutOfMemoryError) as caught:
        answer(engine, base)
    hook.remove()
    assert "nf4" in caught.value.hint and loaded.prefixes.size_bytes == 0
    assert answer(engine, base) == expected and engine.bases.loads == 1


def test_running_out_of_memory_while_an_adapter_is_attached_is_no_fault_of_the_adapter(
    base: Path, adapter: Path, other_adapter: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answer(engine, base, adapter)

    def load_too_much(*_: Any, **__: Any) -> None:
        torch.empty(2**55)

    with monkeypatch.context() as patch, pytest.raises(OutOfMemoryError):
        patch.setattr(PeftModel, "load_adapter", load_too_much)
        answer(engine, base, other_adapter)
    assert answer(engine, base, adapter) == expected
