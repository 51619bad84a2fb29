"""Adapters as PEFT saves them pass, and the report says what they are."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from adapter_bench import WEIGHTS, Bench, found
from errors import AdapterError
from helpers.adapter_validation import (
    Severity,
    validate_adapter,
)
from tiny_models import FAMILIES, build_tiny_adapter, build_tiny_base

TYPES = ("lora", "ia3", "loha", "lokr", "adalora", "vera", "prompt_tuning", "prefix_tuning", "p_tuning")
VIRTUAL_TOKENS = ("prompt_tuning", "prefix_tuning", "p_tuning")
VARIANTS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "saved modules": {"modules_to_save": ["lm_head", "embed_tokens"]},
    "saved norm": {"modules_to_save": ["norm"]},
    "new tokens": {"trainable_token_indices": [1, 2]},
    "all linear": {"target_modules": "all-linear"},
    "pattern": {"target_modules": r".*layers\.0\..*q_proj"},
    "some layers": {"layers_to_transform": [1]},
    "ranks": {"rank_pattern": {"q_proj": 2, "layers.0.self_attn.k_proj": 3}},
    "rank regex": {"rank_pattern": {r"layers\.\d+.*q_proj": 2}},
    "parameters": {"target_modules": ["q_proj"], "target_parameters": ["self_attn.k_proj.weight"]},
    "few": {"target_modules": ["q_proj", "v_proj"]},
}


PAIRS = [("llama", peft_type) for peft_type in TYPES]
PAIRS += [(family, "lora") for family in FAMILIES[1:]]
# Conv1D keeps its weights transposed.
PAIRS += [("gpt2", peft_type) for peft_type in ("ia3", "adalora", "vera")]


@pytest.mark.parametrize(("family", "peft_type"), PAIRS)
def test_a_sound_adapter_passes_and_an_untrained_one_does_not(family: str, peft_type: str, tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base", family)
    report = validate_adapter(build_tiny_adapter(base, tmp_path / "adapter", peft_type, tokenizer=True))
    assert [finding.code for finding in report.findings] == ["type_not_supported"] * (peft_type in VIRTUAL_TOKENS)
    assert report.adapter is not None and report.adapter.peft_type == peft_type.upper()
    untrained = validate_adapter(build_tiny_adapter(base, tmp_path / "untrained", peft_type, train=False))
    # Virtual tokens start at random: nothing tells a trained one from an untrained one.
    if peft_type not in VIRTUAL_TOKENS:
        found(untrained, "never_trained", Severity.ERROR, "never trained")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_lora_passes(originals: tuple[Path, Path], variant: str, tmp_path: Path) -> None:
    report = validate_adapter(build_tiny_adapter(originals[0], tmp_path, tokenizer=True, **VARIANTS[variant]))
    assert report.findings == ()


def test_a_sharded_base_is_compared_too(bench: Bench, tmp_path: Path) -> None:
    sharded = build_tiny_base(tmp_path / "sharded", max_shard_size="50KB")
    bench.edit_config(base_model_name_or_path=str(sharded))
    assert bench.check().findings == ()
    wide = build_tiny_base(tmp_path / "wide", max_shard_size="50KB", intermediate_size=96)
    found(bench.check(wide), "shapes_differ", Severity.ERROR, "6 modules", "mlp.down_proj", "32 × 64", "32 × 96")


def test_the_report_says_what_the_adapter_and_the_base_are(bench: Bench) -> None:
    report = bench.check()
    adapter, base = report.adapter, report.base
    assert adapter is not None and base is not None and report.ok and report.first_error is None
    assert (adapter.peft_type, adapter.rank, adapter.alpha, adapter.base_model) == ("LORA", 4, 8.0, str(bench.base))
    assert adapter.target_modules == ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    assert adapter.size_bytes == (bench.adapter / WEIGHTS).stat().st_size
    tensors = load_file(bench.adapter / WEIGHTS)
    assert adapter.tensor_count == len(tensors)
    assert adapter.parameter_count == sum(tensor.size for tensor in tensors.values())
    assert (adapter.dtypes, adapter.has_tokenizer, adapter.has_chat_template) == (("F32",), True, True)
    assert (base.model_type, base.hidden_size, base.num_layers) == ("llama", 32, 2)


def test_the_json_is_the_one_that_check_prints(bench: Bench) -> None:
    bench.edit_weights(lambda name, tensor: tensor * np.nan)
    document = json.loads(json.dumps(bench.check().to_json(), allow_nan=False))
    assert set(document) == {"ok", "findings", "adapter", "base"} and document["ok"] is False
    assert set(document["findings"][0]) == {"severity", "code", "message", "hint"}
    assert document["findings"][0]["severity"] == "error"
    assert document["adapter"]["path"] == str(bench.adapter) and document["adapter"]["rank"] == 4
    assert (document["base"]["path"], document["base"]["source"]) == (str(bench.base), "folder")
    unknown = validate_adapter(bench.adapter, "owner/not-downloaded-model").to_json()
    assert unknown["base"] == {"name": "owner/not-downloaded-model", "path": None, "source": "hub"}


def test_errors_come_first(bench: Bench) -> None:
    bench.edit_config(brand_new_option=None)
    bench.edit_weights(lambda name, tensor: tensor * np.nan)
    shutil.rmtree(bench.base)
    severities = [finding.severity for finding in bench.check().findings]
    assert severities == sorted(severities, key=list(Severity).index) and len(set(severities)) > 1


def test_the_first_error_can_be_raised(bench: Bench) -> None:
    bench.check().raise_first_error()
    (bench.adapter / WEIGHTS).unlink()
    with pytest.raises(AdapterError) as caught:
        bench.check().raise_first_error()
    assert WEIGHTS in caught.value.message and caught.value.hint
