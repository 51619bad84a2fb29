"""The runs as the dropdown lists them, and which of them can be chosen."""

from dataclasses import dataclass
from pathlib import Path

from db import training_runs
from db.database import Database
from db.models import RunStatus, TrainingRun
from helpers.adapter_validation import folder_problem
from helpers.model_choice import why_not_usable

RECENT_RUNS = 100


@dataclass(frozen=True)
class RunOption:
    """A run as the dropdown lists it. ``blocked`` says why it cannot be chosen; empty = it can."""

    id: int
    name: str
    status: RunStatus
    blocked: str
    label: str


def list_run_options(database: Database) -> list[RunOption]:
    """The recent runs, newest first."""
    with database.read_scope() as session:
        recent = training_runs.list_recent(session, limit=RECENT_RUNS)
    return [_option(run) for run in recent]


def find_latest_usable(database: Database) -> int | None:
    """The completed run that finished last, as for “latest” on the command line, and can be used; None = none."""
    with database.read_scope() as session:
        completed = training_runs.list_recent(session, limit=RECENT_RUNS, status=RunStatus.COMPLETED)
    # A run that recorded no end counts as the oldest.
    by_end = sorted(completed, key=lambda run: run.finished_at.timestamp() if run.finished_at else 0, reverse=True)
    return next((run.id for run in by_end if not why_not_usable(run)), None)


def find_run_or_raise(database: Database, run_id: int, checkpoint_path: str | None = None) -> tuple[TrainingRun, str]:
    """The run and why it, or this checkpoint of it, cannot be chosen now; empty = it can. Raises NotFoundError."""
    with database.read_scope() as session:
        run = training_runs.find_or_raise(session, run_id)
    if checkpoint_path is None:
        return run, why_not_usable(run)
    problem = folder_problem(Path(checkpoint_path))
    return run, problem.message if problem is not None else ""


def _option(run: TrainingRun) -> RunOption:
    when = (run.finished_at or run.created_at).astimezone().strftime("%b %d")
    rank = run.hyperparameters.get("r") or run.hyperparameters.get("lora_r") or run.hyperparameters.get("rank")
    shown = [run.name, f"r{rank}" if rank else "", when]
    blocked = why_not_usable(run)
    if blocked:
        shown = [run.name, str(run.status.value) if run.status is not RunStatus.COMPLETED else "not usable", when]
    return RunOption(run.id, run.name, run.status, blocked, " · ".join(part for part in shown if part))
