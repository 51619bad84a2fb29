"""What training tools write beside an adapter: settings, datasets and numbers.

Axolotl (its YAML, or the copy in README.md), LLaMA-Factory (training_args.yaml, llamaboard_config.yaml,
trainer_log.jsonl, all_results.json), TRL and Unsloth (README.md, trainer_state.json). Only text is read, within
bounds; training_args.bin is a pickle and stays closed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from db.run_records import MetricRow
from helpers.trainer_state import FILE_NAME, read_text, read_trainer_state, usable_number

MOST_YAML_BYTES = 2**20
MOST_LOG_BYTES = 64 * 2**20
_MOST_YAML_FILES = 20
_MOST_WORDS = 200
_MOST_ITEMS = 50

# Our name, which is transformers', and what the tools call it, the first that is there.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "learning_rate": ("learning_rate",),
    "num_train_epochs": ("num_train_epochs", "num_epochs"),
    "max_steps": ("max_steps", "training_steps"),
    "per_device_train_batch_size": ("per_device_train_batch_size", "micro_batch_size", "train_batch_size"),
    "gradient_accumulation_steps": ("gradient_accumulation_steps",),
    "lr_scheduler_type": ("lr_scheduler_type", "lr_scheduler"),
    "warmup_steps": ("warmup_steps", "lr_scheduler_warmup_steps"),
    "warmup_ratio": ("warmup_ratio", "lr_scheduler_warmup_ratio"),
    "weight_decay": ("weight_decay",),
    "max_grad_norm": ("max_grad_norm",),
    "optim": ("optim", "optimizer"),
    "seed": ("seed",),
    "max_length": ("max_length", "max_seq_length", "sequence_len", "cutoff_len"),
    "chat_template": ("chat_template", "template"),
    "quantization_bit": ("quantization_bit",),
    "load_in_4bit": ("load_in_4bit",),
    "load_in_8bit": ("load_in_8bit",),
    "neftune_noise_alpha": ("neftune_noise_alpha",),
}  # fmt: skip
_TOOLS = {"unsloth": "Unsloth", "axolotl": "Axolotl", "llama-factory": "LLaMA-Factory", "trl": "TRL"}
_FRONT_MATTER = re.compile(r"\A\ufeff?---\r?\n(.*?)\r?\n---\s*(?:\n|\Z)", re.DOTALL)
_AXOLOTL_BLOCK = re.compile(r"axolotl version:.*?```yaml\r?\n(.*?)\r?\n```", re.DOTALL)
_CARD_SETTINGS = re.compile(r"hyperparameters were used during training:\s*\n((?:- .*(?:\n|\Z))+)")
_CARD_SETTING = re.compile(r"^- ([a-z_]+): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class TrainingFiles:
    """``base_model``: None where no file names it. ``notes``: files that could not be read, with the reason."""

    base_model: str | None = None
    datasets: tuple[str, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[MetricRow, ...] = ()
    notes: tuple[str, ...] = ()


class _Unreadable(Exception):
    """Why a file was left out."""


def read_training_files(folders: Iterable[Path], run_folder: Path) -> TrainingFiles:
    """Everything readable in these folders, where an earlier folder's word counts, and in Axolotl's config above.

    ``run_folder``: where the run's output lies. What is damaged or too large is left out and noted.
    """
    notes: list[str] = []
    found = [_read_folder(folder, notes) for folder in dict.fromkeys(folders)]
    found.append(_of_config(config) for config in _axolotl_configs(run_folder.parent, run_folder.name, notes))
    parts = [part for group in found for part in group]
    settings: dict[str, Any] = {}
    for part in reversed(parts):
        settings.update(part.hyperparameters)
    datasets = next((part.datasets for part in parts if part.datasets), ())
    if datasets:
        settings["datasets"] = list(datasets)
    return TrainingFiles(
        next((part.base_model for part in parts if part.base_model), None),
        datasets,
        settings,
        next((part.metrics for part in parts if part.metrics), ()),
        tuple(notes),
    )


def _read_folder(folder: Path, notes: list[str]) -> Iterator[TrainingFiles]:
    """Each source in this folder, the most telling first."""
    readers = {
        FILE_NAME: _trainer_state,
        "training_args.yaml": _llama_factory,
        "llamaboard_config.yaml": _llama_board,
        "trainer_log.jsonl": _trainer_log,
        "all_results.json": _results,
        "README.md": _model_card,
    }
    for name, read in readers.items():
        try:
            part = read(folder / name)
        except FileNotFoundError:
            continue
        except (OSError, _Unreadable, ValueError, RecursionError, yaml.YAMLError) as error:
            notes.append(f"{folder / name}: {_words_of(error)}")
            continue
        yield part
    for config in _axolotl_configs(folder, None, notes):
        yield _of_config(config)


def _trainer_state(path: Path) -> TrainingFiles:
    text = read_text(path, MOST_LOG_BYTES)
    state = read_trainer_state(path.parent)
    if state is None:
        json.loads(text)
        raise _Unreadable("it is no trainer state")
    return TrainingFiles(hyperparameters=state.hyperparameters, metrics=state.metrics)


def _llama_factory(path: Path) -> TrainingFiles:
    config = _mapping(read_text(path, MOST_YAML_BYTES))
    part = _of_config(config)
    if not {"stage", "finetuning_type"} & config.keys():
        return part
    return replace(part, hyperparameters={**part.hyperparameters, "trained_with": "LLaMA-Factory"})


def _llama_board(path: Path) -> TrainingFiles:
    config = _mapping(read_text(path, MOST_YAML_BYTES))
    own = {str(name).removeprefix("train."): value for name, value in config.items()}
    own["per_device_train_batch_size"] = config.get("train.batch_size")
    own["template"] = config.get("top.template")
    own["quantization_bit"] = config.get("top.quantization_bit")
    part = _of_config(own)
    return replace(part, hyperparameters={**part.hyperparameters, "trained_with": "LLaMA-Factory"})


def _trainer_log(path: Path) -> TrainingFiles:
    """One JSON object per line: ``current_steps``, ``epoch``, and ``loss``, ``lr``, ``eval_loss``, ``reward`` ..."""
    rows = []
    for line in read_text(path, MOST_LOG_BYTES).splitlines():
        # The last line of a training that was killed may be cut off.
        entry = _json_or_none(line)
        if not isinstance(entry, dict) or type(entry.get("current_steps")) is not int or entry["current_steps"] < 0:
            continue
        step, epoch = entry["current_steps"], usable_number(entry.get("epoch"))
        for name in ("loss", "lr", "learning_rate", "eval_loss", "predict_loss", "reward", "accuracy"):
            value = usable_number(entry.get(name))
            if value is not None and step < 2**63:
                rows.append(MetricRow(step, "learning_rate" if name == "lr" else name, value, epoch))
    if not rows:
        raise _Unreadable("it holds no numbers of a training")
    return TrainingFiles(metrics=tuple(rows))


def _results(path: Path) -> TrainingFiles:
    """The last numbers, without their step: beside the settings, where they are read as results."""
    read = json.loads(read_text(path, MOST_YAML_BYTES))
    if not isinstance(read, dict):
        raise _Unreadable("it holds no results")
    numbers = {name: usable_number(read.get(name)) for name in ("train_loss", "eval_loss", "train_runtime")}
    return TrainingFiles(hyperparameters={name: value for name, value in numbers.items() if value is not None})


def _model_card(path: Path) -> TrainingFiles:
    text = read_text(path, MOST_YAML_BYTES)
    front = _FRONT_MATTER.search(text)
    part = TrainingFiles()
    if front:
        card = _mapping(front.group(1))
        tags = card.get("tags")
        known = [_TOOLS[tag] for tag in _TOOLS if isinstance(tags, list) and tag in tags]
        part = TrainingFiles(
            _first_name(card.get("base_model")),
            _names(card.get("datasets")),
            {"trained_with": known[0]} if known else {},
        )
    listed = _CARD_SETTINGS.search(text)
    if listed:
        settings = dict(_CARD_SETTING.findall(listed.group(1)))
        part = replace(part, hyperparameters={**_settings(settings), **part.hyperparameters})
    block = _AXOLOTL_BLOCK.search(text)
    if block:
        config = _of_config(_mapping(block.group(1)))
        part = replace(
            part,
            base_model=part.base_model or config.base_model,
            datasets=part.datasets or config.datasets,
            hyperparameters={**part.hyperparameters, **config.hyperparameters, "trained_with": "Axolotl"},
        )
    return part


def _axolotl_configs(folder: Path, output_name: str | None, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Axolotl's own configs in ``folder``; with ``output_name`` only those that write to a folder of that name."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".yml", ".yaml"))[:_MOST_YAML_FILES]
    except OSError:
        return
    for path in paths:
        if path.name in ("training_args.yaml", "llamaboard_config.yaml"):
            continue
        try:
            config = _mapping(read_text(path, MOST_YAML_BYTES))
        except (OSError, _Unreadable, ValueError, RecursionError, yaml.YAMLError) as error:
            # Above the run it may be anyone's file.
            if output_name is None:
                notes.append(f"{path}: {_words_of(error)}")
            continue
        is_axolotl = "base_model" in config and {"micro_batch_size", "adapter", "lora_r"} & config.keys()
        goes_to = Path(str(config.get("output_dir") or "")).name
        if is_axolotl and output_name in (None, goes_to):
            yield {**config, "trained_with": "Axolotl"}


def _of_config(config: Mapping[str, Any]) -> TrainingFiles:
    settings = _settings(config)
    if isinstance(config.get("trained_with"), str):
        settings["trained_with"] = config["trained_with"]
    return TrainingFiles(
        _first_name(config.get("base_model") or config.get("model_name_or_path")),
        _names(config.get("datasets") or config.get("dataset")),
        settings,
    )


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, others in _SETTINGS.items():
        value = next((_plain(config[other]) for other in others if _plain(config.get(other)) is not None), None)
        if value is not None:
            found[name] = value
    return found


def _plain(value: Any) -> str | int | float | bool | None:
    """A setting as it is recorded; YAML takes 2e-4 for text, and LLaMA Board writes "none"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if usable_number(value) is not None else None
    if not isinstance(value, str) or value.strip().lower() in ("", "none"):
        return None
    if re.fullmatch(r"[+-]?\d+", value) and len(value) < 19:
        return int(value)
    return (
        float(value) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", value, re.I) else value[:_MOST_WORDS]
    )


def _names(value: Any) -> tuple[str, ...]:
    """Datasets: a list of names or of Axolotl's ``path:`` entries, or names with commas between."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    names = [item.get("path") if isinstance(item, dict) else item for item in items[:_MOST_ITEMS]]
    return tuple(name.strip()[:_MOST_WORDS] for name in names if isinstance(name, str) and name.strip())


def _first_name(value: Any) -> str | None:
    names = _names([value] if isinstance(value, str) else value)
    return names[0] if names else None


def _mapping(text: str) -> dict[str, Any]:
    read = yaml.safe_load(text)
    if not isinstance(read, dict):
        raise _Unreadable("it holds no settings")
    return read


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _words_of(error: BaseException) -> str:
    if isinstance(error, _Unreadable):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is damaged"
