"""Training runs: the rows themselves. What is recorded of each as it goes on is in db.run_records."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, UnaryExpression, func, or_, select
from sqlalchemy.orm import Session

from db.models import EventKind, RunEvent, RunSource, RunStatus, TrainingRun, utc_now
from errors import NotFoundError


class RunSort(StrEnum):
    """The order of a list of runs. STATUS: running, pending, failed, completed, each from the newest."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    BASE_MODEL = "base_model"
    STATUS = "status"


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list: ``search`` is looked for in name, base model and notes; None = any."""

    search: str = ""
    status: RunStatus | None = None
    base_model: str | None = None


@dataclass(frozen=True)
class RunFolders:
    """Where a run's files lie; None = it has no such folder."""

    id: int
    source: RunSource
    adapter_path: str | None
    output_dir: str | None


def create(
    session: Session,
    *,
    name: str,
    base_model: str,
    status: RunStatus = RunStatus.PENDING,
    source: RunSource = RunSource.TRACKED,
    adapter_path: str | None = None,
    output_dir: str | None = None,
    dataset_id: int | None = None,
    hyperparameters: dict[str, Any] | None = None,
    error: str | None = None,
    notes: str = "",
    started_at: dt.datetime | None = None,
    finished_at: dt.datetime | None = None,
) -> TrainingRun:
    """A new run, with its id. Names need not be unique: the same script is often run again."""
    run = TrainingRun(
        name=name,
        base_model=base_model,
        status=status,
        source=source,
        adapter_path=adapter_path,
        output_dir=output_dir,
        dataset_id=dataset_id,
        hyperparameters=hyperparameters or {},
        error=error,
        notes=notes,
        started_at=started_at,
        finished_at=finished_at,
    )
    session.add(run)
    session.flush()
    return run


def list_recent(
    session: Session, limit: int = 100, offset: int = 0, status: RunStatus | None = None, search: str | None = None
) -> Sequence[TrainingRun]:
    """Runs from the newest, of one status (None = all), with ``search`` in name, base model or notes."""
    newest_first = (TrainingRun.created_at.desc(), TrainingRun.id.desc())
    wanted = select(TrainingRun).where(*_conditions(status, search)).order_by(*newest_first)
    return session.scalars(wanted.limit(limit).offset(offset)).all()


def count(session: Session, status: RunStatus | None = None, search: str | None = None) -> int:
    """How many runs list_recent has in all."""
    return session.scalar(select(func.count(TrainingRun.id)).where(*_conditions(status, search))) or 0


def list_page(
    session: Session, filter: RunFilter, sort: RunSort = RunSort.NEWEST, limit: int = 50, offset: int = 0
) -> Sequence[TrainingRun]:
    """One page of the runs that match, in this order."""
    # Only the numbers are sorted; whole rows, with their hyperparameters, are read for the page alone.
    page = select(TrainingRun.id).where(*_filter_conditions(filter)).order_by(*_order(sort))
    ids = session.scalars(page.limit(limit).offset(offset)).all()
    rows = {run.id: run for run in session.scalars(select(TrainingRun).where(TrainingRun.id.in_(ids)))}
    return [rows[run_id] for run_id in ids if run_id in rows]


def count_matching(session: Session, filter: RunFilter) -> int:
    """How many runs list_page has in all."""
    return session.scalar(select(func.count(TrainingRun.id)).where(*_filter_conditions(filter))) or 0


def list_base_models(session: Session) -> Sequence[tuple[str, int]]:
    """Each base model by name, and how many runs have it; "" stands for runs that do not know theirs."""
    counted = select(TrainingRun.base_model, func.count(TrainingRun.id)).group_by(TrainingRun.base_model)
    return [(name, number) for name, number in session.execute(counted.order_by(TrainingRun.base_model))]


def find(session: Session, run_id: int) -> TrainingRun | None:
    """The run of this number."""
    return session.get(TrainingRun, run_id)


def find_or_raise(session: Session, run_id: int) -> TrainingRun:
    """The run of this number. Raises NotFoundError."""
    run = find(session, run_id)
    if run is None:
        raise _no_such_run(f"number {run_id}")
    return run


def find_by_name_or_id_or_raise(session: Session, text: str) -> TrainingRun:
    """The newest run of this name, else the run of this number. Raises NotFoundError."""
    wanted = text.strip()
    named = (
        select(TrainingRun)
        .where(TrainingRun.name == wanted)
        .order_by(TrainingRun.created_at.desc(), TrainingRun.id.desc())
    )
    run = session.scalars(named.limit(1)).first()
    if run is None and wanted.isascii() and wanted.isdigit() and len(wanted) < 19:
        run = find(session, int(wanted))
    if run is None:
        raise _no_such_run(f"name or number “{wanted}”")
    return run


def find_latest_completed(session: Session) -> TrainingRun | None:
    """The completed run that finished last; None when there is none."""
    latest_first = (TrainingRun.finished_at.desc().nulls_last(), TrainingRun.created_at.desc(), TrainingRun.id.desc())
    completed = select(TrainingRun).where(TrainingRun.status == RunStatus.COMPLETED).order_by(*latest_first)
    return session.scalars(completed.limit(1)).first()


