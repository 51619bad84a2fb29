"""The live half of the doctor: what an attached adapter is measured to do, as findings."""

import json
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from helpers.adapter_live_check import examine_live, live_findings
from helpers.adapter_validation import Severity
from helpers.local_inference import AdapterEffect, ModelSelection
from tiny_models import build_tiny_adapter, build_tiny_base


@pytest.mark.parametrize(
    ("effect", "code", "severity"),
    [
        (AdapterEffect(0, 1.0, 0.5), "live_no_layers", Severity.ERROR),
        (AdapterEffect(14, 0.0, 0.0), "live_no_effect", Severity.ERROR),
        (AdapterEffect(14, 0.09, 0.0), "live_weak_effect", Severity.WARNING),
        (AdapterEffect(14, 0.11, 0.0), "live_effect", Severity.INFO),
        (AdapterEffect(14, 0.01, 0.1), "live_effect", Severity.INFO),
        (AdapterEffect(14, 2.5, 0.0), "live_effect", Severity.INFO),
        (AdapterEffect(14, None, None), "live_not_compared", Severity.INFO),
    ],
)
def test_each_effect_has_its_own_finding(effect: AdapterEffect, code: str, severity: Severity) -> None:
    (finding,) = live_findings(effect)
    assert (finding.code, finding.severity) == (code, severity)
    assert finding.message and finding.hint


def test_a_real_adapter_is_loaded_and_its_effect_joins_the_static_findings(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    report = examine_live(ModelSelection(str(base), str(adapter)))
    assert report.ok, report.findings
    assert {finding.code for finding in report.findings} & {"live_effect", "live_weak_effect"}


def test_a_broken_adapter_is_not_loaded(tmp_path: Path) -> None:
    report = examine_live(ModelSelection(str(tmp_path), str(tmp_path / "none")))
    assert [finding.code for finding in report.findings] == ["no_such_folder"]


def idle(name: str, tensor: np.ndarray) -> np.ndarray:
    """As an optimiser without learning rate for lora_A would leave it: the static checks look at lora_B."""
    return tensor * 0 if "lora_A" in name else tensor


def test_an_adapter_that_only_a_live_check_finds_idle(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    weights = adapter / "adapter_model.safetensors"
    save_file({name: idle(name, tensor) for name, tensor in load_file(weights).items()}, weights)
    report = examine_live(ModelSelection(str(base), str(adapter)))
    assert [finding.code for finding in report.errors] == ["live_no_effect"]
    assert "14 layers" in report.errors[0].message


def test_loading_that_reports_nothing_is_given_up(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    of_other_tests = set(active_children())
    report = examine_live(ModelSelection(str(base), str(adapter)), patience=0.01)
    assert [finding.code for finding in report.errors] == ["live_failed"]
    assert "no sign of life" in report.errors[0].message
    assert set(active_children()) <= of_other_tests


def test_an_adapter_whose_targets_match_no_layer(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    # A pattern is not run by the static checks, because it may never end.
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "target_modules": r".*attn\.query"}))
    report = examine_live(ModelSelection(str(base), str(adapter)))
    assert [finding.code for finding in report.errors] == ["live_no_layers"]
