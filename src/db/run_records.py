"""What is recorded of a training run as it goes on: its numbers per step, its checkpoints and its event log."""

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import literal, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from db.models import Checkpoint, EventKind, RunEvent, TrainingMetric, TrainingRun, UtcDateTime, utc_now
from db.training_runs import find_or_raise

_METRICS_PER_STATEMENT = 500


@dataclass(frozen=True)
class MetricRow:
    """One number at one step. ``value`` may be NaN; it is read back as None."""

    step: int
    name: str
    value: float
    epoch: float | None = None
    recorded_at: dt.datetime = field(default_factory=utc_now)


def record_metrics(session: Session, run_id: int, rows: Iterable[MetricRow]) -> int:
    """Records numbers; a number already there for the same name and step is written over. Returns how many came.

    Raises NotFoundError when the run was removed meanwhile.
    """
    find_or_raise(session, run_id)
    values = [
        {"run_id": run_id, "step": row.step, "name": row.name, "value": row.value, "epoch": row.epoch,
         "recorded_at": row.recorded_at}
        for row in rows
    ]  # fmt: skip
    statement = insert(TrainingMetric)
    statement = statement.on_conflict_do_update(
        index_elements=["run_id", "name", "step"],
        set_={name: statement.excluded[name] for name in ("value", "epoch", "recorded_at")},
    )
    for start in range(0, len(values), _METRICS_PER_STATEMENT):
        session.execute(statement, values[start : start + _METRICS_PER_STATEMENT])
    return len(values)


def list_metrics(session: Session, run_id: int, name: str | None = None) -> Sequence[TrainingMetric]:
    """The numbers of one name (None = all), by name and step."""
    wanted = select(TrainingMetric).where(TrainingMetric.run_id == run_id)
    if name is not None:
        wanted = wanted.where(TrainingMetric.name == name)
    return session.scalars(wanted.order_by(TrainingMetric.name, TrainingMetric.step)).all()


def metric_series(session: Session, run_id: int, name: str, most_points: int) -> list[tuple[int, float]]:
    """(step, value) of one metric by step, at most ``most_points`` (>= 4) of them, for a chart.

    Of many, the first, the last, and the lowest and highest of each stretch stay, so that no spike is lost. Values
    that are not finite are left out.
    """
    wanted = (
        select(TrainingMetric.step, TrainingMetric.value)
        .where(TrainingMetric.run_id == run_id, TrainingMetric.name == name, TrainingMetric.value.is_not(None))
        .order_by(TrainingMetric.step)
    )
    points = [(step, value) for step, value in session.execute(wanted) if value is not None and math.isfinite(value)]
    if len(points) <= most_points:
        return points
    stretches = max(1, (most_points - 2) // 2)
    inner = points[1:-1]
    thinned = [points[0]]
    for stretch in range(stretches):
        part = inner[len(inner) * stretch // stretches : len(inner) * (stretch + 1) // stretches]
        thinned += sorted({min(part, key=_value), max(part, key=_value)})
    return [*thinned, points[-1]]


def metric_names(session: Session, run_id: int) -> Sequence[str]:
    """Which metrics a run has."""
    return session.scalars(
        select(TrainingMetric.name).where(TrainingMetric.run_id == run_id).distinct().order_by(TrainingMetric.name)
    ).all()


def record_event(
    session: Session, run_id: int, kind: EventKind, text: str, at: dt.datetime | None = None
) -> RunEvent:
    """Notes what happened to a run; ``at`` None = now. Raises NotFoundError."""
    find_or_raise(session, run_id)
    event = RunEvent(run_id=run_id, kind=kind.value, text=text, created_at=at or utc_now())
    session.add(event)
    session.flush()
    return event


def list_events(session: Session, run_id: int, limit: int = 200) -> Sequence[RunEvent]:
    """What happened to a run, the newest first."""
    of_run = select(RunEvent).where(RunEvent.run_id == run_id)
    return session.scalars(of_run.order_by(RunEvent.id.desc()).limit(limit)).all()


def record_base_located(session: Session, base_model: str, folder: str) -> None:
    """Notes for every run on this base, by its recorded name, where it lies on this machine."""
    text = f"Located the base model “{base_model}” in {folder}."
    of_runs = select(
        TrainingRun.id, literal(EventKind.BASE_LOCATED.value), literal(text), literal(utc_now(), UtcDateTime)
    ).where(TrainingRun.base_model == base_model)
    session.execute(insert(RunEvent).from_select(["run_id", "kind", "text", "created_at"], of_runs))


def add_checkpoint(session: Session, run_id: int, step: int, path: str) -> Checkpoint:
    """Records a saved checkpoint; one that is recorded already is found, not added again. Raises NotFoundError."""
    find_or_raise(session, run_id)
    known = select(Checkpoint).where(Checkpoint.run_id == run_id, Checkpoint.path == path)
    checkpoint = session.scalars(known).first()
    if checkpoint is None:
        checkpoint = Checkpoint(run_id=run_id, step=step, path=path)
        session.add(checkpoint)
    checkpoint.step = step
    session.flush()
    return checkpoint


def list_checkpoints(session: Session, run_id: int) -> Sequence[Checkpoint]:
    """A run's checkpoints by step."""
    of_run = select(Checkpoint).where(Checkpoint.run_id == run_id)
    return session.scalars(of_run.order_by(Checkpoint.step, Checkpoint.id)).all()


def _value(point: tuple[int, float]) -> float:
    return point[1]
