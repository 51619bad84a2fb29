"""What a list of runs shows beside the runs themselves, and which folders belong to whom."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.models import Checkpoint, TrainingMetric, TrainingRun


def last_values(session: Session, run_ids: Sequence[int], name: str) -> dict[int, float]:
    """Each run's last finite number of one metric; runs without one are left out."""
    inner = aliased(TrainingMetric)
    last_step = (
        select(func.max(inner.step))
        .where(inner.run_id == TrainingMetric.run_id, inner.name == name, inner.value.is_not(None))
        .correlate(TrainingMetric)
        .scalar_subquery()
    )
    wanted = select(TrainingMetric.run_id, TrainingMetric.value).where(
        TrainingMetric.run_id.in_(run_ids), TrainingMetric.name == name, TrainingMetric.step == last_step
    )
    return {run_id: value for run_id, value in session.execute(wanted) if value is not None}


def folders_of_others(session: Session, run_id: int) -> list[str]:
    """The adapter, output and checkpoint folders of every run but this one."""
    columns = (
        (TrainingRun.adapter_path, TrainingRun.id),
        (TrainingRun.output_dir, TrainingRun.id),
        (Checkpoint.path, Checkpoint.run_id),
    )
    return [
        path for column, owner in columns for path in session.scalars(select(column).where(owner != run_id)) if path
    ]
