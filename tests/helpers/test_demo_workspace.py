"""The demo workspace on a real database and real folders."""

import datetime as dt
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from safetensors import SafetensorError, safe_open

from db import datasets, run_records, settings, training_runs
from db.database import Database
from db.models import RunSource, RunStatus, TrainingRun, utc_now
from errors import StorageError
from helpers.app_paths import demo_assets_dir
from helpers.dataset_import import remove_dataset
from helpers.demo_workspace import DAMAGED_RUN, VERSION_KEY, ensure_demo_workspace

SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    with Database.open(folder / "playground.db") as opened:
        yield opened


@pytest.fixture
def workspace(database: Database, folder: Path) -> Path:
    ensure_demo_workspace(database, folder)
    return folder


def all_runs(database: Database) -> Sequence[TrainingRun]:
    with database.read_scope() as session:
        return training_runs.list_recent(session)


def run_named(database: Database, name: str) -> TrainingRun:
    with database.read_scope() as session:
        return training_runs.find_by_name_or_id_or_raise(session, name)


def test_it_shows_runs_in_every_state(database: Database, workspace: Path) -> None:
    states = [run.status for run in all_runs(database)]
    assert set(states) == set(RunStatus)
    assert states.count(RunStatus.COMPLETED) == 3


def test_the_latest_completed_run_is_one_that_works(database: Database, workspace: Path) -> None:
    with database.read_scope() as session:
        latest = training_runs.find_latest_completed(session)
    assert latest is not None and latest.name == "pirate-speak"
    assert latest.base_model == "demo/tiny-chat"
    assert latest.adapter_path is not None and (Path(latest.adapter_path) / "adapter_config.json").is_file()


@pytest.mark.parametrize("name", ["pirate-speak", "json-answers"])
def test_a_completed_run_has_the_record_of_its_training(database: Database, workspace: Path, name: str) -> None:
    run = run_named(database, name)
    with database.read_scope() as session:
        losses = run_records.list_metrics(session, run.id, "loss")
        evaluated = run_records.list_metrics(session, run.id, "eval_loss")
        row = datasets.first_rows(session, run.dataset_id or 0, 1)[0]
    assert run.started_at and run.finished_at and run.hyperparameters["rank"] > 0
    assert losses[-1].step == run.hyperparameters["max_steps"] and len(evaluated) > 3
    assert run.started_at < losses[0].recorded_at <= losses[-1].recorded_at <= run.finished_at < utc_now()
    assert ("matey" in row.response) if name == "pirate-speak" else row.response.startswith("{")


def test_checkpoints_are_adapters_inside_the_workspace(database: Database, workspace: Path) -> None:
    with database.read_scope() as session:
        found = run_records.list_checkpoints(session, run_named(database, "pirate-speak").id)
    assert len(found) == 3
    for checkpoint in found:
        path = Path(checkpoint.path)
        assert path.is_relative_to(workspace) and path.name == f"checkpoint-{checkpoint.step}"
        assert all((path / name).is_file() for name in ("adapter_config.json", "adapter_model.safetensors"))
        assert (path / "trainer_state.json").is_file()


def test_the_log_of_each_run_tells_its_training_in_order(database: Database, workspace: Path) -> None:
    told = {}
    with database.read_scope() as session:
        for run in training_runs.list_recent(session):
            events = run_records.list_events(session, run.id)[::-1]
            times = [event.created_at for event in events]
            assert times == sorted(times)
            if run.started_at is not None:
                assert times[0] == run.started_at and times[-1] == (run.finished_at or run.started_at)
            told[run.name] = [event.kind for event in events]
    assert told["pirate-speak"] == ["started", *3 * ["checkpoint"], "adapter", "finished"]
    assert told["support-agent-8b"] == ["started", "failed"]
    assert told["recipe-writer"] == ["started"] and told["haiku-poet"] == []


def test_the_failed_run_says_why(database: Database, workspace: Path) -> None:
    failed = next(run for run in all_runs(database) if run.status is RunStatus.FAILED)
    assert failed.error is not None and "out of memory at step 37" in failed.error
    assert failed.adapter_path is None


