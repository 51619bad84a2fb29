"""One base that was located also finds those that lay beside it on the other machine."""

from pathlib import Path

import pytest

from helpers.adapter_validation import Severity, validate_adapter
from helpers.base_models import BaseSource, resolve_base_model
from tiny_models import build_tiny_adapter, build_tiny_base

WINDOWS = "C:\\models"


@pytest.mark.parametrize(("folder", "slash"), [("/home/alice/models", "/"), (WINDOWS, "\\")])
def test_a_base_beside_a_located_one_is_found_and_said(folder: str, slash: str, tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "Y")
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    locations = {f"{folder}{slash}X": str(tmp_path / "X")}
    report = validate_adapter(adapter, f"{folder}{slash}Y", locations)
    assert report.ok and report.base is not None and report.base.path == base
    said = next(finding for finding in report.findings if finding.code == "base_found_nearby")
    assert said.severity is Severity.INFO and str(base) in said.message


def test_of_several_located_folders_the_one_that_shares_most_of_the_way_counts(tmp_path: Path) -> None:
    for folder in ("all/large/Y", "large/Y", "all/Z"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    locations = {
        "/home/alice/models/X": str(tmp_path / "all" / "X"),
        "/home/alice/models/large/W": str(tmp_path / "large" / "W"),
    }
    for known in (locations, dict(reversed(locations.items()))):
        assert resolve_base_model("/home/alice/models/large/Y", known).path == tmp_path / "large" / "Y"
        assert resolve_base_model("/home/alice/models/Z", known).path == tmp_path / "all" / "Z"
    # What is not there falls back to the folder around it.
    (tmp_path / "large" / "Y" / "config.json").unlink()
    assert resolve_base_model("/home/alice/models/large/Y", locations).path == tmp_path / "all" / "large" / "Y"


@pytest.mark.parametrize(
    ("wanted", "located"),
    [
        ("/home/alice/models/Z", "X"),
        ("/home/bob/models/Y", "X"),
        ("/home/alice/models/../models/Y", "X"),
        ("/home/alice/models/Y", "renamed"),
    ],
)
def test_nothing_is_guessed_without_the_same_folder(wanted: str, located: str, tmp_path: Path) -> None:
    (tmp_path / "Y").mkdir()
    (tmp_path / "Y" / "config.json").write_text("{}")
    locations = {"/home/alice/models/X": str(tmp_path / located)}
    assert resolve_base_model(wanted, locations).source is BaseSource.ELSEWHERE
