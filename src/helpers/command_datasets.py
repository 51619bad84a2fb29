"""The command ``datasets add``: an import with its progress on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from db.database import Database
from helpers.dataset_import import ImportProgress, ImportResult, import_dataset, mapping_of


def add_dataset(
    database: Database,
    source: str,
    name: str | None,
    columns: tuple[str | None, str | None, str | None],
    *,
    split: str | None,
    hub_token: str | None,
) -> ImportResult:
    """Imports ``source`` and shows how far it is. ``columns``: of prompt, answer, system prompt; None = not named.

    Raises the errors of :func:`helpers.dataset_import.import_dataset` and SettingsError for half a mapping. Ctrl+C
    leaves nothing of the dataset.
    """
    mapping = mapping_of(*columns)
    with _shown_progress() as show:
        return import_dataset(
            database, source, name, mapping=mapping, on_progress=show, split=split, hub_token=hub_token
        )


@contextmanager
def _shown_progress() -> Iterator[Callable[[ImportProgress], None]]:
    """Only on a terminal, and gone at the end."""
    parts = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(*parts, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Reading", total=None)

        def show(progress: ImportProgress) -> None:
            words = f"{progress.rows:,} rows"
            if progress.bytes_total:
                words += f", {decimal(progress.bytes_read)} of {decimal(progress.bytes_total)}"
            bar.update(task, description=words, completed=progress.bytes_read, total=progress.bytes_total or None)

        yield show
