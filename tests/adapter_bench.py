"""One sound adapter on one base, to be damaged on purpose, and the check that a finding names the facts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from helpers.adapter_validation import Finding, Severity, ValidationReport, validate_adapter

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@dataclass
class Bench:
    """A folder with one base and one sound adapter on it, both private to the test."""

    base: Path
    adapter: Path

    def check(self, base_model: str | Path | None = None) -> ValidationReport:
        return validate_adapter(self.adapter, str(base_model) if base_model else None)

    def edit_config(self, **fields: Any) -> None:
        path = self.adapter / CONFIG
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def drop_from_config(self, field: str) -> None:
        path = self.adapter / CONFIG
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != field}))

    def edit_weights(self, change: Callable[[str, np.ndarray], np.ndarray | None]) -> None:
        path = self.adapter / WEIGHTS
        changed = {name: change(name, tensor) for name, tensor in load_file(path).items()}
        save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path)


def found(report: ValidationReport, code: str, severity: Severity, *facts: object) -> Finding:
    """The finding of that code, after checking that its words name each of the facts."""
    matching = [finding for finding in report.findings if finding.code == code]
    assert matching, [(finding.code, finding.message) for finding in report.findings]
    finding = matching[0]
    assert finding.severity is severity
    words = f"{finding.message} {finding.hint}"
    for fact in facts:
        assert str(fact) in words
    assert finding.message and finding.hint
    return finding


def checkpoints(bench: Bench, *steps: int) -> Path:
    run = bench.adapter.parent / "run"
    for step in steps:
        shutil.copytree(bench.adapter, run / f"checkpoint-{step}")
    return run
