"""A training is recorded as it runs, whatever becomes of it, and is never held up by that."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from db import training_runs
from db.database import Database
from db.models import RunSource, RunStatus, TrainingRun, utc_now
from db.training_runs import EventKind
from helpers.app_paths import database_path
from helpers.run_tracking import STALE_AFTER, is_stale, mark_stale_runs, track_run

SRC = Path(__file__).resolve().parents[2] / "src"


def test_a_training_leaves_its_numbers_checkpoints_and_adapter(tmp_path: Path) -> None:
    with track_run("one", "base", None, tmp_path / "out", {"rank": 8}, data_dir=tmp_path) as run:
        for step in range(1, 301):
            run.log(step, loss=1 / step, learning_rate=1e-4)
        run.checkpoint(100, tmp_path / "out" / "checkpoint-100")
        run.adapter(tmp_path / "out")
    with Database.open(database_path(tmp_path)) as database, database.read_scope() as session:
        found = training_runs.find_by_name_or_id_or_raise(session, "one")
        assert (found.status, found.error) == (RunStatus.COMPLETED, None)
        assert found.adapter_path == str(tmp_path / "out") and found.hyperparameters == {"rank": 8}
        assert len(training_runs.list_metrics(session, found.id)) == 600
        assert [saved.step for saved in training_runs.list_checkpoints(session, found.id)] == [100]
        kinds = [event.kind for event in training_runs.list_events(session, found.id)]
        assert kinds == [EventKind.FINISHED, EventKind.ADAPTER, EventKind.CHECKPOINT, EventKind.STARTED]


@pytest.mark.parametrize(
    ("error", "words"), [(ValueError("no such column"), "no such column"), (KeyboardInterrupt(), "Ctrl+C")]
)
def test_an_error_marks_the_run_failed_and_goes_on(tmp_path: Path, error: BaseException, words: str) -> None:
    with pytest.raises(type(error)), track_run("one", "base", data_dir=tmp_path) as run:
        run.log(1, loss=2.0)
        raise error
    with Database.open(database_path(tmp_path)) as database, database.read_scope() as session:
        found = training_runs.find_by_name_or_id_or_raise(session, "one")
        assert found.status is RunStatus.FAILED and words in (found.error or "")
        assert len(training_runs.list_metrics(session, found.id)) == 1


def test_a_database_that_another_program_locks_holds_up_no_step_and_loses_nothing(tmp_path: Path) -> None:
    Database.open(database_path(tmp_path)).close()
    other = sqlite3.connect(database_path(tmp_path), isolation_level=None)
    with closing(other), track_run("one", "base", data_dir=tmp_path) as run:
        other.execute("PRAGMA busy_timeout = 5000")
        other.execute("BEGIN IMMEDIATE")
        began = time.perf_counter()
        for step in range(1000):
            run.log(step, loss=1.0)
        assert time.perf_counter() - began < 0.5
        other.execute("ROLLBACK")
    with Database.open(database_path(tmp_path)) as database, database.read_scope() as session:
        found = training_runs.find_by_name_or_id_or_raise(session, "one")
        assert found.status is RunStatus.COMPLETED
        assert len(training_runs.list_metrics(session, found.id)) == 1000


def test_a_killed_process_is_found_dead(tmp_path: Path) -> None:
    code = """
import sys, time
from helpers.run_tracking import track_run
with track_run("killed", "base", data_dir=sys.argv[1]) as run:
    run.log(1, loss=1.0)
    while run.id is None:
        time.sleep(0.01)
    print("recorded", flush=True)
    sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None and child.stdout.readline().strip() == "recorded"
        with Database.open(database_path(tmp_path)) as database:
            assert mark_stale_runs(database) == []
            child.send_signal(signal.SIGKILL)
            child.wait()
            assert len(mark_stale_runs(database)) == 1
            with database.read_scope() as session:
                found = training_runs.find_by_name_or_id_or_raise(session, "killed")
            assert found.status is RunStatus.FAILED and "killed" in (found.error or "")
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(
    ("status", "source", "ages", "stale"),
    [
        (RunStatus.RUNNING, RunSource.TRACKED, 0.5, False),
        (RunStatus.RUNNING, RunSource.TRACKED, 1.1, True),
        (RunStatus.RUNNING, RunSource.DEMO, 9, False),
        (RunStatus.COMPLETED, RunSource.TRACKED, 9, False),
    ],
)
def test_only_a_tracked_run_without_a_sign_of_life_is_stale(
    status: RunStatus, source: RunSource, ages: float, stale: bool
) -> None:
    run = TrainingRun(status=status, source=source, heartbeat_at=utc_now() - STALE_AFTER * ages)
    assert is_stale(run, utc_now()) is stale


def test_importing_costs_no_model_library() -> None:
    code = "import sys, helpers.run_tracking; assert not {'transformers', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)}, check=True)


@pytest.mark.parametrize(("option", "name"), [("--loop", "Example with a loop"), ("", "Example with a Trainer")])
def test_the_example_trains_an_adapter_that_the_list_of_runs_has(tmp_path: Path, option: str, name: str) -> None:
    output, script = tmp_path / "out", SRC.parent / "examples" / "train_with_tracking.py"
    options = [
        *([option] if option else []),
        "--steps",
        "4",
        "--output-dir",
        str(output),
        "--data-dir",
        str(tmp_path),
    ]
    subprocess.run([sys.executable, str(script), *options], check=True, capture_output=True, timeout=120)
    assert (output / "adapter_config.json").is_file()
    with Database.open(database_path(tmp_path)) as database, database.read_scope() as session:
        run = training_runs.find_by_name_or_id_or_raise(session, name)
        assert (run.status, run.adapter_path) == (RunStatus.COMPLETED, str(output))
        assert [step for step, _ in training_runs.metric_series(session, run.id, "loss", 100)] == [1, 2, 3, 4]
        assert len(training_runs.metric_series(session, run.id, "learning_rate", 100)) == 4
        checkpoints = [saved.step for saved in training_runs.list_checkpoints(session, run.id)]
        assert checkpoints == ([] if option else [2, 4])
        assert run.hyperparameters["learning_rate"] == 1e-3
