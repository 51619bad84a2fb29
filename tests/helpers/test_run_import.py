"""Adapters from elsewhere: added one by one, or found by a scan."""

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db import run_records, training_runs
from db.database import Database
from db.models import RunSource, RunStatus, TrainingRun
from errors import AdapterError, NotFoundError
from helpers.run_import import FoundCheckpoint, add_adapter_folder, register_found, scan_for_adapters
from tiny_models import build_tiny_adapter, build_tiny_base

SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "workspace" / "playground.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def real_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved by PEFT."""
    folder = tmp_path_factory.mktemp("models")
    return build_tiny_adapter(build_tiny_base(folder / "base"), folder / "pirate", rank=4)


def _adapter(folder: Path, base: str = "org/base", **config: Any) -> Path:
    """A folder that looks like a saved adapter to everything that does not load its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 8, "lora_alpha": 16, **config}
    (folder / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def _state(folder: Path, last_step: int, **fields: Any) -> None:
    history = [{"step": step, "epoch": step / 10, "loss": 10 / step} for step in range(1, last_step + 1)]
    state = {"global_step": last_step, "log_history": history, **fields}
    (folder / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")


def _losses(database: Database, run: TrainingRun) -> dict[int, float | None]:
    with database.read_scope() as session:
        return {metric.step: metric.value for metric in run_records.list_metrics(session, run.id, "loss")}


def _checkpoint_steps(database: Database, run: TrainingRun) -> list[int]:
    with database.read_scope() as session:
        return [checkpoint.step for checkpoint in run_records.list_checkpoints(session, run.id)]


def _all_runs(database: Database) -> list[TrainingRun]:
    with database.read_scope() as session:
        return list(training_runs.list_recent(session))


def test_an_adapter_saved_by_peft_becomes_a_completed_run(database: Database, real_adapter: Path) -> None:
    run = add_adapter_folder(database, real_adapter)
    assert (run.name, run.status, run.source) == ("pirate", RunStatus.COMPLETED, RunSource.IMPORTED)
    assert run.adapter_path == run.output_dir == str(real_adapter.resolve())
    assert run.base_model == str(real_adapter.parent / "base")
    assert (run.hyperparameters["rank"], run.hyperparameters["alpha"]) == (4, 8)
    assert "q_proj" in run.hyperparameters["target_modules"]
    assert run.finished_at is not None
    with database.read_scope() as session:
        latest = training_runs.find_latest_completed(session)
    assert latest is not None and latest.id == run.id


def test_the_loss_curve_and_checkpoints_of_the_run_come_with_it(database: Database, tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "pirate")
    for step in (20, 5, 10):
        _adapter(folder / f"checkpoint-{step}")
        _state(folder / f"checkpoint-{step}", step, max_steps=20, train_batch_size=4)
    run = add_adapter_folder(database, folder, name="Captain")
    assert run.name == "Captain"
    assert _checkpoint_steps(database, run) == [5, 10, 20]
    assert list(_losses(database, run)) == list(range(1, 21))
    assert (run.hyperparameters["max_steps"], run.hyperparameters["train_batch_size"]) == (20, 4)


def test_the_same_folder_is_one_run_however_it_is_reached(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _adapter(tmp_path / "pirate")
    (tmp_path / "latest").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    ways = [folder, tmp_path / "latest", Path("pirate"), tmp_path / "workspace" / ".." / "pirate"]
    assert len({add_adapter_folder(database, way).id for way in ways}) == 1


def test_a_tracked_run_that_recorded_a_link_is_found_again(database: Database, tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "pirate")
    (tmp_path / "latest").symlink_to(folder)
    with database.session_scope() as session:
        tracked = training_runs.create(session, name="mine", base_model="b", adapter_path=str(tmp_path / "latest"))
    assert add_adapter_folder(database, folder).id == tracked.id
    assert register_found(database, scan_for_adapters(tmp_path).found) == []


def test_a_checkpoint_can_be_added_as_a_run_of_its_own(database: Database, tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "pirate")
    checkpoint = _adapter(folder / "checkpoint-10")
    whole, part = add_adapter_folder(database, folder), add_adapter_folder(database, checkpoint)
    assert part.id != whole.id
    assert (part.name, part.adapter_path, part.output_dir) == ("pirate checkpoint-10", str(checkpoint), str(folder))


def test_a_folder_without_an_adapter_names_the_subfolder_that_has_one(database: Database, tmp_path: Path) -> None:
    inside = _adapter(tmp_path / "outputs" / "pirate")
    with pytest.raises(AdapterError) as raised:
        add_adapter_folder(database, tmp_path / "outputs")
    assert str(inside) in str(raised.value)
    assert _all_runs(database) == []


@pytest.mark.parametrize(
    ("config", "words"), [(None, "adapter_config.json"), ("{", "damaged"), ("[]", "damaged"), ('{"r": 8}', "type")]
)
def test_a_folder_that_is_no_readable_adapter_is_refused(
    database: Database, tmp_path: Path, config: str | None, words: str
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    if config is not None:
        (folder / "adapter_config.json").write_text(config)
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
    for path in (folder, tmp_path / "none"):
        with pytest.raises(AdapterError) as raised:
            add_adapter_folder(database, path)
        assert str(path) in raised.value.message or words in raised.value.message
        assert raised.value.hint
    assert _all_runs(database) == []


def test_a_scan_groups_checkpoints_under_their_run_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / Path(*("deep" for _ in range(60)))
    _adapter(deep / "pirate", base="org/one")
    for step in (100, 20):
        _adapter(deep / "pirate" / f"checkpoint-{step}", base="org/one")
    for step in (9, 10):
        _adapter(tmp_path / "unfinished" / f"checkpoint-{step}", base="org/two")
    _adapter(tmp_path / "unfinished" / "tmp-checkpoint-11")
    _adapter(tmp_path / "llama-json" / "lora_model", target_modules="all-linear")
    (tmp_path / "no-adapter" / "checkpoint-5").mkdir(parents=True)
    result = scan_for_adapters(tmp_path)
    assert result.skipped == []
    by_name = {found.name: found for found in result.found}
    assert sorted(by_name) == ["llama-json/lora_model", "pirate", "unfinished"]
    pirate, unfinished = by_name["pirate"], by_name["unfinished"]
    assert (pirate.adapter_path, pirate.base_model) == (deep / "pirate", "org/one")
    assert pirate.checkpoints == tuple(
        FoundCheckpoint(step, deep / "pirate" / f"checkpoint-{step}") for step in (20, 100)
    )
    assert unfinished.adapter_path == tmp_path / "unfinished" / "checkpoint-10"
    assert [checkpoint.step for checkpoint in unfinished.checkpoints] == [9, 10]
    assert by_name["llama-json/lora_model"].hyperparameters["target_modules"] == "all-linear"


def test_a_scan_does_not_follow_links(tmp_path: Path) -> None:
    _adapter(tmp_path / "elsewhere" / "pirate")
    scanned = tmp_path / "scanned"
    scanned.mkdir()
    (scanned / "away").symlink_to(tmp_path / "elsewhere")
    (scanned / "round").symlink_to(scanned)
    assert scan_for_adapters(scanned).found == []


def test_a_scan_goes_on_past_what_it_cannot_read_and_says_so(tmp_path: Path) -> None:
    good = _adapter(tmp_path / "good")
    _adapter(tmp_path / "broken")
    (tmp_path / "broken" / "adapter_config.json").write_text("{")
    _adapter(tmp_path / "half")
    _adapter(tmp_path / "half" / "checkpoint-1")
    (tmp_path / "half" / "adapter_config.json").write_text("")
    result = scan_for_adapters(tmp_path)
    assert [found.adapter_path for found in result.found] == [good, tmp_path / "half" / "checkpoint-1"]
    assert {path: "damaged" in reason for path, reason in result.skipped} == {
        tmp_path / "broken": True,
        tmp_path / "half": True,
    }


SCAN_WITHOUT_RIGHTS = """
import json, os, sys
from pathlib import Path
from helpers.run_import import scan_for_adapters
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
result = scan_for_adapters(Path(sys.argv[1]))
print(json.dumps([[found.name for found in result.found], [[path.name, reason] for path, reason in result.skipped]]))
"""


def test_a_folder_that_may_not_be_read_is_skipped_with_the_reason() -> None:
    # Not under tmp_path, which other users may not enter: as root, the child gives up its rights first.
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        _adapter(root / "open")
        _adapter(root / "closed" / "secret")
        (root / "closed").chmod(0)
        child = subprocess.run(
            [sys.executable, "-c", SCAN_WITHOUT_RIGHTS, name],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            capture_output=True,
            text=True,
            check=False,
        )
        (root / "closed").chmod(0o755)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == [["open"], [["closed", "no permission to read it"]]]


def test_a_scan_of_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(NotFoundError, match=path.name):
            scan_for_adapters(path)


def test_a_scan_tells_how_far_it_is_and_can_be_ended(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"folder-{number}").mkdir()
    _adapter(tmp_path / "pirate")
    reports: list[tuple[int, int]] = []
    scan_for_adapters(tmp_path, lambda seen, found: reports.append((seen, found)))
    assert len(reports) >= 2 and reports == sorted(reports) and reports[-1] == (502, 1)

    class Cancelled(Exception):
        pass

    def cancel(seen: int, found: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        scan_for_adapters(tmp_path, cancel)


def test_what_was_found_is_registered_once(database: Database, tmp_path: Path) -> None:
    for name in ("pirate", "json"):
        _state(_adapter(tmp_path / "runs" / name), 5)
        _adapter(tmp_path / "runs" / name / "checkpoint-5")
    new = register_found(database, scan_for_adapters(tmp_path).found)
    assert sorted(run.name for run in new) == ["json", "pirate"]
    assert {(run.source, run.status) for run in new} == {(RunSource.SCANNED, RunStatus.COMPLETED)}
    assert all(len(_losses(database, run)) == 5 for run in new)
    assert register_found(database, scan_for_adapters(tmp_path).found) == []
    assert len(_all_runs(database)) == 2


def test_a_second_scan_brings_a_run_up_to_date_that_was_still_training(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "pirate"
    _state(_adapter(folder / "checkpoint-5"), 5)
    (run,) = register_found(database, scan_for_adapters(tmp_path).found)
    assert run.adapter_path == str(folder / "checkpoint-5")
    _state(_adapter(folder / "checkpoint-10"), 10)
    assert register_found(database, scan_for_adapters(tmp_path).found) == []
    assert _checkpoint_steps(database, run) == [5, 10]
    _state(_adapter(folder), 12)
    assert register_found(database, scan_for_adapters(tmp_path).found) == []
    (now,) = _all_runs(database)
    assert (now.id, now.adapter_path) == (run.id, str(folder))
    assert len(_losses(database, now)) == 12


def test_a_scan_leaves_what_the_user_recorded_as_it_is(database: Database, tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "pirate", base="org/base")
    mine = add_adapter_folder(database, folder, name="My pirate")
    with database.session_scope() as session:
        training_runs.find_or_raise(session, mine.id).base_model = "local/base"
    _state(_adapter(folder / "checkpoint-5", base="org/other"), 5)
    assert register_found(database, scan_for_adapters(tmp_path).found) == []
    (now,) = _all_runs(database)
    assert (now.name, now.base_model, now.source) == ("My pirate", "local/base", RunSource.IMPORTED)
    assert _checkpoint_steps(database, now) == [5]


@pytest.mark.parametrize("state", ["", "{", "[]", '{"log_history": 3}', '{"log_history": [3, null, {"loss": 1}]}'])
def test_a_damaged_training_record_does_not_stop_an_import(database: Database, tmp_path: Path, state: str) -> None:
    folder = _adapter(tmp_path / "pirate")
    (folder / "trainer_state.json").write_text(state)
    assert _losses(database, add_adapter_folder(database, folder)) == {}


def test_odd_numbers_in_a_training_record_are_kept_or_left_out(database: Database, tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "pirate")
    entries = [
        {"step": 1, "loss": math.nan, "eval_loss": 2.5, "note": "text", "flag": True},
        {"step": -1, "loss": 1.0},
        {"step": "2", "loss": 1.0},
        {"step": 10**30, "loss": 1.0},
        {"step": 3, "loss": 10**400},
        {"step": 4, "loss": 4},
    ]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": entries}))
    run = add_adapter_folder(database, folder)
    with database.read_scope() as session:
        found = {(m.name, m.step): m.value for m in run_records.list_metrics(session, run.id)}
    assert found == {("loss", 1): None, ("eval_loss", 1): 2.5, ("loss", 4): 4.0}


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_no_pickle_in_the_folder_is_ever_opened(database: Database, tmp_path: Path) -> None:
    folder, exploded = _adapter(tmp_path / "pirate"), tmp_path / "exploded"
    for name in ("training_args.bin", "optimizer.pt", "adapter_model.bin"):
        (folder / name).write_bytes(pickle.dumps(_Bomb(exploded)))
    add_adapter_folder(database, folder)
    register_found(database, scan_for_adapters(tmp_path).found)
    assert not exploded.exists()


def test_an_adapter_that_vanishes_after_the_scan_is_still_recorded(database: Database, tmp_path: Path) -> None:
    _adapter(tmp_path / "pirate")
    found = scan_for_adapters(tmp_path).found
    shutil.rmtree(tmp_path / "pirate")
    (run,) = register_found(database, found)
    assert run.name == "pirate"


def test_importing_runs_loads_no_model_code() -> None:
    code = "import sys, helpers.run_import, helpers.dataset_import; print('torch' in sys.modules)"
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == "False"
