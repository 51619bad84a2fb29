"""Reads the records of a JSON, JSONL, CSV or Parquet file one by one.

No kind of file has to be in memory as a whole. Bytes that are not UTF-8 come through as surrogates, so that one bad
row can be counted and left out instead of ending the import.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from errors import ImportFormatError, NotFoundError
from helpers.dataset_json import json_records

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_FIELD = 2**31 - 1
_RECORDS_PER_BATCH = 1000
# In characters. A JSON document without line breaks may be of any size.
_LONGEST_LINE = 2**20


class UnreadableRecord(str):
    """Stands for a record that cannot be read; its text is the reason."""


Records = Iterator[Mapping[str, Any] | UnreadableRecord]


class ReadPosition:
    """How far a file has been read, for a display of progress; in bytes, for Parquet an estimate by rows."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.measure: Callable[[], int] = lambda: 0

    def bytes_read(self) -> int:
        """Between 0 and ``total``."""
        try:
            return min(self.measure(), self.total)
        except (OSError, ValueError):
            # Asked on another thread than the reading one, which has just closed the file at its end.
            return self.total


def read_records(path: Path, position: ReadPosition | None = None) -> Records:
    """The records of the file in order; ``position`` then tells how far it has been read.

    Raises NotFoundError for a missing file, and ImportFormatError where the file as a whole cannot be read.
    """
    if not path.exists():
        raise NotFoundError(f"There is no file {path}.", "Check the path, or choose the file again.")
    if not path.is_file():
        raise ImportFormatError(f"{path} is not a file.", f"Choose a file that ends in {_listed(SUFFIXES)}.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ImportFormatError(
            f"{path.name} is of a kind that cannot be imported.",
            f"Save the dataset as a file that ends in {_listed(SUFFIXES)}.",
        )
    with _file_errors(path):
        if path.stat().st_size == 0:
            raise ImportFormatError(f"{path.name} is empty.", "Choose a file with at least one example.")
        yield from reader(path, position or ReadPosition(0))


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImportFormatError(
            f"{path} cannot be read: {error.strerror or error}.",
            "Check that you may read it, and that its disk is there.",
        ) from error
    except UnicodeDecodeError as error:
        raise ImportFormatError(f"{path.name} is not readable text.", "Save it as UTF-8 and try again.") from error


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _open_text(path: Path, newline: str | None = None) -> IO[str]:
    with path.open("rb") as file:
        is_utf16 = file.read(2) in _UTF16_MARKS
    encoding = "utf-16" if is_utf16 else "utf-8-sig"
    return path.open(encoding=encoding, errors="surrogateescape", newline=newline)


@contextmanager
def _measured(file: IO[str], position: ReadPosition) -> Iterator[None]:
    position.measure = file.buffer.tell  # type: ignore[attr-defined]
    try:
        yield
    finally:
        position.measure = lambda: position.total


def _read_json_lines(path: Path, position: ReadPosition) -> Records:
    with _open_text(path) as file, _measured(file, position):
        for line in file:
            if line.strip():
                yield _record_of_line(line)


def _record_of_line(line: str) -> Mapping[str, Any] | UnreadableRecord:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return UnreadableRecord("the line is not JSON")
    return record if isinstance(record, dict) else UnreadableRecord("it is not an object with named columns")


def _read_json(path: Path, position: ReadPosition) -> Records:
    if _has_an_object_per_line(path):
        yield from _read_json_lines(path, position)
        return
    with _open_text(path) as file, _measured(file, position):
        for record in json_records(file, path.name):
            yield record if isinstance(record, dict) else UnreadableRecord("it is not an object with named columns")


def _has_an_object_per_line(path: Path) -> bool:
    """True where a file called .json is really JSONL: its first line is already a whole object."""
    with _open_text(path) as file:
        lines = filter(str.strip, iter(partial(file.readline, _LONGEST_LINE), ""))
        first = next(lines, "")
        return (
            first.lstrip().startswith("{")
            and not isinstance(_record_of_line(first), UnreadableRecord)
            and next(lines, None) is not None
        )


def _read_csv(path: Path, position: ReadPosition) -> Records:
    csv.field_size_limit(_LONGEST_FIELD)
    with _open_text(path, newline="") as file, _measured(file, position):
        header = file.readline()
        file.seek(0)
        reader = csv.DictReader(file, delimiter=_delimiter(header))
        try:
            for record in reader:
                yield UnreadableRecord("it has more fields than the header") if None in record else record
        except csv.Error as error:
            raise ImportFormatError(
                f"{path.name} is not valid CSV near line {reader.line_num}: {error}.",
                "Save it again as CSV in UTF-8.",
            ) from error


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _read_parquet(path: Path, position: ReadPosition) -> Records:
    # Loading Arrow takes half a second, which only Parquet needs.
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            done, rows = 0, max(file.metadata.num_rows, 1)
            position.measure = lambda: position.total * done // rows
            for batch in file.iter_batches(batch_size=_RECORDS_PER_BATCH):
                yield from batch.to_pylist()
                done += batch.num_rows
    except pyarrow.ArrowException as error:
        raise ImportFormatError(
            f"{path.name} is not a readable Parquet file.", "Save or download it again."
        ) from error


_READERS: dict[str, Callable[[Path, ReadPosition], Records]] = {
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