def find_by_adapter_path(session: Session, adapter_path: str) -> TrainingRun | None:
    """The newest run with this adapter folder, written as it was recorded; a run's checkpoints do not count."""
    found = (
        select(TrainingRun)
        .where(TrainingRun.adapter_path == adapter_path)
        .order_by(TrainingRun.created_at.desc(), TrainingRun.id.desc())
    )
    return session.scalars(found.limit(1)).first()


def list_folders(session: Session) -> Sequence[RunFolders]:
    """Each run's folders, the oldest run first; runs with neither are left out."""
    columns = select(TrainingRun.id, TrainingRun.source, TrainingRun.adapter_path, TrainingRun.output_dir)
    with_folders = columns.where(or_(TrainingRun.adapter_path.is_not(None), TrainingRun.output_dir.is_not(None)))
    return [RunFolders(*row) for row in session.execute(with_folders.order_by(TrainingRun.id))]


def set_status(
    session: Session, run_id: int, status: RunStatus, *, adapter_path: str | None = None, error: str | None = None
) -> TrainingRun:
    """Moves a run on, noting when it started or finished. ``adapter_path`` None keeps the recorded one."""
    run = find_or_raise(session, run_id)
    run.status = status
    run.error = error
    if adapter_path is not None:
        run.adapter_path = adapter_path
    if status is RunStatus.RUNNING:
        run.started_at = run.started_at or utc_now()
        run.heartbeat_at = utc_now()
        run.finished_at = None
    elif status in (RunStatus.COMPLETED, RunStatus.FAILED):
        run.finished_at = utc_now()
    session.flush()
    return run


def mark_failed(session: Session, run_id: int, error: str) -> TrainingRun:
    """Records why a run ended early."""
    return set_status(session, run_id, RunStatus.FAILED, error=error)


def record_heartbeat(session: Session, run_id: int) -> None:
    """A sign of life of a running training. Raises NotFoundError."""
    find_or_raise(session, run_id).heartbeat_at = utc_now()
    session.flush()


def list_running(session: Session) -> Sequence[TrainingRun]:
    """The runs that say they are running."""
    return session.scalars(select(TrainingRun).where(TrainingRun.status == RunStatus.RUNNING)).all()


def list_ended_since(session: Session, since: dt.datetime) -> Sequence[TrainingRun]:
    """The runs that completed or failed at this time or later."""
    ended = (RunStatus.COMPLETED, RunStatus.FAILED)
    wanted = select(TrainingRun).where(TrainingRun.status.in_(ended), TrainingRun.finished_at >= since)
    return session.scalars(wanted).all()


def find_last_started(session: Session, output_dir: str, before: dt.datetime) -> TrainingRun | None:
    """Of the runs with this output folder, the one that started last before that time."""
    of_folder = select(TrainingRun).where(TrainingRun.output_dir == output_dir, TrainingRun.started_at <= before)
    return session.scalars(of_folder.order_by(TrainingRun.started_at.desc(), TrainingRun.id.desc()).limit(1)).first()


def rename(session: Session, run_id: int, name: str) -> TrainingRun:
    """Gives a run another name. Raises NotFoundError."""
    run = find_or_raise(session, run_id)
    if run.name != name:
        text = f"Renamed from “{run.name}” to “{name}”."
        session.add(RunEvent(run_id=run_id, kind=EventKind.RENAMED.value, text=text))
    run.name = name
    session.flush()
    return run


def set_notes(session: Session, run_id: int, notes: str) -> TrainingRun:
    """Writes the user's own words about a run. Raises NotFoundError."""
    run = find_or_raise(session, run_id)
    run.notes = notes
    session.flush()
    return run


def delete(session: Session, run_id: int) -> None:
    """Removes a run, its numbers and checkpoints; files and conversations stay. Raises NotFoundError."""
    session.delete(find_or_raise(session, run_id))
    session.flush()


def _conditions(status: RunStatus | None, search: str | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if status is not None:
        conditions.append(TrainingRun.status == status)
    if search and search.strip():
        text = search.strip()
        searched = (TrainingRun.name, TrainingRun.base_model, TrainingRun.notes)
        conditions.append(or_(*(column.icontains(text, autoescape=True) for column in searched)))
    return conditions


def _filter_conditions(filter: RunFilter) -> list[ColumnElement[bool]]:
    conditions = _conditions(filter.status, filter.search)
    if filter.base_model is not None:
        conditions.append(TrainingRun.base_model == filter.base_model)
    return conditions


def _order(sort: RunSort) -> list[UnaryExpression[Any]]:
    newest_first: list[UnaryExpression[Any]] = [TrainingRun.created_at.desc(), TrainingRun.id.desc()]
    match sort:
        case RunSort.NEWEST:
            return newest_first
        case RunSort.OLDEST:
            return [TrainingRun.created_at.asc(), TrainingRun.id.asc()]
        case RunSort.NAME:
            return [func.lower(TrainingRun.name).asc(), *newest_first]
        case RunSort.BASE_MODEL:
            return [func.lower(TrainingRun.base_model).asc(), *newest_first]
        case RunSort.STATUS:
            # The words happen to sort backwards into the order that is wanted, which the index then has.
            return [TrainingRun.status.desc(), *newest_first]


def _no_such_run(what: str) -> NotFoundError:
    return NotFoundError(
        f"There is no training run of {what}.", "“adapter-playground runs list” shows the runs of this workspace."
    )
