"""The fast path of the CPU computes what plain PyTorch computes, and says that it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from engine_requests import request_for, result_of
from errors import ModelLoadError
from helpers.local_inference import (
    Dtype,
    GenerationRequest,
    GenerationResult,
    ModelSelection,
    Quantization,
    cpu_attention,
    cpu_linears,
)
from helpers.local_inference.cpu_linears import INT8, PACKED, PLAIN, Int8Linear, PackedLinear
from helpers.local_inference.engine import Engine
from helpers.local_inference.quantization_policy import find_device
from tiny_models import build_tiny_adapter, build_tiny_base

needs_bfloat16 = pytest.mark.skipif(
    not find_device().bfloat16 or find_device().kind != "cpu",
    reason="this machine has no CPU with bfloat16, or computes elsewhere",
)
needs_packing = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


def linear_of(out: int, width: int, bias: bool = False) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(out)
        return nn.Linear(width, out, bias=bias).to(torch.bfloat16).requires_grad_(False)


def rows_of(count: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(1, count, width, generator=generator).to(torch.bfloat16)


@needs_packing
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 300])
def test_packed_layers_give_the_plain_layers_sums_and_their_weights_back(rows: int, bias: bool) -> None:
    plain = linear_of(96, 65, bias)
    packed = PackedLinear(plain)
    inputs = rows_of(rows, 65)
    expected = plain(inputs).float()
    # The same sums; where a bias is added inside, one rounding less.
    assert torch.allclose(packed(inputs).float(), expected, rtol=2**-7, atol=2**-8 * float(expected.abs().amax()))
    assert torch.equal(packed.weight, plain.weight) and torch.equal(packed.plain().weight, plain.weight)
    assert [name for name, _ in packed.named_parameters()] == (["bias"] if bias else [])


@needs_bfloat16
@pytest.mark.parametrize("rows", [1, 8, 9, 300])
def test_8_bit_layers_are_off_by_no_more_than_their_rounding(rows: int) -> None:
    plain = linear_of(96, 64, bias=True)
    own = Int8Linear(plain)
    inputs = rows_of(rows, 64)
    weights = plain.weight.float()
    # Half a step of the row, and what bfloat16 rounds in scale and product.
    step = weights.abs().amax(dim=1, keepdim=True) / 127
    assert ((own.weight.float() - weights).abs() <= 0.5 * step + 2**-7 * weights.abs() + 1e-6).all()
    expected = nn.functional.linear(inputs, own.weight, plain.bias).float()
    assert torch.allclose(own(inputs).float(), expected, rtol=2**-5, atol=2**-6 * float(expected.abs().amax()))


@pytest.mark.parametrize("context", [3, 1500])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_grouped_attention_equals_the_definition(
    context: int, dtype: torch.dtype, tolerance: float, scaling: float | None
) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = (
        torch.randn(1, heads, tokens, 16, generator=generator).to(dtype)
        for heads, tokens in ((8, 1), (2, context), (2, context))
    )
    every_key, every_value = (part.float().repeat_interleave(4, dim=1) for part in (key, value))
    scores = query.float() @ every_key.transpose(2, 3) * (scaling or 16**-0.5)
    expected = (scores.softmax(dim=-1) @ every_value).transpose(1, 2)
    found = cpu_attention.grouped(query, key, value, 4, scaling)
    assert found.dtype == dtype and found.shape == expected.shape
    assert torch.allclose(found.float(), expected, atol=tolerance)


def seen_by(tokens: int, context: int, window: int | None) -> torch.Tensor:
    positions = torch.arange(context - tokens, context)[:, None] - torch.arange(context)[None]
    return ((positions >= 0) & (positions < (window or context)))[None, None]


@pytest.mark.parametrize("window", [None, 1, 40])
@pytest.mark.parametrize(("tokens", "context"), [(1, 90), (56, 56), (56, 300), (7, 1500)])
@pytest.mark.parametrize("key_heads", [2, 8])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_attention_of_several_masked_tokens_equals_the_definition(
    tokens: int,
    context: int,
    window: int | None,
    key_heads: int,
    scaling: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(tokens)
    query, key, value = (
        torch.randn(1, count, context, 16, generator=generator).to(torch.bfloat16)
        for count in (8, key_heads, key_heads)
    )
    query, mask = query[:, :, :tokens], seen_by(tokens, context, window)
    every_key, every_value = (part.float().repeat_interleave(8 // key_heads, dim=1) for part in (key, value))
    scores = query.float() @ every_key.transpose(2, 3) * (scaling or 16**-0.5)
    expected = (scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ every_value).transpose(1, 2)
    found = cpu_attention.masked(query, key, value, mask, scaling)
    assert found.shape == expected.shape and found.is_contiguous()
    assert torch.allclose(found.float(), expected, atol=3e-2)
    # A long context is computed some tokens at a time.
    monkeypatch.setattr(cpu_attention, "_MOST_SCORES", 8 * context * 5)
    assert torch.allclose(cpu_attention.masked(query, key, value, mask, scaling).float(), expected, atol=3e-2)


@pytest.mark.parametrize("overrides", [{}, {"sliding_window": 24}], ids=["whole", "sliding"])
def test_a_next_turn_in_bfloat16_differs_from_stock_attention_by_rounding_only(
    overrides: dict[str, Any], tmp_path: Path
) -> None:
    base = build_tiny_base(tmp_path / "base", "mistral" if overrides else "llama", **overrides)
    ids = torch.arange(4, 104)[None]
    logits: dict[str, torch.Tensor] = {}
    for name in ("exact", "stock", "ours"):
        dtype = torch.float32 if name == "exact" else torch.bfloat16
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        if name == "ours":
            cpu_attention.install(model)
        cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            model(input_ids=ids[:, :60], past_key_values=cache)
            logits[name] = model(input_ids=ids[:, 60:], past_key_values=cache).logits.float()
    ours, stock = (float((logits[name] - logits["exact"]).abs().mean()) for name in ("ours", "stock"))
    assert ours < 1.2 * stock and ours < 0.04 * float(logits["exact"].std())


@pytest.mark.parametrize(
    ("family", "overrides"),
    [("llama", {}), ("mistral", {"sliding_window": 16}), ("gemma", {"num_key_value_heads": 1}), ("gpt2", {})],
)
def test_our_attention_under_a_whole_model_gives_the_same_tokens(
    family: str, overrides: dict[str, Any], tmp_path: Path
) -> None:
    base = build_tiny_base(tmp_path / "base", family, **overrides)
    ids = torch.arange(4, 44)[None]
    plain, ours = (AutoModelForCausalLM.from_pretrained(base) for _ in range(2))
    cpu_attention.install(ours)
    assert ours.config._attn_implementation == cpu_attention.NAME and plain.config._attn_implementation == "sdpa"
    options: dict[str, Any] = {"max_new_tokens": 20, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    assert ours.generate(ids, **options).tolist() == plain.generate(ids, **options).tolist()


def in_bfloat16(
    base: Path, adapter: Path | None = None, quantization: Quantization = Quantization.NONE
) -> GenerationRequest:
    request = request_for(base, adapter)
    selection = ModelSelection(
        str(base), str(adapter) if adapter else None, quantization=quantization, dtype=Dtype.BFLOAT16
    )
    return GenerationRequest(selection, request.messages, request.settings)


@pytest.fixture
def packs_tiny_models(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Packs models of any size from now on, as if the probe had found it faster or not."""

    def pack(faster: bool) -> None:
        monkeypatch.setattr(cpu_linears, "FEWEST_PARAMETERS", 0)
        monkeypatch.setattr(cpu_linears, "_is_faster", lambda layers: faster)

    return pack


