"""A training is recorded as it runs, whatever becomes of it, and is never held up by that."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from db import run_records, training_runs
from db.database import Database
from db.models import EventKind, RunSource, RunStatus, TrainingRun, utc_now
from helpers import run_tracking
from helpers.app_paths import database_path
from helpers.run_tracking import TrackedRun, track_run
from helpers.run_upkeep import STALE_AFTER, adopt_saved_adapters, bring_up_to_date, is_stale, mark_stale_runs

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
        assert len(run_records.list_metrics(session, found.id)) == 600
        assert [saved.step for saved in run_records.list_checkpoints(session, found.id)] == [100]
        kinds = [event.kind for event in run_records.list_events(session, found.id)]
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
        assert len(run_records.list_metrics(session, found.id)) == 1


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
        assert len(run_records.list_metrics(session, found.id)) == 1000


def test_a_killed_process_is_found_dead(tmp_path: Path) -> None:
    code = """
import sys, time
from helpers.run_tracking import TrackedRun, track_run
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
            # Not waited for: a zombie is dead too.
            while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
                os.sched_yield()
            assert len(mark_stale_runs(database)) == 1
            with database.read_scope() as session:
                found = training_runs.find_by_name_or_id_or_raise(session, "killed")
                newest = run_records.list_events(session, found.id)[0]
            assert found.status is RunStatus.FAILED and "killed" in (found.error or "")
            assert (newest.kind, newest.text) == (EventKind.FAILED, found.error)
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


def _until(holds: Callable[[], bool]) -> None:
    """Waits for a condition; the test's own time limit ends it."""
    while not holds():
        time.sleep(0.01)


@contextmanager
def _training(data_dir: Path) -> Iterator[tuple[Database, TrackedRun, int]]:
    """A training that is in the list, with its number there."""
    with Database.open(database_path(data_dir)) as database, track_run("one", "base", data_dir=data_dir) as run:
        _until(lambda: run.id is not None)
        assert run.id is not None
        yield database, run, run.id


def test_a_run_that_was_taken_for_dead_comes_back_with_its_next_sign_of_life(tmp_path: Path) -> None:
    with _training(tmp_path) as (database, run, run_id):
        with database.session_scope() as session:
            training_runs.mark_failed(session, run_id, "died")
        run.log(1, loss=1.0)

        def is_running() -> bool:
            with database.read_scope() as session:
                return training_runs.find_or_raise(session, run_id).status is RunStatus.RUNNING

        _until(is_running)
        with database.read_scope() as session:
            assert training_runs.find_or_raise(session, run_id).error is None
            assert "goes on" in run_records.list_events(session, run_id)[0].text


def test_a_run_that_is_removed_while_it_trains_stops_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _training(tmp_path) as (database, run, run_id):
        with database.session_scope() as session:
            training_runs.delete(session, run_id)
        run.log(1, loss=1.0)
        _until(lambda: bool(caplog.messages))
        run.checkpoint(2, tmp_path / "checkpoint-2")
        run.log(3, loss=1.0)
    assert "was removed" in caplog.text
    with Database.open(database_path(tmp_path)) as database, database.read_scope() as session:
        assert training_runs.count(session) == 0


def test_what_waits_for_a_locked_database_is_bounded_and_the_oldest_numbers_give_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tracking, "MOST_WAITING", 100)
    Database.open(database_path(tmp_path)).close()
    other = sqlite3.connect(database_path(tmp_path), isolation_level=None)
    with closing(other), track_run("one", "base", data_dir=tmp_path) as run:
        other.execute("PRAGMA busy_timeout = 5000")
        other.execute("BEGIN IMMEDIATE")
        run.checkpoint(1, tmp_path / "checkpoint-1")
        for step in range(1000):
            run.log(step, loss=1.0)
        _until(lambda: "given up" in caplog.text)
        other.execute("ROLLBACK")
    with Database.open(database_path(tmp_path)) as database, database.read_scope() as session:
        found = training_runs.find_by_name_or_id_or_raise(session, "one")
        steps = [step for step, _ in run_records.metric_series(session, found.id, "loss", 2000)]
        assert found.status is RunStatus.COMPLETED and 50 < len(steps) <= 100 and steps[-1] == 999
        assert len(run_records.list_checkpoints(session, found.id)) == 1


