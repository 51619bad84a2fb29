"""What an adapter folder holds, as far as loading it needs to know. The user's files are never changed."""

import dataclasses
import hashlib
import json
import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from errors import AdapterError
from helpers.adapter_fingerprint import fingerprint_of
from helpers.safetensors_header import SafetensorsDamagedError, read_header

CONFIG_NAME = "adapter_config.json"
SAFETENSORS_NAME = "adapter_model.safetensors"
PICKLED_NAME = "adapter_model.bin"
_SAVE_AGAIN = "Save the adapter again with its trainer's save_pretrained(), or pick another folder."
_EMBEDDINGS = {"embed_tokens", "lm_head", "wte", "word_embeddings", "embed_in", "embed_out", "tok_embeddings"}
# These initialisations compute a new base from the old one, so the base is no longer the plain one.
_INITIALISATIONS_THAT_KEEP_THE_BASE = {"gaussian", "eva", "orthogonal"}


# LoRA computes beside a layer. PEFT's other types, and these options of LoRA, touch the layer's weights.
_OPTIONS_THAT_READ_WEIGHTS = (
    "use_dora",
    "use_qalora",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "target_parameters",
    "arrow_config",
)


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on disk. ``fingerprint`` is of its content: a re-trained adapter at the same path has another.

    ``embedding_rows``: rows of the embeddings the adapter brings, None = it brings none. ``rewrites_base``: loading
    changes weights of the base itself, so it cannot share one with others. ``config`` is the parsed JSON.
    ``size_bytes``: the weight file.
    """

    path: Path
    fingerprint: str
    peft_type: str
    rank: int | None
    config: dict[str, Any]
    embedding_rows: int | None
    rewrites_base: bool
    size_bytes: int

    @property
    def reads_weights(self) -> bool:
        """Whether computing with the adapter needs the base's weights themselves, not only what its layers give."""
        return (
            self.peft_type != "LORA"
            or self.embedding_rows is not None
            or any(self.config.get(option) for option in _OPTIONS_THAT_READ_WEIGHTS)
        )


def read_adapter_folder(path: Path) -> AdapterFolder:
    """Read config and weight names; raises AdapterError naming what is wrong with the folder."""
    if not path.is_dir():
        raise AdapterError(
            f"The adapter folder “{path}” does not exist any more.", "Pick the run again, or another adapter folder."
        )
    config = _read_config(path / CONFIG_NAME)
    weights = path / SAFETENSORS_NAME
    if not weights.is_file():
        weights = path / PICKLED_NAME
    if not weights.is_file():
        raise AdapterError(f"“{path}” has neither {SAFETENSORS_NAME} nor {PICKLED_NAME}.", _SAVE_AGAIN)
    stamp = weights.stat()
    shapes = _shapes(weights)
    rank = config.get("r", config.get("init_r"))
    return AdapterFolder(
        path=path,
        fingerprint=_fingerprint(path / CONFIG_NAME, weights, stamp),
        peft_type=str(config["peft_type"]),
        rank=rank if isinstance(rank, int) else None,
        config=config,
        embedding_rows=_embedding_rows(shapes),
        rewrites_base=rewrites_base(config, shapes),
        size_bytes=stamp.st_size,
    )


def peft_config(adapter: AdapterFolder) -> Any:
    """The PEFT config object. Keys this PEFT does not know are left out where they are unset, else refused.

    Raises AdapterError for an unknown or unusable kind of adapter.
    """
    import peft
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    config_class: Any = {str(kind.value): known for kind, known in PEFT_TYPE_TO_CONFIG_MAPPING.items()}.get(
        adapter.peft_type
    )
    written_by = adapter.config.get("peft_version")
    update = f"Update PEFT to {written_by} or newer (this is {peft.__version__})." if written_by else "Update PEFT."
    if config_class is None:
        raise AdapterError(f"PEFT does not know the adapter type “{adapter.peft_type}”.", update)
    known = {field.name for field in dataclasses.fields(config_class)}
    needed = sorted(key for key, value in adapter.config.items() if key not in known and not _is_unset(value))
    if needed:
        raise AdapterError(
            f"{CONFIG_NAME} sets {', '.join(needed)}, which this version of PEFT does not know.", update
        )
    values = {key: value for key, value in adapter.config.items() if key in known}
    try:
        config = config_class.from_peft_type(**config_class.check_kwargs(**values))
    except (TypeError, ValueError) as error:
        raise AdapterError(f"{CONFIG_NAME} in “{adapter.path}” is not usable: {error}.", _SAVE_AGAIN) from error
    config.inference_mode = True
    _require_usable(config, adapter)
    return config