@needs_packing
@needs_bfloat16
@pytest.mark.parametrize(
    ("config", "kernel"),
    [
        ({}, PACKED),
        ({"use_rslora": True}, PACKED),
        ({"peft_type": "ia3"}, PLAIN),
        ({"use_dora": True}, PLAIN),
        ({"peft_type": "loha"}, PLAIN),
        ({"modules_to_save": ["lm_head"]}, PLAIN),
        ({"trainable_token_indices": [40, 41]}, PLAIN),
        ({"bias": "all"}, PLAIN),
        ({"init_lora_weights": "olora"}, PLAIN),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*bias:UserWarning")
def test_adapters_of_every_kind_answer_on_a_packed_base_as_on_a_plain_one(
    config: dict[str, Any],
    kernel: str,
    base: Path,
    adapter: Path,
    tmp_path: Path,
    packs_tiny_models: Callable[[bool], None],
) -> None:
    special = build_tiny_adapter(base, tmp_path / "special", **config)
    plain, packed = Engine(), Engine()
    requests = [in_bfloat16(base), in_bfloat16(base, adapter), in_bfloat16(base, special), in_bfloat16(base, adapter)]
    expected = [result_of(plain.stream(request)) for request in requests]
    packs_tiny_models(True)
    found = [result_of(packed.stream(request)) for request in requests]
    assert [result.token_ids for result in found] == [result.token_ids for result in expected]
    assert [result.model.kernel for result in found[:3]] == [PACKED, PACKED, kernel]


@needs_packing
@needs_bfloat16
def test_what_is_slower_on_this_processor_is_not_used(
    base: Path, engine: Engine, packs_tiny_models: Callable[[bool], None]
) -> None:
    packs_tiny_models(False)
    assert result_of(engine.stream(in_bfloat16(base))).model.kernel == PLAIN
    (loaded,) = engine.bases.loaded
    assert not any(isinstance(module, PackedLinear) for module in loaded.model.modules())


def test_a_small_model_stays_as_it_is(base: Path, engine: Engine) -> None:
    assert result_of(engine.stream(request_for(base))).model.kernel == ""
    (loaded,) = engine.bases.loaded
    assert loaded.model.config._attn_implementation == "sdpa"


@needs_packing
@needs_bfloat16
def test_in_bfloat16_logits_differ_only_by_rounding(
    base: Path, engine: Engine, packs_tiny_models: Callable[[bool], None]
) -> None:
    packs_tiny_models(True)
    result = result_of(engine.stream(in_bfloat16(base)))
    prompt = AutoTokenizer.from_pretrained(base)("Say hello to the sailor.")["input_ids"]
    ids = torch.tensor([[*prompt, *result.token_ids]])
    (loaded,) = engine.bases.loaded
    with torch.inference_mode():
        exact = AutoModelForCausalLM.from_pretrained(base)(input_ids=ids).logits
        stock = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)(input_ids=ids).logits.float()
        ours = loaded.model(input_ids=ids).logits.float()
    spread = float(exact.std())
    # bfloat16 keeps 8 bits: some layers on, its rounding is a few hundredths of what logits vary by.
    assert float((ours - exact).abs().mean()) < 0.04 * spread
    assert float((ours - exact).abs().mean()) < 1.1 * float((stock - exact).abs().mean())
    assert float((ours - stock).abs().amax()) < 0.1 * spread


def int8_answer(engine: Engine, base: Path, adapter: Path | None = None) -> GenerationResult:
    return result_of(engine.stream(in_bfloat16(base, adapter, Quantization.INT8)))


@needs_bfloat16
@pytest.mark.parametrize("config", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=str)
def test_fast_8_bit_answers_with_and_without_an_adapter(
    config: dict[str, Any], base: Path, tmp_path: Path, engine: Engine
) -> None:
    adapter = build_tiny_adapter(base, tmp_path / "adapter", **config)
    alone, adapted = int8_answer(engine, base), int8_answer(engine, base, adapter)
    assert alone.model.quantization == "Fast 8-bit" and alone.model.kernel == INT8
    assert alone.token_ids != adapted.token_ids and int8_answer(engine, base).token_ids == alone.token_ids
    (loaded,) = engine.bases.loaded
    assert sum(isinstance(module, Int8Linear) for module in loaded.model.modules()) >= 14


@needs_bfloat16
def test_fast_8_bit_stays_close_to_the_full_weights(base: Path, engine: Engine) -> None:
    result = int8_answer(engine, base)
    ids = torch.tensor([[5, 6, 7, *result.token_ids]])
    (loaded,) = engine.bases.loaded
    with torch.inference_mode():
        exact = AutoModelForCausalLM.from_pretrained(base)(input_ids=ids).logits
        ours = loaded.model(input_ids=ids).logits.float()
    assert float((ours - exact).abs().mean()) < 0.1 * float(exact.std())


@needs_bfloat16
def test_fast_8_bit_refuses_an_adapter_that_rewrites_the_base(base: Path, tmp_path: Path, engine: Engine) -> None:
    rewriting = build_tiny_adapter(base, tmp_path / "olora", init_lora_weights="olora")
    with pytest.raises(ModelLoadError, match="Fast 8-bit"):
        int8_answer(engine, base, rewriting)


def test_shapes_the_8_bit_kernel_cannot_read_stay_plain() -> None:
    model = nn.Sequential(linear_of(64, 32), linear_of(31, 64), linear_of(32, 31))
    if find_device().bfloat16:
        assert cpu_linears.quantize_to_int8(model)
        assert [type(layer) for layer in model] == [Int8Linear, Int8Linear, nn.Linear]
