"""New and old files end up with the same tables, and an upgrade never loses anything."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, select

from db import conversations, datasets, run_records, training_runs
from db.database import Database
from db.models import Base, Message
from db.schema_version import HEAD_REVISION, MIGRATIONS
from errors import NewerDatabaseError

NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"


def upgrade() -> None:
    with op.batch_alter_table("training_runs", recreate="always") as table:
        table.add_column(sa.Column("favourite", sa.Boolean(), nullable=False, server_default="0"))
    {then}
"""


def test_a_fresh_workspace_has_exactly_the_tables_of_the_models(database: Database, path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        found = inspect(connection)
        for table in Base.metadata.tables.values():
            # Not compared by Alembic: what happens to rows whose owner goes, and how rows are numbered.
            recorded = {key["name"]: key["options"].get("ondelete") for key in found.get_foreign_keys(table.name)}
            assert recorded == {key.name: key.ondelete for key in table.foreign_key_constraints}
            sql = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE name = ?", (table.name,)
            ).scalar_one()
            options = table.dialect_options["sqlite"]
            assert ("AUTOINCREMENT" in sql, "WITHOUT ROWID" in sql) == (
                options["autoincrement"],
                not options["with_rowid"],
            )
    engine.dispose()


def test_the_newest_version_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD_REVISION


def test_an_up_to_date_workspace_opens_without_alembic(
    database: Database, path: Path, run_python: Callable[..., str]
) -> None:
    code = """
import sys
from pathlib import Path
from db.database import Database
Database.open(Path(sys.argv[1])).close()
print([name for name in sys.modules if name.startswith("alembic")])
"""
    assert run_python(code, path).strip() == "[]"


def test_an_upgrade_keeps_every_row_and_a_copy_of_the_old_file(path: Path, tmp_path: Path) -> None:
    migrations = _with_next_revision(tmp_path, then="")
    run_id = _fill(path)
    with Database.open(path, migrations=migrations, head="next") as database:
        with database.read_scope() as session:
            # The rows that refer to the rebuilt table are still there.
            assert training_runs.find_or_raise(session, run_id).dataset_id is not None
            assert len(run_records.list_metrics(session, run_id)) == 1
            assert len(run_records.list_checkpoints(session, run_id)) == 1
        with database.session_scope() as session:
            training_runs.delete(session, run_id)
            assert run_records.list_metrics(session, run_id) == []
    copy = path.with_name(f"playground.before-upgrade-from-{HEAD_REVISION}.db")
    with Database.open(copy) as old, old.read_scope() as session:
        assert training_runs.find_or_raise(session, run_id).name == "kept"


def test_a_failing_upgrade_leaves_the_workspace_usable_by_the_old_version(path: Path, tmp_path: Path) -> None:
    migrations = _with_next_revision(tmp_path, then="op.execute('SELECT * FROM no_such_table')")
    run_id = _fill(path)
    with pytest.raises(Exception, match="no_such_table"):
        Database.open(path, migrations=migrations, head="next")
    with Database.open(path) as database, database.read_scope() as session:
        assert training_runs.find_or_raise(session, run_id).name == "kept"
        columns = {column["name"] for column in inspect(session.connection()).get_columns("training_runs")}
        assert "favourite" not in columns


def test_a_workspace_of_a_newer_version_is_refused_and_left_as_it_is(database: Database, path: Path) -> None:
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(NewerDatabaseError) as raised:
        Database.open(path)
    assert str(path) in raised.value.message and "Update the app" in raised.value.hint
    assert hashlib.sha256(path.read_bytes()).digest() == before


def _fill(path: Path) -> int:
    with Database.open(path) as database, database.session_scope() as session:
        rows = [datasets.NewRow("a", "b")]
        dataset = datasets.create_with_rows(session, name="rows", source="test", format="jsonl", rows=rows)
        run = training_runs.create(session, name="kept", base_model="base", dataset_id=dataset.id)
        run_records.record_metrics(session, run.id, [run_records.MetricRow(1, "loss", 0.5)])
        run_records.add_checkpoint(session, run.id, 1, "/checkpoint-1")
        return run.id


def _with_next_revision(tmp_path: Path, then: str) -> Path:
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / "next.py").write_text(NEXT_REVISION.format(head=HEAD_REVISION, then=then))
    return migrations


def test_a_workspace_of_the_first_version_keeps_its_rows_and_gets_the_new_columns(path: Path) -> None:
    Database.open(path, head="0001").close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        now = "2026-01-02 03:04:05.000000"
        connection.execute(
            "INSERT INTO training_runs (id, name, status, base_model, hyperparameters, source, notes, created_at)"
            " VALUES (7, 'kept', 'completed', 'base', '{}', 'tracked', '', ?)",
            (now,),
        )
        connection.execute(
            "INSERT INTO conversations (id, title, base_model, settings, created_at, updated_at)"
            " VALUES (1, 'chat', 'base', '{}', ?, ?)",
            (now, now),
        )
        connection.execute(
            "INSERT INTO messages (conversation_id, role, content, status, created_at)"
            " VALUES (1, 'user', 'Hi', 'complete', ?)",
            (now,),
        )
        connection.commit()
    with Database.open(path) as database, database.read_scope() as session:
        assert training_runs.find_or_raise(session, 7).process_id is None
        assert conversations.find_or_raise(session, 1).system_prompt == ""
        assert session.scalars(select(Message)).one().with_history is True
        assert run_records.list_events(session, 7) == []
