"""What is wrong with the weights themselves."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapter_bench import WEIGHTS, Bench, found
from helpers.adapter_validation import (
    Severity,
    validate_adapter,
)
from tiny_models import build_tiny_adapter

PREFIX = "base_model.model.model.layers."


def test_empty_weights(bench: Bench) -> None:
    (bench.adapter / WEIGHTS).write_bytes(b"")
    found(bench.check(), "weights_empty", Severity.ERROR, WEIGHTS, "0 bytes")


@pytest.mark.parametrize("kept", [5, 100, -1])
def test_truncated_weights(bench: Bench, kept: int) -> None:
    whole = (bench.adapter / WEIGHTS).read_bytes()
    (bench.adapter / WEIGHTS).write_bytes(whole[:kept])
    report = bench.check()
    found(report, "weights_truncated", Severity.ERROR, WEIGHTS, f"{len(whole[:kept]):,} bytes")
    assert report.adapter is not None
    assert (report.adapter.size_bytes, report.adapter.fingerprint) == (len(whole[:kept]), None)


def test_weights_of_garbage(bench: Bench) -> None:
    (bench.adapter / WEIGHTS).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    found(bench.check(), "weights_damaged", Severity.ERROR, WEIGHTS, "git lfs pull")
    whole = bytearray(8)
    whole += b"\0" * 200
    (bench.adapter / WEIGHTS).write_bytes(whole)
    found(bench.check(), "weights_damaged", Severity.ERROR, WEIGHTS, "header")


def test_weights_of_zero_tensors(bench: Bench) -> None:
    save_file({}, bench.adapter / WEIGHTS)
    report = bench.check()
    found(report, "weights_no_tensors", Severity.ERROR, WEIGHTS, "no tensors")
    assert report.adapter is not None and report.adapter.tensor_count == 0


def test_weights_that_were_not_gathered(bench: Bench) -> None:
    bench.edit_weights(lambda name, tensor: np.zeros((0,), np.float32) if "q_proj" in name else tensor)
    found(bench.check(), "weights_not_gathered", Severity.ERROR, "4 tensors", "q_proj.lora_A", "ZeRO-3")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_nan_and_infinity_in_every_number_type(bench: Bench, dtype: str, value: float, words: str) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    tensors = {
        name: torch.from_numpy(t).to(getattr(torch, dtype)) for name, t in load_file(bench.adapter / WEIGHTS).items()
    }
    save_torch(tensors, bench.adapter / WEIGHTS)
    assert bench.check().findings == ()
    bad = f"{PREFIX}1.mlp.up_proj.lora_A.weight"
    tensors[bad][-1, -1] = value
    save_torch(tensors, bench.adapter / WEIGHTS)
    found(bench.check(), "weights_not_finite", Severity.ERROR, "1 of 28 tensors", words, bad)


def test_nan_and_infinity_are_both_named(bench: Bench) -> None:
    bench.edit_weights(lambda name, tensor: tensor * (np.nan if "lora_A" in name else np.inf))
    found(bench.check(), "weights_not_finite", Severity.ERROR, "28 of 28 tensors", "NaN (“not a number”) or infinite")


def test_the_largest_finite_numbers_are_not_infinity(bench: Bench) -> None:
    bench.edit_weights(lambda name, tensor: np.full_like(tensor, -np.finfo(tensor.dtype).max))
    assert bench.check().findings == ()


def test_an_adapter_that_was_never_trained(bench: Bench) -> None:
    # Minus zero is zero, too.
    bench.edit_weights(lambda name, tensor: tensor * -0.0 if "lora_B" in name else tensor)
    found(bench.check(), "never_trained", Severity.ERROR, "14 lora_B tensors", "zero", "changes nothing")


def test_trained_embeddings_count_though_lora_b_is_zero(originals: tuple[Path, Path], tmp_path: Path) -> None:
    adapter = build_tiny_adapter(
        originals[0], tmp_path, train=False, modules_to_save=["embed_tokens"], tokenizer=True
    )
    report = validate_adapter(adapter)
    found(report, "never_trained", Severity.WARNING, "lora_B", "only the modules saved whole")
    assert report.ok


def test_modules_that_the_training_never_reached(bench: Bench) -> None:
    bench.edit_weights(lambda name, tensor: tensor * 0 if "0.self_attn.q_proj.lora_B" in name else tensor)
    report = bench.check()
    found(report, "partly_untrained", Severity.WARNING, "1 of 14", "layers.0.self_attn.q_proj")
    assert report.ok


@pytest.mark.parametrize(("config_rank", "weight_rank"), [(16, 4), (2, 4)])
def test_a_rank_other_than_the_configs(bench: Bench, config_rank: int, weight_rank: int) -> None:
    bench.edit_config(r=config_rank)
    facts = (f"rank {config_rank}", f"rank {weight_rank}", "14 modules", f"Set “r” to {weight_rank}")
    found(bench.check(), "rank_differs", Severity.ERROR, *facts)


def test_a_rank_pattern_that_does_not_fit(bench: Bench) -> None:
    bench.edit_config(rank_pattern={"q_proj": 2})
    found(bench.check(), "rank_differs", Severity.ERROR, "rank 2", "rank 4", "2 modules", "q_proj")


def test_a_rank_pattern_that_would_never_end_is_not_run(bench: Bench) -> None:
    bench.edit_config(rank_pattern={r"(.*)*(.*)*(.*)*$x": 2})
    assert bench.check().findings == ()


def test_half_of_a_lora_pair(bench: Bench) -> None:
    bench.edit_weights(lambda name, tensor: None if "1.mlp.up_proj.lora_B" in name else tensor)
    found(bench.check(), "weights_incomplete", Severity.ERROR, "missing in 1 module: ", "layers.1.mlp.up_proj")


def test_modules_without_weights(bench: Bench) -> None:
    bench.edit_weights(lambda name, tensor: None if "0.mlp.up_proj" in name else tensor)
    found(
        bench.check(), "weights_incomplete", Severity.ERROR, "1 module that its config names", "layers.0.mlp.up_proj"
    )


def test_weights_of_another_type_than_the_config(bench: Bench) -> None:
    ia3 = build_tiny_adapter(bench.base, bench.adapter.parent / "ia3", "ia3")
    shutil.copy(ia3 / WEIGHTS, bench.adapter)
    found(bench.check(), "weights_of_other_type", Severity.ERROR, "says LORA", "those of IA3")


def test_a_saved_module_that_is_not_in_the_weights(bench: Bench) -> None:
    bench.edit_config(modules_to_save=["lm_head"])
    found(bench.check(), "saved_modules_missing", Severity.ERROR, "lm_head")
