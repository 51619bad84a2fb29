"""Gets adapters that were trained elsewhere into the list of runs: one folder, or all that a scan found."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import run_records, training_runs
from db.database import Database
from db.models import Dataset, EventKind, RunSource, RunStatus, TrainingRun
from helpers.adapter_scan import (
    FoundAdapter,
    FoundCheckpoint,
    ScanResult,
    examine_adapter_folder,
    scan_for_adapters,
)
from helpers.run_upkeep import adopt_adapter
from helpers.training_files import TrainingFiles, read_training_files

__all__ = [
    "FoundAdapter",
    "FoundCheckpoint",
    "ScanResult",
    "add_adapter_folder",
    "register_each",
    "register_found",
    "scan_for_adapters",
]


def add_adapter_folder(database: Database, folder: Path, name: str | None = None) -> TrainingRun:
    """Records an adapter folder as a completed, imported run, and returns it.

    A run that has this folder already is returned as it is. ``name`` None takes the folder's. A checkpoint becomes a
    run of its own. Raises AdapterError where the folder holds no readable adapter, and StorageError.
    """
    found = examine_adapter_folder(folder)
    with database.read_scope() as session:
        known = _RecordedFolders(session).run_with_adapter(found.adapter_path)
        if known is not None:
            return training_runs.find_or_raise(session, known)
    named = found if name is None else replace(found, name=name)
    return _record(database, named, RunSource.IMPORTED, known=None)[0]


def register_found(database: Database, found: Iterable[FoundAdapter]) -> list[TrainingRun]:
    """Records what a scan found and returns the runs that are new, as :func:`register_each` does."""
    return [run for run, is_new in register_each(database, found) if is_new]


def register_each(database: Database, found: Iterable[FoundAdapter]) -> Iterator[tuple[TrainingRun, bool]]:
    """Records one after the other what a scan found: its run, and whether that is new.

    A recorded run gets the checkpoints it lacks. One that came from a scan is brought up to date: its numbers, and
    the final adapter where there was only a checkpoint before. A training that was recorded as it ran is known by
    its output folder. Each run is written whole or not at all. Raises StorageError.
    """
    with database.read_scope() as session:
        recorded = _RecordedFolders(session)
    for adapter in found:
        yield _record(database, adapter, RunSource.SCANNED, recorded.run_of(adapter))


class _RecordedFolders:
    """Which run has which adapter folder, by real path: the same folder may be recorded through a link."""

    def __init__(self, session: Session) -> None:
        self._runs: dict[str, int] = {}
        self._scanned: dict[str, int] = {}
        self._tracked: dict[str, int] = {}
        for run in training_runs.list_folders(session):
            if run.adapter_path is not None:
                real = os.path.realpath(run.adapter_path)
                self._runs[real] = run.id
                if run.source is RunSource.SCANNED:
                    self._scanned[real] = run.id
            if run.source is RunSource.TRACKED and run.output_dir is not None:
                self._tracked[os.path.realpath(run.output_dir)] = run.id

    def run_with_adapter(self, folder: Path) -> int | None:
        return self._runs.get(str(folder))

    def run_of(self, found: FoundAdapter) -> int | None:
        """Also a run that was recorded as it trained, and one that had only a checkpoint when it was scanned."""
        known = self._runs.get(str(found.adapter_path)) or self._tracked.get(str(found.output_dir))
        folders = (str(checkpoint.path) for checkpoint in found.checkpoints)
        return known or next((self._scanned[folder] for folder in folders if folder in self._scanned), None)


def _record(
    database: Database, found: FoundAdapter, source: RunSource, known: int | None
) -> tuple[TrainingRun, bool]:
    """The run of ``found``, and whether it is new. The files are read before the database is locked."""
    files = _files_of(found)
    with database.session_scope() as session:
        run = training_runs.find(session, known) if known is not None else None
        # Another window may have recorded it since.
        run = run or training_runs.find_by_adapter_path(session, str(found.adapter_path))
        is_new = run is None
        if run is None:
            run = _create(session, found, source, files)
        elif run.source is RunSource.SCANNED:
            run.adapter_path, run.finished_at = str(found.adapter_path), found.saved_at
            run.hyperparameters = {**run.hyperparameters, **files.hyperparameters}
        elif found.has_final:
            adopt_adapter(session, run.id, found.saved_at)
        for checkpoint in found.checkpoints:
            run_records.add_checkpoint(session, run.id, checkpoint.step, str(checkpoint.path))
        if is_new or run.source is RunSource.SCANNED:
            numbers = (replace(row, recorded_at=found.saved_at) for row in files.metrics)
            run_records.record_metrics(session, run.id, numbers)
    return run, is_new


def _create(session: Session, found: FoundAdapter, source: RunSource, files: TrainingFiles) -> TrainingRun:
    known_dataset = select(Dataset.id).where(Dataset.name.in_(files.datasets)).order_by(Dataset.id)
    run = training_runs.create(
        session,
        name=found.name,
        base_model=found.base_model or files.base_model or "",
        status=RunStatus.COMPLETED,
        source=source,
        adapter_path=str(found.adapter_path),
        output_dir=str(found.output_dir),
        dataset_id=session.scalar(known_dataset.limit(1)) if files.datasets else None,
        hyperparameters={**files.hyperparameters, **found.hyperparameters},
        finished_at=found.saved_at,
    )
    words = "Found by a scan" if source is RunSource.SCANNED else "Added"
    run_records.record_event(session, run.id, EventKind.ADDED, f"{words}: {found.adapter_path}")
    for note in files.notes:
        run_records.record_event(session, run.id, EventKind.ADDED, f"Left out {note}.")
    return run


def _files_of(found: FoundAdapter) -> TrainingFiles:
    """What the training left in the adapter's folder, the run's, and in the last checkpoint for its numbers."""
    folders = [found.adapter_path, found.output_dir, *(saved.path for saved in reversed(found.checkpoints[-3:]))]
    return read_training_files(folders, found.output_dir)
