"""Saves examples as a dataset: recognises how they are written, and says which rows cannot be used and why."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from db import datasets
from db.database import Database
from db.datasets import NewRow
from db.models import Dataset
from errors import SettingsError
from helpers.dataset_formats import ColumnMapping, DatasetFormat
from helpers.dataset_reading import RowReader
from helpers.dataset_source import DatasetSource

_ROWS_SHOWN = 5
_RECORDS_PREVIEWED = 1000
_ROWS_PER_TRANSACTION = 2000
_SECONDS_BETWEEN_LOOKS = 0.2
# Other programs take an import without a sign of life for ten minutes for one that was killed.
_SECONDS_BETWEEN_SIGNS = 60.0
_SECONDS_BETWEEN_PAUSES = 0.4
_SECONDS_OF_A_PAUSE = 0.11


@dataclass(frozen=True)
class DatasetPreview:
    """What an import of the file would save. ``skipped``: how many rows would be left out, by reason.

    ``format`` None: the columns are of no known format, to be mapped. ``exact``: the whole file was read; else
    the counts are of its beginning.
    """

    format: DatasetFormat | None
    columns: tuple[str, ...]
    first_rows: tuple[NewRow, ...]
    usable: int
    skipped: Mapping[str, int]
    exact: bool = True


@dataclass(frozen=True)
class ImportResult:
    """What an import saved. ``skipped``: how many rows were left out, by reason."""

    dataset: Dataset
    imported: int
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is: rows saved, and bytes read of the source's size; ``bytes_total`` 0 = it is not known."""

    rows: int
    bytes_read: int
    bytes_total: int


class ImportCancelled(Exception):
    """The import was stopped on request; nothing of it is kept."""


def preview(
    source: str | Path,
    *,
    mapping: ColumnMapping | None = None,
    most_rows: int | None = _RECORDS_PREVIEWED,
    split: str | None = None,
    hub_token: str | None = None,
) -> DatasetPreview:
    """Reads the first ``most_rows`` records (None = all of them) without saving anything; of the hub at most 1,000.

    ``source``: a file, a folder, or a hub dataset as in :func:`import_dataset`. Columns of no known format give a
    preview without a format and without rows, for the user to map them. Raises NotFoundError for what is missing or
    out of reach; ImportFormatError where it cannot be read.
    """
    found = DatasetSource(source, mapping, split, hub_token)
    if found.format is None:
        if not found.columns:
            raise found.unknown_format()
        return DatasetPreview(None, found.columns, (), 0, {}, exact=False)
    if found.is_remote and most_rows is not None:
        most_rows = min(most_rows, _RECORDS_PREVIEWED)
    return _preview_of(found, most_rows)


def recognise(path: Path, *, mapping: ColumnMapping | None = None) -> DatasetPreview:
    """Reads the file through without saving anything.

    Raises NotFoundError for a missing file; ImportFormatError where it cannot be read, its columns are of no known
    format, or none of its rows can be used.
    """
    source = DatasetSource(path, mapping)
    if source.format is None:
        raise source.unknown_format()
    found = _preview_of(source, None)
    if not found.usable:
        raise source.nothing_usable()
    return found


