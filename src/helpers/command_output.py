"""What commands print: results on stdout, as tables or as one JSON document; everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from errors import PlaygroundError
from helpers.adapter_validation import Severity, ValidationReport

if TYPE_CHECKING:
    from db.models import Checkpoint, Dataset, RunEvent, TrainingMetric, TrainingRun

# Piped output is read by programs: its lines are not folded to the width of a screen.
_PIPED_WIDTH = 100_000
_NUMBERS = {"ID", "Rows"}
_LONG_TEXTS = {"Name", "Base model", "Adapter", "Source", "What happened"}
_MARKS = {Severity.ERROR: ("✗", "bold red"), Severity.WARNING: ("!", "yellow"), Severity.INFO: ("·", "dim")}


def use_safe_encoding() -> None:
    """Print what the terminal's encoding lacks as an escape instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def print_json(document: Any) -> None:
    """One JSON document on stdout, readable in any encoding."""
    only_ascii = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps(document, indent=2, ensure_ascii=only_ascii), flush=True)


def note(text: str) -> None:
    """A remark on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_error(error: PlaygroundError) -> None:
    """The error and its next step on stderr."""
    console = _console(sys.stderr)
    console.print(Text.assemble(("Error: ", "bold red"), error.message))
    if error.hint:
        console.print(Text(error.hint))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """A table on stdout; ``empty`` on stderr where there are no rows."""
    if not rows:
        note(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: JustifyMethod = "right" if column in _NUMBERS else "left"
        table.add_column(column, justify=justify, no_wrap=column not in _LONG_TEXTS, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    console = _console(sys.stdout)
    with console.capture() as drawn:
        console.print(table)
    # Rich fills the last column with spaces.
    print(*(line.rstrip() for line in drawn.get().splitlines()), sep="\n", flush=True)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values on stdout, one a line; what is empty is left out."""
    console = _console(sys.stdout)
    shown = {name: _shown(value) for name, value in fields.items()}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        if text:
            console.print(Text.assemble((name.ljust(width), "bold"), "  ", text))


def print_report(report: ValidationReport, *, as_json: bool) -> None:
    """The doctor's findings on stdout, errors first, each with its next step."""
    if as_json:
        print_json(report.to_json())
        return
    console = _console(sys.stdout)
    if report.adapter is not None:
        print_fields(
            {
                "Adapter": report.adapter.path,
                "Type": f"{report.adapter.peft_type}, rank {report.adapter.rank}"
                if report.adapter.rank
                else report.adapter.peft_type,
                "Base model": report.base_name or "",
            }
        )
    for finding in report.findings:
        mark, style = _MARKS[finding.severity]
        console.print(Text.assemble((f"{mark} {finding.severity}: ", style), finding.message, " ", finding.hint))
    if report.ok:
        console.print(Text("✓ This adapter can be used.", "green"))


def print_runs(runs: Sequence[TrainingRun], *, as_json: bool, empty: str = "There are no runs yet.") -> None:
    """Runs as a table or as a JSON list."""
    if as_json:
        print_json([run_document(run) for run in runs])
        return
    columns = ("ID", "Name", "Status", "Base model", "Finished", "Adapter")
    rows = [(run.id, run.name, run.status, run.base_model, run.finished_at, run.adapter_path) for run in runs]
    print_table(columns, rows, empty)


def print_datasets(datasets: Sequence[Dataset], *, as_json: bool) -> None:
    """Datasets as a table or as a JSON list."""
    if as_json:
        print_json([dataset_document(dataset) for dataset in datasets])
        return
    rows = [(dataset.id, dataset.name, dataset.row_count, dataset.format, dataset.source) for dataset in datasets]
    print_table(("ID", "Name", "Rows", "Format", "Source"), rows, "There are no datasets yet.")


def note_skipped(skipped: Iterable[tuple[Any, Any]]) -> None:
    """What was left out and why, or why and how often, on stderr."""
    for what, why in skipped:
        note(f"Skipped: {what}: {why}")


def run_document(run: TrainingRun) -> dict[str, Any]:
    """A run as ``runs list --json`` prints it; times in ISO 8601, UTC."""
    return {
        "id": run.id,
        "name": run.name,
        "status": str(run.status),
        "source": str(run.source),
        "base_model": run.base_model,
        "adapter_path": run.adapter_path,
        "output_dir": run.output_dir,
        "error": run.error,
        "created_at": _time(run.created_at),
        "started_at": _time(run.started_at),
        "finished_at": _time(run.finished_at),
    }


def run_details_document(
    run: TrainingRun, checkpoints: Sequence[Checkpoint], metrics: Sequence[TrainingMetric], events: Sequence[RunEvent]
) -> dict[str, Any]:
    """A run as ``runs show --json`` prints it, with everything recorded; ``events`` come newest first."""
    return {
        **run_document(run),
        "notes": run.notes,
        "hyperparameters": run.hyperparameters,
        "checkpoints": [{"step": checkpoint.step, "path": checkpoint.path} for checkpoint in checkpoints],
        "metrics": [{"step": metric.step, "name": metric.name, "value": metric.value} for metric in metrics],
        "events": [
            {"time": _time(event.created_at), "kind": event.kind, "text": event.text} for event in reversed(events)
        ],
    }


def print_run(
    run: TrainingRun,
    checkpoints: Sequence[Checkpoint],
    metrics: Sequence[TrainingMetric],
    events: Sequence[RunEvent],
    *,
    as_json: bool,
) -> None:
    """A run with its fields, settings, checkpoints, numbers (for reading, only the last) and event log."""
    if as_json:
        print_json(run_details_document(run, checkpoints, metrics, events))
        return
    last = {metric.name: metric for metric in metrics}
    given = {name: value for name, value in run.hyperparameters.items() if value is not None}
    print_fields(
        {
            "ID": run.id,
            "Name": run.name,
            "Status": run.status,
            "Error": run.error,
            "Base model": run.base_model,
            "Adapter": run.adapter_path,
            "Created": run.created_at,
            "Finished": run.finished_at,
            "Notes": run.notes,
            "Settings": ", ".join(f"{name} {_shown(value)}" for name, value in given.items()),
            "Checkpoints": ", ".join(str(checkpoint.step) for checkpoint in checkpoints),
            "Last numbers": ", ".join(
                f"{name} {metric.value:.4g} (step {metric.step})"
                for name, metric in last.items()
                if metric.value is not None
            ),
        }
    )
    if events:
        print()
        rows = [(event.created_at, event.text) for event in reversed(events)]
        print_table(("When", "What happened"), rows, empty="")


def dataset_document(dataset: Dataset) -> dict[str, Any]:
    """A dataset as ``datasets list --json`` prints it."""
    return {
        "id": dataset.id,
        "name": dataset.name,
        "rows": dataset.row_count,
        "format": dataset.format,
        "source": dataset.source,
        "created_at": _time(dataset.created_at),
    }


def _console(stream: TextIO) -> Console:
    return Console(
        file=stream,
        width=None if stream.isatty() else _PIPED_WIDTH,
        soft_wrap=not stream.isatty(),
        highlight=False,
    )


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment is not None else None


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value)
