"""Runs as a screen shows them: one page of a list, and everything about one run."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from db import datasets, run_listing, run_records, training_runs
from db.database import Database
from db.models import RunSource, RunStatus, TrainingRun
from db.training_runs import RunFilter, RunSort

PAGE_SIZE = 50
MOST_POINTS = 300
_CURVES = ("loss", "eval_loss")


@dataclass(frozen=True)
class RunRow:
    """A run in the list. ``kind``: “LoRA r16” or what is known of it. ``last_loss`` None = no number recorded."""

    id: int
    name: str
    status: RunStatus
    base_model: str
    dataset: str
    kind: str
    finished_at: dt.datetime | None
    last_loss: float | None
    error: str


@dataclass(frozen=True)
class RunPage:
    """``page`` is the page that was read: the last one where there are fewer now."""

    rows: list[RunRow]
    matching: int
    total: int
    base_models: list[str]
    page: int


@dataclass(frozen=True)
class RunDetails:
    """``series``: a name with its (step, value) pairs. ``checkpoints``: (step, folder). ``events``: newest first."""

    id: int
    name: str
    status: RunStatus
    source: RunSource
    base_model: str
    adapter_path: str | None
    output_dir: str | None
    dataset_id: int | None
    dataset: str
    hyperparameters: dict[str, Any]
    notes: str
    error: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    series: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]
    checkpoints: tuple[tuple[int, str], ...]
    events: tuple[tuple[dt.datetime, str], ...]


def read_page(database: Database, wanted: RunFilter, sort: RunSort, page: int) -> RunPage:
    """One page of the matching runs, from one consistent state of the workspace. Raises StorageError."""
    with database.read_scope() as session:
        matching = training_runs.count_matching(session, wanted)
        page = min(page, max(0, (matching - 1) // PAGE_SIZE))
        runs = training_runs.list_page(session, wanted, sort, PAGE_SIZE, page * PAGE_SIZE)
        losses = run_listing.last_values(session, [run.id for run in runs], "loss")
        names = {row.id: row.name for row in datasets.list_all(session)}
        bases = training_runs.list_base_models(session)
        rows = [_row(run, names.get(run.dataset_id or 0, ""), losses.get(run.id)) for run in runs]
    return RunPage(rows, matching, sum(number for _, number in bases), [name for name, _ in bases if name], page)


def read_details(database: Database, run_id: int) -> RunDetails | None:
    """Everything recorded of one run; None when it was removed. Raises StorageError."""
    with database.read_scope() as session:
        run = training_runs.find(session, run_id)
        if run is None:
            return None
        names = {row.id: row.name for row in datasets.list_all(session)}
        series = [(name, run_records.metric_series(session, run_id, name, MOST_POINTS)) for name in _CURVES]
        checkpoints = run_records.list_checkpoints(session, run_id)
        events = run_records.list_events(session, run_id)
    return RunDetails(
        id=run.id,
        name=run.name,
        status=run.status,
        source=run.source,
        base_model=run.base_model,
        adapter_path=run.adapter_path,
        output_dir=run.output_dir,
        dataset_id=run.dataset_id,
        dataset=names.get(run.dataset_id or 0, ""),
        hyperparameters=dict(run.hyperparameters),
        notes=run.notes,
        error=run.error or "",
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        series=tuple((name, tuple(points)) for name, points in series if points),
        checkpoints=tuple((checkpoint.step, checkpoint.path) for checkpoint in checkpoints),
        events=tuple((event.created_at, event.text) for event in events),
    )


def adapter_kind(hyperparameters: dict[str, Any]) -> str:
    """The adapter's type and rank, as far as they were recorded."""
    rank = hyperparameters.get("r") or hyperparameters.get("lora_r") or hyperparameters.get("rank")
    kind = {"LORA": "LoRA", "IA3": "IA³"}.get(str(hyperparameters.get("peft_type", "")).upper(), "")
    if hyperparameters.get("use_dora"):
        kind = "DoRA"
    elif hyperparameters.get("use_rslora"):
        kind = "rsLoRA"
    return " ".join(part for part in (kind or ("LoRA" if rank else ""), f"r{rank}" if rank else "") if part)


def _row(run: TrainingRun, dataset: str, last_loss: float | None) -> RunRow:
    return RunRow(
        run.id,
        run.name,
        run.status,
        run.base_model,
        dataset,
        adapter_kind(run.hyperparameters),
        run.finished_at,
        last_loss,
        run.error or "",
    )
