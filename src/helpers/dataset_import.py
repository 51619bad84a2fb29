"""Saves a file of examples as a dataset: recognises how it is written, and says which rows cannot be used and why."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from db import datasets
from db.database import Database
from db.datasets import NewRow
from db.models import Dataset
from errors import ImportFormatError, SettingsError
from helpers.dataset_files import ReadPosition, Records, UnreadableRecord
from helpers.dataset_folders import read_source
from helpers.dataset_formats import ColumnMapping, DatasetFormat, UnusableRow, recognise_format, to_row

_RECORDS_TO_RECOGNISE = 100
_ROWS_SHOWN = 5
_RECORDS_PREVIEWED = 1000
_ROWS_PER_TRANSACTION = 2000


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
    """How far an import is: rows saved, and bytes read of the file's size."""

    rows: int
    bytes_read: int
    bytes_total: int


class ImportCancelled(Exception):
    """The import was stopped on request; nothing of it is kept."""


def preview(
    source: str | Path, *, mapping: ColumnMapping | None = None, most_rows: int | None = _RECORDS_PREVIEWED
) -> DatasetPreview:
    """Reads the first ``most_rows`` records (None = all of them) without saving anything.

    Columns of no known format give a preview without a format and without rows, for the user to map them. Raises
    NotFoundError for a missing file; ImportFormatError where it cannot be read.
    """
    file = _SourceFile(Path(source), mapping)
    if file.format is None:
        if not file.columns:
            raise _nothing_usable(file.path, file.reasons())
        return DatasetPreview(None, file.columns, (), 0, {}, exact=False)
    first: list[NewRow] = []
    usable = 0
    for row in file.rows(most_rows):
        usable += 1
        if len(first) < _ROWS_SHOWN:
            first.append(row)
    return DatasetPreview(file.format, file.columns, tuple(first), usable, dict(file.skipped), exact=file.at_end)


def recognise(path: Path, *, mapping: ColumnMapping | None = None) -> DatasetPreview:
    """Reads the file through without saving anything.

    Raises NotFoundError for a missing file; ImportFormatError where it cannot be read, its columns are of no known
    format, or none of its rows can be used.
    """
    found = preview(path, mapping=mapping, most_rows=None)
    if found.format is None:
        raise _unknown_format(path, found.columns)
    if not found.usable:
        raise _nothing_usable(path, Counter(found.skipped))
    return found


