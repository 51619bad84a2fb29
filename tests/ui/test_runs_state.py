"""The Runs screen's state on a real workspace."""

import asyncio
import datetime as dt
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from db import run_records, training_runs
from db.database import Database
from db.models import RunStatus, utc_now
from db.run_records import MetricRow
from db.training_runs import RunSort
from errors import SettingsError, StorageError
from helpers.run_overview import PAGE_SIZE
from ui.runs.loss_chart import drawable, nearest, ticks
from ui.runs.runs_state import RunsState
from ui.runs.scan_state import ScanState


def add_runs(database: Database, count: int, **fields: object) -> list[int]:
    with database.session_scope() as session:
        values = {"base_model": "base/one", "status": RunStatus.COMPLETED, **fields}
        return [training_runs.create(session, name=f"run {n}", **values).id for n in range(count)]  # type: ignore[arg-type]


def adapter_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "base_model_name_or_path": "base/one"}'
    )
    (folder / "adapter_model.safetensors").write_bytes(b"0")
    return folder


async def test_pages_hold_every_run_once(database: Database) -> None:
    made = add_runs(database, 2 * PAGE_SIZE + 3)
    runs = RunsState(database, lambda _: None)
    await runs.refresh()
    seen = [row.id for row in runs.rows]
    while runs.page < runs.pages - 1:
        await runs.turn(1)
        seen += [row.id for row in runs.rows]
    assert (runs.total, runs.pages) == (len(made), 3)
    assert sorted(seen) == made


async def test_filters_narrow_from_any_page_and_say_how_many(database: Database) -> None:
    add_runs(database, PAGE_SIZE + 5)
    add_runs(database, 2, status=RunStatus.FAILED, base_model="base/two")
    runs = RunsState(database, lambda _: None)
    await runs.refresh()
    await runs.turn(1)
    await runs.filter_status(RunStatus.FAILED)
    assert (runs.page, runs.matching, runs.total) == (0, 2, PAGE_SIZE + 7)
    await runs.filter_base("base/one")
    assert runs.rows == []
    await runs.clear_filters()
    assert runs.matching == PAGE_SIZE + 7


async def test_the_last_loss_is_that_of_the_last_step(database: Database) -> None:
    run = add_runs(database, 1)[0]
    with database.session_scope() as session:
        run_records.record_metrics(session, run, [MetricRow(2, "loss", 0.5), MetricRow(10, "loss", 0.25)])
    runs = RunsState(database, lambda _: None)
    await runs.refresh()
    assert runs.rows[0].last_loss == 0.25


async def test_removing_keeps_the_files_and_deleting_takes_them(database: Database, tmp_path: Path) -> None:
    runs = RunsState(database, lambda _: None)
    kept, gone = adapter_in(tmp_path / "outputs" / "kept"), adapter_in(tmp_path / "outputs" / "gone")
    for folder in (kept, gone):
        await runs.add_folder(str(folder))
    first, second = sorted(row.id for row in runs.rows)
    await runs.remove(first)
    assert await runs.folder_to_delete(second) == gone
    await runs.remove_with_files(second)
    assert (kept.is_dir(), gone.exists(), runs.total, runs.chosen) == (True, False, 0, None)


async def test_files_of_a_running_training_stay(database: Database, tmp_path: Path) -> None:
    folder = adapter_in(tmp_path / "outputs" / "busy")
    run = add_runs(database, 1, status=RunStatus.RUNNING, adapter_path=str(folder))[0]
    with pytest.raises(StorageError, match="still running"):
        await RunsState(database, lambda _: None).remove_with_files(run)
    assert folder.is_dir()


async def test_a_scan_adds_once_and_a_missing_folder_is_said(database: Database, tmp_path: Path) -> None:
    adapter_in(tmp_path / "tree" / "deep" / "er")
    scan = ScanState(database)
    assert await scan.scan(str(tmp_path / "tree"))
    assert (len(scan.added), scan.known) == (1, 0)
    assert await scan.scan(str(tmp_path / "tree"))
    assert (scan.added, scan.known) == ([], 1)
    assert not await scan.scan(str(tmp_path / "nowhere"))
    assert "nowhere" in scan.failure and not scan.running


def test_the_axis_covers_the_numbers_and_marks_fall_on_the_nearest_step() -> None:
    for low, high in ((0.005, 2.3), (1.0, 1.0), (0.0, 0.0), (1, 40_000)):
        marks = ticks(low, high)
        assert marks[0] <= low <= high <= marks[-1] and 2 <= len(marks) <= 9
    assert drawable("loss", [(1, None), (2, float("nan"))]) is None
    assert nearest(((0, 1.0), (10, 1.0), (20, 1.0)), 14) == 1


