"""Reads the records of a dataset folder: one saved by the ``datasets`` library, or one with files of examples."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from errors import ImportFormatError
from helpers.dataset_files import SUFFIXES, ReadPosition, Records, read_records
from helpers.dataset_hub import choose_split

_MARKS_OF_SAVED = ("state.json", "dataset_dict.json")


def read_source(source: Path, position: ReadPosition, split: str | None = None) -> Records:
    """The records of a file or folder in order.

    ``split`` names the part of a saved folder that has several; None takes “train” or the only one. Raises the errors
    of :func:`read_records`, and ImportFormatError for a split that is not there.
    """
    if any((source / mark).is_file() for mark in _MARKS_OF_SAVED):
        yield from _read_saved(source, position, split)
        return
    if split is not None and source.exists():
        raise ImportFormatError(f"{source} has no splits.", "Leave the split out.")
    if not source.is_dir():
        yield from read_records(source, position)
    else:
        yield from _read_files(source, position)


def _read_files(folder: Path, position: ReadPosition) -> Records:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    if not files:
        raise ImportFormatError(
            f"{folder} is not a file, and no file of examples is in it.",
            "Choose a JSON, JSONL, CSV or Parquet file, or a folder saved by the datasets library.",
        )
    sizes = [path.stat().st_size for path in files]
    position.total, before = sum(sizes), 0
    for path, size in zip(files, sizes, strict=True):
        inner = ReadPosition(size)
        position.measure = partial(_after, before, inner)
        yield from read_records(path, inner)
        before += size


def _after(before: int, inner: ReadPosition) -> int:
    return before + inner.bytes_read()


def _read_saved(folder: Path, position: ReadPosition, split: str | None) -> Iterator[Mapping[str, Any]]:
    # Loading the library takes seconds, which only such a folder needs.
    import datasets
    import pyarrow

    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise ImportFormatError(
            f"{folder} is not a readable dataset folder.", "Save or download it again."
        ) from error
    if isinstance(saved, datasets.DatasetDict):
        saved = saved[choose_split(str(folder), list(saved), split)]
    elif split is not None:
        raise ImportFormatError(f"{folder} has no splits.", "Leave the split out.")
    position.total, rows = saved.data.nbytes, max(saved.num_rows, 1)
    for number, record in enumerate(saved, 1):
        position.measure = partial(int, position.total * number // rows)
        yield record
