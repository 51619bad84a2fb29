"""Reads the runs and datasets of FineFoundry's ``finefoundry.db`` without changing that file."""

import datetime as dt
import json
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import datasets, run_records, training_runs
from db.database import Database
from db.models import Dataset, EventKind, RunSource, RunStatus, TrainingRun
from db.run_records import MetricRow
from errors import ImportFormatError, NotFoundError

_TABLES = {"training_runs", "scrape_sessions", "scraped_pairs"}
_STATUSES = {"completed": RunStatus.COMPLETED, "failed": RunStatus.FAILED, "pending": RunStatus.PENDING}
_FORMAT = "finefoundry"
_MOST_LOG_CHARACTERS = 64 * 2**20
_PRINTED = re.compile(r"\{'[^{}]{1,2000}\}")
_PAIR = re.compile(r"'([a-z_]{1,60})': '?([+-]?\d+(?:\.\d*)?(?:e[+-]?\d{1,2})?)'?(?=[,}])")


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
    with database.read_scope() as session:
        known = _known_runs(session)
    for record in source.execute("SELECT * FROM training_runs ORDER BY id"):
        row = dict(record)
        name = str(row.get("name") or f"FineFoundry run {row['id']}")
        # Its folder is named after the time it began, so that a copy of the file is known too.
        origin = {"finefoundry_id": row["id"], "finefoundry_folder": str(row.get("storage_path") or path)}
        if tuple(origin.values()) in known:
            done.skipped.append((name, "it is in the list already"))
            continue
        with database.session_scope() as session:
            done.runs.append(_import_run(session, row, name, origin, path))


def _import_run(session: Session, row: dict[str, Any], name: str, origin: dict[str, Any], path: Path) -> int:
    hyperparameters = _json_object(row.get("hp_json"))
    dataset_id = session.scalar(
        select(Dataset.id).where(Dataset.source == _session_name(path, row.get("dataset_id")))
    )
    if dataset_id is None and row.get("dataset_id"):
        hyperparameters.setdefault("datasets", [str(row["dataset_id"])])
    run = training_runs.create(
        session,
        name=name,
        base_model=str(row.get("base_model") or ""),
        # What ran there does not run any more as far as this list can know.
        status=_STATUSES.get(str(row.get("status")), RunStatus.FAILED),
        source=RunSource.IMPORTED,
        adapter_path=row.get("adapter_path") or None,
        output_dir=row.get("output_dir") or row.get("storage_path") or None,
        dataset_id=dataset_id,
        hyperparameters={**hyperparameters, **origin},
        error="FineFoundry recorded no end of this run." if row.get("status") == "running" else None,
        started_at=_time(row.get("started_at")),
        finished_at=_time(row.get("completed_at")),
    )
    run_records.record_metrics(session, run.id, _numbers_of(row.get("logs_json")))
    run_records.record_event(session, run.id, EventKind.ADDED, f"Added from {path}, where it is run {row['id']}.")
    return run.id


def _known_runs(session: Session) -> set[tuple[Any, ...]]:
    imported = select(TrainingRun.hyperparameters).where(TrainingRun.source == RunSource.IMPORTED)
    return {(told.get("finefoundry_id"), told.get("finefoundry_folder")) for told in session.scalars(imported)}


def _numbers_of(logs_json: Any) -> Iterator[MetricRow]:
    """The numbers in the training's printed lines, ``{'loss': 1.2, 'epoch': 0.1}``, which FineFoundry keeps as texts.

    They name no step: the first such line is 1, the second 2, and so on.
    """
    lines = _json(logs_json) if isinstance(logs_json, str) and len(logs_json) <= _MOST_LOG_CHARACTERS else None
    count = 0
    for line in lines if isinstance(lines, list) else ():
        printed = _PRINTED.search(line) if isinstance(line, str) else None
        if printed is None:
            continue
        pairs = {name: float(number) for name, number in _PAIR.findall(printed.group())}
        if not {"loss", "eval_loss", "train_loss"} & pairs.keys():
            continue
        # What is printed about an evaluation belongs to the step before it.
        count += "loss" in pairs
        step = max(count, 1)
        for name, value in pairs.items():
            if name not in ("step", "epoch"):
                yield MetricRow(step, name, value, pairs.get("epoch"))


def _import_datasets(database: Database, source: sqlite3.Connection, path: Path, done: FineFoundryImport) -> None:
    for record in source.execute("SELECT * FROM scrape_sessions ORDER BY id").fetchall():
        row = dict(record)
        name = str(row.get("name") or f"{row.get('source') or 'FineFoundry'} {row['id']}")
        origin = _session_name(path, row["id"])
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


def _session_name(path: Path, session_id: Any) -> str:
    return f"{path} (session {session_id})"


def _json_object(text: Any) -> dict[str, Any]:
    read = _json(text)
    return read if isinstance(read, dict) else {}


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _time(text: Any) -> dt.datetime | None:
    """SQLite's datetime('now'), which is UTC, or an ISO time."""
    try:
        read = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return read.replace(tzinfo=dt.UTC) if read is not None and read.tzinfo is None else read
