"""Adapters as PEFT saves them, of every common form, each damaged in one way."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_bench import CONFIG, WEIGHTS, Bench, found
from helpers.adapter_validation import Severity
from tiny_models import build_tiny_adapter, build_tiny_base

FORMS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "IA3": {"peft_type": "ia3"},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
}
LORA_FORMS = [form for form in FORMS if form != "IA3"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One adapter of each form on one base, and a base of other shapes."""
    folder = tmp_path_factory.mktemp("forms")
    base = build_tiny_base(folder / "base")
    wide = build_tiny_base(folder / "wide", hidden_size=64, intermediate_size=96)
    made = {form: build_tiny_adapter(base, folder / form, tokenizer=True, **look) for form, look in FORMS.items()}
    return {"base": base, "wide": wide, **made}


@pytest.fixture
def bench_of(sound: dict[str, Path], tmp_path: Path) -> Callable[[str], Bench]:
    return lambda form: Bench(sound["base"], Path(shutil.copytree(sound[form], tmp_path / "adapter")))


def without(part: str) -> Callable[[str, np.ndarray], np.ndarray | None]:
    return lambda name, tensor: None if part in name else tensor


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_sound_before_and_each_damage_has_its_own_code(
    form: str, bench_of: Callable[[str], Bench], sound: dict[str, Path]
) -> None:
    bench = bench_of(form)
    assert bench.check().findings == ()
    found(bench.check(sound["wide"]), "shapes_differ", Severity.ERROR)
    whole = (bench.adapter / WEIGHTS).read_bytes()
    config = (bench.adapter / CONFIG).read_bytes()

    bench.edit_weights(lambda name, tensor: tensor * np.nan)
    found(bench.check(), "weights_not_finite", Severity.ERROR, "NaN")
    bench.edit_weights(lambda name, tensor: np.full_like(tensor, np.inf))
    found(bench.check(), "weights_not_finite", Severity.ERROR, "infinite")
    (bench.adapter / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    found(bench.check(), "weights_truncated", Severity.ERROR)
    (bench.adapter / WEIGHTS).write_bytes(b"")
    found(bench.check(), "weights_empty", Severity.ERROR)
    (bench.adapter / WEIGHTS).unlink()
    found(bench.check(), "weights_missing", Severity.ERROR)

    (bench.adapter / WEIGHTS).write_bytes(whole)
    bench.edit_weights(without("layers.1.mlp.down_proj"))
    found(bench.check(), "weights_incomplete", Severity.ERROR, "layers.1.mlp.down_proj")
    (bench.adapter / WEIGHTS).write_bytes(whole)
    (bench.adapter / CONFIG).unlink()
    found(bench.check(), "config_missing", Severity.ERROR)
    (bench.adapter / CONFIG).write_bytes(config[: len(config) // 2])
    found(bench.check(), "config_damaged", Severity.ERROR)
    (bench.adapter / CONFIG).write_bytes(config)
    assert bench.check().findings == ()


@pytest.mark.parametrize("form", LORA_FORMS)
def test_the_forms_of_lora_share_its_damages(form: str, bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of(form)
    whole = (bench.adapter / WEIGHTS).read_bytes()
    bench.edit_config(r=16)
    found(bench.check(), "rank_differs", Severity.ERROR, "rank 16", "rank 4")
    bench.edit_config(r=4)
    bench.edit_weights(without("0.self_attn.q_proj.lora_A"))
    found(bench.check(), "weights_incomplete", Severity.ERROR, "layers.0.self_attn.q_proj")
    (bench.adapter / WEIGHTS).write_bytes(whole)
    bench.edit_weights(lambda name, tensor: tensor * 0 if "lora_B" in name else tensor)
    # A part that was trained as a whole works without lora_B.
    severity = Severity.WARNING if form == "modules_to_save" else Severity.ERROR
    found(bench.check(), "never_trained", severity, "lora_B")


def test_ia3_whose_scales_are_all_one_was_never_trained(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("IA3")
    bench.edit_weights(lambda name, tensor: np.ones_like(tensor))
    found(bench.check(), "never_trained", Severity.ERROR, "ia3_l", "one")


def test_dora_without_its_magnitudes_is_not_whole(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("DoRA")
    bench.edit_weights(without("0.mlp.up_proj.lora_magnitude_vector"))
    found(bench.check(), "weights_incomplete", Severity.ERROR, "magnitude", "layers.0.mlp.up_proj")


def test_a_saved_module_that_was_lost_is_named(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("modules_to_save")
    bench.edit_weights(without("lm_head"))
    found(bench.check(), "saved_modules_missing", Severity.ERROR, "lm_head")
