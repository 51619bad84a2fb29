"""Loading a base model: what is chosen for it, and what is said when it cannot be loaded."""

import itertools
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine_requests import request_for, result_of
from errors import ModelLoadError, ModelNotFoundError, PlaygroundError
from helpers.base_models import BaseSummary
from helpers.local_inference import Dtype, GenerationRequest, ModelSelection, Quantization
from helpers.local_inference.engine import Engine
from helpers.local_inference.memory_estimate import Room
from helpers.local_inference.quantization_policy import Device, choose_weights, find_bitsandbytes
from tiny_models import build_tiny_adapter, build_tiny_base

CUDA, OLD_CUDA = Device("cuda", True, True), Device("cuda", False, True)
CPU, OLD_CPU = Device("cpu", True, False), Device("cpu", False, False)
MPS, OLD_MPS = Device("mps", True, True), Device("mps", False, True)
LARGE, SMALL = 16 * 2**30, 20 * 2**20
AUTO = Quantization.AUTO


def base_of(size: int, quantization: str | None = None) -> BaseSummary:
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "hidden_size",
            "num_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "intermediate_size",
            "vocabulary_size",
            "context_length",
        )
    )
    return BaseSummary(
        name="base",
        path=Path(),
        model_type="llama",
        quantization=quantization,
        tied_embeddings=False,
        is_composite=False,
        has_experts=False,
        size_bytes=size,
        **nothing,
    )


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """The base in a folder that the test may damage."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def loaded_with(engine: Engine, base: Path, quantization: Quantization, dtype: Dtype = Dtype.AUTO) -> Any:
    request = request_for(base)
    selection = ModelSelection(str(base), quantization=quantization, dtype=dtype)
    return result_of(engine.stream(GenerationRequest(selection, request.messages, request.settings)))


def refused(engine: Engine, base: Path | str) -> PlaygroundError:
    with pytest.raises(PlaygroundError) as caught:
        list(engine.stream(request_for(base)))
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("device", "size", "own", "chosen", "dtype"),
    [
        (CUDA, LARGE, None, Quantization.NF4, Dtype.BFLOAT16),
        (OLD_CUDA, LARGE, None, Quantization.NF4, Dtype.FLOAT16),
        (CUDA, SMALL, None, Quantization.NONE, Dtype.FLOAT32),
        (CUDA, LARGE, "bitsandbytes nf4", None, Dtype.BFLOAT16),
        (CUDA, LARGE, "gptq 4-bit", None, Dtype.BFLOAT16),
        (MPS, LARGE, None, Quantization.NONE, Dtype.BFLOAT16),
        (CPU, LARGE, None, Quantization.NONE, Dtype.BFLOAT16),
        (OLD_CPU, LARGE, None, Quantization.NONE, Dtype.FLOAT32),
        (CPU, SMALL, None, Quantization.NONE, Dtype.FLOAT32),
    ],
)
def test_automatic_choices_fit_the_device_and_give_a_reason(
    device: Device, size: int, own: str | None, chosen: Quantization | None, dtype: Dtype
) -> None:
    choice = choose_weights(device, AUTO, Dtype.AUTO, base_of(size, own), has_bitsandbytes=True)
    assert (choice.quantization, choice.dtype) == (chosen, dtype)
    assert choice.reason.endswith(".") and choice.label


@pytest.mark.parametrize("free", [10**12, 10**9])
def test_without_bitsandbytes_the_automatic_choice_says_what_it_does_instead(free: int) -> None:
    choice = choose_weights(CUDA, AUTO, Dtype.AUTO, base_of(LARGE), has_bitsandbytes=False, room=Room(free))
    assert choice.quantization is Quantization.NONE and "pip install bitsandbytes" in choice.reason
    assert ("may not fit" in choice.reason) is (free == 10**9)


DEVICES = {"cpu": CPU, "old cpu": OLD_CPU, "cuda": CUDA, "old cuda": OLD_CUDA, "mps": MPS, "old mps": OLD_MPS}


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("available", [True, False], ids=["with bitsandbytes", "without"])
@pytest.mark.parametrize("own", [None, "bitsandbytes nf4", "gptq 4-bit"])
def test_every_choice_is_what_was_asked_for_with_its_reason_or_refused_with_the_next_step(
    device: Device, available: bool, own: str | None
) -> None:
    rooms = [None, Room(10**12), Room(10**9)]
    for requested, dtype, size, room in itertools.product(Quantization, Dtype, (LARGE, SMALL), rooms):
        try:
            choice = choose_weights(
                device, requested, dtype, base_of(size, own), has_bitsandbytes=available, room=room
            )
        except ModelLoadError as error:
            assert error.message and error.hint
            assert requested is not AUTO or (own == "bitsandbytes nf4" and (device.kind == "mps" or not available))
            continue
        kept = own is not None
        assert choice.quantization is None if kept else requested in (AUTO, choice.quantization)
        assert choice.dtype is dtype or (dtype is Dtype.AUTO and choice.dtype is not Dtype.AUTO)
        assert (
            f"stored as {own}" in choice.reason
            if kept
            else choice.reason.startswith("As chosen.") or requested is AUTO
        )
        assert str(choice.dtype) in choice.reason and choice.label
        if choice.by_bitsandbytes:
            assert available and device.kind != "mps"
        if room is not None and requested is AUTO and size == LARGE:
            assert "free" in choice.reason and ("may not fit" in choice.reason) is (room.free_bytes == 10**9)


@pytest.mark.parametrize(
    ("device", "compute"), [(CUDA, Dtype.BFLOAT16), (OLD_CUDA, Dtype.FLOAT16), (OLD_CPU, Dtype.FLOAT32)]
)
def test_4_bit_computes_in_bfloat16_where_the_device_does_it_and_else_says_why_not(
    device: Device, compute: Dtype
) -> None:
    for size in (LARGE, SMALL):
        choice = choose_weights(device, Quantization.NF4, Dtype.AUTO, base_of(size), has_bitsandbytes=True)
        assert choice.dtype is compute and "double quantisation" in choice.reason
        assert ("no bfloat16" in choice.reason or "no fast bfloat16" in choice.reason) is (device is not CUDA)


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="this machine has no Apple GPU")
def test_apples_gpu_answers_with_an_adapter(base: Path, adapter: Path, engine: Engine) -> None:
    alone, adapted = (result_of(engine.stream(request_for(base, path))) for path in (None, adapter))
    assert alone.model.device == adapted.model.device == "mps" and alone.token_ids != adapted.token_ids


@pytest.mark.parametrize(
    ("device", "requested", "own", "available", "named"),
    [
        (CPU, Quantization.NF4, None, False, "not installed"),
        (MPS, Quantization.INT8, None, True, "Mac"),
        (CUDA, Quantization.NONE, "bitsandbytes nf4", True, "stored as bitsandbytes nf4"),
        (CUDA, Quantization.NF4, "gptq 4-bit", True, "gptq"),
        (CPU, AUTO, "bitsandbytes nf4", False, "not installed"),
    ],
)
def test_what_cannot_be_done_is_refused_and_never_replaced_silently(
    device: Device, requested: Quantization, own: str | None, available: bool, named: str
) -> None:
    with pytest.raises(ModelLoadError, match=named) as caught:
        choose_weights(device, requested, Dtype.AUTO, base_of(LARGE, own), has_bitsandbytes=available)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("device", "dtype", "own"),
    [
        (CPU, Dtype.AUTO, True),
        (CPU, Dtype.FLOAT32, False),
        (OLD_CPU, Dtype.AUTO, False),
        (CUDA, Dtype.AUTO, False),
    ],
)
def test_fast_8_bit_is_chosen_where_the_cpu_computes_bfloat16(device: Device, dtype: Dtype, own: bool) -> None:
    choice = choose_weights(device, Quantization.INT8, dtype, base_of(2**30), has_bitsandbytes=True)
    assert choice.own_int8 is own and choice.by_bitsandbytes is not own
    assert choice.label == ("Fast 8-bit" if own else "8-bit")


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16, Dtype.FLOAT16])
def test_a_chosen_dtype_is_used(dtype: Dtype, base: Path, engine: Engine) -> None:
    result = loaded_with(engine, base, AUTO, dtype)
    assert result.model.dtype == dtype
    (loaded,) = engine.bases.loaded
    assert loaded.model.dtype == getattr(torch, dtype)


@pytest.mark.skipif(not find_bitsandbytes(), reason="bitsandbytes has no wheel for this system")
@pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")
@pytest.mark.parametrize("width", [32, 64], ids=["odd shapes", "shapes that pack"])
@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [
        (Quantization.NF4, Dtype.AUTO),
        (Quantization.INT4, Dtype.AUTO),
        # In bfloat16 this app's own 8-bit layers compute.
        (Quantization.INT8, Dtype.FLOAT32),
    ],
)
def test_a_chosen_quantization_works_on_the_cpu_with_an_adapter(
    quantization: Quantization, dtype: Dtype, width: int, tmp_path: Path, engine: Engine
) -> None:
    base = build_tiny_base(tmp_path / "base", hidden_size=width, intermediate_size=2 * width, head_dim=width // 4)
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    plain = loaded_with(engine, base, AUTO)
    result = loaded_with(engine, base, quantization, dtype)
    assert result.new_tokens > 0 and result.model.quantization != plain.model.quantization
    loaded = engine.bases.loaded[-1]
    assert "bnb" in str(type(loaded.model.model.layers[0].mlp.up_proj)) or "bitsandbytes" in str(
        type(loaded.model.model.layers[0].mlp.up_proj)
    )
    request = request_for(base, adapter)
    selection = ModelSelection(str(base), str(adapter), quantization=quantization, dtype=dtype)
    adapted = result_of(engine.stream(GenerationRequest(selection, request.messages, request.settings)))
    assert adapted.token_ids != result.token_ids and engine.bases.loads == 2


def test_a_base_that_is_nowhere_names_the_next_step(tmp_path: Path, engine: Engine) -> None:
    error = refused(engine, tmp_path / "gone")
    assert isinstance(error, ModelNotFoundError) and "Locate base model" in error.hint


def test_a_hub_model_without_network_fails_within_seconds(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    # A port nobody listens on: the network is there, the hub is not.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    error = refused(engine, "some-owner/some-model")
    assert isinstance(error, ModelNotFoundError) and "some-owner/some-model" in error.message
    assert time.monotonic() - started < 8


def test_the_offline_switch_of_the_hub_is_honoured_and_named(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert "HF_HUB_OFFLINE" in refused(engine, "some-owner/some-model").message


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"not weights at all"), "damaged"),
        (lambda folder: truncate(folder / "model.safetensors"), "damaged"),
        (lambda folder: lose_a_weight(folder / "model.safetensors"), "lacks 1 weights"),
        (
            lambda folder: change_json(folder / "config.json", hidden_size=64),
            "lm_head.weight is [320, 32] and should be [320, 64]",
        ),
        (lambda folder: change_json(folder / "config.json", model_type="unheard-of"), "unheard-of"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: need_own_code(folder), "never run"),
    ],
    ids=[
        "no weights",
        "no safetensors",
        "truncated",
        "a weight missing",
        "other shape",
        "unknown type",
        "bad json",
        "code",
    ],
)
def test_a_damaged_base_is_refused_and_the_next_request_works(
    damage: Any, named: str, base: Path, copy: Path, engine: Engine
) -> None:
    damage(copy)
    error = refused(engine, copy)
    assert isinstance(error, ModelLoadError) and named in error.message
    assert result_of(engine.stream(request_for(base))).new_tokens > 0


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused_with_the_numbers(
    adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    base = build_tiny_base(tmp_path / "small-vocabulary", vocab_size=100)
    error = refused(engine, base)
    assert isinstance(error, ModelLoadError) and "100 token embeddings" in error.message


def test_a_sharded_base_loads(tmp_path: Path, engine: Engine) -> None:
    whole = build_tiny_base(tmp_path / "whole")
    sharded = build_tiny_base(tmp_path / "sharded", max_shard_size="40KB")
    assert (sharded / "model.safetensors.index.json").is_file()
    expected = result_of(engine.stream(request_for(whole))).token_ids
    assert result_of(engine.stream(request_for(sharded))).token_ids == expected


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def lose_a_weight(path: Path) -> None:
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def need_own_code(folder: Path) -> None:
    change_json(
        folder / "config.json",
        model_type="own-type",
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    )
    (folder / "own.py").write_text("raise SystemExit('the code of a model was run')\n")
