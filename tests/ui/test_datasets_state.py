"""The Datasets screen's state: importing with a preview, looking at rows, renaming and deleting."""

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import text

from db import datasets, training_runs
from db.database import Database
from db.models import RunStatus
from errors import SettingsError
from ui.datasets.datasets_state import DATASETS_ON_A_PAGE, ROWS_ON_A_PAGE, DatasetsState
from ui.datasets.import_state import MOST_ROWS_PREVIEWED, ImportPhase
from ui_desk import until


class Screen:
    """A screen's state, the notices it showed, and how often others were told of a change."""

    def __init__(self, database: Database) -> None:
        self.notices: list[str] = []
        self.changes = 0
        self.state = DatasetsState(database, self.notices.append, self._changed)

    async def _changed(self) -> None:
        self.changes += 1


def add_dataset(database: Database, name: str, rows: int = 3) -> int:
    new = [datasets.NewRow(f"question {number}", f"answer {number}") for number in range(rows)]
    with database.session_scope() as session:
        return datasets.create_with_rows(session, name=name, source="test", format="messages", rows=new).id


def write_lines(path: Path, records: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


async def test_a_file_is_shown_before_it_is_imported_and_then_looked_at(database, tmp_path):
    screen = Screen(database)
    importing = screen.state.importing
    importing.begin()
    records = [{"prompt": f"q{number}", "response": f"a{number}"} for number in range(8)]
    await importing.check(write_lines(tmp_path / "mine.jsonl", [*records, {"prompt": "q", "response": ""}]))
    assert importing.preview is not None and importing.phase is ImportPhase.CHECKED
    assert (importing.preview.usable, dict(importing.preview.skipped)) == (8, {"the answer is empty": 1})
    assert importing.preview.first_rows[0].prompt == "q0" and importing.name == "mine"
    await screen.state.load()
    assert screen.state.datasets == [], "nothing is saved by looking"
    importing.name = "lessons"
    await importing.run()
    assert importing.result is not None and importing.result.imported == 8
    assert [dataset.name for dataset in screen.state.datasets] == ["lessons"] and screen.changes == 1
    assert [row.prompt for row in screen.state.rows] == [f"q{number}" for number in range(8)]


async def test_unknown_columns_are_imported_as_the_user_maps_them(database, tmp_path):
    screen = Screen(database)
    importing = screen.state.importing
    await importing.check(write_lines(tmp_path / "odd.jsonl", [{"frage": "q", "antwort": "a", "rolle": "s"}]))
    assert importing.columns == ("frage", "antwort", "rolle") and importing.phase is ImportPhase.CHOOSING
    for part, column in (("prompt", "rolle"), ("response", "antwort"), ("prompt", "frage"), ("system", "rolle")):
        await importing.choose_column(part, column)
    assert importing.preview is not None
    row = importing.preview.first_rows[0]
    assert (row.prompt, row.response, row.system) == ("q", "a", "s"), "the preview follows the mapping"
    await importing.run()
    assert [(row.prompt, row.system) for row in screen.state.rows] == [("q", "s")]


async def test_a_file_that_cannot_be_used_says_why_and_another_can_be_tried(database, tmp_path):
    importing = Screen(database).state.importing
    await importing.check(str(tmp_path / "missing.jsonl"))
    assert "missing.jsonl" in importing.error and importing.phase is ImportPhase.CHOOSING
    await importing.run()
    assert importing.result is None
    await importing.check(write_lines(tmp_path / "good.jsonl", [{"prompt": "q", "response": "a"}]))
    assert importing.error == "" and importing.phase is ImportPhase.CHECKED


async def test_a_cancelled_import_leaves_nothing(database, tmp_path):
    screen = Screen(database)
    importing = screen.state.importing
    await importing.check(
        write_lines(tmp_path / "big.jsonl", [{"prompt": f"q{n}", "response": "a"} for n in range(60_000)])
    )
    work = asyncio.create_task(importing.run())
    await until(lambda: importing.phase is ImportPhase.IMPORTING)
    importing.cancel()
    await work
    assert importing.phase is ImportPhase.CHECKED and "cancelled" in importing.hint
    await screen.state.load()
    assert screen.state.datasets == [] and screen.changes == 0


async def test_a_preview_that_comes_after_another_path_was_typed_is_dropped(database, tmp_path):
    importing = Screen(database).state.importing
    importing.begin()
    path = write_lines(tmp_path / "slow.jsonl", [{"prompt": "q", "response": "a"}] * 4000)
    for turn_away in (lambda: importing.type_source("another.jsonl"), importing.close):
        reading = asyncio.create_task(importing.check(path))
        await asyncio.sleep(0)  # the task goes as far as the thread that reads
        assert importing.phase is ImportPhase.CHECKING
        turn_away()
        await reading
        assert importing.phase is ImportPhase.CHOOSING and importing.preview is None
    await importing.check(path)
    assert importing.phase is ImportPhase.CHECKED
    importing.type_source(path + "x")
    assert importing.phase is ImportPhase.CHOOSING, "rows of another file than the one named are never imported"


async def test_the_preview_of_a_long_file_says_that_it_counted_its_beginning_only(database, tmp_path):
    screen = Screen(database)
    importing = screen.state.importing
    most = MOST_ROWS_PREVIEWED
    await importing.check(write_lines(tmp_path / "long.jsonl", [{"prompt": "q", "response": "a"}] * (most + 3)))
    assert importing.preview is not None and (importing.preview.usable, importing.preview.exact) == (most, False)
    await importing.run()
    assert importing.result is not None and importing.result.imported == most + 3


async def test_only_what_looks_like_a_hub_dataset_is_asked_for_split_and_token(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    write_lines(tmp_path / "mine" / "data", [{"prompt": "q", "response": "a"}])
    importing = Screen(database).state.importing
    for typed, expected in (
        ("someone/lessons", True),
        ("someone/lessons:part", True),
        ("mine/data", False),
        ("some/file.jsonl", False),
        ("/tmp/lessons", False),
        ("", False),
    ):
        importing.type_source(typed)
        assert importing.from_hub is expected, typed


async def test_the_list_is_paged_and_searched(database):
    for number in range(DATASETS_ON_A_PAGE + 1):
        add_dataset(database, f"set {number}", rows=1)
    state = Screen(database).state
    await state.load()
    assert len(state.datasets) == DATASETS_ON_A_PAGE and state.matching == DATASETS_ON_A_PAGE + 1
    await state.turn_page(1)
    assert [dataset.name for dataset in state.datasets] == ["set 0"]
    await state.find("SET 50")
    assert [dataset.name for dataset in state.datasets] == ["set 50"] and state.page == 0


async def test_a_list_that_cannot_be_read_says_so_until_it_can(database):
    add_dataset(database, "data")
    state = Screen(database).state
    with database.session_scope() as session:
        session.execute(text("ALTER TABLE datasets RENAME TO elsewhere"))
    await state.load()
    assert state.error and state.loaded
    with database.session_scope() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO datasets"))
    await state.load()
    assert state.error == "" and [dataset.name for dataset in state.datasets] == ["data"]


async def test_rows_are_shown_by_position_or_at_random(database):
    state = Screen(database).state
    await state.choose(add_dataset(database, "data", rows=ROWS_ON_A_PAGE + 5))
    await state.show_rows(ROWS_ON_A_PAGE)
    assert [row.position for row in state.rows] == list(range(ROWS_ON_A_PAGE, ROWS_ON_A_PAGE + 5))
    await state.draw_rows()
    assert state.random_rows and len({row.position for row in state.rows}) == 5


async def test_a_name_that_is_taken_or_empty_is_refused(database):
    add_dataset(database, "first")
    second = add_dataset(database, "second")
    screen = Screen(database)
    await screen.state.choose(second)
    for name in ("first", "  "):
        with pytest.raises(SettingsError):
            await screen.state.rename(second, name)
    await screen.state.rename(second, "third")
    assert screen.state.chosen is not None and screen.state.chosen.name == "third" and screen.changes == 1


async def test_a_deleted_dataset_is_gone_and_its_runs_stay(database):
    dataset = add_dataset(database, "data")
    with database.session_scope() as session:
        training_runs.create(session, name="mine", base_model="b", status=RunStatus.COMPLETED, dataset_id=dataset)
    screen = Screen(database)
    await screen.state.choose(dataset)
    assert screen.state.used_by == ["mine"] and screen.state.chosen is not None
    await screen.state.delete(screen.state.chosen)
    assert screen.state.chosen is None and screen.state.datasets == [] and screen.notices == ["“data” is deleted."]
    with database.read_scope() as session:
        assert [run.name for run in training_runs.list_recent(session)] == ["mine"]