def import_dataset(
    database: Database,
    source: str | Path,
    name: str | None = None,
    *,
    mapping: ColumnMapping | None = None,
    on_progress: Callable[[ImportProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ImportResult:
    """Saves the usable rows of the file as a dataset: all of them or, on an error, nothing.

    Other programs can write in between: each 2,000 rows are a transaction of their own, and the dataset is listed
    when it is complete. ``name`` None takes the file's; one that is taken becomes “name (2)”. Raises the errors of
    :func:`recognise`, ImportCancelled where ``should_stop`` said so, and StorageError.
    """
    file = _SourceFile(Path(source), mapping)
    if file.format is None:
        raise _unknown_format(file.path, file.columns) if file.columns else _nothing_usable(file.path, file.reasons())
    remove_abandoned(database)
    with database.session_scope() as session:
        dataset_id = datasets.begin(session, source=str(file.path.resolve()), format=file.format.value)
    done = False
    try:
        count = _save_rows(database, dataset_id, file, on_progress, should_stop)
        if not count:
            raise _nothing_usable(file.path, file.skipped)
        with database.session_scope() as session:
            dataset = datasets.finish(session, dataset_id, name=name or file.path.stem, row_count=count)
        done = True
    finally:
        if not done:
            _delete_in_chunks(database, dataset_id)
    return ImportResult(dataset, count, dict(file.skipped))


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


def remove_abandoned(database: Database) -> None:
    """Deletes what imports and removals of ended programs left half done. Raises StorageError."""
    with database.read_scope() as session:
        abandoned = datasets.abandoned_ids(session)
    for dataset_id in abandoned:
        _delete_in_chunks(database, dataset_id)


def _save_rows(
    database: Database,
    dataset_id: int,
    file: "_SourceFile",
    on_progress: Callable[[ImportProgress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> int:
    count = 0
    rows = file.rows()
    while chunk := list(islice(rows, _ROWS_PER_TRANSACTION)):
        if should_stop is not None and should_stop():
            raise ImportCancelled
        with database.session_scope() as session:
            datasets.append_rows(session, dataset_id, count, chunk)
        count += len(chunk)
        if on_progress is not None:
            on_progress(ImportProgress(count, file.position.bytes_read(), file.position.total))
    return count


def _delete_in_chunks(database: Database, dataset_id: int) -> None:
    remains = True
    while remains:
        with database.session_scope() as session:
            remains = datasets.delete_some(session, dataset_id, _ROWS_PER_TRANSACTION)


@dataclass
class _SourceFile:
    """A file whose format is known from its first records. ``skipped`` fills while the rows are read."""

    path: Path
    mapping: ColumnMapping | None
    skipped: Counter[str] = field(default_factory=Counter)
    at_end: bool = False

    def __post_init__(self) -> None:
        self.position = ReadPosition(self.path.stat().st_size if self.path.is_file() else 0)
        self._records = read_source(self.path, self.position)
        self._beginning = list(islice(self._records, _RECORDS_TO_RECOGNISE))
        readable = [record for record in self._beginning if not isinstance(record, UnreadableRecord)]
        self.columns = tuple(dict.fromkeys(column for record in readable for column in record))
        self.format = recognise_format(self.columns)
        if self.mapping is not None:
            self.format = DatasetFormat.MAPPED
            _require_columns(self.path, self.mapping, self.columns)

    def reasons(self) -> Counter[str]:
        """Why the first records cannot be read."""
        return Counter(str(record) for record in self._beginning if isinstance(record, UnreadableRecord))

    def rows(self, most_records: int | None = None) -> Iterator[NewRow]:
        """The usable rows among so many records; None = all."""
        records: Records = chain(self._beginning, self._records)
        for record in islice(records, most_records):
            if isinstance(record, UnreadableRecord):
                self.skipped[record] += 1
                continue
            try:
                row = to_row(self.format or DatasetFormat.MAPPED, record, self.mapping)
            except UnusableRow as reason:
                self.skipped[str(reason)] += 1
                continue
            yield row
        self.at_end = most_records is None or (
            len(self._beginning) <= most_records and next(self._records, None) is None
        )


def _require_columns(path: Path, mapping: ColumnMapping, columns: tuple[str, ...]) -> None:
    present = {column.strip().casefold() for column in columns}
    for wanted in (mapping.prompt, mapping.response, mapping.system):
        if wanted and wanted.strip().casefold() not in present:
            raise ImportFormatError(
                f"{path.name} has no column “{wanted}”.", f"Choose one of its columns: {_quoted(columns)}."
            )


def _unknown_format(path: Path, columns: tuple[str, ...]) -> ImportFormatError:
    known = ", ".join(format.value for format in DatasetFormat if format is not DatasetFormat.MAPPED)
    return ImportFormatError(
        f"{path.name} has the columns {_quoted(columns)}, which are no known dataset format.",
        f"Say which column is the prompt and which the answer, or rename them to one of these: {known}.",
    )


def _quoted(columns: tuple[str, ...], at_most: int = 12) -> str:
    shown = ", ".join(f"“{column}”" for column in columns[:at_most])
    return f"{shown} and {len(columns) - at_most} more" if len(columns) > at_most else shown


def _nothing_usable(path: Path, reasons: Counter[str]) -> ImportFormatError:
    most_common = "; ".join(f"{reason} ({count} rows)" for reason, count in reasons.most_common(3))
    why = f": {most_common}" if most_common else ""
    return ImportFormatError(
        f"No row of {path.name} can be used{why}.", "Check that it is the right file, and that its rows have content."
    )