def import_dataset(
    database: Database,
    source: str | Path,
    name: str | None = None,
    *,
    mapping: ColumnMapping | None = None,
    on_progress: Callable[[ImportProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    split: str | None = None,
    hub_token: str | None = None,
) -> ImportResult:
    """Saves the usable rows of the source as a dataset: all of them or, on an error, nothing.

    ``source``: a file, a folder, or “owner/name” or “owner/name:configuration” of the Hugging Face hub, where no such
    path exists. ``split`` None takes “train” or the only one. ``hub_token`` is used for this import only; None = the
    login of this machine.

    Other programs can write in between: each 2,000 rows are a transaction of their own, and the dataset is listed
    when it is complete. ``name`` None takes the source's; one that is taken becomes “name (2)”. Both callbacks are
    called several times a second, also while the source does not answer. Raises NotFoundError for what is missing or
    out of reach; ImportFormatError where it cannot be read, is of no known format or has no usable row;
    ImportCancelled where ``should_stop`` said so; and StorageError.
    """
    found = DatasetSource(source, mapping, split, hub_token)
    if found.format is None:
        raise found.unknown_format()
    remove_abandoned(database)
    with database.session_scope() as session:
        dataset_id = datasets.begin(session, source=found.recorded, format=found.format.value)
    done = False
    try:
        count = _save_rows(database, dataset_id, found, on_progress, should_stop)
        if not count:
            raise found.nothing_usable()
        with database.session_scope() as session:
            wanted = (name or "").strip() or found.name
            dataset = datasets.finish(session, dataset_id, name=wanted, row_count=count)
        done = True
    finally:
        if not done:
            _delete_in_chunks(database, dataset_id)
    return ImportResult(dataset, count, dict(found.skipped))


def mapping_of(prompt: str | None, response: str | None, system: str | None) -> ColumnMapping | None:
    """The mapping of these columns; None where none is named. Raises SettingsError where only one of the two is."""
    if prompt and response:
        return ColumnMapping(prompt, response, system)
    if prompt or response or system:
        raise SettingsError(
            "A column is named for only a part of the rows.", "Name the column of the prompt and that of the answer."
        )
    return None


def remove_dataset(database: Database, dataset_id: int) -> None:
    """Takes a dataset off the list at once and then deletes its rows, letting others write in between.

    Runs that were trained on it stay. Raises NotFoundError and StorageError.
    """
    with database.session_scope() as session:
        datasets.set_aside(session, dataset_id)
    _delete_in_chunks(database, dataset_id)


def remove_abandoned(database: Database, most_seconds: float | None = None) -> None:
    """Deletes what imports and removals of ended programs left half done.

    Stops after ``most_seconds`` (None = when all is deleted); the next call goes on. Raises StorageError.
    """
    until = None if most_seconds is None else time.monotonic() + most_seconds
    with database.read_scope() as session:
        abandoned = datasets.abandoned_ids(session)
    for dataset_id in abandoned:
        _delete_in_chunks(database, dataset_id, until)


def _preview_of(source: DatasetSource, most_records: int | None) -> DatasetPreview:
    rows = source.rows(most_records)
    first = tuple(islice(rows, _ROWS_SHOWN))
    usable = len(first) + sum(1 for _ in rows)
    return DatasetPreview(source.format, source.columns, first, usable, dict(source.skipped), exact=source.at_end)


def _save_rows(
    database: Database,
    dataset_id: int,
    source: DatasetSource,
    on_progress: Callable[[ImportProgress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> int:
    count, bytes_read, last_sign, pauses = 0, 0, time.monotonic(), _Pauses()
    with _reading(source) as reader:
        while (rows := reader.take(_SECONDS_BETWEEN_LOOKS)) != []:
            if should_stop is not None and should_stop():
                raise ImportCancelled
            if rows is not None:
                # Not while the reader is at work on the file.
                bytes_read = source.position.bytes_read()
            if rows is not None or time.monotonic() - last_sign > _SECONDS_BETWEEN_SIGNS:
                with database.session_scope() as session:
                    datasets.append_rows(session, dataset_id, count, rows or ())
                count, last_sign = count + len(rows or ()), time.monotonic()
                # Meanwhile the next rows are read.
                reader.ask()
                pauses.let_others_write()
            if on_progress is not None:
                on_progress(ImportProgress(count, bytes_read, source.position.total))
    return count


@contextmanager
def _reading(source: DatasetSource) -> Iterator[RowReader]:
    reader = RowReader(source.rows(), _ROWS_PER_TRANSACTION)
    try:
        yield reader
    finally:
        source.give_up()
        reader.close()


def _delete_in_chunks(database: Database, dataset_id: int, until: float | None = None) -> None:
    remains, pauses = True, _Pauses()
    while remains and (until is None or time.monotonic() < until):
        with database.session_scope() as session:
            remains = datasets.delete_some(session, dataset_id, _ROWS_PER_TRANSACTION)
        if remains:
            pauses.let_others_write()


class _Pauses:
    """Who waits for SQLite's lock looks every 100 ms, and may find it taken every time by one who never pauses."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def let_others_write(self) -> None:
        """To be called between transactions; it pauses where the last pause is a while ago."""
        if time.monotonic() - self._last > _SECONDS_BETWEEN_PAUSES:
            time.sleep(_SECONDS_OF_A_PAUSE)
            self._last = time.monotonic()
