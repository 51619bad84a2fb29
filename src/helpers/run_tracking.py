"""Records a training as it runs: ``with track_run(...)`` for any script, ``RunTrackerCallback`` for a Trainer.

A thread of its own writes once a second. The training never waits for it and never sees its errors.
"""

import logging
import math
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import run_records, training_runs
from db.database import Database
from db.models import Dataset, EventKind, RunSource, RunStatus
from db.run_records import MetricRow
from errors import NotFoundError, StorageError
from helpers.app_paths import data_dir as workspace_dir
from helpers.app_paths import database_path

if TYPE_CHECKING:
    from helpers.run_tracker_callback import RunTrackerCallback

__all__ = ["RunTrackerCallback", "TrackedRun", "track_run"]

HEARTBEAT_SECONDS = 10.0
_WRITE_SECONDS = 1.0
_CLOSE_SECONDS = 15.0
_BUSY_SECONDS = 1.0
# Some tens of MiB, and a day of a fast training.
MOST_WAITING = 200_000

_logger = logging.getLogger(__name__)
_Write = Callable[[Session, int], object]


def __getattr__(name: str) -> Any:
    # transformers takes seconds to import, and only the callback needs it.
    if name == "RunTrackerCallback":
        from helpers.run_tracker_callback import RunTrackerCallback

        return RunTrackerCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def track_run(
    name: str,
    base_model: str,
    dataset: str | None = None,
    output_dir: str | Path | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
) -> Iterator["TrackedRun"]:
    """Records the training inside the block as a run: completed at its end, failed where an error leaves it.

    ``dataset``: the name of a saved dataset. ``data_dir``: the workspace's folder, None = the user's own.
    """
    run = TrackedRun(name, base_model, dataset, output_dir, hyperparameters, data_dir)
    try:
        yield run
    except BaseException as error:
        run.fail(words_of(error))
        raise
    run.finish()


