"""Where a base model is, and what its config says. Reads names and JSON only; loads no torch, reaches no network."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from errors import ModelError
from helpers import app_paths

BUNDLED_PREFIX = "demo/"
# A hub id is "name" or "owner/name": the rule of huggingface_hub's validate_repo_id.
_HUB_ID = re.compile(r"(?=.{1,96}$)(?!.*(--|\.\.))(?:\w[\w.-]*/)?\w(?:[\w.-]*\w)?", re.ASCII)
_SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


class BaseSource(StrEnum):
    """Where a base model was found.

    HUB: not on this machine, but its name can be a Hugging Face id. ELSEWHERE: a path that does not exist here, as
    recorded by a training on another machine, or a name that can be neither path nor id.
    """

    BUNDLED = "bundled"
    FOLDER = "folder"
    CACHE = "cache"
    LOCATED = "located"
    HUB = "hub"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class ResolvedBase:
    """A base model by name. ``path`` is its folder, None = not on this machine (source HUB or ELSEWHERE)."""

    name: str
    path: Path | None
    source: BaseSource


@dataclass(frozen=True)
class BaseSummary:
    """What a base model's ``config.json`` says; sizes in units, ``context_length`` in tokens, None = not said.

    ``quantization`` names how the stored weights are packed ("bitsandbytes nf4", "gptq 4-bit" ...), None = they are
    not. ``size_bytes`` is the size of the weight files.
    """

    name: str
    path: Path
    model_type: str
    hidden_size: int | None
    num_layers: int | None
    num_attention_heads: int | None
    num_key_value_heads: int | None
    head_dim: int | None
    intermediate_size: int | None
    vocabulary_size: int | None
    context_length: int | None
    quantization: str | None
    tied_embeddings: bool
    is_composite: bool
    has_experts: bool
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The ``base`` part of a doctor report."""
        return {
            "name": self.name,
            "path": str(self.path),
            "model_type": self.model_type,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "vocabulary_size": self.vocabulary_size,
            "context_length": self.context_length,
            "quantization": self.quantization,
            "size_bytes": self.size_bytes,
        }


def resolve_base_model(
    name: str, locations: Mapping[str, str] | None = None, *, cache_dir: Path | None = None
) -> ResolvedBase:
    """Find the folder of the base model ``name``; raises nothing, a base that is not here has ``path`` None.

    ``locations`` maps a recorded name to the folder the user located for it and comes first; then the bundled models
    (``demo/...``), a local folder, the Hugging Face cache (``cache_dir``, None = the one of HF_HOME), the hub.
    A path of another machine is also looked for beside the bases that were located from the same folder there.
    """
    name = name.strip()
    located = (locations or {}).get(name)
    if located and _is_folder(_local(located)):
        return ResolvedBase(name, _local(located), BaseSource.LOCATED)
    if name.startswith(BUNDLED_PREFIX):
        bundled = app_paths.demo_assets_dir() / name.removeprefix(BUNDLED_PREFIX)
        if is_hub_id(name) and _is_folder(bundled):
            return ResolvedBase(name, bundled, BaseSource.BUNDLED)
    # A folder that happens to be called like a hub id counts only where it holds a model.
    if name and _is_folder(_local(name)) and (not is_hub_id(name) or _is_file(_local(name) / "config.json")):
        return ResolvedBase(name, _local(name), BaseSource.FOLDER)
    if not is_hub_id(name):
        nearby = _beside_a_located_one(name, locations or {})
        return ResolvedBase(name, nearby, BaseSource.LOCATED if nearby else BaseSource.ELSEWHERE)
    cached = _find_in_cache(name, cache_dir)
    return ResolvedBase(name, cached, BaseSource.CACHE if cached else BaseSource.HUB)


def _beside_a_located_one(name: str, locations: Mapping[str, str]) -> Path | None:
    """/data/models/Y for /home/alice/models/Y, where /home/alice/models/X was located at /data/models/X."""
    wanted = _recorded_path(name)
    if not is_recorded_path(name) or ".." in wanted.parts:
        return None
    around: list[tuple[PurePath, Path]] = []
    for recorded, folder in locations.items():
        known, here = _recorded_path(recorded), _local(folder)
        # A folder that was renamed on its way says nothing of the others.
        if is_recorded_path(recorded) and known.name == here.name and known.parent in wanted.parents:
            around.append((known.parent, here.parent))
    # The folder that shares most of the way knows best.
    for there, here in sorted(around, key=lambda pair: -len(pair[0].parts)):
        found = here.joinpath(*wanted.relative_to(there).parts)
        if _is_file(found / "config.json"):
            return found
    return None


def _recorded_path(name: str) -> PurePath:
    # "C:\\models" and "models\\x" are Windows paths also where this is another system.
    return PureWindowsPath(name) if "\\" in name or PureWindowsPath(name).drive else PurePosixPath(name)


def is_hub_id(name: str) -> bool:
    """True where ``name`` has the form of a Hugging Face id: it may be on the hub."""
    return bool(_HUB_ID.fullmatch(name)) and not name.endswith(".git") and not is_recorded_path(name)


def is_recorded_path(name: str) -> bool:
    """True where ``name`` can only be a path, of this or any other system."""
    return name.startswith(("/", "~", "./", "../")) or "\\" in name or bool(PureWindowsPath(name).drive)


