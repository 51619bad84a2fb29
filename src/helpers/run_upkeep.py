"""Brings the list of runs up to date with what became of the trainings; to be called before a list is shown."""

import datetime as dt
import os
import socket
from pathlib import Path

import psutil
from sqlalchemy.orm import Session

from db import run_records, training_runs
from db.database import Database
from db.models import EventKind, RunSource, RunStatus, TrainingRun, utc_now

STALE_AFTER = dt.timedelta(seconds=90)
DIED = "The training process ended without saying so: it was killed, or the machine was switched off."
# A folder is asked for no longer than this after the training: the list must not wait for thousands of them.
_ADAPTER_MAY_FOLLOW = dt.timedelta(days=1)


def bring_up_to_date(database: Database) -> None:
    """Marks runs whose process died, and notes adapters that were saved after a training. Raises StorageError."""
    mark_stale_runs(database)
    adopt_saved_adapters(database)


def is_stale(run: TrainingRun, now: dt.datetime) -> bool:
    """Whether a run that says it is running has given no sign of life for 90 s. The demo's is only a picture."""
    if run.status is not RunStatus.RUNNING or run.source is RunSource.DEMO:
        return False
    return run.heartbeat_at is None or now - run.heartbeat_at > STALE_AFTER


def mark_stale_runs(database: Database) -> list[int]:
    """Marks runs failed whose process died, and returns their numbers.

    On the machine that trains, a process that is gone is noticed at once. Raises StorageError.
    """
    with database.read_scope() as session:
        dead = [run.id for run in training_runs.list_running(session) if is_stale(run, utc_now()) or _is_gone(run)]
    if not dead:
        return []
    with database.session_scope() as session:
        # One that gave a sign of life, or ended, since then is left alone.
        still = [run for run in training_runs.list_running(session) if run.id in dead]
        marked = [run.id for run in still if is_stale(run, utc_now()) or _is_gone(run)]
        for run_id in marked:
            training_runs.mark_failed(session, run_id, DIED)
            run_records.record_event(session, run_id, EventKind.FAILED, DIED)
    return marked


def adopt_saved_adapters(database: Database) -> list[int]:
    """Records the adapter in a run's output folder where it was saved after the training had ended.

    ``trainer.save_model()`` comes after the callback's end of training. Returns the runs' numbers.
    Raises StorageError.
    """
    since = utc_now() - _ADAPTER_MAY_FOLLOW
    with database.read_scope() as session:
        ended = training_runs.list_ended_since(session, since)
    saved = {run.id: saved_at for run in ended if (saved_at := _adapter_saved_at(run)) is not None}
    if not saved:
        return []
    with database.session_scope() as session:
        return [run_id for run_id, saved_at in saved.items() if adopt_adapter(session, run_id, saved_at)]


def adopt_adapter(session: Session, run_id: int, saved_at: dt.datetime) -> bool:
    """Makes the adapter in the output folder the run's own, where it was saved by this run. Whether it was."""
    run = training_runs.find(session, run_id)
    if run is None or run.output_dir is None or not _lacks_adapter(run):
        return False
    # The same script is often run again into the same folder, and the last one to start wrote over the others.
    if training_runs.find_last_started(session, run.output_dir, saved_at) is not run:
        return False
    run.adapter_path = run.output_dir
    run_records.record_event(session, run_id, EventKind.ADAPTER, f"Saved the adapter: {run.output_dir}")
    return True


def _adapter_saved_at(run: TrainingRun) -> dt.datetime | None:
    if run.output_dir is None or not _lacks_adapter(run):
        return None
    try:
        saved_at = os.stat(Path(run.output_dir) / "adapter_config.json").st_mtime
    except OSError:
        return None
    return dt.datetime.fromtimestamp(saved_at, dt.UTC)


def _lacks_adapter(run: TrainingRun) -> bool:
    """Whether a training that ended has no more than a checkpoint."""
    if run.source is not RunSource.TRACKED or run.status not in (RunStatus.COMPLETED, RunStatus.FAILED):
        return False
    recorded = Path(run.adapter_path) if run.adapter_path is not None else None
    return recorded is None or (str(recorded.parent) == run.output_dir and recorded.name.startswith("checkpoint-"))


def _is_gone(run: TrainingRun) -> bool:
    if run.process_id is None or run.host != socket.gethostname() or run.source is RunSource.DEMO:
        return False
    try:
        # A killed process stays as a zombie until its parent asks for it.
        return psutil.Process(run.process_id).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
