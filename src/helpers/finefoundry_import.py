"""Reads the runs and datasets of FineFoundry's ``finefoundry.db`` without changing that file."""

import datetime as dt
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from db import datasets, training_runs
from db.database import Database
from db.models import Dataset, RunSource, RunStatus, TrainingRun
from db.training_runs import EventKind
from errors import ImportFormatError, NotFoundError

_TABLES = {"training_runs", "scrape_sessions", "scraped_pairs"}
_STATUSES = {"completed": RunStatus.COMPLETED, "failed": RunStatus.FAILED, "pending": RunStatus.PENDING}
_FORMAT = "finefoundry"


@dataclass
class FineFoundryImport:
    """Numbers of the new runs and datasets, and what was left out with the reason."""

    runs: list[int] = field(default_factory=list)
    datasets: list[int] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def import_finefoundry(database: Database, path: Path) -> FineFoundryImport:
    """Adds the runs and datasets that are not there yet.

    Raises NotFoundError where there is no such file, ImportFormatError for another's, StorageError.
    """
    path = path.expanduser().resolve()
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.", "Check the path; FineFoundry calls it finefoundry.db.")
    done = FineFoundryImport()
    # Reading a database with a -wal beside it writes to its folder, so a copy is read.
    with tempfile.TemporaryDirectory() as folder:
        try:
            with closing(sqlite3.connect(_copy(path, Path(folder)))) as source:
                source.row_factory = sqlite3.Row
                tables = {row[0] for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
                if not tables & _TABLES or ("scrape_sessions" in tables and "scraped_pairs" not in tables):
                    raise sqlite3.DatabaseError("it has none of FineFoundry's tables")
                if "scrape_sessions" in tables:
                    _import_datasets(database, source, path, done)
                if "training_runs" in tables:
                    _import_runs(database, source, path, done)
        except (sqlite3.Error, OSError) as error:
            raise ImportFormatError(
                f"{path} cannot be read as FineFoundry's database: {error}.", "Choose its finefoundry.db."
            ) from error
    return done


def _copy(path: Path, folder: Path) -> Path:
    copy = folder / "finefoundry.db"
    shutil.copyfile(path, copy)
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        shutil.copyfile(wal, folder / "finefoundry.db-wal")
    return copy


def _import_runs(database: Database, source: sqlite3.Connection, path: Path, done: FineFoundryImport) -> None:
    for record in source.execute("SELECT * FROM training_runs ORDER BY id"):
        row = dict(record)
        name = str(row.get("name") or f"FineFoundry run {row['id']}")
        origin = f"FineFoundry run {row['id']} of {path}"
        with database.session_scope() as session:
            if session.scalar(select(TrainingRun.id).where(TrainingRun.notes == origin)) is not None:
                done.skipped.append((name, "it is in the list already"))
                continue
            # What ran there does not run any more as far as this list can know.
            status = _STATUSES.get(str(row.get("status")), RunStatus.FAILED)
            run = training_runs.create(
                session,
                name=name,
                base_model=str(row.get("base_model") or ""),
                status=status,
                source=RunSource.IMPORTED,
                adapter_path=row.get("adapter_path") or None,
                output_dir=row.get("output_dir") or row.get("storage_path") or None,
                hyperparameters=_json_object(row.get("hp_json")),
                error="FineFoundry recorded no end of this run." if row.get("status") == "running" else None,
                notes=origin,
                started_at=_time(row.get("started_at")),
                finished_at=_time(row.get("completed_at")),
            )
            training_runs.record_event(session, run.id, EventKind.ADDED, f"Added from {path}.")
            done.runs.append(run.id)


def _import_datasets(database: Database, source: sqlite3.Connection, path: Path, done: FineFoundryImport) -> None:
    for record in source.execute("SELECT * FROM scrape_sessions ORDER BY id").fetchall():
        row = dict(record)
        name = str(row.get("name") or f"{row.get('source') or 'FineFoundry'} {row['id']}")
        origin = f"{path} (session {row['id']})"
        with database.session_scope() as session:
            if session.scalar(select(Dataset.id).where(Dataset.source == origin)) is not None:
                done.skipped.append((name, "it is in the list already"))
                continue
            if source.execute("SELECT 1 FROM scraped_pairs WHERE session_id = ?", (row["id"],)).fetchone() is None:
                done.skipped.append((name, "it has no rows"))
                continue
            taken = session.scalar(select(Dataset.id).where(Dataset.name == name)) is not None
            created = datasets.create_with_rows(
                session,
                name=f"{name} (FineFoundry {row['id']})" if taken else name,
                source=origin,
                format=_FORMAT,
                rows=_pairs(source, row["id"]),
            )
            done.datasets.append(created.id)


def _pairs(source: sqlite3.Connection, session_id: int) -> Iterator[datasets.NewRow]:
    found = source.execute(
        "SELECT input_text, output_text FROM scraped_pairs WHERE session_id = ? ORDER BY id", (session_id,)
    )
    for prompt, response in found:
        yield datasets.NewRow(str(prompt), str(response))


def _json_object(text: Any) -> dict[str, Any]:
    try:
        read = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _time(text: Any) -> dt.datetime | None:
    """SQLite's datetime('now'), which is UTC, or an ISO time."""
    try:
        read = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return read.replace(tzinfo=dt.UTC) if read is not None and read.tzinfo is None else read
