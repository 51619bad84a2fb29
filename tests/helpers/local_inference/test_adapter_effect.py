"""Right after an adapter is attached: which layers it reached, and whether it changes anything."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine_requests import request_for, result_of
from errors import AdapterError
from helpers.local_inference import AdapterEffect
from helpers.local_inference.adapter_effect import PROBE_TEXT
from helpers.local_inference.engine import Engine
from tiny_models import build_tiny_adapter, build_tiny_base


def effect_of(engine: Engine, base: Path, adapter: Path) -> AdapterEffect:
    effect = result_of(engine.stream(request_for(base, adapter))).model.effect
    assert effect is not None
    return effect


def test_the_base_alone_has_no_effect_to_tell(base: Path, engine: Engine) -> None:
    assert result_of(engine.stream(request_for(base))).model.effect is None


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({}, 14),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]}, 2),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, 3),
        ({"use_dora": True, "target_modules": ["o_proj"]}, 2),
        ({"peft_type": "ia3"}, 6),
        ({"trainable_token_indices": [40, 41]}, 15),
    ],
    ids=str,
)
def test_matched_layers_are_those_the_adapter_is_attached_to(
    config: dict[str, Any], layers: int, base: Path, tmp_path: Path, engine: Engine
) -> None:
    effect = effect_of(engine, base, build_tiny_adapter(base, tmp_path / "adapter", **config))
    assert effect.matched_layers == layers
    assert effect.largest_logit_change is not None and effect.largest_logit_change > 0.1


def test_the_effect_is_the_difference_to_the_base_on_a_fixed_prompt(
    base: Path, adapter: Path, engine: Engine
) -> None:
    ids = AutoTokenizer.from_pretrained(base)(PROBE_TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        model: Any = AutoModelForCausalLM.from_pretrained(base)
        plain = model(input_ids=ids).logits[0].clone()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            adapted = PeftModel.from_pretrained(model, adapter)(input_ids=ids).logits[0]
    effect = effect_of(engine, base, adapter)
    assert effect.largest_logit_change == pytest.approx(float((adapted - plain).abs().max()), rel=1e-4)
    changed = (adapted.argmax(-1) != plain.argmax(-1)).float().mean()
    assert effect.changed_top_tokens == pytest.approx(float(changed))


def test_a_stronger_adapter_has_a_larger_effect(base: Path, tmp_path: Path, engine: Engine) -> None:
    weak, strong = (
        effect_of(engine, base, build_tiny_adapter(base, tmp_path / str(strength), strength=strength))
        for strength in (0.002, 0.2)
    )
    assert (weak.largest_logit_change or 0) < (strong.largest_logit_change or 0) / 10
    assert (weak.changed_top_tokens or 0) < (strong.changed_top_tokens or 0)


def test_no_effect_is_an_error_and_not_a_success(base: Path, adapter: Path, tmp_path: Path, engine: Engine) -> None:
    untrained = build_tiny_adapter(base, tmp_path / "untrained", train=False)
    expected = result_of(engine.stream(request_for(base, adapter))).token_ids
    for _ in range(2):
        with pytest.raises(AdapterError, match="no effect: it is attached to 14 layers") as caught:
            list(engine.stream(request_for(base, untrained)))
        assert "checkpoint" in caught.value.hint
    assert result_of(engine.stream(request_for(base, adapter))).token_ids == expected


def test_an_adapter_that_rewrites_the_base_is_not_compared_with_it(
    base: Path, tmp_path: Path, engine: Engine
) -> None:
    effect = effect_of(engine, base, build_tiny_adapter(base, tmp_path / "olora", init_lora_weights="olora"))
    assert effect == AdapterEffect(14, None, None)


def test_the_effect_is_measured_once(base: Path, adapter: Path, other_adapter: Path, engine: Engine) -> None:
    first = effect_of(engine, base, adapter)
    calls = []
    hook = engine.bases.loaded[0].model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert effect_of(engine, base, adapter) == first
    # One forward pass for each token but the last; the prompt itself is known.
    assert len(calls) == 23
    effect_of(engine, base, other_adapter)
    hook.remove()


def test_another_family_is_measured_too(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base", "gpt2")
    assert effect_of(engine, base, build_tiny_adapter(base, tmp_path / "adapter")).matched_layers == 8
