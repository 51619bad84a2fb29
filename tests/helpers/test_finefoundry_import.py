"""What FineFoundry recorded gets into the lists, and its own file stays as it is."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from db import datasets, run_records, training_runs
from db.database import Database
from db.models import RunStatus
from errors import ImportFormatError
from helpers.finefoundry_import import import_finefoundry

TABLES = """
CREATE TABLE training_runs (id INTEGER PRIMARY KEY, name TEXT, status TEXT, base_model TEXT, storage_path TEXT,
  output_dir TEXT, adapter_path TEXT, hp_json TEXT, started_at TEXT, completed_at TEXT, dataset_source TEXT,
  dataset_id TEXT, logs_json TEXT);
CREATE TABLE scrape_sessions (id INTEGER PRIMARY KEY, name TEXT, source TEXT);
CREATE TABLE scraped_pairs (id INTEGER PRIMARY KEY, session_id INTEGER, input_text TEXT, output_text TEXT);
INSERT INTO training_runs VALUES (1, 'mine', 'completed', 'base', '/s', '/s/out', '/s/out/adapter',
  '{"lr": 0.1}', '2025-01-01 10:00:00', '2025-01-01 11:00:00', 'database', '1', '["Loading ...",
  "[pod] {''loss'': 2.5, ''grad_norm'': 1e-2, ''learning_rate'': ''2e-05'', ''epoch'': 0.5}",
  "{''eval_loss'': 2.25, ''epoch'': 0.5}", "{''loss'': 2.0, ''epoch'': 1.0}", "{''note'': 1.0}",
  "{''loss'': 1.2.3}", 3]');
INSERT INTO training_runs VALUES (2, 'cut off', 'running', 'base', '/t', NULL, NULL, 'broken', NULL, NULL,
  'huggingface', 'org/pirates', '{');
INSERT INTO scrape_sessions VALUES (1, NULL, 'reddit'), (2, 'empty', 'web');
INSERT INTO scraped_pairs VALUES (1, 1, 'Hi', 'Hello'), (2, 1, 'Bye', 'See you');
"""


def test_runs_and_datasets_come_once_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "theirs" / "finefoundry.db"
    source.parent.mkdir()
    with (
        closing(sqlite3.connect(source)) as writer,
        Database.open(tmp_path / "ours" / "playground.db") as database,
    ):
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executescript(TABLES)
        before = _hashes(source.parent)
        assert "finefoundry.db-wal" in before
        done = import_finefoundry(database, source)
        assert (len(done.runs), len(done.datasets)) == (2, 1) and done.skipped == [("empty", "it has no rows")]
        again = import_finefoundry(database, source)
        assert (again.runs, again.datasets, len(again.skipped)) == ([], [], 4)
        assert _hashes(source.parent) == before
        with database.read_scope() as session:
            mine, cut_off = (training_runs.find_or_raise(session, run_id) for run_id in done.runs)
            assert (mine.status, mine.adapter_path, mine.hyperparameters) == (
                RunStatus.COMPLETED,
                "/s/out/adapter",
                {"lr": 0.1, "finefoundry_id": 1, "finefoundry_folder": "/s"},
            )
            assert mine.finished_at is not None and mine.finished_at.hour == 11
            assert cut_off.status is RunStatus.FAILED and cut_off.error
            assert datasets.find_or_raise(session, done.datasets[0]).row_count == 2
            assert mine.dataset_id == done.datasets[0] and cut_off.hyperparameters["datasets"] == ["org/pirates"]
            found = {(row.name, row.step): row.value for row in run_records.list_metrics(session, mine.id)}
            assert found == {("loss", 1): 2.5, ("grad_norm", 1): 0.01, ("learning_rate", 1): 2e-5,
                             ("eval_loss", 1): 2.25, ("loss", 2): 2.0}  # fmt: skip


def test_a_run_is_known_again_after_its_file_moved_and_its_notes_were_written_over(tmp_path: Path) -> None:
    source, moved = tmp_path / "finefoundry.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(source)) as writer:
        writer.executescript(TABLES)
    with Database.open(tmp_path / "ours" / "playground.db") as database:
        first = import_finefoundry(database, source).runs
        with database.session_scope() as session:
            for run_id in first:
                training_runs.rename(session, run_id, "mine now")
                training_runs.set_notes(session, run_id, "my own words")
        source.rename(moved)
        assert len(first) == 2 and import_finefoundry(database, moved).runs == []


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "finefoundry.db").write_text("not a database, whatever its name says, and long enough to be one")
    with Database.open(tmp_path / "playground.db") as database, pytest.raises(ImportFormatError):
        import_finefoundry(database, tmp_path / "finefoundry.db")


def _hashes(folder: Path) -> dict[str, str]:
    # SQLite's own -shm holds locks, not data, and belongs to the program that has the file open.
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if not file.name.endswith("-shm")
    }
