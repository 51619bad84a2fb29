"""Saved datasets and their rows.

A dataset with a ``row_count`` below zero is one that is being written or removed: it is not listed, its
``created_at`` is the last sign of life of the program that works on it, and its name says which program that is.
"""

import datetime as dt
import os
import random
import re
import socket
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from db.models import Dataset, DatasetRow, TrainingRun, utc_now
from errors import NotFoundError, SettingsError

_ROWS_PER_STATEMENT = 1000
_UNFINISHED = -1
_ABANDONED_AFTER = dt.timedelta(minutes=10)
_HIDDEN_NAME = re.compile(r"\(unfinished (\d+) [0-9a-f]+ (.*)\)")


@dataclass(frozen=True)
class NewRow:
    """A row to save. ``messages`` only where the conversation has more than system, prompt and response."""

    prompt: str
    response: str
    system: str | None = None
    messages: list[dict[str, Any]] | None = None


def create_with_rows(session: Session, *, name: str, source: str, format: str, rows: Iterable[NewRow]) -> Dataset:
    """Saves a dataset; ``rows`` is read as it is written, a thousand rows in memory at a time.

    A name that is taken becomes “name (2)”. An error in ``rows`` leaves the scope and with it nothing of the dataset.
    """
    dataset = Dataset(name=_free_name(session, name), source=source, format=format, row_count=0)
    session.add(dataset)
    session.flush()
    remaining = iter(rows)
    while chunk := list(islice(remaining, _ROWS_PER_STATEMENT)):
        _insert(session, dataset.id, dataset.row_count, chunk)
        dataset.row_count += len(chunk)
    session.flush()
    return dataset


def begin(session: Session, *, source: str, format: str) -> int:
    """The number of a new dataset that is not listed before :func:`finish`."""
    dataset = Dataset(name=_hidden_name(), source=source, format=format, row_count=_UNFINISHED)
    session.add(dataset)
    session.flush()
    return dataset.id


def append_rows(session: Session, dataset_id: int, position: int, rows: Sequence[NewRow]) -> None:
    """Adds rows from this position on to a dataset that was begun; none at all are only a sign of life.

    Raises NotFoundError where it is gone.
    """
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise _no_such_dataset(f"number {dataset_id}")
    dataset.created_at = utc_now()
    session.flush()
    if rows:
        _insert(session, dataset_id, position, rows)


def finish(session: Session, dataset_id: int, *, name: str, row_count: int) -> Dataset:
    """Lists a dataset whose rows are all there; a name that is taken becomes “name (2)”. Raises NotFoundError."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise _no_such_dataset(f"number {dataset_id}")
    dataset.name, dataset.row_count, dataset.created_at = _free_name(session, name), row_count, utc_now()
    session.flush()
    return dataset


def set_aside(session: Session, dataset_id: int) -> None:
    """Takes a dataset off the list, for :func:`delete_some` to remove. Raises NotFoundError."""
    dataset = find_or_raise(session, dataset_id)
    dataset.name, dataset.row_count, dataset.created_at = _hidden_name(), _UNFINISHED, utc_now()
    session.execute(update(TrainingRun).where(TrainingRun.dataset_id == dataset_id).values(dataset_id=None))
    session.flush()


def delete_some(session: Session, dataset_id: int, at_most: int) -> bool:
    """Deletes up to so many rows of a dataset that is not listed, and then the dataset; True = something remains."""
    some = select(DatasetRow.id).where(DatasetRow.dataset_id == dataset_id).limit(at_most)
    ids = session.scalars(some).all()
    if ids:
        session.execute(delete_rows(DatasetRow).where(DatasetRow.id.in_(some)))
        return True
    session.execute(delete_rows(Dataset).where(Dataset.id == dataset_id, Dataset.row_count < 0))
    return False


def abandoned_ids(session: Session) -> Sequence[int]:
    """Datasets that a program left half written or half removed.

    It has ended, as far as this machine can tell, or has given no sign of life for ten minutes.
    """
    unfinished = session.execute(
        select(Dataset.id, Dataset.name, Dataset.created_at).where(Dataset.row_count < 0)
    ).all()
    limit = utc_now() - _ABANDONED_AFTER
    return [dataset_id for dataset_id, name, alive_at in unfinished if alive_at < limit or _worker_has_ended(name)]


def list_all(session: Session) -> Sequence[Dataset]:
    """All datasets, the newest first."""
    return session.scalars(_newest_first(select(Dataset).where(Dataset.row_count >= 0))).all()


def list_page(session: Session, *, search: str = "", offset: int = 0, limit: int = 50) -> Sequence[Dataset]:
    """The datasets whose name or source contains the text, the newest first."""
    return session.scalars(_newest_first(_matching(select(Dataset), search)).offset(offset).limit(limit)).all()


def count_matching(session: Session, search: str = "") -> int:
    """How many datasets :func:`list_page` goes through."""
    return session.scalar(_matching(select(func.count()).select_from(Dataset), search)) or 0


def runs_using(session: Session, dataset_id: int) -> Sequence[TrainingRun]:
    """The runs that were trained on the dataset, the newest first."""
    runs = select(TrainingRun).where(TrainingRun.dataset_id == dataset_id)
    return session.scalars(runs.order_by(TrainingRun.created_at.desc(), TrainingRun.id.desc())).all()


def find_or_raise(session: Session, dataset_id: int) -> Dataset:
    """The dataset of this number. Raises NotFoundError."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None or dataset.row_count < 0:
        raise _no_such_dataset(f"number {dataset_id}")
    return dataset