def go_together(first: Any, second: Any) -> bool:
    """Whether adapters of two PEFT configs can be on one base at once.

    False where one trains a module whole that the other targets, since PEFT would wrap the one's wrapper, and where
    one trains single tokens and the other does not, since PEFT would look for these in both files.
    """
    if _with_single_tokens(first) != _with_single_tokens(second):
        return False
    return not (_targets(first) & _saved(second) or _saved(first) & _targets(second))


def _with_single_tokens(config: Any) -> set[str]:
    """The modules of which single tokens are trained; a list of tokens is of the input embeddings."""
    tokens = getattr(config, "trainable_token_indices", None)
    return set(tokens) if isinstance(tokens, dict) else {"input embeddings"} if tokens else set()


def _targets(config: Any) -> set[str]:
    return set() if isinstance(config.target_modules, str) else set(config.target_modules or ())


def _saved(config: Any) -> set[str]:
    return set(getattr(config, "modules_to_save", None) or ())


def _require_usable(config: Any, adapter: AdapterFolder) -> None:
    kind = adapter.peft_type
    if config.is_prompt_learning or config.is_adaption_prompt or kind in ("XLORA", "POLY"):
        raise AdapterError(
            f"Adapters of the type {kind} cannot be loaded here yet.", "LoRA and its relatives, IA³ and OFT can."
        )
    if getattr(config, "alora_invocation_tokens", None):
        raise AdapterError("Activated LoRA (aLoRA) adapters cannot be loaded here yet.", "Plain LoRA adapters can.")
    if config.task_type not in (None, "CAUSAL_LM"):
        raise AdapterError(
            f"The adapter was trained for {config.task_type}, not to write text.",
            "Pick an adapter trained with task_type CAUSAL_LM.",
        )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(f"“{path.parent}” has no {CONFIG_NAME}, so it is no adapter.", _SAVE_AGAIN) from None
    except OSError as error:
        raise AdapterError(
            f"“{path}” cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error
    except ValueError as error:
        raise AdapterError(f"{CONFIG_NAME} in “{path.parent}” is damaged: {error}.", _SAVE_AGAIN) from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise AdapterError(f"{CONFIG_NAME} in “{path.parent}” names no adapter type.", _SAVE_AGAIN)
    config.pop("runtime_config", None)
    return config


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    try:
        if weights.name == SAFETENSORS_NAME:
            return read_header(weights).shapes
        return _pickled_shapes(weights)
    except SafetensorsDamagedError as error:
        raise AdapterError(f"{weights.name} in “{weights.parent}” is damaged: {error}.", _SAVE_AGAIN) from error
    except OSError as error:
        raise AdapterError(
            f"“{weights}” cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error


def _pickled_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    import torch

    try:
        tensors = torch.load(weights, map_location="meta", weights_only=True)
        return {str(name): tuple(tensor.shape) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError) as error:
        raise AdapterError(
            f"{PICKLED_NAME} in “{weights.parent}” is damaged or holds more than weights, so it is not opened.",
            "Save the adapter as safetensors.",
        ) from error


def _fingerprint(config: Path, weights: Path, stamp: os.stat_result) -> str:
    try:
        return fingerprint_of(config.read_bytes(), _content_hash(weights, stamp.st_size, stamp.st_mtime_ns))
    except OSError as error:
        raise AdapterError(
            f"“{weights.parent}” cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error


@lru_cache(maxsize=64)
def _content_hash(path: Path, _size: int, _modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_unset(value: Any) -> bool:
    return value is None or value is False or value in ({}, [], "")


def _embedding_rows(shapes: dict[str, tuple[int, ...]]) -> int | None:
    for name, shape in shapes.items():
        parts = name.split(".")
        if len(shape) != 2 or not _EMBEDDINGS.intersection(parts):
            continue
        if parts[-1] == "lora_embedding_A":
            return shape[1]
        if "lora_A" not in parts and parts[-1] == "weight":
            return shape[0]
    return None


def rewrites_base(config: Mapping[str, Any], shapes: Iterable[str]) -> bool:
    """Whether loading an adapter with this config and these weight names changes weights of the base itself."""
    initialisation = config.get("init_lora_weights")
    if isinstance(initialisation, str) and initialisation not in _INITIALISATIONS_THAT_KEEP_THE_BASE:
        return True
    if config.get("bias") not in (None, "none"):
        return True
    saved_whole = set(config.get("modules_to_save") or ())
    for name in shapes:
        parts = name.split(".")
        plain_weight = "base_layer" in parts or _EMBEDDINGS.intersection(parts[-2:-1])
        if plain_weight and parts[-1] in ("weight", "bias") and not saved_whole.intersection(parts):
            return True
    return False
