"""``runs scan``: a folder, with its progress on stderr, or FineFoundry's database."""

from dataclasses import dataclass, field
from pathlib import Path

from db import training_runs
from db.database import Database
from db.models import TrainingRun
from helpers.command_output import note
from helpers.finefoundry_import import import_finefoundry
from helpers.run_import import register_each, scan_for_adapters


@dataclass
class Scanned:
    """The runs that are new, and what was left out with the reason. ``stopped``: with Ctrl+C, before the end."""

    new: list[TrainingRun] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    stopped: bool = False


def scan(database: Database, path: Path) -> Scanned:
    """Adds what is new in a folder, or in FineFoundry's database with its datasets, where ``path`` is a file.

    Ctrl+C ends it with the runs that were added until then, each of them whole. Raises what those readers raise.
    """
    if path.is_file():
        imported = import_finefoundry(database, path)
        if imported.datasets:
            note(f"Datasets added: {len(imported.datasets):,}")
        with database.read_scope() as session:
            runs = [training_runs.find_or_raise(session, run_id) for run_id in imported.runs]
        return Scanned(runs, imported.skipped)
    scanned = Scanned()
    try:
        _scan_folder(database, path, scanned)
    except KeyboardInterrupt:
        scanned.stopped = True
        note(f"Stopped. New runs added: {len(scanned.new):,}")
    return scanned


def _scan_folder(database: Database, path: Path, scanned: Scanned) -> None:
    from rich.console import Console

    with Console(stderr=True).status("Searching for adapters") as status:
        result = scan_for_adapters(
            path, lambda seen, found: status.update(f"Searched {seen:,} folders, found {found:,} adapters")
        )
        scanned.skipped += [(str(folder), why) for folder, why in result.skipped]
        for number, (run, is_new) in enumerate(register_each(database, result.found), start=1):
            if is_new:
                scanned.new.append(run)
            status.update(f"Reading run {number:,} of {len(result.found):,}")