CALLBACK_ALONE = """
import sys
from transformers import TrainerControl, TrainerState, TrainingArguments
from helpers.run_tracking import RunTrackerCallback
state, control, folder = TrainerState(), TrainerControl(), sys.argv[1]
state.is_world_process_zero = True
def begin(name, callback):
    arguments = TrainingArguments(output_dir=f"{folder}/{name}", report_to=[], use_cpu=True)
    callback.on_train_begin(arguments, state, control)
    return arguments
own = [RunTrackerCallback(name, data_dir=folder) for name in ("ended", "again", "left")]
own[0].on_train_end(begin("ended", own[0]), state, control)
begin("again", own[1])
# An error was caught, and the same trainer trains again.
own[1].on_train_end(begin("again", own[1]), state, control)
begin("left", own[2])
sys.exit(0)
"""


def test_a_callback_alone_leaves_no_run_running_and_its_later_adapter_is_found(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CALLBACK_ALONE, str(tmp_path)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SRC)}, check=True, timeout=120)
    with Database.open(database_path(tmp_path)) as database:
        with database.read_scope() as session:
            runs = sorted((run.name, run.status, run.error or "") for run in training_runs.list_recent(session))
        assert [(name, status) for name, status, _ in runs] == [
            ("again", RunStatus.COMPLETED),
            ("again", RunStatus.FAILED),
            ("ended", RunStatus.COMPLETED),
            ("left", RunStatus.FAILED),
        ]
        assert all("left before its end" in error for _, status, error in runs if status is RunStatus.FAILED)
        assert adopt_saved_adapters(database) == []
        # trainer.save_model() comes after the end of the training.
        (tmp_path / "ended").mkdir(exist_ok=True)
        (tmp_path / "ended" / "adapter_config.json").write_text("{}")
        bring_up_to_date(database)
        bring_up_to_date(database)
        with database.read_scope() as session:
            ended = training_runs.find_by_name_or_id_or_raise(session, "ended")
            assert ended.adapter_path == str(tmp_path / "ended")
            kinds = [event.kind for event in run_records.list_events(session, ended.id)]
            assert kinds.count(EventKind.ADAPTER) == 1


def test_of_several_trainings_into_one_folder_only_the_last_has_its_adapter(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    for name in ("first", "second"):
        with track_run(name, "base", output_dir=output, data_dir=tmp_path):
            pass
    (output / "adapter_config.json").write_text("{}")
    with track_run("third", "base", output_dir=output, data_dir=tmp_path):
        pass
    with Database.open(database_path(tmp_path)) as database:
        adopt_saved_adapters(database)
        with database.read_scope() as session:
            found = {run.name: run.adapter_path for run in training_runs.list_recent(session)}
    assert found == {"first": None, "second": str(output), "third": None}


def test_an_adapter_that_lay_there_before_the_training_is_not_taken_for_its_own(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "adapter_config.json").write_text("{}")
    os.utime(output / "adapter_config.json", (1, 1))
    with track_run("one", "base", output_dir=output, data_dir=tmp_path):
        pass
    with Database.open(database_path(tmp_path)) as database:
        assert adopt_saved_adapters(database) == []


def test_hyperparameters_of_any_kind_are_recorded(tmp_path: Path) -> None:
    values = {"rate": float("inf"), "targets": {"v", "q"}, "folder": tmp_path, "status": RunStatus.FAILED}
    with track_run("one", "base", None, None, values, data_dir=tmp_path):
        pass
    with Database.open(database_path(tmp_path)) as database, database.read_scope() as session:
        found = training_runs.find_by_name_or_id_or_raise(session, "one").hyperparameters
    assert found == {
        "rate": "inf", "targets": ["q", "v"], "folder": str(tmp_path), "status": "failed"
    }  # fmt: skip


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
        assert [step for step, _ in run_records.metric_series(session, run.id, "loss", 100)] == [1, 2, 3, 4]
        assert len(run_records.metric_series(session, run.id, "learning_rate", 100)) == 4
        checkpoints = [saved.step for saved in run_records.list_checkpoints(session, run.id)]
        assert checkpoints == ([] if option else [2, 4])
        assert run.hyperparameters["learning_rate"] == 1e-3
        if not option:
            assert (run.hyperparameters["rank"], run.hyperparameters["alpha"]) == (8, 16)
            assert run.hyperparameters["peft_type"] == "LORA" and run.hyperparameters["optim"] == "adamw_torch_fused"
            assert run.hyperparameters["target_modules"] == sorted(run.hyperparameters["target_modules"])