def missing_base_message(name: str) -> tuple[str, str]:
    """Message and next step for a base model that is not on this machine."""
    if not name.strip():
        return "The base model of this adapter is not known.", "Enter the base model it was trained on."
    if is_hub_id(name.strip()):
        return (
            f"The base model “{name}” is not on this machine yet.",
            "It is downloaded from Hugging Face on first use, which needs a network connection. "
            "If you have it in a folder, choose “Locate base model…”.",
        )
    if is_recorded_path(name.strip()):
        return (
            f"The base model was recorded as the folder “{name}”, which does not exist on this machine.",
            "Choose “Locate base model…” and pick its folder here, or enter its Hugging Face id. "
            "The choice is remembered.",
        )
    return (
        f"“{name}” is neither a folder on this machine nor a Hugging Face id.",
        "Enter an id such as “owner/name”, or choose “Locate base model…”.",
    )


def missing_weights(folder: Path) -> tuple[str, ...] | None:
    """Names of the weight files that ``folder`` lacks: () = complete, None = it has no weight file at all.

    Raises ModelError where the index of a sharded model is damaged.
    """
    for name in _SINGLE_FILES:
        if (folder / name).is_file():
            return ()
    for name in _INDEX_FILES:
        if (folder / name).is_file():
            return tuple(shard for shard in shard_names(folder / name) if not (folder / shard).is_file())
    return None


def shard_names(index: Path) -> tuple[str, ...]:
    """The weight files a ``*.index.json`` names, sorted; raises ModelError where it is damaged."""
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(_is_plain_name(shard) for shard in weight_map.values()):
        raise ModelError(
            f"“{index.name}” in “{index.parent}” does not list weight files.", "Download the model again."
        )
    return tuple(sorted(set(weight_map.values())))


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in one of a base model's files; raises ModelError naming what is wrong with it."""
    again = "Download the model again, or pick another folder."
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"“{path.parent}” has no {path.name}.", "Pick the folder of a base model.") from None
    except OSError as error:
        raise ModelError(f"“{path}” cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} in “{path.parent}” is damaged: {error}.", again) from error
    if not isinstance(document, dict):
        raise ModelError(f"{path.name} in “{path.parent}” is damaged: it holds no JSON object.", again)
    return document


def read_base_config(path: Path, name: str | None = None) -> BaseSummary:
    """Summarise the base model in the folder ``path``; ``name`` None = the folder's own.

    Raises ModelError for a folder without a readable ``config.json`` of a model.
    """
    if _is_file(path / "adapter_config.json") and not _is_file(path / "config.json"):
        raise ModelError(f"“{path}” holds an adapter, not a base model.", "Pick the model it was trained on.")
    config = read_json_object(path / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"config.json in “{path}” names no model type.", "Pick the folder of a base model.")
    # Vision and audio models keep the language model's sizes one level down.
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    heads = _size(text, "num_attention_heads", "n_head", "num_heads")
    hidden = _size(text, "hidden_size", "n_embd", "d_model")
    return BaseSummary(
        name=name or str(path),
        path=path,
        model_type=str(text.get("model_type", config["model_type"])),
        hidden_size=hidden,
        num_layers=_size(text, "num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_size(text, "num_key_value_heads") or heads,
        head_dim=_size(text, "head_dim") or (hidden // heads if hidden and heads else None),
        intermediate_size=_size(text, "intermediate_size", "n_inner", "ffn_dim"),
        vocabulary_size=_size(text, "vocab_size"),
        context_length=_size(text, "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length"),
        quantization=_quantization(config),
        tied_embeddings=text.get("tie_word_embeddings", config.get("tie_word_embeddings")) is True,
        is_composite=text is not config,
        has_experts=any(_size(text, key) for key in ("num_local_experts", "num_experts", "n_routed_experts")),
        size_bytes=_weights_size(path),
    )


def _size(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _quantization(config: Mapping[str, Any]) -> str | None:
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    method = str(settings.get("quant_method") or "bitsandbytes")
    if method == "bitsandbytes":
        kind = str(settings.get("bnb_4bit_quant_type") or "fp4") if settings.get("load_in_4bit") else "int8"
        return f"bitsandbytes {kind}"
    bits = _size(settings, "bits")
    return f"{method} {bits}-bit" if bits else method


def _weights_size(folder: Path) -> int:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        sizes = [file.stat().st_size for file in folder.glob(pattern) if _is_file(file)]
        if sizes:
            return sum(sizes)
    return 0


def _is_plain_name(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", "..") and not re.search(r"[/\\\0]", value)


def _local(name: str) -> Path:
    # os.path's form leaves an unknown "~someone" as it is, where Path.expanduser raises.
    return Path(os.path.expanduser(name))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _find_in_cache(name: str, cache_dir: Path | None) -> Path | None:
    # Imported here: it costs a tenth of a second, and the window opens without it.
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(cache_dir or constants.HF_HUB_CACHE)
    try:
        main = try_to_load_from_cache(name, "config.json", cache_dir=cache)
        if isinstance(main, str) and _is_complete(Path(main).parent):
            return Path(main).parent
        snapshots = cache / repo_folder_name(repo_id=name, repo_type="model") / "snapshots"
        complete = [snapshot for snapshot in snapshots.iterdir() if _is_complete(snapshot)]
        return max(complete, key=lambda snapshot: snapshot.stat().st_mtime, default=None)
    except OSError:
        # No cache, or one that this account may not read: the model counts as not here.
        return None


def _is_complete(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file() and missing_weights(folder) == ()
    except (ModelError, OSError):
        return False
