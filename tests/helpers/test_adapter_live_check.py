"""The live half of the doctor: what an attached adapter is measured to do, as findings."""

from pathlib import Path

import pytest

from helpers.adapter_live_check import examine_live, live_findings
from helpers.adapter_validation import Severity
from helpers.local_inference import AdapterEffect, ModelSelection
from tiny_models import build_tiny_adapter, build_tiny_base


@pytest.mark.parametrize(
    ("effect", "code", "severity"),
    [
        (AdapterEffect(0, 1.0, 0.5), "live_no_layers", Severity.ERROR),
        (AdapterEffect(14, 0.0, 0.0), "live_no_effect", Severity.ERROR),
        (AdapterEffect(14, 0.01, 0.0), "live_weak_effect", Severity.WARNING),
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
