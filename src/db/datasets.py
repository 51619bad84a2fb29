"""Saved datasets and their rows."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.models import Dataset, DatasetRow
from errors import NotFoundError

_ROWS_PER_STATEMENT = 1000


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
        session.execute(
            insert(DatasetRow),
            [
                {
                    "dataset_id": dataset.id,
                    "position": position,
                    "prompt": row.prompt,
                    "response": row.response,
                    "system": row.system,
                    "messages": row.messages,
                }
                for position, row in enumerate(chunk, dataset.row_count)
            ],
        )
        dataset.row_count += len(chunk)
    session.flush()
    return dataset


def list_all(session: Session) -> Sequence[Dataset]:
    """All datasets, the newest first."""
    return session.scalars(select(Dataset).order_by(Dataset.created_at.desc(), Dataset.id.desc())).all()


def find_or_raise(session: Session, dataset_id: int) -> Dataset:
    """The dataset of this number. Raises NotFoundError."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise _no_such_dataset(f"number {dataset_id}")
    return dataset


def find_by_name_or_id_or_raise(session: Session, text: str) -> Dataset:
    """The dataset of this name, else the one of this number. Raises NotFoundError."""
    wanted = text.strip()
    dataset = session.scalars(select(Dataset).where(Dataset.name == wanted)).first()
    if dataset is None and wanted.isascii() and wanted.isdigit() and len(wanted) < 19:
        dataset = session.get(Dataset, int(wanted))
    if dataset is None:
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


def rename(session: Session, dataset_id: int, name: str) -> Dataset:
    """Gives a dataset another name; one that is taken becomes “name (2)”. Raises NotFoundError."""
    dataset = find_or_raise(session, dataset_id)
    if name.strip() != dataset.name:
        dataset.name = _free_name(session, name)
    session.flush()
    return dataset


def delete(session: Session, dataset_id: int) -> None:
    """Removes a dataset and its rows; runs that were trained on it stay. Raises NotFoundError."""
    session.delete(find_or_raise(session, dataset_id))
    session.flush()


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
