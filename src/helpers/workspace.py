"""One workspace: a folder with its SQLite file and its log, opened for the app or for one command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from db.database import Database
from db.datasets import abandoned_ids
from errors import LockedDatabaseError
from helpers.app_paths import data_dir, database_path, demo_data_dir, log_path

_LOG_BYTES = 1_000_000
_MOST_SECONDS_CLEANING = 0.2

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workspace:
    """``demo``: whether it is the demo's own workspace, filled with the shipped runs."""

    database: Database
    folder: Path
    demo: bool


@contextmanager
def open_workspace(chosen: Path | None = None, *, demo: bool = False) -> Iterator[Workspace]:
    """The workspace for as long as the block runs; created where it is missing.

    ``chosen``: its folder, None = the user's own. Raises StorageError where it cannot be used.
    """
    folder = demo_data_dir(chosen) if demo else data_dir(chosen)
    with Database.open(database_path(folder)) as database:
        _log_to(log_path(folder))
        _clean_up(database)
        if demo:
            from helpers.demo_workspace import ensure_demo_workspace

            ensure_demo_workspace(database, folder)
        yield Workspace(database, folder, demo)


def _clean_up(database: Database) -> None:
    """Remove some of what killed imports left. Nobody sees it, so the start waits for no more than a part of it."""
    with database.read_scope() as session:
        if not abandoned_ids(session):
            return
    from helpers.dataset_import import remove_abandoned

    try:
        remove_abandoned(database, _MOST_SECONDS_CLEANING)
    except LockedDatabaseError:
        _logger.warning("The rest of an import that was killed is removed at another start: the workspace is in use.")


def _log_to(path: Path) -> None:
    """Keep warnings and failures in a file; what the user must know is said on screen instead."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8", delay=True)
    except OSError:
        # A workspace that can be read but not written still opens, without a log.
        logging.getLogger().addHandler(logging.NullHandler())
        return
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    file.setLevel(logging.WARNING)
    logging.getLogger().addHandler(file)