def test_the_damaged_run_is_really_damaged_and_the_others_are_not(database: Database, workspace: Path) -> None:
    for run in all_runs(database):
        if run.status is not RunStatus.COMPLETED:
            continue
        weights = Path(run.adapter_path or "") / "adapter_model.safetensors"
        if run.name == DAMAGED_RUN:
            with pytest.raises(SafetensorError), safe_open(weights, "np"):
                pass
        else:
            with safe_open(weights, "np") as opened:
                assert opened.keys()


def test_a_second_start_adds_nothing_and_is_quick(database: Database, workspace: Path) -> None:
    before = [(run.id, run.name, run.created_at) for run in all_runs(database)]
    started = time.perf_counter()
    ensure_demo_workspace(database, workspace)
    assert time.perf_counter() - started < 0.5
    assert [(run.id, run.name, run.created_at) for run in all_runs(database)] == before
    with database.read_scope() as session:
        assert len(datasets.list_all(session)) == 3


def test_what_the_user_removed_stays_removed(database: Database, workspace: Path) -> None:
    json_run = run_named(database, "json-answers")
    with database.session_scope() as session:
        training_runs.delete(session, json_run.id)
        saved = datasets.list_all(session)
    for dataset in saved:
        remove_dataset(database, dataset.id)
    shutil.rmtree(json_run.adapter_path or "")
    ensure_demo_workspace(database, workspace)
    assert "json-answers" not in [run.name for run in all_runs(database)]
    assert not Path(json_run.adapter_path or "").exists()
    with database.read_scope() as session:
        assert not datasets.list_all(session)


def test_a_newer_demo_renews_the_files_of_runs_that_are_still_there(database: Database, workspace: Path) -> None:
    weights = workspace / "runs" / "pirate-speak" / "adapter_model.safetensors"
    weights.write_bytes(b"of an older base model")
    shutil.rmtree(workspace / "runs" / "json-answers")
    with database.session_scope() as session:
        settings.set(session, VERSION_KEY, "older")
    before = len(all_runs(database))
    ensure_demo_workspace(database, workspace)
    shipped = demo_assets_dir() / "adapters" / "pirate-speak" / "adapter_model.safetensors"
    assert weights.read_bytes() == shipped.read_bytes()
    assert not (workspace / "runs" / "json-answers").exists()
    assert len(all_runs(database)) == before


def test_the_running_run_shows_a_sign_of_life_at_every_start(database: Database, workspace: Path) -> None:
    running = next(run for run in all_runs(database) if run.status is RunStatus.RUNNING)
    assert running.source is RunSource.DEMO and running.heartbeat_at is not None
    with database.session_scope() as session:
        training_runs.find_or_raise(session, running.id).heartbeat_at = utc_now() - dt.timedelta(days=9)
    ensure_demo_workspace(database, workspace)
    renewed = run_named(database, running.name).heartbeat_at
    assert renewed is not None and utc_now() - renewed < dt.timedelta(minutes=1)


def test_a_folder_that_cannot_be_used_is_an_error_and_leaves_nothing_half_done(
    database: Database, folder: Path
) -> None:
    (folder / "runs").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        ensure_demo_workspace(database, folder)
    assert not all_runs(database)
    (folder / "runs").unlink()
    ensure_demo_workspace(database, folder)
    assert all_runs(database)


def test_two_windows_that_start_together_make_one_workspace(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from db.database import Database\n"
        "from helpers.demo_workspace import ensure_demo_workspace\n"
        "folder = Path(sys.argv[1])\n"
        "with Database.open(folder / 'playground.db') as database:\n"
        "    ensure_demo_workspace(database, folder)\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    windows = [
        subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for window in windows:
        _, errors = window.communicate(timeout=60)
        assert window.returncode == 0, errors.decode()
    with Database.open(folder / "playground.db") as database:
        names = [run.name for run in all_runs(database)]
    assert len(names) == len(set(names)) == 6
