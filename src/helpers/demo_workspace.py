"""The demo workspace: the shipped adapters as training runs, with the datasets they were trained for.

The completed runs and their numbers are real: scripts/demo trained them. The pending, running, failed and damaged
runs stand for what else a list of runs holds.
"""

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db import datasets, run_records, settings, training_runs
from db.database import Database
from db.models import EventKind, RunSource, RunStatus, TrainingRun, utc_now
from db.run_records import MetricRow
from db.storage_errors import file_not_usable
from errors import NotFoundError
from helpers.app_paths import demo_assets_dir
from helpers.dataset_formats import DatasetFormat
from helpers.trainer_state import TrainerState, read_trainer_state

BASE_MODEL = "demo/tiny-chat"
VERSION_KEY = "demo_workspace_version"
RUNNING_RUN = "recipe-writer"
DAMAGED_RUN = "pirate-speak-interrupted"
_CURVES = ("loss", "eval_loss", "learning_rate", "grad_norm")
_AGES = {"pirate-speak": dt.timedelta(hours=2), "json-answers": dt.timedelta(days=1)}
_OUT_OF_MEMORY = (
    "CUDA out of memory at step 37. Tried to allocate 1.16 GiB. GPU 0 has a total capacity of 7.78 GiB of which "
    "612.44 MiB is free."
)


def ensure_demo_workspace(database: Database, folder: Path) -> None:
    """Fill a new demo workspace, and keep one that is there in step with the shipped demo.

    What the user removed stays removed: runs and datasets are recorded once, on the first call. Adapter files are
    copied again only when a newer app brings others, and only into run folders that still exist.
    Raises StorageError where database or folder cannot be used.
    """
    manifest = json.loads((demo_assets_dir() / "demo-runs.json").read_text(encoding="utf-8"))
    try:
        # One write scope: of two windows that start together, the second waits here and then finds the work done.
        with database.session_scope() as session:
            known_version = settings.get(session, VERSION_KEY)
            if known_version is None:
                _fill(session, folder / "runs", manifest)
            elif known_version != manifest["version"]:
                _renew_files(folder / "runs", manifest)
            settings.set(session, VERSION_KEY, manifest["version"])
            _keep_alive(session)
    except OSError as error:
        raise file_not_usable(folder, error) from error


def _fill(session: Session, runs: Path, manifest: dict[str, Any]) -> None:
    dataset_ids = {name: _import_dataset(session, name) for name in manifest["datasets"]}
    now = utc_now()
    _record_damaged(session, runs, manifest["runs"][0], dataset_ids, now - dt.timedelta(days=3))
    for recorded in sorted(manifest["runs"], key=lambda run: _AGES[run["name"]], reverse=True):
        _record_completed(session, runs, recorded, dataset_ids, now - _AGES[recorded["name"]])
    _record_unfinished(session, runs, manifest["runs"][0], dataset_ids, now)


def _import_dataset(session: Session, name: str) -> int:
    dataset = datasets.create_with_rows(
        session,
        name=name,
        source="demo",
        format=DatasetFormat.PROMPT_RESPONSE.value,
        rows=_dataset_rows(demo_assets_dir() / f"{name}.jsonl"),
    )
    return dataset.id


def _dataset_rows(file: Path) -> Iterator[datasets.NewRow]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield datasets.NewRow(prompt=row["prompt"], response=row["response"])


def _record_completed(
    session: Session, runs: Path, recorded: dict[str, Any], dataset_ids: dict[str, int], finished_at: dt.datetime
) -> None:
    """The run whose adapter is shipped, with its checkpoints and the numbers of its training."""
    output = runs / recorded["name"]
    _copy_adapter(recorded["name"], output)
    log = _training_log(recorded["name"])
    started_at = finished_at - dt.timedelta(seconds=_seconds_taken(log))
    run = training_runs.create(
        session,
        name=recorded["name"],
        base_model=BASE_MODEL,
        status=RunStatus.COMPLETED,
        source=RunSource.DEMO,
        adapter_path=str(output),
        output_dir=str(output),
        dataset_id=dataset_ids[recorded["dataset"]],
        hyperparameters=recorded["hyperparameters"],
        started_at=started_at,
        finished_at=finished_at,
    )
    run.created_at = started_at
    run_records.record_metrics(session, run.id, _metrics(log, started_at, finished_at))
    _record_start(session, run)
    last_step = max(row.step for row in log.metrics)
    folders = {int(folder.name.removeprefix("checkpoint-")): folder for folder in output.glob("checkpoint-*")}
    for step, folder in sorted(folders.items()):
        run_records.add_checkpoint(session, run.id, step, str(folder))
        saved_at = started_at + (finished_at - started_at) * (step / last_step)
        text = f"Saved a checkpoint at step {step}: {folder}"
        run_records.record_event(session, run.id, EventKind.CHECKPOINT, text, saved_at)
    _record_end(session, run)


