"""What is wrong with the weights themselves: damage, numbers, missing parts, ranks."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from helpers.adapter_doctor.adapter_config import AdapterConfig
from helpers.adapter_doctor.findings import Finding, count_of, error, some_of, warning
from helpers.adapter_doctor.peft_facts import RESHAPING_FIELDS, STARTS_WITHOUT_EFFECT, parse_key
from helpers.adapter_doctor.weight_scan import TensorValues, WeightScan, scan_weights
from helpers.safetensors_header import Damage, SafetensorsDamagedError

_AGAIN = "Save or copy the adapter again: the training or the copy was probably interrupted."
_MAGNITUDE = "lora_magnitude_vector"
_PLAIN_PATTERN = re.compile(r"[\w.]+")
_MARKS = {
    "LORA": ("lora_",),
    "ADALORA": ("lora_",),
    "LOHA": ("hada_",),
    "LOKR": ("lokr_",),
    "VERA": ("vera_",),
    "IA3": ("ia3_",),
}


def read_weights(path: Path) -> tuple[WeightScan | None, list[Finding]]:
    """Scan the weight file; None = it is damaged, and a finding says how. Raises OSError."""
    try:
        scan = scan_weights(path)
    except SafetensorsDamagedError as damaged:
        code = {
            Damage.EMPTY: "weights_empty",
            Damage.TRUNCATED: "weights_truncated",
            Damage.NOT_SAFETENSORS: "weights_damaged",
            Damage.INCONSISTENT: "weights_damaged",
        }[damaged.damage]
        return None, [error(code, f"{path.name} cannot be read: {damaged}.", _AGAIN)]
    if not scan.header.tensors:
        message = f"{path.name} is whole, but holds no tensors: there is nothing to apply."
        hint = "Under DeepSpeed or FSDP, gather the weights before saving; then save the adapter again."
        return scan, [error("weights_no_tensors", message, hint)]
    return scan, _not_finite(scan)


def check_weights(config: AdapterConfig, scan: WeightScan) -> list[Finding]:
    """Findings on weights that could be read, as far as they need no base model."""
    names = list(scan.values)
    if not names:
        return []
    wrong_kind = _wrong_kind(config, names)
    if wrong_kind:
        return wrong_kind
    not_gathered = [name for name, shape in scan.header.shapes.items() if 0 in shape]
    if not_gathered:
        held = count_of(len(not_gathered), "tensor")
        message = f"The file holds {held} of size 0, such as {some_of(not_gathered)}: their weights were not saved."
        hint = "Under DeepSpeed ZeRO-3 or FSDP, gather the weights before saving; then save the adapter again."
        return [error("weights_not_gathered", message, hint)]
    return [*_without_partner(config, names), *_ranks(config, scan), *_untrained(config, scan.values)]


def _not_finite(scan: WeightScan) -> list[Finding]:
    bad = [name for name, values in scan.values.items() if values.has_nan or values.has_infinity]
    if not bad:
        return []
    kinds = [
        *(["NaN (“not a number”)"] if any(scan.values[name].has_nan for name in bad) else []),
        *(["infinite numbers"] if any(scan.values[name].has_infinity for name in bad) else []),
    ]
    message = (
        f"{len(bad)} of {len(scan.values)} tensors hold {' or '.join(kinds)}, such as {some_of(bad, 1)}: "
        "the training diverged."
    )
    hint = "Pick an earlier checkpoint, or train again with a lower learning rate or in bfloat16."
    return [error("weights_not_finite", message, hint)]


def _wrong_kind(config: AdapterConfig, names: list[str]) -> list[Finding]:
    marks = _MARKS.get(config.peft_type)
    if marks is None or any(mark in name for mark in marks for name in names):
        return []
    for other, other_marks in _MARKS.items():
        if any(mark in name for mark in other_marks for name in names):
            message = (
                f"adapter_config.json says {config.peft_type}, but the weights are those of {other} ({names[0]})."
            )
            hint = "Config and weights come from two adapters: copy both from the same training output."
            return [error("weights_of_other_type", message, hint)]
    message = (
        f"adapter_model.safetensors holds no {config.peft_type} weights, but {len(names)} tensors "
        f"such as {some_of(names, 2)}: they look like a full model, not an adapter."
    )
    hint = "Use the folder as the base model, or save with the PEFT model's own save_pretrained()."
    return [error("full_model", message, hint)]


def _without_partner(config: AdapterConfig, names: list[str]) -> list[Finding]:
    parts: dict[str, set[str]] = defaultdict(set)
    for name in names:
        key = parse_key(name)
        if key and key.part and not key.is_bias:
            parts[key.module].add(key.part)
    pairs = (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"))
    alone = sorted(module for module, held in parts.items() if any((a in held) != (b in held) for a, b in pairs))
    if alone:
        message = f"One of the two LoRA matrices is missing in {count_of(len(alone), 'module')}: {some_of(alone)}."
        return [error("weights_incomplete", message, _AGAIN)]
    unscaled = sorted(module for module, held in parts.items() if "lora_A" in held and _MAGNITUDE not in held)
    if config.peft_type == "LORA" and config.switched_on("use_dora") and unscaled:
        message = f"DoRA's magnitude is missing in {count_of(len(unscaled), 'module')}: {some_of(unscaled)}."
        return [error("weights_incomplete", message, _AGAIN)]
    return []


def _ranks(config: AdapterConfig, scan: WeightScan) -> list[Finding]:
    if config.peft_type != "LORA" or config.rank is None or config.switched_on(*RESHAPING_FIELDS):
        return []
    wrong: dict[str, tuple[int, int]] = {}
    for name, shape in scan.header.shapes.items():
        key = parse_key(name)
        if key is None or key.part is None or key.is_bias or len(shape) < 2:
            continue
        held = {"lora_A": shape[0], "lora_embedding_A": shape[0]}.get(key.part)
        held = {"lora_B": shape[1], "lora_embedding_B": shape[1]}.get(key.part, held)
        expected = _expected_rank(config, key.module)
        if held is not None and expected is not None and held != expected:
            wrong[key.module] = (expected, held)
    if not wrong:
        return []
    module, (expected, held) = next(iter(wrong.items()))
    message = (
        f"adapter_config.json says rank {expected}, but the weights have rank {held} "
        f"in {count_of(len(wrong), 'module')}, such as “{module}”."
    )
    hint = f"Set “r” to {held} if the weights are right, or copy config and weights from the same training output."
    return [error("rank_differs", message, hint)]


def _expected_rank(config: AdapterConfig, module: str) -> int | None:
    """The config's rank for one module, None = it takes a regular expression to know (not run: it may never end)."""
    for pattern, rank in (config.raw.get("rank_pattern") or {}).items():
        # PEFT matches these names from the right, see get_pattern_key in peft/utils/other.py.
        plain = pattern.removeprefix("^")
        if not _PLAIN_PATTERN.fullmatch(plain):
            return None
        if module == plain or (plain == pattern and module.endswith(f".{plain}")):
            return rank if type(rank) is int else None
    return config.rank


