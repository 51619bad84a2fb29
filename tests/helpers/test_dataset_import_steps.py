"""Imports in steps: nothing is listed before its end, others can write meanwhile, a stopped one leaves nothing."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db import datasets
from db.database import Database
from db.models import Dataset, DatasetRow, utc_now
from errors import ImportFormatError, SettingsError
from helpers.dataset_formats import ColumnMapping, DatasetFormat
from helpers.dataset_import import (
    ImportCancelled,
    ImportProgress,
    import_dataset,
    mapping_of,
    preview,
    remove_abandoned,
    remove_dataset,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "workspace" / "playground.db", busy_timeout=0.2) as opened:
        yield opened


def _file(folder: Path, rows: int = 5000) -> Path:
    path = folder / "many.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}", "response": "r"}}\n' for n in range(rows)), encoding="utf-8")
    return path


def _left(database: Database) -> int:
    with database.read_scope() as session:
        return session.query(Dataset).count() + session.query(DatasetRow).count()


def test_others_can_write_during_an_import_and_see_nothing_of_it(database: Database, tmp_path: Path) -> None:
    seen: list[ImportProgress] = []

    def on_progress(progress: ImportProgress) -> None:
        seen.append(progress)
        with database.session_scope() as session:
            assert datasets.list_page(session) == [] and datasets.count_matching(session) == 0
            session.add(Dataset(name=str(len(seen)), source="", format="", row_count=-1))

    path = _file(tmp_path)
    saved = import_dataset(database, path, on_progress=on_progress).dataset
    assert sorted({progress.rows for progress in seen} - {0}) == [2000, 4000, 5000]
    assert seen[-1].bytes_read == seen[-1].bytes_total == path.stat().st_size
    with database.read_scope() as session:
        assert [row.position for row in datasets.rows_page(session, saved.id, 4990, 50)] == list(range(4990, 5000))


def _as_parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    rows = [{"prompt": str(number), "response": "r"} for number in range(7000)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=1500)
    return folder / "rows.parquet"


def _as_json(folder: Path) -> Path:
    rows = [{"prompt": str(number), "response": "r" * 100} for number in range(7000)]
    (folder / "rows.json").write_text(json.dumps({"data": rows}), encoding="utf-8")
    return folder / "rows.json"


def _as_saved_folder(folder: Path) -> Path:
    import datasets as library

    rows = [{"prompt": str(number), "response": "r"} for number in range(7000)]
    library.Dataset.from_list(rows).save_to_disk(str(folder / "saved"))
    return folder / "saved"


@pytest.mark.parametrize("write", [_as_parquet, _as_json, _as_saved_folder, lambda folder: _file(folder, 7000)])
def test_progress_of_every_kind_of_source_grows_to_its_end(
    database: Database, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    seen: list[ImportProgress] = []
    import_dataset(database, write(tmp_path), on_progress=seen.append)
    assert seen[-1].rows == 7000
    shares = [progress.bytes_read / progress.bytes_total for progress in seen]
    assert shares == sorted(shares) and shares[0] < 0.7 and shares[-1] == 1


def test_a_file_that_begins_with_many_unreadable_lines_is_still_recognised(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("no JSON\n" * 250 + '{"prompt": "p", "response": "r"}\n' * 3, encoding="utf-8")
    assert preview(path).usable == 3
    result = import_dataset(database, path)
    assert (result.imported, result.skipped) == (3, {"the line is not JSON": 250})


def test_splits_of_a_saved_folder_are_chosen_and_named(database: Database, tmp_path: Path) -> None:
    import datasets as library

    rows = library.Dataset.from_list([{"prompt": "Hi", "response": "Ahoy"}] * 4)
    library.DatasetDict({"dev": rows.select([0]), "test": rows}).save_to_disk(str(tmp_path / "saved"))
    assert import_dataset(database, tmp_path / "saved", split="dev").imported == 1
    for split in (None, "train"):
        with pytest.raises(ImportFormatError, match="dev, test"):
            preview(tmp_path / "saved", split=split)
    with pytest.raises(ImportFormatError, match="no splits"):
        preview(_file(tmp_path, 3), split="train")


def test_a_stopped_import_leaves_nothing(database: Database, tmp_path: Path) -> None:
    answers = iter([False, True])
    with pytest.raises(ImportCancelled):
        import_dataset(database, _file(tmp_path), should_stop=lambda: next(answers))
    assert _left(database) == 0


def test_what_a_killed_import_left_is_removed_but_not_what_one_at_work_has(database: Database) -> None:
    with database.session_scope() as session:
        for age in (dt.timedelta(hours=1), dt.timedelta()):
            number = datasets.begin(session, source="s", format="f")
            datasets.append_rows(session, number, 0, [datasets.NewRow("a", "b")])
            session.get_one(Dataset, number).created_at = utc_now() - age
    remove_abandoned(database)
    assert _left(database) == 2


def test_a_removed_dataset_leaves_no_row(database: Database, tmp_path: Path) -> None:
    remove_dataset(database, import_dataset(database, _file(tmp_path)).dataset.id)
    assert _left(database) == 0


def test_unknown_columns_are_shown_and_imported_by_mapping(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"Q": "Hi", "A": "Ahoy", "S": "Be brief."}), encoding="utf-8")
    unknown = preview(path)
    assert (unknown.format, unknown.columns) == (None, ("Q", "A", "S"))
    mapping = ColumnMapping("q", "A", "S")
    shown = preview(path, mapping=mapping)
    assert (shown.format, shown.exact, shown.first_rows[0].system) == (DatasetFormat.MAPPED, True, "Be brief.")
    assert import_dataset(database, path, mapping=mapping).imported == 1
    with pytest.raises(ImportFormatError, match="no column “X”"):
        preview(path, mapping=ColumnMapping("Q", "X"))
    with pytest.raises(SettingsError):
        mapping_of("Q", None, None)


def test_a_preview_of_the_beginning_says_so(tmp_path: Path) -> None:
    path = _file(tmp_path)
    assert (preview(path).usable, preview(path).exact) == (1000, False)
    assert (preview(path, most_rows=None).usable, preview(path, most_rows=None).exact) == (5000, True)


def test_folders_of_files_and_folders_saved_by_the_library_are_read(database: Database, tmp_path: Path) -> None:
    import datasets as library

    files = tmp_path / "files"
    files.mkdir()
    _file(files, 3)
    rows = library.Dataset.from_list([{"prompt": "Hi", "response": "Ahoy"}] * 4)
    library.DatasetDict({"test": rows.select([0]), "train": rows}).save_to_disk(str(tmp_path / "saved"))
    assert import_dataset(database, files).imported == 3
    assert import_dataset(database, tmp_path / "saved").imported == 4
