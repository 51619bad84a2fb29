"""One workspace: a folder with its SQLite file and its log, opened for the app or for one command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from db.database import Database
from helpers.app_paths import data_dir, database_path, demo_data_dir, log_path

_LOG_BYTES = 1_000_000


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
        if demo:
            from helpers.demo_workspace import ensure_demo_workspace

            ensure_demo_workspace(database, folder)
        yield Workspace(database, folder, demo)


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