def _untrained(config: AdapterConfig, values: Mapping[str, TensorValues]) -> list[Finding]:
    parts = STARTS_WITHOUT_EFFECT.get(config.peft_type, ())
    keys = {name: key for name in values if (key := parse_key(name))}
    watched = [name for name, key in keys.items() if key.part in parts and not key.is_bias]
    idle = [name for name in watched if _has_no_effect(config.peft_type, values[name])]
    if not watched or not idle:
        return []
    what = "one" if config.peft_type == "IA3" else "zero"
    if len(idle) < len(watched):
        message = (
            f"{len(idle)} of {len(watched)} adapted modules have no effect: "
            f"their {parts[0]} is still all {what} ({some_of(idle, 2)}). The training never reached them."
        )
        return [
            warning("partly_untrained", message, "Check target_modules and frozen layers if you meant to train them.")
        ]
    # Trained embeddings or heads would still change the answers.
    others = any(key.part is None or key.is_bias for key in keys.values()) or config.switched_on(
        "trainable_token_indices"
    )
    message = (
        f"The adapter was never trained: all {len(watched)} {parts[0]} tensors are still {what}, "
        "so it changes nothing in the base model."
    )
    hint = "Check that the training ran and saved this very adapter; a checkpoint may hold the trained one."
    if others:
        message = f"All {len(watched)} {parts[0]} tensors are {what}: only the modules saved whole have an effect."
        return [warning("never_trained", message, hint)]
    return [error("never_trained", message, hint)]


def _has_no_effect(peft_type: str, values: TensorValues) -> bool:
    return values.all_one if peft_type == "IA3" else values.all_zero
