"""Gets adapters that were trained elsewhere into the list of runs: one folder, or all that a scan found."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sqlalchemy.orm import Session

from db import training_runs
from db.database import Database
from db.models import RunSource, RunStatus, TrainingRun
from helpers.adapter_scan import (
    FoundAdapter,
    FoundCheckpoint,
    ScanResult,
    examine_adapter_folder,
    scan_for_adapters,
)
from helpers.trainer_state import TrainerState, read_trainer_state

__all__ = [
    "FoundAdapter",
    "FoundCheckpoint",
    "ScanResult",
    "add_adapter_folder",
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
    """Records what a scan found and returns the runs that are new.

    A recorded run gets the checkpoints it lacks. One that came from a scan is brought up to date: its numbers, and
    the final adapter where there was only a checkpoint before. Raises StorageError.
    """
    with database.read_scope() as session:
        recorded = _RecordedFolders(session)
    new = []
    for adapter in found:
        known = recorded.run_with_adapter(adapter.adapter_path)
        if known is None:
            known = recorded.scanned_run_with_any(checkpoint.path for checkpoint in adapter.checkpoints)
        run, is_new = _record(database, adapter, RunSource.SCANNED, known)
        if is_new:
            new.append(run)
    return new


class _RecordedFolders:
    """Which run has which adapter folder, by real path: the same folder may be recorded through a link."""

    def __init__(self, session: Session) -> None:
        self._runs: dict[str, int] = {}
        self._scanned: dict[str, int] = {}
        for run_id, adapter_path, source in training_runs.list_folders(session):
            real = os.path.realpath(adapter_path)
            self._runs[real] = run_id
            if source is RunSource.SCANNED:
                self._scanned[real] = run_id

    def run_with_adapter(self, folder: Path) -> int | None:
        return self._runs.get(str(folder))

    def scanned_run_with_any(self, folders: Iterable[Path]) -> int | None:
        return next((self._scanned[str(folder)] for folder in folders if str(folder) in self._scanned), None)


def _record(
    database: Database, found: FoundAdapter, source: RunSource, known: int | None
) -> tuple[TrainingRun, bool]:
    """The run of ``found``, and whether it is new. The files are read before the database is locked."""
    state = _latest_state(found)
    with database.session_scope() as session:
        run = training_runs.find(session, known) if known is not None else None
        # Another window may have recorded it since.
        run = run or training_runs.find_by_adapter_path(session, str(found.adapter_path))
        is_new = run is None
        if run is None:
            run = _create(session, found, source, state)
        elif run.source is RunSource.SCANNED:
            run.adapter_path, run.finished_at = str(found.adapter_path), found.saved_at
        for checkpoint in found.checkpoints:
            training_runs.add_checkpoint(session, run.id, checkpoint.step, str(checkpoint.path))
        if is_new or run.source is RunSource.SCANNED:
            numbers = (replace(row, recorded_at=found.saved_at) for row in state.metrics)
            training_runs.record_metrics(session, run.id, numbers)
    return run, is_new


def _create(session: Session, found: FoundAdapter, source: RunSource, state: TrainerState) -> TrainingRun:
    return training_runs.create(
        session,
        name=found.name,
        base_model=found.base_model or "",
        status=RunStatus.COMPLETED,
        source=source,
        adapter_path=str(found.adapter_path),
        output_dir=str(found.output_dir),
        hyperparameters={**found.hyperparameters, **state.hyperparameters},
        finished_at=found.saved_at,
    )


def _latest_state(found: FoundAdapter) -> TrainerState:
    """The training's own record, from the adapter folder or else from the last checkpoint that has a readable one."""
    folders = [found.adapter_path, *(checkpoint.path for checkpoint in reversed(found.checkpoints))]
    states = (read_trainer_state(folder) for folder in folders)
    return next((state for state in states if state is not None), TrainerState())
