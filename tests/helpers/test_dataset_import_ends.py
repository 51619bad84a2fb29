"""Imports that end before their end: by Ctrl+C, killed, cancelled, or because the source does not answer."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db import datasets
from db.database import Database
from db.datasets import NewRow
from db.models import Dataset, DatasetRow
from helpers.app_paths import database_path
from helpers.dataset_import import ImportCancelled, import_dataset, remove_abandoned, remove_dataset
from helpers.dataset_reading import RowReader
from helpers.workspace import open_workspace

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(database_path(tmp_path / "workspace")) as opened:
        yield opened


def _left(database: Database) -> tuple[int, int]:
    """Datasets and rows, listed or not."""
    with database.read_scope() as session:
        return session.query(Dataset).count(), session.query(DatasetRow).count()


@contextmanager
def _import_at_work(database: Database, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has saved some rows of a long file, and is far from its end."""
    path = folder / "long.jsonl"
    line = json.dumps({"prompt": "p" * 200, "response": "r" * 200})
    path.write_text(f"{line}\n" * 200_000, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "main", "datasets", "add", str(path), "--data-dir", str(database.path.parent)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            while _left(database)[1] == 0:
                assert process.poll() is None, process.communicate()
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_says_so_and_leaves_nothing(database: Database, tmp_path: Path) -> None:
    with _import_at_work(database, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "nothing of the dataset is kept" in err
    assert "Traceback" not in err
    assert _left(database) == (0, 0)


def test_what_a_killed_import_left_is_never_listed_and_goes_when_the_workspace_opens(
    database: Database, tmp_path: Path
) -> None:
    with _import_at_work(database, tmp_path) as process:
        remove_abandoned(database)
        assert _left(database)[0] == 1, "one that is at work stays"
        process.kill()
        process.wait(timeout=60)
    assert _left(database)[1] > 0
    with database.read_scope() as session:
        assert datasets.list_all(session) == []
    while _left(database) != (0, 0):
        with open_workspace(database.path.parent):
            pass


def test_opening_a_workspace_waits_only_briefly_for_what_was_left(database: Database, tmp_path: Path) -> None:
    with database.session_scope() as session:
        number = datasets.begin(session, source="s", format="f")
        datasets.append_rows(session, number, 0, [NewRow("p", "r")] * 100_000)
        session.get_one(Dataset, number).name = "(unfinished by an older version)"
        session.get_one(Dataset, number).created_at = session.get_one(Dataset, number).created_at.replace(year=2020)
    started = time.monotonic()
    remove_abandoned(database, most_seconds=0.0)
    assert time.monotonic() - started < 5
    assert _left(database) == (1, 100_000)
    remove_abandoned(database)
    assert _left(database) == (0, 0)


def test_a_removed_dataset_leaves_the_runs_trained_on_it(database: Database, tmp_path: Path) -> None:
    from db import training_runs

    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "response": "r"}\n' * 5000, encoding="utf-8")
    saved = import_dataset(database, path).dataset
    with database.session_scope() as session:
        run = training_runs.create(session, name="run", base_model="base", dataset_id=saved.id)
    remove_dataset(database, saved.id)
    with database.read_scope() as session:
        assert training_runs.find_or_raise(session, run.id).dataset_id is None
    assert _left(database) == (0, 0)


def test_a_file_of_mostly_bad_rows_can_be_cancelled_before_its_first_good_one(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    good = '{"prompt": "p", "response": "r"}\n'
    with path.open("w", encoding="utf-8") as file:
        file.write(good)
        for _ in range(2_000):
            file.write("{broken\n" * 1_000)
    asked = []

    def should_stop() -> bool:
        asked.append(time.monotonic())
        return True

    with pytest.raises(ImportCancelled):
        import_dataset(database, path, should_stop=should_stop)
    assert len(asked) == 1
    assert _left(database) == (0, 0)
    assert not [thread for thread in threading.enumerate() if thread.name == "dataset-reader"]


def test_a_source_that_does_not_answer_is_waited_for_in_short_steps_and_given_up_at_once() -> None:
    answer = threading.Event()

    def rows() -> Iterator[NewRow]:
        yield NewRow("p", "r")
        answer.wait()
        yield NewRow("q", "r")

    reader = RowReader(rows(), 1)
    assert reader.take(60) == [NewRow("p", "r")]
    assert reader.take(0.01) is None and reader.take(0.01) is None
    reader.close(0.01)
    answer.set()


def test_rows_that_come_late_are_not_lost() -> None:
    answer = threading.Event()

    def rows() -> Iterator[NewRow]:
        answer.wait()
        yield from (NewRow(str(number), "r") for number in range(5))

    reader = RowReader(rows(), 2)
    assert reader.take(0.01) is None
    answer.set()
    portions = [reader.take(60) for _ in range(4)]
    assert [[row.prompt for row in portion or ()] for portion in portions] == [["0", "1"], ["2", "3"], ["4"], []]
    reader.close()
