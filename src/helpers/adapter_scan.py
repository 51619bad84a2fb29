"""Finds adapter folders on disk and what they say of themselves, without loading anything.

Reads adapter_config.json and nothing that could run code.
"""

import datetime as dt
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import AdapterError, NotFoundError
from helpers.adapter_doctor.adapter_config import AdapterConfig, read_adapter_config
from helpers.adapter_doctor.adapter_folder import CONFIG_NAME, examine_folder
from helpers.adapter_doctor.findings import Severity

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# The trainer renames it to checkpoint-N when it is whole.
_UNFINISHED_CHECKPOINT = re.compile(r"tmp-checkpoint-\d+")
# These say nothing without the folder they lie in.
_VAGUE_NAMES = {
    *("adapter", "adapters", "adapter_model", "default", "final", "final_adapter"),
    *("lora", "lora_model", "model", "output", "outputs"),
}
_RECORDED_FIELDS = (
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "init_lora_weights",
    "peft_version",
)
_FOLDERS_PER_REPORT = 200

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FoundCheckpoint:
    """An adapter that was saved on the way."""

    step: int
    path: Path


@dataclass(frozen=True)
class FoundAdapter:
    """One training run as it lies on disk; paths are real ones.

    ``adapter_path``: the final adapter, or the last checkpoint where there is no final one. ``output_dir``: the
    folder that holds both. ``base_model``: None where the adapter does not name it. ``saved_at``: when the adapter's
    config was written.
    """

    name: str
    adapter_path: Path
    output_dir: Path
    base_model: str | None
    hyperparameters: dict[str, Any]
    saved_at: dt.datetime
    checkpoints: tuple[FoundCheckpoint, ...] = ()

    @property
    def has_final(self) -> bool:
        """Whether there is a final adapter beside, or without, checkpoints."""
        return all(checkpoint.path != self.adapter_path for checkpoint in self.checkpoints)


@dataclass(frozen=True)
class ScanResult:
    """``found``: the runs by path. ``skipped``: folders that could not be read, each with the reason."""

    found: list[FoundAdapter]
    skipped: list[tuple[Path, str]]


def examine_adapter_folder(folder: Path) -> FoundAdapter:
    """One folder, with the checkpoints in it; a checkpoint stands for itself.

    Raises AdapterError where the folder holds no readable adapter.
    """
    real = folder.expanduser().resolve()
    try:
        config = _config_or_raise(real)
        checkpoint = _CHECKPOINT.fullmatch(real.name)
        if checkpoint:
            return _found(real, config, name=f"{_name_of(real.parent)} {real.name}", output_dir=real.parent)
        inside = _by_step(path.parent for path in real.glob(f"checkpoint-*/{CONFIG_NAME}"))
        return _found(real, config, name=_name_of(real), output_dir=real, checkpoints=inside)
    except OSError as error:
        raise AdapterError(
            f"{real} cannot be read: {_reason(error)}.", "Check its permissions and its disk."
        ) from error


def scan_for_adapters(root: Path, on_progress: Progress | None = None) -> ScanResult:
    """Finds adapters at any depth below ``root``, checkpoints grouped under their run. Enters no linked folder.

    ``on_progress(folders seen, adapters found)`` is called now and then; an exception from it ends the scan.
    Raises NotFoundError where ``root`` is no folder.
    """
    root = root.expanduser().resolve()
    if not root.is_dir():
        raise NotFoundError(f"There is no folder {root}.", "Check the path, or choose the folder again.")
    skipped: list[tuple[Path, str]] = []
    runs: dict[Path, list[Path]] = {}
    seen = adapters = 0
    for folder, has_adapter in _walk(root, skipped):
        seen += 1
        if has_adapter:
            adapters += 1
            run_folder = folder.parent if _CHECKPOINT.fullmatch(folder.name) else folder
            runs.setdefault(run_folder, []).append(folder)
        if on_progress is not None and seen % _FOLDERS_PER_REPORT == 0:
            on_progress(seen, adapters)
    if on_progress is not None:
        on_progress(seen, adapters)
    examined = (_examine_run(run_folder, runs[run_folder], skipped) for run_folder in sorted(runs))
    return ScanResult([found for found in examined if found is not None], skipped)