async def test_search_filters_and_order_hold_together(database: Database) -> None:
    bases, statuses = ("base/one", "base/two"), (RunStatus.COMPLETED, RunStatus.FAILED)
    made = {}
    with database.session_scope() as session:
        for word, base, status in itertools.product(("ship", "storm"), bases, statuses):
            name = f"{word} {base[-3:]} {status.value}"
            made[name] = (word, base, status)
            training_runs.create(session, name=name, base_model=base, status=status)
    runs = RunsState(database, lambda _: None)
    for word, base, status in itertools.product(("", "SHIP"), (None, *bases), (None, *statuses)):
        runs.search = word
        await runs.filter_base(base)
        await runs.filter_status(status)
        await runs.sort_by(RunSort.NAME)
        wanted = [
            name
            for name, (its_word, its_base, its_status) in made.items()
            if word.lower() in its_word and base in (None, its_base) and status in (None, its_status)
        ]
        assert [row.name for row in runs.rows] == sorted(wanted)


async def test_a_list_that_cannot_be_read_says_why_and_comes_back(database: Database, tmp_path: Path) -> None:
    add_runs(database, 1)
    notices: list[str] = []
    runs = RunsState(database, notices.append)
    rename = "ALTER TABLE {} RENAME TO {}"
    with closing(sqlite3.connect(tmp_path / "playground.db")) as other:
        other.execute(rename.format("training_runs", "away"))
        await runs.refresh()
        assert runs.failure and runs.loaded
        other.execute(rename.format("away", "training_runs"))
    await runs.refresh()
    assert (runs.failure, len(runs.rows)) == ("", 1)


async def test_a_training_without_a_sign_of_life_is_shown_as_died(database: Database) -> None:
    run = add_runs(database, 1, status=RunStatus.RUNNING)[0]
    with database.session_scope() as session:
        training_runs.find_or_raise(session, run).heartbeat_at = utc_now() - dt.timedelta(hours=1)
    runs = RunsState(database, lambda _: None)
    await runs.refresh()
    await runs.choose(run)
    assert runs.rows[0].status is RunStatus.FAILED and "was killed" in runs.rows[0].error
    assert runs.details.run is not None and "was killed" in runs.details.run.error


async def test_a_run_needs_a_name(database: Database) -> None:
    run = add_runs(database, 1)[0]
    runs = RunsState(database, lambda _: None)
    with pytest.raises(SettingsError):
        await runs.rename(run, " \n")
    await runs.rename(run, " better ")
    assert [row.name for row in runs.rows] == ["better"]


async def test_notes_are_kept_when_the_details_close_while_writing(database: Database) -> None:
    run = add_runs(database, 1)[0]
    runs = RunsState(database, lambda _: None)
    await runs.choose(run)
    runs.details.note_soon(run, "go")
    runs.details.note_soon(run, "good")
    runs.close()
    async with asyncio.timeout(10):
        while not await noted(database, run):
            await asyncio.sleep(0.02)
    await runs.choose(run)
    assert runs.details.run is not None and runs.details.run.notes == "good"


async def noted(database: Database, run: int) -> str:
    with database.read_scope() as session:
        return training_runs.find_or_raise(session, run).notes


async def test_a_cancelled_scan_records_nothing(database: Database, tmp_path: Path) -> None:
    for number in range(20):
        adapter_in(tmp_path / "tree" / str(number))
    scan = ScanState(database)
    scan.show()
    task = asyncio.create_task(scan.scan(str(tmp_path / "tree")))
    while not scan.running:
        await asyncio.sleep(0)
    scan.cancel()
    assert not await task
    assert "cancelled" in scan.failure and not scan.running and not scan.stopping
    runs = RunsState(database, lambda _: None)
    await runs.refresh()
    assert runs.total == 0


async def test_esc_closes_the_question_then_the_details(database: Database) -> None:
    left: list[int] = []
    first, second = add_runs(database, 2)
    runs = RunsState(database, lambda _: None, on_leave=lambda: left.append(1))
    await runs.choose(first)
    runs.ask("rename")
    runs.back()
    assert (runs.asking, runs.chosen, left) == ("", first, [])
    await runs.choose(second)
    assert (runs.chosen, len(left)) == (second, 1)
    runs.back()
    assert (runs.chosen, len(left)) == (None, 2)
