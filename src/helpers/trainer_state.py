"""``trainer_state.json``, which transformers, TRL, Unsloth, Axolotl and LLaMA-Factory leave behind."""

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from db.run_records import MetricRow

FILE_NAME = "trainer_state.json"

_HYPERPARAMETERS = ("max_steps", "num_train_epochs", "train_batch_size", "logging_steps", "save_steps", "eval_steps")
_NOT_METRICS = {"step", "epoch"}
_LARGEST_WHOLE_NUMBER = 2**63 - 1
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class TrainerState:
    """What a training recorded of itself: every number per step, and the hyperparameters it names."""

    metrics: tuple[MetricRow, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)


def read_trainer_state(folder: Path) -> TrainerState | None:
    """The state in this folder; None where there is none that can be read. What is odd in it is left out."""
    try:
        state = json.loads(read_text(folder / FILE_NAME, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(state, dict):
        return None
    history = state.get("log_history")
    entries = history if isinstance(history, list) else []
    metrics = tuple(row for entry in entries for row in _metrics_of(entry))
    named = {name: state[name] for name in _HYPERPARAMETERS if usable_number(state.get(name)) is not None}
    return TrainerState(metrics, named)


def _metrics_of(entry: Any) -> Iterator[MetricRow]:
    if not isinstance(entry, dict):
        return
    step = entry.get("step")
    if type(step) is not int or not 0 <= step <= _LARGEST_WHOLE_NUMBER:
        return
    for name, raw in entry.items():
        value = usable_number(raw)
        if value is not None and name not in _NOT_METRICS:
            yield MetricRow(step, name, value, epoch=usable_number(entry.get("epoch")))


def read_text(path: Path, most_bytes: int) -> str:
    """A text file. Raises OSError, also where it is larger or no regular file; ValueError where it is no UTF-8."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        read = file.read(most_bytes + 1)
    if len(read) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes // 2**20} MiB")
    return read.decode("utf-8-sig")


def usable_number(value: Any) -> float | None:
    """A number as it is recorded; None for anything else, and for one that SQLite cannot hold."""
    if isinstance(value, float):
        return value
    # bool is an int to Python, and a whole number of any length is valid JSON.
    return float(value) if type(value) is int and abs(value) <= _LARGEST_WHOLE_NUMBER else None
