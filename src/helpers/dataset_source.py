"""One source of examples, a file, a folder or a dataset on the hub, whose format is known from its first records."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from db.datasets import NewRow
from errors import ImportFormatError
from helpers.dataset_files import ReadPosition, Records, UnreadableRecord
from helpers.dataset_folders import read_source
from helpers.dataset_formats import ColumnMapping, DatasetFormat, UnusableRow, recognise_format, to_row
from helpers.dataset_hub import HubStream, hub_dataset_of

_RECORDS_TO_RECOGNISE = 100
# From here on it is taken for a file of something else.
_MOST_UNREADABLE = 10_000


class DatasetSource:
    """``skipped`` fills while the rows are read; ``label`` names the source in messages.

    ``name`` is what the dataset is called by default and ``recorded`` where it came from. Raises the errors of the
    readers, and ImportFormatError where ``mapping`` names a column that is not there.
    """

    def __init__(
        self,
        location: str | Path,
        mapping: ColumnMapping | None = None,
        split: str | None = None,
        hub_token: str | None = None,
    ) -> None:
        hub = hub_dataset_of(location)
        self.is_remote = hub is not None
        self.position = ReadPosition(0)
        if hub is not None:
            stream = HubStream(hub, split, hub_token or None)
            self.label, self.name = f"“{hub.name}”", hub.name.rpartition("/")[2]
            self.recorded = f"{location} ({stream.split})"
            self._records: Records = stream.records(self.position)
        else:
            path = Path(location)
            self.position.total = path.stat().st_size if path.is_file() else 0
            self.label, self.name, self.recorded = path.name, path.stem, str(path.resolve())
            self._records = read_source(path, self.position, split)
        self.mapping = mapping
        self.skipped: Counter[str] = Counter()
        self.at_end = False
        self._given_up = threading.Event()
        self._beginning: list[Mapping[str, Any] | UnreadableRecord] = []
        readable: list[Mapping[str, Any]] = []
        while not readable and len(self._beginning) < _MOST_UNREADABLE:
            records = list(islice(self._records, _RECORDS_TO_RECOGNISE))
            if not records:
                break
            self._beginning += records
            readable = [record for record in records if not isinstance(record, UnreadableRecord)]
        self.columns = tuple(dict.fromkeys(column for record in readable for column in record))
        self.format = recognise_format(self.columns)
        if mapping is not None:
            self.format = DatasetFormat.MAPPED
            _require_columns(self.label, mapping, self.columns)

    def rows(self, most_records: int | None = None) -> Iterator[NewRow]:
        """The usable rows among so many records; None = all."""
        records: Records = chain(self._beginning, self._records)
        for record in islice(records, most_records):
            if self._given_up.is_set():
                return
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

    def give_up(self) -> None:
        """Ends :meth:`rows` at the next record; may be called on any thread."""
        self._given_up.set()

    def unknown_format(self) -> ImportFormatError:
        """That the columns are of no known format, or that there are none."""
        if not self.columns:
            return self.nothing_usable()
        known = ", ".join(format.value for format in DatasetFormat if format is not DatasetFormat.MAPPED)
        return ImportFormatError(
            f"{self.label} has the columns {_quoted(self.columns)}, which are no known dataset format.",
            f"Say which column is the prompt and which the answer, or rename them to one of these: {known}.",
        )

    def nothing_usable(self) -> ImportFormatError:
        """That no row can be used, with the most common reasons."""
        reasons = self.skipped or Counter(
            str(record) for record in self._beginning if isinstance(record, UnreadableRecord)
        )
        most_common = "; ".join(f"{reason} ({count} rows)" for reason, count in reasons.most_common(3))
        why = f": {most_common}" if most_common else ""
        return ImportFormatError(
            f"No row of {self.label} can be used{why}.",
            "Check that it is the right file, and that its rows have content.",
        )


def _require_columns(label: str, mapping: ColumnMapping, columns: tuple[str, ...]) -> None:
    present = {column.strip().casefold() for column in columns}
    for wanted in (mapping.prompt, mapping.response, mapping.system):
        if wanted and wanted.strip().casefold() not in present:
            raise ImportFormatError(
                f"{label} has no column “{wanted}”.", f"Choose one of its columns: {_quoted(columns)}."
            )


def _quoted(columns: tuple[str, ...], at_most: int = 12) -> str:
    shown = ", ".join(f"“{column}”" for column in columns[:at_most])
    return f"{shown} and {len(columns) - at_most} more" if len(columns) > at_most else shown
