"""``runs scan``: a folder, with its progress on stderr, or FineFoundry's database."""

from pathlib import Path

from db import training_runs
from db.database import Database
from db.models import TrainingRun
from helpers.finefoundry_import import import_finefoundry
from helpers.run_import import register_found, scan_for_adapters

Skipped = list[tuple[str, str]]


def scan(database: Database, path: Path) -> tuple[list[TrainingRun], Skipped]:
    """The runs that are new, and what was left out with the reason.

    A file is read as FineFoundry's database, which also brings its datasets. Raises what those readers raise.
    """
    if path.is_file():
        imported = import_finefoundry(database, path)
        with database.read_scope() as session:
            return [training_runs.find_or_raise(session, run_id) for run_id in imported.runs], imported.skipped
    from rich.console import Console

    with Console(stderr=True).status("Searching for adapters") as status:
        scanned = scan_for_adapters(
            path, lambda seen, found: status.update(f"Searched {seen:,} folders, found {found:,} adapters")
        )
    return register_found(database, scanned.found), [(str(folder), why) for folder, why in scanned.skipped]
