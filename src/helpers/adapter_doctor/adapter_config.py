"""``adapter_config.json``: read, checked, and reduced to what the doctor needs."""

import importlib.metadata
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.adapter_doctor.bounded_json import read_json
from helpers.adapter_doctor.findings import Finding, error, info, some_of
from helpers.adapter_doctor.peft_facts import LORA_FIELDS, NOT_LOADABLE, PEFT_TYPES, PROMPT_LEARNING

_MOST_BYTES = 32 << 20
_LORA_DEFAULT_RANK = 8
_LARGEST_NUMBER = 10**300
_OTHER_TASKS = {
    "SEQ_2_SEQ_LM": "encoder-decoder models",
    "SEQ_CLS": "sequence classification",
    "TOKEN_CLS": "token classification",
    "QUESTION_ANS": "extractive question answering",
}


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter says of itself.

    ``rank``: None where its type has none. ``target_modules``: names, or one pattern or shorthand where
    ``targets_are_pattern``; () = left to PEFT's defaults. ``raw``: the whole JSON object.
    """

    peft_type: str
    base_model: str | None
    rank: int | None
    alpha: float | None
    target_modules: tuple[str, ...]
    targets_are_pattern: bool
    modules_to_save: tuple[str, ...]
    raw: Mapping[str, Any]

    @property
    def is_prompt_learning(self) -> bool:
        """True for types that add virtual tokens instead of changing layers."""
        return self.peft_type in PROMPT_LEARNING

    def switched_on(self, *names: str) -> bool:
        """True where any of these fields holds more than None, False or nothing."""
        return any(self.raw.get(name) for name in names)


def read_adapter_config(path: Path) -> tuple[AdapterConfig | None, list[Finding]]:
    """Read and check the config; None = it cannot be used, and a finding says why. Raises OSError."""
    try:
        raw = read_json(path, _MOST_BYTES)
    except ValueError as failure:
        return None, [_damaged(path, str(failure))]
    if not isinstance(raw, dict):
        return None, [_damaged(path, "it holds no JSON object")]
    peft_type = raw.get("peft_type")
    if not isinstance(peft_type, str):
        return None, [_damaged(path, "it does not name its adapter type (peft_type)")]
    if peft_type not in PEFT_TYPES:
        message = (
            f"The adapter is of the type “{peft_type}”, which the installed PEFT {_peft_version()} does not know."
        )
        return None, [error("config_unknown_type", message, _after_newer_peft(raw))]
    wrong = _wrong_value(raw)
    if wrong:
        return None, [error("config_value", f"{path.name}: {wrong}.", "Correct the file, or save the adapter again.")]
    return _reduced(peft_type, raw), [
        *_not_loadable(peft_type, raw),
        *_unknown_fields(peft_type, raw),
        *_other_task(raw),
    ]


def _damaged(path: Path, why: str) -> Finding:
    message = f"{path.name} is damaged: {why}."
    return error("config_damaged", message, "Copy it again from the training output, or save the adapter again.")


def _reduced(peft_type: str, raw: Mapping[str, Any]) -> AdapterConfig:
    targets = raw.get("target_modules")
    base = raw.get("base_model_name_or_path")
    alpha = raw.get("lora_alpha", raw.get("alpha"))
    return AdapterConfig(
        peft_type=peft_type,
        base_model=base.strip() if isinstance(base, str) and base.strip() else None,
        rank=_rank(peft_type, raw),
        alpha=float(alpha) if _is_number(alpha) else None,
        target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets or ())),
        targets_are_pattern=isinstance(targets, str),
        modules_to_save=tuple(raw.get("modules_to_save") or ()),
        raw=raw,
    )


def _rank(peft_type: str, raw: Mapping[str, Any]) -> int | None:
    if peft_type == "ADALORA":
        return _whole(raw.get("target_r"))
    if peft_type in PROMPT_LEARNING:
        return None
    return _whole(raw.get("r", _LORA_DEFAULT_RANK if peft_type == "LORA" else None))


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    # Beyond this, an integer has no float.
    return abs(value) < _LARGEST_NUMBER if isinstance(value, int) else math.isfinite(value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _wrong_value(raw: Mapping[str, Any]) -> str | None:
    """What PEFT would refuse or misread, as the start of a sentence; None = nothing."""
    rank, alpha = raw.get("r"), raw.get("lora_alpha")
    if rank is not None and (type(rank) is not int or rank < 1):
        return f"the rank “r” is {rank!r}, but must be a whole number above 0"
    if alpha is not None and not _is_number(alpha):
        return f"“lora_alpha” is {alpha!r}, but must be a number"
    targets = raw.get("target_modules")
    if targets is not None and not isinstance(targets, str) and not _is_names(targets):
        return "“target_modules” must be a list of module names or one pattern"
    if raw.get("modules_to_save") is not None and not _is_names(raw["modules_to_save"]):
        return "“modules_to_save” must be a list of module names"
    for name in ("rank_pattern", "alpha_pattern"):
        if raw.get(name) is not None and not isinstance(raw[name], dict):
            return f"“{name}” must be a table of module names and numbers"
    base = raw.get("base_model_name_or_path")
    return None if base is None or isinstance(base, str) else f"the base model's name is {base!r}, but must be a text"


def _unknown_fields(peft_type: str, raw: Mapping[str, Any]) -> list[Finding]:
    unknown = sorted(set(raw) - LORA_FIELDS) if peft_type == "LORA" else []
    active = [name for name in unknown if not (raw[name] is None or raw[name] is False or raw[name] in ({}, [], ""))]
    if active:
        message = (
            f"{some_of(active, 5)} in adapter_config.json is unknown to the installed PEFT {_peft_version()}: "
            "without it the adapter would answer otherwise than it did in training, so it is not loaded."
        )
        return [error("config_unknown_fields", message, _after_newer_peft(raw))]
    if unknown:
        message = (
            f"{some_of(unknown, 5)} in adapter_config.json is unknown to PEFT {_peft_version()}, but switched off."
        )
        return [info("config_unknown_fields", message, "Nothing to do.")]
    return []


def _not_loadable(peft_type: str, raw: Mapping[str, Any]) -> list[Finding]:
    """What local_inference.adapter_files.peft_config refuses, though PEFT knows it."""
    if peft_type in NOT_LOADABLE:
        message = f"Adapters of the type {peft_type} cannot be loaded here yet."
        return [error("type_not_supported", message, "LoRA and its relatives, IA³ and OFT can.")]
    if raw.get("alora_invocation_tokens"):
        message = "Activated LoRA (aLoRA) adapters cannot be loaded here yet."
        return [error("type_not_supported", message, "Plain LoRA adapters can.")]
    return []


def _other_task(raw: Mapping[str, Any]) -> list[Finding]:
    task = raw.get("task_type")
    if task in (None, "CAUSAL_LM"):
        return []
    message = (
        f"The adapter was trained for {_OTHER_TASKS.get(str(task), 'another task')} ({task}), not for writing text."
    )
    return [error("task_type", message, "Pick an adapter of task type CAUSAL_LM.")]


def _after_newer_peft(raw: Mapping[str, Any]) -> str:
    saved_by = raw.get("peft_version")
    by = f"It was saved by PEFT {saved_by}. " if isinstance(saved_by, str) else ""
    return f"{by}Update PEFT, or save the adapter with the installed version."


def _peft_version() -> str:
    return importlib.metadata.version("peft")
