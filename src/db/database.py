"""Opens a workspace's SQLite file, brings it to the newest version, and hands out sessions.

A new file is built by the same migrations as an old one. Alembic is imported only when there is something to upgrade:
it costs more than the rest of opening together.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.session import ORMExecuteState

from db.storage_errors import (
    damaged,
    file_not_usable,
    in_the_users_words,
    may_write,
    newer,
    not_ours,
    not_writable,
)

HEAD_REVISION = "0001"
MIGRATIONS = Path(__file__).resolve().parent / "migrations"
BUSY_TIMEOUT = 5.0

_HEADER_SIZE = 100
_BEGIN_OPTION = "sqlite_begin"


class Database:
    """One open workspace file, shared by all threads of the process. Several processes may have it open at once."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self._engine = engine
        # A write scope takes SQLite's write lock at its start: one that had read before another program wrote
        # could not write any more, however long it waited.
        self._write_sessions = sessionmaker(
            engine.execution_options(**{_BEGIN_OPTION: "IMMEDIATE"}), expire_on_commit=False
        )
        self._read_sessions = sessionmaker(engine, class_=_ReadSession, autoflush=False)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        busy_timeout: float = BUSY_TIMEOUT,
        migrations: Path = MIGRATIONS,
        head: str = HEAD_REVISION,
    ) -> "Database":
        """Opens the file, creating it and its folder where they are missing, and upgrades an older one.

        ``busy_timeout``: seconds to wait for another program's write. ``migrations`` and ``head`` are other than the
        app's own only where upgrading itself is tested. Raises NewerDatabaseError, ReadOnlyStorageError, DiskFullError,
        LockedDatabaseError, DamagedDatabaseError, or StorageError for another program's file; a file that cannot be
        used is left byte for byte as it is.
        """
        _make_folder(path)
        with _storage_errors(path), _raw_storage_errors(path):
            revision = _revision_of(path, busy_timeout)
            if not may_write(path):
                raise not_writable(path)
            if revision != head:
                _upgrade(path, revision, busy_timeout, migrations, head)
            return cls(path, _engine(path, busy_timeout))

    @contextmanager
    def session_scope(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back when an error leaves the block; for all that writes.

        Rows stay usable after the block. Raises the StorageErrors of :meth:`open`.
        """
        with _storage_errors(self.path), self._write_sessions.begin() as session:
            yield session

    @contextmanager
    def read_scope(self) -> Iterator[Session]:
        """A session that only reads one consistent state and never waits for a writer. Rows stay usable after it."""
        with _storage_errors(self.path), self._read_sessions() as session:
            yield session

    def close(self) -> None:
        """Gives the file back. The object must not be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _ReadSession(Session):
    """Refuses to write, so that a forgotten commit is noticed at once."""


@event.listens_for(_ReadSession, "before_flush")
def _refuse_flush(session: Session, flush_context: object, instances: object) -> None:
    raise RuntimeError("read_scope() cannot write: use session_scope()")


@event.listens_for(_ReadSession, "do_orm_execute")
def _refuse_statement(state: ORMExecuteState) -> None:
    if not state.is_select:
        raise RuntimeError("read_scope() cannot write: use session_scope()")


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reported = error.orig
        # The other two are mistakes in our own code.
        if isinstance(reported, sqlite3.Error) and not isinstance(
            reported, sqlite3.IntegrityError | sqlite3.ProgrammingError
        ):
            raise in_the_users_words(reported, path) from error
        raise


@contextmanager
def _raw_storage_errors(path: Path) -> Iterator[None]:
    """For opening, which also looks at the file without SQLAlchemy."""
    try:
        yield
    except sqlite3.Error as error:
        raise in_the_users_words(error, path) from error
    except OSError as error:
        raise file_not_usable(path, error) from error


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_not_usable(path.parent, error) from error


def _engine(path: Path, busy_timeout: float, *, foreign_keys: bool = True, pooled: bool = True) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        # isolation_level None: sqlite3 begins no transaction on its own, which would leave DDL outside of it.
        connect_args={"timeout": busy_timeout, "isolation_level": None, "check_same_thread": False},
        poolclass=None if pooled else NullPool,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        # A power cut can lose the last commits but never the file; with WAL this saves one fsync per commit.
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN_OPTION, 'DEFERRED')}")

    return engine


def _revision_of(path: Path, busy_timeout: float) -> str | None:
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


def _upgrade(path: Path, revision: str | None, busy_timeout: float, migrations: Path, head: str) -> None:
    """Builds a new file, or upgrades an older one in one transaction: an upgrade that fails leaves it as it was."""
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
    # Batch mode drops and rebuilds tables; enforced foreign keys would delete the rows that refer to them.
    engine = _engine(path, busy_timeout, foreign_keys=False, pooled=False).execution_options(
        **{_BEGIN_OPTION: "IMMEDIATE"}
    )
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
