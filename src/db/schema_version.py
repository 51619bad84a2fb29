"""Which version a workspace file has, and how it gets to the newest.

A new file is built by the same migrations as an old one. Alembic is imported only when there is something to upgrade:
that takes longer than everything else in opening.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from db.storage_errors import damaged, newer, not_ours

HEAD_REVISION = "0002"
MIGRATIONS = Path(__file__).resolve().parent / "migrations"

_HEADER_SIZE = 100


def revision_of(path: Path, busy_timeout: float) -> str | None:
    """The version that a file says it has; None for a file that is missing or holds no tables. Writes nothing."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    if _is_cut_off(path):
        raise damaged(path)
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=busy_timeout)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return None
        row = (
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if "alembic_version" in tables
            else None
        )
    if row is None:
        raise not_ours(path)
    return str(row[0])


def _is_cut_off(path: Path) -> bool:
    """True where the file is shorter than its header says. SQLite itself notices only when it reads what is missing.

    https://www.sqlite.org/fileformat2.html#the_database_header: page size at 16, change counter at 24, pages at 28,
    the counter for which that number holds at 92.
    """
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > 0:
        return False
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
    if len(header) < _HEADER_SIZE or header[24:28] != header[92:96]:
        return False
    page_size = int.from_bytes(header[16:18], "big")
    return path.stat().st_size < (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")


def upgrade(engine: Engine, path: Path, revision: str | None, migrations: Path, head: str) -> None:
    """Builds a new file, or upgrades an older one in one transaction: an upgrade that fails leaves it as it was.

    ``engine`` takes the write lock when a transaction begins and does not enforce foreign keys: migrations drop and
    rebuild tables, and enforced keys would delete the rows that refer to them.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise newer(path)
    if revision is not None:
        _copy_before_upgrade(path, revision)
    with engine.connect() as connection:
        _use_wal(connection)
    with engine.begin() as connection:
        # Another process may have upgraded it while this one waited for the lock.
        if _current_revision(connection) != head:
            config.attributes["connection"] = connection
            command.upgrade(config, head)
            _refuse_dangling_references(connection, path)


def _use_wal(connection: Connection) -> None:
    raw: Any = connection.connection.driver_connection
    raw.execute("PRAGMA journal_mode = WAL")


def _current_revision(connection: Connection) -> str | None:
    found = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").first()
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() if found else None


def _refuse_dangling_references(connection: Connection, path: Path) -> None:
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise damaged(path)


def _copy_before_upgrade(path: Path, revision: str) -> None:
    """Keeps the old version beside the file: the upgraded one can no longer be opened by an older app.

    A copy that is already there is from the first upgrade and stays.
    """
    copy = path.with_name(f"{path.stem}.before-upgrade-from-{revision}{path.suffix}")
    if copy.exists():
        return
    unfinished = copy.with_name(copy.name + ".part")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(unfinished)) as target:
            source.backup(target)
        unfinished.replace(copy)
    finally:
        unfinished.unlink(missing_ok=True)