def _walk(root: Path, skipped: list[tuple[Path, str]]) -> Iterator[tuple[Path, bool]]:
    """``root`` and every folder below it, and whether it holds an adapter's config."""
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        has_adapter = False
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name == CONFIG_NAME:
                        has_adapter = os.path.isfile(entry.path)
                    elif entry.is_dir(follow_symlinks=False) and not _UNFINISHED_CHECKPOINT.fullmatch(entry.name):
                        waiting.append(entry.path)
        except OSError as error:
            skipped.append((Path(folder), _reason(error)))
            continue
        yield Path(folder), has_adapter


def _examine_run(run_folder: Path, folders: list[Path], skipped: list[tuple[Path, str]]) -> FoundAdapter | None:
    """The run that the adapters in these folders belong to; None when the config of none can be read."""
    configs: dict[Path, AdapterConfig] = {}
    for folder in folders:
        try:
            config, findings = read_adapter_config(folder / CONFIG_NAME)
        except OSError as error:
            skipped.append((folder, _reason(error)))
            continue
        if config is None:
            skipped.append((folder, findings[0].message))
        else:
            configs[folder] = config
    checkpoints = _by_step(folder for folder in configs if folder != run_folder)
    if not configs:
        return None
    adapter_path = run_folder if run_folder in configs else checkpoints[-1].path
    name = _name_of(run_folder)
    try:
        return _found(adapter_path, configs[adapter_path], name=name, output_dir=run_folder, checkpoints=checkpoints)
    except OSError as error:
        skipped.append((adapter_path, _reason(error)))
        return None


def _found(
    adapter_path: Path,
    config: AdapterConfig,
    *,
    name: str,
    output_dir: Path,
    checkpoints: tuple[FoundCheckpoint, ...] = (),
) -> FoundAdapter:
    return FoundAdapter(
        name=name,
        adapter_path=adapter_path,
        output_dir=output_dir,
        base_model=config.base_model,
        hyperparameters=_hyperparameters(config),
        saved_at=dt.datetime.fromtimestamp((adapter_path / CONFIG_NAME).stat().st_mtime, dt.UTC),
        checkpoints=checkpoints,
    )


def _config_or_raise(folder: Path) -> AdapterConfig:
    """The adapter's config. Raises AdapterError in the doctor's words, and OSError."""
    files = examine_folder(folder)
    findings = list(files.findings)
    if files.config is not None:
        config, findings = read_adapter_config(files.config)
        if config is not None:
            return config
    problem = next(finding for finding in findings if finding.severity is Severity.ERROR)
    raise AdapterError(problem.message, problem.hint)


def _by_step(folders: Iterable[Path]) -> tuple[FoundCheckpoint, ...]:
    matches = [(_CHECKPOINT.fullmatch(folder.name), folder) for folder in folders]
    found = [FoundCheckpoint(int(match.group(1)), folder) for match, folder in matches if match]
    return tuple(sorted(found, key=lambda checkpoint: checkpoint.step))


def _name_of(folder: Path) -> str:
    is_vague = folder.name.lower() in _VAGUE_NAMES and folder.parent.name
    return f"{folder.parent.name}/{folder.name}" if is_vague else folder.name


def _hyperparameters(config: AdapterConfig) -> dict[str, Any]:
    targets = config.target_modules
    values: dict[str, Any] = {
        "peft_type": config.peft_type,
        "rank": config.rank,
        "alpha": config.alpha,
        "target_modules": targets[0] if config.targets_are_pattern else list(targets),
        **{field: config.raw.get(field) for field in _RECORDED_FIELDS},
    }
    return {key: value for key, value in values.items() if value not in (None, {}, [])}


def _reason(error: OSError) -> str:
    return "no permission to read it" if isinstance(error, PermissionError) else (error.strerror or str(error))
