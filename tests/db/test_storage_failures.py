"""A workspace that cannot be used: a message with the next step, and nothing overwritten.

Permission bits do not stop root, so the read-only test gives up root in a process of its own. Where mounting is
allowed, the same is tried on a disk that is really read-only or really full.
"""

import hashlib
import json
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from db import datasets, training_runs
from db.database import Database
from errors import (
    DamagedDatabaseError,
    DiskFullError,
    LockedDatabaseError,
    PlaygroundError,
    ReadOnlyStorageError,
    StorageError,
)

from .conftest import Child


def _fingerprint(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _refused(path: Path, error: type[PlaygroundError]) -> PlaygroundError:
    """Opening raises ``error`` with cause and next step, and the file stays as it was."""
    before = _fingerprint(path)
    with pytest.raises(error) as raised:
        Database.open(path, busy_timeout=0.1)
    assert _fingerprint(path) == before
    assert str(path.parent) in raised.value.message and raised.value.hint
    return raised.value


def _fill(database: Database, rows: int) -> None:
    with database.session_scope() as session:
        examples = (datasets.NewRow("question " * 20, "answer " * 20) for _ in range(rows))
        datasets.create_with_rows(session, name="rows", source="test", format="jsonl", rows=examples)


@pytest.mark.parametrize("keep", [30, 100, 4096, 5000, -4096, -1])
def test_a_cut_off_file_is_refused(database: Database, path: Path, keep: int) -> None:
    _fill(database, 100)
    database.close()
    path.write_bytes(path.read_bytes()[:keep])
    _refused(path, DamagedDatabaseError)


@pytest.mark.parametrize(
    "content", [b"not a database at all", os.urandom(8192), b"SQLite format 3\x00" + bytes(4080)]
)
def test_a_file_of_something_else_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    _refused(path, DamagedDatabaseError)


def test_damage_in_the_middle_is_named_when_it_is_met(database: Database, path: Path) -> None:
    _fill(database, 5000)
    database.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    with Database.open(path) as damaged:
        with pytest.raises(DamagedDatabaseError), damaged.session_scope() as session:
            datasets.delete_some(session, 1, 10_000)
        with damaged.read_scope() as session:
            assert datasets.find_or_raise(session, 1).name == "rows"


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (id INTEGER)")
        connection.commit()
    assert "another program" in _refused(path, StorageError).message


def test_a_folder_in_place_of_the_file_or_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "playground.db").mkdir()
    with pytest.raises(StorageError, match=r"playground\.db"):
        Database.open(tmp_path / "playground.db")
    (tmp_path / "workspace").write_text("a file")
    with pytest.raises(StorageError, match="workspace"):
        Database.open(tmp_path / "workspace" / "playground.db")


OPEN_WITHOUT_RIGHTS = """
import json, os, sys
from pathlib import Path
from db.database import Database
from errors import PlaygroundError
path, locked_file, locked_folder = Path(sys.argv[1]), sys.argv[2] == "True", sys.argv[3] == "True"
Database.open(path).close()
os.chmod(path, 0o444 if locked_file else 0o666)
os.chmod(path.parent, 0o555 if locked_folder else 0o777)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    Database.open(path).close()
except PlaygroundError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(("locked_file", "locked_folder"), [(True, True), (True, False), (False, True)])
def test_without_the_right_to_write_the_workspace_is_refused(
    run_python: Callable[..., str], locked_file: bool, locked_folder: bool
) -> None:
    # Not under tmp_path, which other users may not enter.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "workspace" / "playground.db"
        output = run_python(OPEN_WITHOUT_RIGHTS, path, locked_file, locked_folder)
        kind, words = json.loads(output)
        os.chmod(path.parent, 0o755)
        assert sorted(file.name for file in path.parent.iterdir()) == ["playground.db"]
    assert kind == "ReadOnlyStorageError"
    assert str(path) in words and "--data-dir" in words


HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"PRAGMA locking_mode = {sys.argv[2]}")
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
connection.close()
print("released", flush=True)
sys.stdin.readline()
"""


def _say(child: Child, word: str, answer: str) -> None:
    assert child.stdin is not None and child.stdout is not None
    if word:
        child.stdin.write(f"{word}\n")
        child.stdin.flush()
    assert child.stdout.readline() == f"{answer}\n"


def test_while_another_process_writes_reading_works_and_writing_says_so(
    database: Database, path: Path, start_python: Callable[..., Child]
) -> None:
    holder = start_python(HOLD_LOCK, path, "NORMAL")
    _say(holder, "", "locked")
    with database.read_scope() as session:
        assert training_runs.count(session) == 0
    with pytest.raises(LockedDatabaseError) as raised, database.session_scope() as session:
        training_runs.create(session, name="refused", base_model="base")
    assert str(path) in raised.value.message and "try again" in raised.value.hint
    _say(holder, "let go", "released")
    with database.session_scope() as session:
        training_runs.create(session, name="written", base_model="base")
    with database.read_scope() as session:
        assert training_runs.count(session) == 1


def test_a_workspace_that_another_process_holds_alone_cannot_be_opened(
    database: Database, path: Path, start_python: Callable[..., Child]
) -> None:
    database.close()
    holder = start_python(HOLD_LOCK, path, "EXCLUSIVE")
    _say(holder, "", "locked")
    _refused(path, LockedDatabaseError)
    _say(holder, "let go", "released")
    Database.open(path).close()


def test_when_no_page_is_left_the_write_is_undone_and_what_was_there_stays(database: Database, path: Path) -> None:
    with database.session_scope() as session:
        training_runs.create(session, name="before", base_model="base")
    database.close()
    with Database.open(path) as limited:
        event.listen(
            limited._engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 60")
        )
        with pytest.raises(DiskFullError) as raised:
            _fill(limited, 5000)
        assert str(path) in raised.value.message and "Free some space" in raised.value.hint
        with limited.session_scope() as session:
            training_runs.create(session, name="after", base_model="base")
        with limited.read_scope() as session:
            assert [run.name for run in training_runs.list_recent(session)] == ["after", "before"]
            assert datasets.list_all(session) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a disk needs more rights")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_on_a_disk_that_fills_up_nothing_is_lost(small_disk: Path) -> None:
    path = small_disk / "playground.db"
    with Database.open(path) as database:
        with database.session_scope() as session:
            training_runs.create(session, name="before", base_model="base")
        with pytest.raises(DiskFullError):
            _fill(database, 5000)
    with Database.open(path) as database, database.read_scope() as session:
        assert [run.name for run in training_runs.list_recent(session)] == ["before"]
        assert datasets.list_all(session) == []


def test_a_full_disk_is_named_when_the_workspace_is_opened(small_disk: Path) -> None:
    path = small_disk / "playground.db"
    Database.open(path).close()
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(bytes(4096))
    _refused(path, DiskFullError)
    with pytest.raises(DiskFullError):
        Database.open(small_disk / "new" / "playground.db")


def test_a_read_only_disk_is_named(small_disk: Path) -> None:
    path = small_disk / "playground.db"
    Database.open(path).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    _refused(path, ReadOnlyStorageError)
    with pytest.raises(ReadOnlyStorageError):
        Database.open(small_disk / "new" / "playground.db")
