"""The base is found, whole, and of the shapes that the adapter was trained for."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapter_bench import Bench, found
from helpers.adapter_validation import (
    Severity,
    validate_adapter,
)
from tiny_models import build_tiny_adapter, build_tiny_base


def test_a_base_that_is_not_recorded(bench: Bench) -> None:
    bench.edit_config(base_model_name_or_path=None)
    found(bench.check(), "base_unknown", Severity.ERROR, "Hugging Face id")
    assert bench.check(bench.base).findings == ()


def test_a_base_that_has_to_be_downloaded(bench: Bench) -> None:
    report = bench.check("owner/not-downloaded-model")
    found(report, "base_not_downloaded", Severity.WARNING, "owner/not-downloaded-model", "downloaded")
    assert report.ok and report.base is None


@pytest.mark.parametrize("recorded", [r"C:\Users\ann\models\llama", "/home/ann/llama-of-another-machine"])
def test_a_base_recorded_on_another_machine_is_located_once(bench: Bench, recorded: str) -> None:
    bench.edit_config(base_model_name_or_path=recorded)
    found(bench.check(), "base_not_found", Severity.ERROR, recorded, "Locate base model…")
    located = validate_adapter(bench.adapter, locations={recorded: str(bench.base)})
    assert located.findings == () and located.base_source == "located"
    assert located.base is not None and located.base.path == bench.base


def test_a_base_of_another_hidden_size(bench: Bench, tmp_path: Path) -> None:
    wide = build_tiny_base(tmp_path / "wide", hidden_size=64)
    facts = ("hidden size 32", "has 64", "14 modules", f"Pick the base model “{bench.base}”")
    found(bench.check(wide), "shapes_differ", Severity.ERROR, *facts)


def test_a_base_of_other_key_heads(bench: Bench, tmp_path: Path) -> None:
    other = build_tiny_base(tmp_path / "other", num_key_value_heads=4)
    found(bench.check(other), "shapes_differ", Severity.ERROR, "4 modules", "k_proj", "16 × 32", "32 × 32")


@pytest.mark.parametrize(("layers", "kind"), [(1, "larger"), (5, "smaller")])
def test_a_base_of_more_or_fewer_layers(bench: Bench, tmp_path: Path, layers: int, kind: str) -> None:
    other = build_tiny_base(tmp_path / "other", num_hidden_layers=layers)
    facts = ("2 layers", f"has {layers}", f"a {kind} model", str(bench.base))
    found(bench.check(other), "layers_differ", Severity.ERROR, *facts)


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")
def test_experts_that_the_base_stores_under_other_names_are_no_alarm(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base", "mixtral", num_local_experts=2)
    adapter = build_tiny_adapter(base, tmp_path / "adapter", target_modules="all-linear", tokenizer=True)
    report = validate_adapter(adapter)
    found(report, "modules_not_compared", Severity.INFO, "experts", base)
    assert len(report.findings) == 1
    plain = build_tiny_base(tmp_path / "plain", "gpt2")
    report = validate_adapter(build_tiny_adapter(plain, tmp_path / "gpt2 adapter"), str(base))
    found(report, "target_modules_missing", Severity.ERROR, "c_attn", plain)


def test_a_base_without_the_target_modules(bench: Bench, tmp_path: Path) -> None:
    gpt2 = build_tiny_base(tmp_path / "gpt2", "gpt2")
    facts = ("“q_proj”", "“up_proj”", "This one has “c_attn”, “c_fc”, “c_proj”")
    found(bench.check(gpt2), "target_modules_missing", Severity.ERROR, *facts)


@pytest.mark.parametrize("peft_type", ["ia3", "loha", "lokr", "adalora", "vera", "prompt_tuning", "p_tuning"])
def test_other_types_on_a_base_of_other_shapes(bench: Bench, peft_type: str, tmp_path: Path) -> None:
    adapter = build_tiny_adapter(bench.base, tmp_path / peft_type, peft_type)
    wide = build_tiny_base(tmp_path / "wide", hidden_size=64, head_dim=16, intermediate_size=96)
    found(validate_adapter(adapter, str(wide)), "shapes_differ", Severity.ERROR, wide, bench.base)


def test_another_base_that_fits_is_mentioned(bench: Bench, tmp_path: Path) -> None:
    twin = build_tiny_base(tmp_path / "twin", seed=5)
    report = bench.check(twin)
    found(report, "base_differs", Severity.INFO, bench.base, twin)
    assert report.ok


def test_saved_vocabulary_rows_that_differ(bench: Bench, tmp_path: Path) -> None:
    adapter = build_tiny_adapter(bench.base, tmp_path / "a", modules_to_save=["embed_tokens", "lm_head"])
    small = build_tiny_base(tmp_path / "small", vocab_size=300)
    report = validate_adapter(adapter, str(small))
    found(report, "vocabulary_rows_differ", Severity.WARNING, "320", "300", "+20")
    assert report.ok and report.adapter is not None and report.adapter.vocabulary_rows == 320


def test_saved_vocabularies_that_contradict_each_other(bench: Bench, tmp_path: Path) -> None:
    bench.adapter = build_tiny_adapter(bench.base, tmp_path / "a", modules_to_save=["embed_tokens", "lm_head"])
    bench.edit_weights(lambda name, tensor: tensor[:300] if "lm_head" in name else tensor)
    found(bench.check(), "vocabulary_rows_differ", Severity.ERROR, "lm_head 300", "embed_tokens 320")


def test_a_saved_module_of_another_width(bench: Bench, tmp_path: Path) -> None:
    bench.adapter = build_tiny_adapter(bench.base, tmp_path / "a", modules_to_save=["lm_head"])
    bench.edit_weights(lambda name, tensor: np.ones((320, 48), np.float32) if "lm_head" in name else tensor)
    found(bench.check(), "shapes_differ", Severity.ERROR, "lm_head", "320 × 48", "320 × 32")


@pytest.mark.parametrize(
    ("break_base", "code", "facts"),
    [
        (lambda base: (base / "config.json").unlink(), "base_damaged", ["no config.json"]),
        (lambda base: (base / "config.json").write_text("{"), "base_damaged", ["config.json", "damaged"]),
        (lambda base: (base / "model.safetensors").unlink(), "base_without_weights", ["no weights"]),
        (lambda base: os.truncate(base / "model.safetensors", 5000), "base_damaged", ["5,000 bytes", "announces"]),
        (
            lambda base: (base / "model.safetensors").rename(base / "model.gguf"),
            "base_without_weights",
            ["model.gguf", "GGUF"],
        ),
    ],
)
def test_a_damaged_base(bench: Bench, break_base: Callable[[Path], None], code: str, facts: list[str]) -> None:
    break_base(bench.base)
    found(bench.check(), code, Severity.ERROR, bench.base, *facts)


def test_a_base_that_lacks_a_shard(bench: Bench, tmp_path: Path) -> None:
    sharded = build_tiny_base(tmp_path / "sharded", max_shard_size="50KB")
    last = max(sharded.glob("model-*.safetensors"))
    last.unlink()
    found(bench.check(sharded), "base_without_weights", Severity.ERROR, sharded, last.name)


def test_an_adapter_given_as_the_base(bench: Bench) -> None:
    found(bench.check(bench.adapter), "base_damaged", Severity.ERROR, bench.adapter, "holds an adapter")


def packed_as_nf4(base: Path) -> None:
    """The form in which bitsandbytes stores 4-bit weights: two numbers a byte, in one column."""
    tensors = load_file(base / "model.safetensors")
    for name, tensor in list(tensors.items()):
        if "proj" in name:
            tensors[name] = np.zeros((tensor.size // 2, 1), np.uint8)
            tensors[f"{name}.absmax"] = np.zeros((tensor.size // 64,), np.uint8)
    save_file(tensors, base / "model.safetensors")
    config = json.loads((base / "config.json").read_text())
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))


def test_a_quantised_base_is_judged_by_its_config(bench: Bench, tmp_path: Path) -> None:
    packed_as_nf4(bench.base)
    report = bench.check()
    assert report.findings == ()
    assert report.base is not None and report.base.quantization == "bitsandbytes nf4"
    wide = build_tiny_base(tmp_path / "wide", hidden_size=64)
    packed_as_nf4(wide)
    found(bench.check(wide), "shapes_differ", Severity.ERROR, "hidden size 32", "has 64", "14 modules")


def test_a_base_with_pickled_weights_is_judged_by_its_config(bench: Bench, tmp_path: Path) -> None:
    for base in (bench.base, build_tiny_base(tmp_path / "wide", hidden_size=64)):
        (base / "model.safetensors").rename(base / "pytorch_model.bin")
    assert bench.check().findings == ()
    found(bench.check(tmp_path / "wide"), "shapes_differ", Severity.ERROR, "hidden size 32", "14 modules")


def test_the_base_may_be_stored_without_its_outer_name(bench: Bench) -> None:
    tensors = load_file(bench.base / "model.safetensors")
    save_file(
        {name.removeprefix("model."): tensor for name, tensor in tensors.items()}, bench.base / "model.safetensors"
    )
    assert bench.check().findings == ()
