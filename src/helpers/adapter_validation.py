"""The adapter doctor, static half: looks at an adapter folder and its base model without loading either.

One list of findings for the Inference tab, the Runs screen, ``check`` and the API. No torch, no PEFT, no network; the
weights are streamed, so that the size of an adapter costs time but no memory.
"""

from collections.abc import Mapping
from pathlib import Path

from helpers.adapter_doctor.findings import (
    AdapterSummary,
    Finding,
    Severity,
    ValidationReport,
)
from helpers.adapter_fingerprint import short_fingerprint

__all__ = [
    "AdapterSummary",
    "Finding",
    "Severity",
    "ValidationReport",
    "adapter_fingerprint",
    "folder_problem",
    "short_fingerprint",
    "validate_adapter",
]


def validate_adapter(
    adapter_path: Path,
    base_model: str | None = None,
    locations: Mapping[str, str] | None = None,
    *,
    within: Path | None = None,
) -> ValidationReport:
    """Examine the adapter in ``adapter_path`` against its base model. Raises nothing: what is wrong is a finding.

    ``base_model``: None = the one the adapter records. ``locations``: recorded base name -> folder the user located.
    ``within``: the run's output folder: searched for tokenizer and template after the adapter folder, and links may
    lead anywhere inside it.
    """
    # numpy and huggingface_hub cost a quarter of a second; the window opens without them.
    from helpers.adapter_doctor.examination import examine

    return examine(adapter_path, base_model, locations, within)


def folder_problem(adapter_path: Path) -> Finding | None:
    """The first error that files and config alone show, None = none: a quick look for lists, reading no weights."""
    from helpers.adapter_doctor.examination import quick_look

    return quick_look(adapter_path)


def adapter_fingerprint(adapter_path: Path) -> str:
    """SHA-256 over the adapter's config and every byte of its weights; raises AdapterError."""
    from helpers.adapter_doctor import weight_scan

    return weight_scan.adapter_fingerprint(adapter_path)
