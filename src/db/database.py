"""Opens a workspace's SQLite file and hands out sessions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.session import ORMExecuteState

from db.schema_version import HEAD_REVISION, MIGRATIONS, revision_of, upgrade
from db.storage_errors import file_not_usable, in_the_users_words, may_write, not_writable

BUSY_TIMEOUT = 5.0

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
        self._read_sessions = sessionmaker(engine, class_=_ReadSession)

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
        app's own only where upgrading itself is tested.

        Raises NewerDatabaseError, ReadOnlyStorageError, DiskFullError, LockedDatabaseError, DamagedDatabaseError, or
        StorageError for another program's file. A file that cannot be used is left byte for byte as it is.
        """
        _make_folder(path)
        with _storage_errors(path), _raw_storage_errors(path):
            if not may_write(path):
                raise not_writable(path)
            revision = revision_of(path, busy_timeout)
            if revision != head:
                engine = _engine(path, busy_timeout, foreign_keys=False, pooled=False)
                upgrade(engine.execution_options(**{_BEGIN_OPTION: "IMMEDIATE"}), path, revision, migrations, head)
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
            # Nothing to write, unless by mistake: then this raises.
            session.flush()

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
