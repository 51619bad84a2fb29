"""Saves a file of examples as a dataset: recognises how it is written, and says which rows cannot be used and why."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from db import datasets
from db.database import Database
from db.datasets import NewRow
from db.models import Dataset
from errors import ImportFormatError
from helpers.dataset_files import Records, UnreadableRecord, read_records
from helpers.dataset_formats import DatasetFormat, UnusableRow, recognise_format, to_row

_RECORDS_TO_RECOGNISE = 100
_ROWS_SHOWN = 5


@dataclass(frozen=True)
class DatasetPreview:
    """What an import of the file would save. ``skipped``: how many rows would be left out, by reason."""

    format: DatasetFormat
    columns: tuple[str, ...]
    first_rows: tuple[NewRow, ...]
    usable: int
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class ImportResult:
    """What an import saved. ``skipped``: how many rows were left out, by reason."""

    dataset: Dataset
    imported: int
    skipped: Mapping[str, int]


def recognise(path: Path) -> DatasetPreview:
    """Reads the file through without saving anything.

    Raises NotFoundError for a missing file; ImportFormatError where it cannot be read, its columns are of no known
    format, or none of its rows can be used.
    """
    file = _RecognisedFile(path)
    first: list[NewRow] = []
    usable = 0
    for row in file.rows():
        usable += 1
        if len(first) < _ROWS_SHOWN:
            first.append(row)
    return DatasetPreview(file.format, file.columns, tuple(first), usable, dict(file.skipped))


def import_dataset(database: Database, path: Path, name: str | None = None) -> ImportResult:
    """Saves the usable rows of the file as a dataset: all of them or, on an error, nothing.

    ``name`` None takes the file's; one that is taken becomes “name (2)”. Raises the errors of :func:`recognise`, and
    StorageError.
    """
    file = _RecognisedFile(path)
    with database.session_scope() as session:
        dataset = datasets.create_with_rows(
            session, name=name or path.stem, source=str(path.resolve()), format=file.format.value, rows=file.rows()
        )
    return ImportResult(dataset, dataset.row_count, dict(file.skipped))


class _RecognisedFile:
    """A file whose format is known from its first records. ``skipped`` fills while the rows are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        records = read_records(path)
        beginning = list(islice(records, _RECORDS_TO_RECOGNISE))
        self._records: Records = chain(beginning, records)
        readable = [record for record in beginning if not isinstance(record, UnreadableRecord)]
        self.columns = tuple(dict.fromkeys(column for record in readable for column in record))
        self.skipped: Counter[str] = Counter()
        found = recognise_format(self.columns)
        if found is None:
            reasons = Counter(str(record) for record in beginning if isinstance(record, UnreadableRecord))
            raise _unknown_format(path, self.columns, reasons)
        self.format: DatasetFormat = found

    def rows(self) -> Iterator[NewRow]:
        """The usable rows. Raises ImportFormatError at the end when there was none."""
        has_rows = False
        for record in self._records:
            if isinstance(record, UnreadableRecord):
                self.skipped[record] += 1
                continue
            try:
                row = to_row(self.format, record)
            except UnusableRow as reason:
                self.skipped[str(reason)] += 1
                continue
            has_rows = True
            yield row
        if not has_rows:
            raise _nothing_usable(self._path, self.skipped)


def _unknown_format(path: Path, columns: tuple[str, ...], reasons: Counter[str]) -> ImportFormatError:
    if not columns:
        return _nothing_usable(path, reasons)
    known = ", ".join(format.value for format in DatasetFormat)
    return ImportFormatError(
        f"{path.name} has the columns {_quoted(columns)}, which are no known dataset format.",
        f"Rename its columns to one of these: {known}.",
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
