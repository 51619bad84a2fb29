"""Sessions, and several users of one file."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db import training_runs
from db.database import Database
from db.models import DatasetRow, TrainingRun

from .conftest import Child


def test_the_folder_is_created_and_the_file_is_in_wal_mode_with_foreign_keys(path: Path) -> None:
    with Database.open(path) as database, database.session_scope() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    assert path.is_file()


def test_a_row_without_its_owner_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.session_scope() as session:
        session.add(DatasetRow(dataset_id=999, position=0, prompt="a", response="b"))


def test_an_error_in_the_block_undoes_all_of_it(database: Database) -> None:
    with pytest.raises(ValueError, match="stop here"), database.session_scope() as session:
        training_runs.create(session, name="never", base_model="base")
        raise ValueError("stop here")
    with database.read_scope() as session:
        assert training_runs.count(session) == 0


def test_rows_are_usable_after_their_scope(database: Database) -> None:
    with database.session_scope() as session:
        created = training_runs.create(session, name="one", base_model="base", hyperparameters={"r": 8})
    with database.read_scope() as session:
        found = training_runs.find_or_raise(session, created.id)
    assert (created.name, found.name, found.hyperparameters) == ("one", "one", {"r": 8})


def test_writing_in_a_read_scope_is_refused_rather_than_lost(database: Database) -> None:
    with pytest.raises(RuntimeError), database.read_scope() as session:
        session.add(TrainingRun(name="lost", base_model="base"))
    with pytest.raises(RuntimeError), database.read_scope() as session:
        session.execute(text("DELETE FROM training_runs"))


def test_reading_goes_on_while_another_connection_writes(database: Database) -> None:
    with database.session_scope() as writing:
        training_runs.create(writing, name="not yet there", base_model="base")
        with database.read_scope() as reading:
            assert training_runs.count(reading) == 0
    with database.read_scope() as reading:
        assert training_runs.count(reading) == 1


def test_text_of_any_script_comes_back_as_it_was(database: Database, path: Path) -> None:
    words = "naïve 🦜🏴‍☠️ 漢字かな한글 עברית \u202e ä\u0308 nul:\x00 end"
    with database.session_scope() as session:
        created = training_runs.create(session, name=words, base_model=words, hyperparameters={words: [words]})
    database.close()
    with Database.open(path) as again, again.read_scope() as session:
        found = training_runs.find_or_raise(session, created.id)
        assert (found.name, found.hyperparameters) == (words, {words: [words]})


def test_threads_that_read_and_then_write_do_not_lose_each_others_changes(path: Path) -> None:
    with Database.open(path) as database:
        with database.session_scope() as session:
            run_id = training_runs.create(session, name="0", base_model="base").id

        def count_up() -> None:
            for _ in range(25):
                with database.session_scope() as session:
                    run = training_runs.find_or_raise(session, run_id)
                    run.name = str(int(run.name) + 1)

        threads = [threading.Thread(target=count_up) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.read_scope() as session:
            assert training_runs.find_or_raise(session, run_id).name == "100"


CREATE_RUNS = """
import sys
from pathlib import Path
from db import training_runs
from db.database import Database
print("ready", flush=True)
sys.stdin.readline()
with Database.open(Path(sys.argv[1])) as database:
    for number in range(50):
        with database.session_scope() as session:
            training_runs.create(session, name=f"{sys.argv[2]}-{number}", base_model="base")
"""


def test_processes_that_create_the_same_workspace_at_once_all_succeed(
    path: Path, start_python: Callable[..., Child]
) -> None:
    children = [start_python(CREATE_RUNS, path, name) for name in "abc"]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    with Database.open(path) as database, database.read_scope() as session:
        names = {run.name for run in training_runs.list_recent(session, limit=1000)}
    assert names == {f"{process}-{number}" for process in "abc" for number in range(50)}


def test_a_process_that_dies_while_writing_leaves_what_was_committed(
    path: Path, run_python: Callable[..., str]
) -> None:
    run_python(
        """
import os, sys
from pathlib import Path
from db import training_runs
from db.database import Database
database = Database.open(Path(sys.argv[1]))
with database.session_scope() as session:
    training_runs.create(session, name="kept", base_model="base")
with database.session_scope() as session:
    training_runs.create(session, name="half", base_model="base")
    os._exit(0)
""",
        path,
    )
    with Database.open(path) as database, database.read_scope() as session:
        assert [run.name for run in training_runs.list_recent(session)] == ["kept"]
