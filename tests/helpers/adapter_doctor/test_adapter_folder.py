"""A folder that is no adapter, or whose files cannot be read, is told apart from all others."""

import os
import shutil
from pathlib import Path

import pytest

from adapter_bench import CONFIG, WEIGHTS, Bench, checkpoints, found
from helpers.adapter_validation import (
    Severity,
    validate_adapter,
)
from unprivileged import without_privileges


def test_no_such_folder(tmp_path: Path) -> None:
    found(validate_adapter(tmp_path / "gone"), "no_such_folder", Severity.ERROR, tmp_path / "gone")
    assert validate_adapter(Path("a\0b")).first_error is not None


def test_a_file_instead_of_the_folder(bench: Bench) -> None:
    report = validate_adapter(bench.adapter / WEIGHTS)
    found(report, "not_a_folder", Severity.ERROR, WEIGHTS, f"Pick the folder it lies in: “{bench.adapter}”")


def test_not_an_adapter(tmp_path: Path) -> None:
    found(validate_adapter(tmp_path), "not_an_adapter", Severity.ERROR, tmp_path, "it is empty", CONFIG)
    (tmp_path / "notes.txt").write_text("hello")
    found(validate_adapter(tmp_path), "not_an_adapter", Severity.ERROR, "neither adapter_config.json nor")


def test_config_only(bench: Bench) -> None:
    (bench.adapter / WEIGHTS).unlink()
    found(bench.check(), "weights_missing", Severity.ERROR, bench.adapter, WEIGHTS)


def test_weights_only(bench: Bench) -> None:
    (bench.adapter / CONFIG).unlink()
    found(bench.check(), "config_missing", Severity.ERROR, bench.adapter, CONFIG)


def test_a_full_model_instead_of_an_adapter(bench: Bench) -> None:
    found(validate_adapter(bench.base), "full_model", Severity.ERROR, bench.base, "base model")


def test_full_weights_beside_an_adapter_config(bench: Bench) -> None:
    (bench.adapter / WEIGHTS).unlink()
    shutil.copy(bench.base / "model.safetensors", bench.adapter)
    found(bench.check(), "full_model", Severity.ERROR, "model.safetensors")


def test_full_weights_saved_as_adapter_weights(bench: Bench) -> None:
    shutil.copy(bench.base / "model.safetensors", bench.adapter / WEIGHTS)
    found(bench.check(), "full_model", Severity.ERROR, "no LORA weights", "full model")


def test_the_run_folder_instead_of_a_checkpoint(bench: Bench) -> None:
    run = checkpoints(bench, 90, 100, 20)
    facts = ("3 checkpoints (step 20, 90, 100)", run / "checkpoint-100")
    found(validate_adapter(run), "checkpoint_parent", Severity.ERROR, *facts)
    checkpoints(bench, *range(1, 10))
    found(
        validate_adapter(run), "checkpoint_parent", Severity.ERROR, "12 checkpoints (step 1, 2, 3, 4, 5, 6, 7, 8 …)"
    )


def test_a_folder_around_the_adapter(bench: Bench) -> None:
    shutil.copytree(bench.adapter, bench.adapter.parent / "outer" / "final")
    outer = bench.adapter.parent / "outer"
    found(validate_adapter(outer), "adapter_in_subfolder", Severity.ERROR, "“final”", outer / "final")


def test_a_checkpoint_and_the_run_around_it_know_of_each_other(bench: Bench) -> None:
    run = checkpoints(bench, 20, 100)
    report = validate_adapter(run / "checkpoint-20")
    found(report, "checkpoint_folder", Severity.INFO, "step 20", run, "no final adapter")
    for file in bench.adapter.iterdir():
        shutil.copy(file, run)
    report = validate_adapter(run / "checkpoint-20")
    found(report, "checkpoint_folder", Severity.INFO, f"The final adapter is “{run}”")
    found(validate_adapter(run), "run_checkpoints", Severity.INFO, "2 checkpoints", "20, 100")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
@pytest.mark.parametrize("locked", ["", CONFIG, WEIGHTS])
def test_a_denied_permission(bench: Bench, locked: str) -> None:
    target = bench.adapter / locked
    mode = target.stat().st_mode
    target.chmod(0)
    with without_privileges(bench.adapter.parent):
        report = bench.check()
    target.chmod(mode)
    found(report, "permission_denied", Severity.ERROR, target, "permission")


def test_a_link_out_of_the_folder(bench: Bench, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.safetensors"
    (bench.adapter / WEIGHTS).rename(elsewhere)
    (bench.adapter / WEIGHTS).symlink_to(elsewhere)
    report = bench.check()
    found(report, "link_outside", Severity.WARNING, WEIGHTS, elsewhere)
    assert report.ok and report.adapter is not None and report.adapter.tensor_count == 28
    assert validate_adapter(bench.adapter, within=tmp_path).findings == ()


def test_a_link_to_nothing(bench: Bench, tmp_path: Path) -> None:
    (bench.adapter / WEIGHTS).unlink()
    (bench.adapter / WEIGHTS).symlink_to(tmp_path / "nowhere")
    found(bench.check(), "link_broken", Severity.ERROR, WEIGHTS, tmp_path / "nowhere")


def test_the_links_of_the_hugging_face_cache_are_no_alarm(bench: Bench, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--o--a" / "snapshots" / "abc"
    blobs = tmp_path / "models--o--a" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in bench.adapter.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert validate_adapter(snapshot).findings == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_instead_of_weights_does_not_hang(bench: Bench) -> None:
    (bench.adapter / WEIGHTS).unlink()
    os.mkfifo(bench.adapter / WEIGHTS)
    found(bench.check(), "not_a_file", Severity.ERROR, WEIGHTS)
