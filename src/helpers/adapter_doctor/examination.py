"""One examination of an adapter folder: folder, config, weights, base, tokenizer, in this order."""

import os
from collections.abc import Mapping
from pathlib import Path

from errors import AdapterError
from helpers.adapter_doctor.adapter_config import AdapterConfig, read_adapter_config
from helpers.adapter_doctor.adapter_folder import AdapterFiles, examine_folder, reading_failed
from helpers.adapter_doctor.base_comparison import compare_with_base, vocabulary_rows
from helpers.adapter_doctor.base_findings import examine_base, other_base_note
from helpers.adapter_doctor.findings import AdapterSummary, Finding, Severity, ValidationReport, in_order
from helpers.adapter_doctor.pickle_scan import examine_pickle
from helpers.adapter_doctor.tokenizer_findings import (
    TokenizerPlaces,
    check_tokenizer,
    has_chat_template,
    has_tokenizer,
)
from helpers.adapter_doctor.weight_findings import check_weights, read_weights
from helpers.adapter_doctor.weight_scan import WeightScan, adapter_fingerprint
from helpers.local_inference.adapter_files import rewrites_base
from helpers.local_inference.adapter_strength import why_not_scaled


def examine(
    folder: Path, base_model: str | None, locations: Mapping[str, str] | None, within: Path | None
) -> ValidationReport:
    """See :func:`helpers.adapter_validation.validate_adapter`."""
    folder = Path(os.path.expanduser(folder))
    files = examine_folder(folder, within)
    findings = list(files.findings)
    if files.config is None and files.weights is None and files.pickle is None:
        return ValidationReport(in_order(findings))
    config, scan = _read(files, findings)
    if config is None:
        return ValidationReport(in_order(findings))
    base = examine_base(base_model or config.base_model, locations)
    findings += [*base.findings, *other_base_note(config, base.resolved)]
    if scan is not None and base.shapes is not None:
        findings += compare_with_base(config, scan.header.shapes, base.shapes)
    saved_rows = vocabulary_rows(scan.header.shapes) if scan else None
    base_path = base.resolved.path if base.resolved else None
    rows = base.summary.vocabulary_size if base.summary else None
    findings += check_tokenizer(TokenizerPlaces(folder, within, base_path), rows, saved_rows)
    return ValidationReport(
        findings=in_order(findings),
        adapter=_summary(files, config, scan, saved_rows),
        base=base.summary,
        base_name=base.resolved.name if base.resolved else None,
        base_source=base.resolved.source if base.resolved else None,
    )


def quick_look(folder: Path) -> Finding | None:
    """See :func:`helpers.adapter_validation.folder_problem`."""
    files = examine_folder(Path(os.path.expanduser(folder)))
    findings = list(files.findings)
    if files.config is not None:
        try:
            findings += read_adapter_config(files.config)[1]
        except OSError as failure:
            findings.append(reading_failed(files.config, failure))
    return next((finding for finding in findings if finding.severity is Severity.ERROR), None)


def _read(files: AdapterFiles, findings: list[Finding]) -> tuple[AdapterConfig | None, WeightScan | None]:
    """Config and weights as far as they can be read; adds to ``findings``."""
    config, scan = None, None
    try:
        if files.config is not None:
            config, found = read_adapter_config(files.config)
            findings += found
        if files.weights is not None:
            scan, found = read_weights(files.weights)
            findings += found
        elif files.pickle is not None:
            findings += examine_pickle(files.pickle)
    except OSError as failure:
        findings.append(reading_failed(files.folder, failure))
    if config is not None and scan is not None:
        findings += check_weights(config, scan)
    return config, scan


def _summary(
    files: AdapterFiles, config: AdapterConfig, scan: WeightScan | None, saved_rows: int | None
) -> AdapterSummary:
    tensors = scan.header.tensors if scan else ()
    names = [tensor.name for tensor in tensors]
    weights = files.weights or files.pickle
    try:
        size = weights.stat().st_size if weights else 0
    except OSError:
        size = 0
    try:
        fingerprint = adapter_fingerprint(files.folder) if weights else None
    except AdapterError:
        fingerprint = None
    return AdapterSummary(
        path=files.folder,
        peft_type=config.peft_type,
        rank=config.rank,
        alpha=config.alpha,
        target_modules=config.target_modules,
        base_model=config.base_model,
        size_bytes=size,
        tensor_count=len(tensors),
        parameter_count=sum(tensor.elements for tensor in tensors),
        dtypes=tuple(sorted({tensor.dtype for tensor in tensors})),
        has_tokenizer=has_tokenizer(files.folder),
        has_chat_template=has_chat_template(files.folder),
        vocabulary_rows=saved_rows,
        fingerprint=fingerprint,
        fixed_strength=why_not_scaled(config.peft_type, config.raw, rewrites_base(config.raw, names)),
    )
