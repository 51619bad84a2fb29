"""The base model as found: is it known, on this machine, and whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from errors import ModelError
from helpers.adapter_doctor.adapter_config import AdapterConfig
from helpers.adapter_doctor.base_shapes import BaseShapes, read_base_shapes
from helpers.adapter_doctor.findings import Finding, error, info, some_of, warning
from helpers.base_models import (
    BaseSource,
    BaseSummary,
    ResolvedBase,
    missing_base_message,
    missing_weights,
    read_base_config,
    resolve_base_model,
)
from helpers.safetensors_header import SafetensorsDamagedError


@dataclass(frozen=True)
class BaseExamination:
    """The base as found. ``summary`` and ``shapes`` are None where it is not here or not readable."""

    resolved: ResolvedBase | None
    summary: BaseSummary | None
    shapes: BaseShapes | None
    findings: tuple[Finding, ...]


def examine_base(name: str | None, locations: Mapping[str, str] | None) -> BaseExamination:
    """Find and read the base model ``name``; what is wrong with it stands in ``findings``."""
    if not name or not name.strip():
        message = "The adapter does not say which base model it was trained on."
        hint = "Enter the base model (a Hugging Face id or a local folder)."
        return BaseExamination(None, None, None, (error("base_unknown", message, hint),))
    resolved = resolve_base_model(name, locations)
    if resolved.path is None:
        return BaseExamination(resolved, None, None, (_not_here(resolved),))
    try:
        summary = read_base_config(resolved.path, resolved.name)
        lacking = _lacking_weights(resolved.path)
        if lacking is not None:
            return BaseExamination(resolved, summary, None, (lacking,))
        return BaseExamination(resolved, summary, read_base_shapes(summary), _found_nearby(resolved, locations))
    except ModelError as failure:
        finding = error("base_damaged", failure.message, failure.hint)
    except (SafetensorsDamagedError, OSError) as failure:
        message = f"The weights of the base model in “{resolved.path}” cannot be read: {failure}."
        finding = error("base_damaged", message, "Download or copy the base model again.")
    return BaseExamination(resolved, None, None, (finding,))


def _found_nearby(resolved: ResolvedBase, locations: Mapping[str, str] | None) -> tuple[Finding, ...]:
    if resolved.source is not BaseSource.LOCATED or resolved.name in (locations or {}):
        return ()
    message = f"The base model “{resolved.name}” was found at “{resolved.path}”, beside one that you located."
    return (info("base_found_nearby", message, "If it is another model, choose “Locate base model…”."),)


def _not_here(resolved: ResolvedBase) -> Finding:
    message, hint = missing_base_message(resolved.name)
    if resolved.source is BaseSource.HUB:
        return warning("base_not_downloaded", f"{message} Whether the adapter fits cannot be checked yet.", hint)
    return error("base_not_found", message, hint)


def _lacking_weights(folder: Path) -> Finding | None:
    lacking = missing_weights(folder)
    hint = "Download or copy the base model again, with all its files."
    if lacking is None:
        other = sorted(path.name for path in folder.glob("*.gguf"))
        if other:
            hint = f"{other[0]} is a GGUF file, which cannot carry PEFT adapters: pick the original model."
        return error("base_without_weights", f"The base model folder “{folder}” has a config, but no weights.", hint)
    if lacking:
        message = f"The base model in “{folder}” is incomplete: {some_of(lacking)} is missing."
        return error("base_without_weights", message, hint)
    return None


def other_base_note(config: AdapterConfig, resolved: ResolvedBase | None) -> list[Finding]:
    """An info where the base that is used is not the one the adapter names."""
    if resolved is None or config.base_model is None or config.base_model == resolved.name:
        return []
    message = f"The adapter was trained on “{config.base_model}” and is used here on “{resolved.name}”."
    return [info("base_differs", message, "Fine for the same model in another form; other models answer otherwise.")]