def find_by_name_or_id_or_raise(session: Session, text: str) -> Dataset:
    """The dataset of this name, else the one of this number. Raises NotFoundError."""
    wanted = text.strip()
    dataset = session.scalars(select(Dataset).where(Dataset.name == wanted, Dataset.row_count >= 0)).first()
    if dataset is None and wanted.isascii() and wanted.isdigit() and len(wanted) < 19:
        dataset = session.get(Dataset, int(wanted))
    if dataset is None or dataset.row_count < 0:
        raise _no_such_dataset(f"name or number “{wanted}”")
    return dataset


def sample_rows(session: Session, dataset_id: int, count: int, rng: random.Random) -> Sequence[DatasetRow]:
    """Up to ``count`` different random rows in random order; as quick for a million rows as for ten.

    Raises NotFoundError for the dataset.
    """
    size = find_or_raise(session, dataset_id).row_count
    positions = rng.sample(range(size), min(count, size))
    drawn = select(DatasetRow).where(DatasetRow.dataset_id == dataset_id, DatasetRow.position.in_(positions))
    order = {position: place for place, position in enumerate(positions)}
    return sorted(session.scalars(drawn), key=lambda row: order[row.position])


def first_rows(session: Session, dataset_id: int, count: int) -> Sequence[DatasetRow]:
    """The first ``count`` rows in order."""
    in_order = select(DatasetRow).where(DatasetRow.dataset_id == dataset_id).order_by(DatasetRow.position)
    return session.scalars(in_order.limit(count)).all()


def rows_page(session: Session, dataset_id: int, offset: int, limit: int) -> Sequence[DatasetRow]:
    """Rows from a position on, in order; as quick at the end as at the beginning."""
    in_order = select(DatasetRow).where(
        DatasetRow.dataset_id == dataset_id, DatasetRow.position >= offset, DatasetRow.position < offset + limit
    )
    return session.scalars(in_order.order_by(DatasetRow.position)).all()


def rename(session: Session, dataset_id: int, name: str) -> Dataset:
    """Gives a dataset another name. Raises SettingsError for one that is empty or taken, and NotFoundError."""
    dataset = find_or_raise(session, dataset_id)
    wanted = name.strip()
    if not wanted:
        raise SettingsError("The dataset has no name.", "Type a name for it.")
    if session.scalar(select(Dataset.id).where(Dataset.name == wanted, Dataset.id != dataset_id)) is not None:
        raise SettingsError(f"Another dataset is called “{wanted}”.", "Choose another name.")
    dataset.name = wanted
    session.flush()
    return dataset


def _insert(session: Session, dataset_id: int, start: int, rows: Sequence[NewRow]) -> None:
    session.execute(
        insert(DatasetRow),
        [
            {
                "dataset_id": dataset_id,
                "position": position,
                "prompt": row.prompt,
                "response": row.response,
                "system": row.system,
                "messages": row.messages,
            }
            for position, row in enumerate(rows, start)
        ],
    )


def _matching(query: Select[Any], search: str) -> Select[Any]:
    listed = query.where(Dataset.row_count >= 0)
    text = search.strip()
    if not text:
        return listed
    return listed.where(
        Dataset.name.icontains(text, autoescape=True) | Dataset.source.icontains(text, autoescape=True)
    )


def _newest_first(query: Select[Dataset]) -> Select[Dataset]:
    return query.order_by(Dataset.created_at.desc(), Dataset.id.desc())


def _hidden_name() -> str:
    return f"(unfinished {os.getpid()} {uuid.uuid4().hex} {socket.gethostname()})"


def _worker_has_ended(hidden_name: str) -> bool:
    # Only now: an unfinished dataset is rare, and the app's start should not wait for this.
    import psutil

    found = _HIDDEN_NAME.fullmatch(hidden_name)
    return found is not None and found[2] == socket.gethostname() and not psutil.pid_exists(int(found[1]))


def _free_name(session: Session, name: str) -> str:
    wanted = name.strip()
    taken = set(session.scalars(select(Dataset.name).where(Dataset.name.startswith(wanted, autoescape=True))))
    free, number = wanted, 2
    while free in taken:
        free, number = f"{wanted} ({number})", number + 1
    return free


def _no_such_dataset(what: str) -> NotFoundError:
    return NotFoundError(
        f"There is no dataset of {what}.", "“adapter-playground datasets list” shows the datasets of this workspace."
    )
