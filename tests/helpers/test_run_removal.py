"""Deleting a run's files takes that folder and nothing else."""

from pathlib import Path

import pytest

from errors import NotFoundError, PlaygroundError, StorageError
from helpers.run_removal import delete_run_files, removable_folder


def adapter_in(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"0")
    return folder


def test_a_run_goes_with_its_checkpoints_and_its_neighbour_stays(tmp_path: Path) -> None:
    run, neighbour = adapter_in(tmp_path / "runs" / "one"), adapter_in(tmp_path / "runs" / "two")
    adapter_in(run / "checkpoint-10")

    assert delete_run_files(str(run), str(run), [str(neighbour)]) == run

    assert not run.exists()
    assert sorted(path.name for path in neighbour.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize("place", ["/", "/usr", "home", "parent of home"])
def test_shared_places_are_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = adapter_in(tmp_path / "people" / "me")
    monkeypatch.setenv("HOME", str(home))
    folder = {"home": str(home), "parent of home": str(home.parent)}.get(place, place)
    with pytest.raises(StorageError):
        removable_folder(folder, folder, [])
    assert (home / "adapter_config.json").exists()


def test_a_folder_that_holds_another_run_is_refused(tmp_path: Path) -> None:
    run = adapter_in(tmp_path / "run")
    other = tmp_path / "run" / "checkpoint-5"
    adapter_in(other)
    with pytest.raises(StorageError, match="another run"):
        delete_run_files(str(run), str(run), [str(other)])
    assert other.exists()


def test_an_adapter_that_nobody_recorded_keeps_the_folder(tmp_path: Path) -> None:
    run = adapter_in(tmp_path / "run")
    adapter_in(run / "someone-elses")
    with pytest.raises(StorageError, match="another adapter"):
        delete_run_files(str(run), str(run), [])
    assert run.exists()


def test_links_are_refused_whichever_way_they_lead(tmp_path: Path) -> None:
    outside = adapter_in(tmp_path / "outside")
    run = adapter_in(tmp_path / "run")
    (run / "link").symlink_to(outside)
    (tmp_path / "linked-run").symlink_to(run)
    for adapter, output in ((run, run), (tmp_path / "linked-run", None), (outside, run)):
        with pytest.raises(StorageError):
            delete_run_files(str(adapter), str(output) if output else None, [])
    assert outside.exists() and run.exists()


@pytest.mark.parametrize("recorded", [None, "gone"])
def test_what_is_not_there_is_said(recorded: str | None, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        delete_run_files(str(tmp_path / recorded) if recorded else None, None, [])


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(PlaygroundError, match="no adapter"):
        delete_run_files(str(tmp_path / "photos"), None, [])
    assert (tmp_path / "photos").exists()