class TrackedRun:
    """One training that is being recorded. Every method returns at once, except the two that end it."""

    def __init__(
        self,
        name: str,
        base_model: str,
        dataset: str | None = None,
        output_dir: str | Path | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        data_dir: str | Path | None = None,
    ) -> None:
        self._path = database_path(workspace_dir(Path(data_dir) if data_dir is not None else None))
        self._dataset = dataset
        self._fields: dict[str, Any] = {
            "name": name,
            "base_model": base_model,
            "output_dir": _absolute(output_dir),
            "hyperparameters": readable_values(hyperparameters or {}),
        }
        self._waiting: queue.SimpleQueue[MetricRow | _Write] = queue.SimpleQueue()
        self._adapter: str | None = None
        self._ending = threading.Event()
        self._said: str | None = None
        self.id: int | None = None
        self._thread = threading.Thread(target=self._write_until_the_end, name="run-tracking", daemon=True)
        self._thread.start()

    def log(self, step: int, *, epoch: float | None = None, **metrics: float) -> None:
        """Records numbers of one step, such as ``loss=0.5, learning_rate=1e-4``."""
        # The thread ends early where the run was removed from the list.
        for name, value in metrics.items() if self._thread.is_alive() else ():
            self._waiting.put(MetricRow(int(step), name, float(value), epoch))

    def add_hyperparameters(self, values: Mapping[str, Any]) -> None:
        """Records more hyperparameters beside those given at the start."""
        plain = readable_values(values)

        def write(session: Session, run_id: int) -> None:
            run = training_runs.find_or_raise(session, run_id)
            run.hyperparameters = {**run.hyperparameters, **plain}

        self._waiting.put(write)

    def checkpoint(self, step: int, path: str | Path) -> None:
        """Records a checkpoint that was saved."""
        folder = str(_absolute(path))

        def write(session: Session, run_id: int) -> None:
            run_records.add_checkpoint(session, run_id, step, folder)
            text = f"Saved a checkpoint at step {step}: {folder}"
            run_records.record_event(session, run_id, EventKind.CHECKPOINT, text)

        self._waiting.put(write)

    def adapter(self, path: str | Path) -> None:
        """Records the folder of the final adapter."""
        self._adapter = folder = str(_absolute(path))

        def write(session: Session, run_id: int) -> None:
            training_runs.find_or_raise(session, run_id).adapter_path = folder
            run_records.record_event(session, run_id, EventKind.ADAPTER, f"Saved the adapter: {folder}")

        self._waiting.put(write)

    def finish(self, adapter_path: str | Path | None = None) -> bool:
        """Ends the run as completed. False where not everything could be written in time; a warning says so."""
        if adapter_path is not None:
            self.adapter(adapter_path)
        return self._end(RunStatus.COMPLETED, EventKind.FINISHED, "Training finished.", None)

    def fail(self, message: str) -> bool:
        """Ends the run as failed, with the reason. False as in :meth:`finish`."""
        return self._end(RunStatus.FAILED, EventKind.FAILED, f"Training failed: {message}", message)

    def _end(self, status: RunStatus, kind: EventKind, text: str, error: str | None) -> bool:
        if self._ending.is_set():
            return True

        def write(session: Session, run_id: int) -> None:
            training_runs.set_status(session, run_id, status, error=error)
            run_records.record_event(session, run_id, kind, text)

        self._waiting.put(write)
        self._ending.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            _logger.warning(
                "The end of the run could not be recorded within %.0f seconds; it is tried again for as long as "
                "this program runs.",
                _CLOSE_SECONDS,
            )
        return not self._thread.is_alive()

    def _write_until_the_end(self) -> None:
        pending: list[MetricRow | _Write] = []
        database: Database | None = None
        beat = time.monotonic()
        try:
            while True:
                ending = self._ending.is_set()
                pending = self._take(pending)
                is_due = time.monotonic() - beat >= HEARTBEAT_SECONDS
                try:
                    database = database or Database.open(self._path, busy_timeout=_BUSY_SECONDS)
                    if self.id is None or pending or is_due:
                        self._write(database, pending)
                        beat = time.monotonic()
                        pending = []
                    if ending:
                        return
                except StorageError as error:
                    self._say(f"The training is not recorded for now: {error.message}")
                except NotFoundError:
                    self._say("The run was removed from the list; the training goes on unrecorded.")
                    return
                # At the end what is left is tried again at short intervals.
                time.sleep(0.1) if ending else self._ending.wait(_WRITE_SECONDS)
        finally:
            if database is not None:
                database.close()

    def _take(self, pending: list[MetricRow | _Write]) -> list[MetricRow | _Write]:
        """``pending`` and what came since; the oldest numbers give way where the database is away for too long."""
        while not self._waiting.empty():
            pending.append(self._waiting.get_nowait())
        too_many = len(pending) - MOST_WAITING
        if too_many <= 0:
            return pending
        self._say("The training is not recorded for now, and its oldest numbers are given up.")
        numbers = [place for place, item in enumerate(pending) if isinstance(item, MetricRow)]
        given_up = set(numbers[:too_many])
        return [item for place, item in enumerate(pending) if place not in given_up]

    def _write(self, database: Database, pending: list[MetricRow | _Write]) -> None:
        """One transaction: all of ``pending``, or nothing of it."""
        with database.session_scope() as session:
            run_id = self.id if self.id is not None else self._create(session)
            if training_runs.find_or_raise(session, run_id).status is RunStatus.FAILED:
                # It was taken for dead, such as while the machine slept.
                run_records.record_event(session, run_id, EventKind.STARTED, "The training is alive and goes on.")
            training_runs.set_status(session, run_id, RunStatus.RUNNING)
            run_records.record_metrics(session, run_id, [item for item in pending if isinstance(item, MetricRow)])
            for item in pending:
                if not isinstance(item, MetricRow):
                    item(session, run_id)
        self.id = run_id

    def _create(self, session: Session) -> int:
        known = select(Dataset.id).where(Dataset.name == self._dataset)
        dataset_id = session.scalar(known) if self._dataset is not None else None
        run = training_runs.create(session, source=RunSource.TRACKED, dataset_id=dataset_id, **self._fields)
        run.process_id, run.host = os.getpid(), socket.gethostname()
        run_records.record_event(session, run.id, EventKind.STARTED, "Training started.")
        return run.id

    def _say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            _logger.warning(words)


def words_of(error: BaseException) -> str:
    """An error in one line, also where it has no words of its own."""
    if isinstance(error, KeyboardInterrupt):
        return "It was interrupted with Ctrl+C."
    said = str(error).strip()
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def readable_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as JSON holds them; anything else by its text."""
    return {str(name): _readable(value) for name, value in values.items()}


def _readable(value: Any) -> Any:
    if isinstance(value, Enum):
        return _readable(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        # Not JSON.
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value)


def _absolute(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())