def _record_damaged(
    session: Session, runs: Path, recorded: dict[str, Any], dataset_ids: dict[str, int], finished_at: dt.datetime
) -> None:
    """A completed run whose weight file was cut off, as by a full disk or an interrupted copy."""
    output = runs / DAMAGED_RUN
    _copy_damaged_adapter(recorded["name"], output)
    started_at = finished_at - dt.timedelta(minutes=4)
    run = training_runs.create(
        session,
        name=DAMAGED_RUN,
        base_model=BASE_MODEL,
        status=RunStatus.COMPLETED,
        source=RunSource.DEMO,
        adapter_path=str(output),
        output_dir=str(output),
        dataset_id=dataset_ids[recorded["dataset"]],
        hyperparameters=recorded["hyperparameters"],
        notes="Demo of a damaged adapter: its weight file is cut off.",
        started_at=started_at,
        finished_at=finished_at,
    )
    run.created_at = started_at
    _record_start(session, run)
    _record_end(session, run)


def _record_unfinished(
    session: Session, runs: Path, recorded: dict[str, Any], dataset_ids: dict[str, int], now: dt.datetime
) -> None:
    """Runs that have no adapter: one failed, one running, one waiting. Their numbers are the start of a real log."""
    log = _training_log(recorded["name"])
    failed = training_runs.create(
        session,
        name="support-agent-8b",
        base_model="unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit",
        status=RunStatus.FAILED,
        source=RunSource.DEMO,
        output_dir=str(runs / "support-agent-8b"),
        hyperparameters={**recorded["hyperparameters"], "rank": 64, "batch_size": 16},
        error=_OUT_OF_MEMORY,
        started_at=now - dt.timedelta(hours=5, minutes=3),
        finished_at=now - dt.timedelta(hours=5),
    )
    failed.created_at = now - dt.timedelta(hours=5, minutes=3)
    run_records.record_metrics(session, failed.id, _metrics(log, failed.created_at, now, last_step=37))
    _record_start(session, failed)
    _record_end(session, failed)
    running = training_runs.create(
        session,
        name=RUNNING_RUN,
        base_model=BASE_MODEL,
        status=RunStatus.RUNNING,
        source=RunSource.DEMO,
        output_dir=str(runs / RUNNING_RUN),
        dataset_id=dataset_ids["demo-questions"],
        hyperparameters=recorded["hyperparameters"],
        started_at=now - dt.timedelta(minutes=2),
    )
    running.created_at = now - dt.timedelta(minutes=2)
    run_records.record_metrics(session, running.id, _metrics(log, running.created_at, now, last_step=120))
    _record_start(session, running)
    training_runs.create(
        session,
        name="haiku-poet",
        base_model=BASE_MODEL,
        status=RunStatus.PENDING,
        source=RunSource.DEMO,
        output_dir=str(runs / "haiku-poet"),
        hyperparameters=recorded["hyperparameters"],
    )


def _record_start(session: Session, run: TrainingRun) -> None:
    run_records.record_event(session, run.id, EventKind.STARTED, "Training started.", run.started_at)


def _record_end(session: Session, run: TrainingRun) -> None:
    """The log of the end in the words of a tracked run."""
    if run.status is RunStatus.FAILED:
        kind, text = EventKind.FAILED, f"Training failed: {run.error}"
    else:
        saved = f"Saved the adapter: {run.adapter_path}"
        run_records.record_event(session, run.id, EventKind.ADAPTER, saved, run.finished_at)
        kind, text = EventKind.FINISHED, "Training finished."
    run_records.record_event(session, run.id, kind, text, run.finished_at)


def _keep_alive(session: Session) -> None:
    """The demo's running run has no process; without a sign of life it would be taken for dead."""
    for run in training_runs.list_recent(session, status=RunStatus.RUNNING):
        if run.source is RunSource.DEMO:
            training_runs.record_heartbeat(session, run.id)


def _renew_files(runs: Path, manifest: dict[str, Any]) -> None:
    for recorded in manifest["runs"]:
        if (runs / recorded["name"]).is_dir():
            _copy_adapter(recorded["name"], runs / recorded["name"])
    if (runs / DAMAGED_RUN).is_dir():
        _copy_damaged_adapter(manifest["runs"][0]["name"], runs / DAMAGED_RUN)


def _copy_adapter(name: str, folder: Path) -> None:
    shutil.copytree(demo_assets_dir() / "adapters" / name, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)


def _copy_damaged_adapter(name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = demo_assets_dir() / "adapters" / name
    shutil.copyfile(whole / "adapter_config.json", folder / "adapter_config.json")
    weights = (whole / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights[: len(weights) * 2 // 3])


def _training_log(name: str) -> TrainerState:
    """What transformers' Trainer wrote about the shipped adapter's training."""
    state = read_trainer_state(demo_assets_dir() / "adapters" / name)
    if state is None:
        raise NotFoundError(f"The shipped demo lacks the record of “{name}”.", "Install the app again.")
    return state


def _seconds_taken(log: TrainerState) -> float:
    return next(row.value for row in log.metrics if row.name == "train_runtime")


def _metrics(
    log: TrainerState, started_at: dt.datetime, finished_at: dt.datetime, last_step: int | None = None
) -> Iterator[MetricRow]:
    """The numbers per step up to ``last_step`` (None = all), spread evenly over the time of the training."""
    rows = [row for row in log.metrics if row.name in _CURVES and (last_step is None or row.step <= last_step)]
    steps = max(row.step for row in rows)
    for row in rows:
        yield replace(row, recorded_at=started_at + (finished_at - started_at) * (row.step / steps))
