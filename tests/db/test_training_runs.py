"""The list of runs, their numbers and checkpoints."""

import datetime as dt
import math

import pytest
from sqlalchemy.orm import Session

from db import conversations, datasets, run_records, training_runs
from db.database import Database
from db.models import EventKind, RunStatus, TrainingRun
from db.run_records import MetricRow
from db.training_runs import RunFilter, RunSort
from errors import NotFoundError


def _completed(session: Session, name: str, days_ago: int) -> TrainingRun:
    finished = dt.datetime.now(dt.UTC) - dt.timedelta(days=days_ago)
    return training_runs.create(
        session, name=name, base_model="base", status=RunStatus.COMPLETED, finished_at=finished
    )


def test_runs_are_listed_from_the_newest_page_by_page(database: Database) -> None:
    with database.session_scope() as session:
        for number in range(25):
            training_runs.create(session, name=f"run {number}", base_model="base")
    with database.read_scope() as session:
        pages = [training_runs.list_recent(session, limit=10, offset=offset) for offset in (0, 10, 20)]
        assert training_runs.count(session) == 25
    assert [run.name for page in pages for run in page] == [f"run {number}" for number in range(24, -1, -1)]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("pirate", ["Pirate", "100%_pirate"]),
        ("llama", ["Pirate"]),
        ("%", ["100%_pirate"]),
        ("_", ["100%_pirate"]),
        ("best so far", ["json"]),
        ("  ", ["json", "Pirate", "100%_pirate"]),
        ("nothing", []),
    ],
)
def test_search_looks_in_name_base_and_notes_and_takes_signs_as_they_are(
    database: Database, search: str, expected: list[str]
) -> None:
    with database.session_scope() as session:
        training_runs.create(session, name="100%_pirate", base_model="qwen")
        training_runs.create(session, name="Pirate", base_model="Llama")
        training_runs.create(session, name="json", base_model="qwen", notes="Best so far")
        assert [run.name for run in training_runs.list_recent(session, search=search)] == expected
        assert training_runs.count(session, search=search) == len(expected)


def test_runs_can_be_listed_by_status(database: Database) -> None:
    with database.session_scope() as session:
        for status in RunStatus:
            training_runs.create(session, name=status, base_model="base", status=status)
        for status in RunStatus:
            assert [run.status for run in training_runs.list_recent(session, status=status)] == [status]
            assert training_runs.count(session, status=status) == 1


def test_the_latest_completed_run_is_the_one_that_finished_last(database: Database) -> None:
    with database.session_scope() as session:
        assert training_runs.find_latest_completed(session) is None
        newest = _completed(session, "finished yesterday", days_ago=1)
        _completed(session, "added later, finished last year", days_ago=365)
        training_runs.create(session, name="running", base_model="base", status=RunStatus.RUNNING)
        training_runs.create(session, name="failed", base_model="base", status=RunStatus.FAILED)
        assert training_runs.find_latest_completed(session) is newest


def test_a_name_given_twice_means_the_newest_and_a_number_means_itself(database: Database) -> None:
    with database.session_scope() as session:
        first = training_runs.create(session, name="pirate", base_model="base")
        second = training_runs.create(session, name="pirate", base_model="base")
        numbered = training_runs.create(session, name=str(first.id), base_model="base")
        find = training_runs.find_by_name_or_id_or_raise
        assert find(session, " pirate ") is second
        assert find(session, str(second.id)) is second
        assert find(session, str(first.id)) is numbered


@pytest.mark.parametrize("text", ["nothing", "999", "", "-1", "²", "9" * 30])
def test_a_run_that_does_not_exist_is_named(database: Database, text: str) -> None:
    with database.read_scope() as session, pytest.raises(NotFoundError) as raised:
        training_runs.find_by_name_or_id_or_raise(session, text)
    assert text in raised.value.message and raised.value.hint


def test_the_number_of_a_removed_run_is_not_given_to_another(database: Database) -> None:
    with database.session_scope() as session:
        removed = training_runs.create(session, name="one", base_model="base").id
        training_runs.delete(session, removed)
    with database.session_scope() as session:
        assert training_runs.create(session, name="two", base_model="base").id != removed


def test_a_run_notes_when_it_started_and_ended_in_utc(database: Database) -> None:
    with database.session_scope() as session:
        run_id = training_runs.create(session, name="one", base_model="base").id
        training_runs.set_status(session, run_id, RunStatus.RUNNING)
    with database.session_scope() as session:
        training_runs.set_status(session, run_id, RunStatus.COMPLETED, adapter_path="/adapter")
    with database.read_scope() as session:
        run = training_runs.find_or_raise(session, run_id)
    assert run.adapter_path == "/adapter" and run.status is RunStatus.COMPLETED
    assert run.started_at is not None and run.finished_at is not None and run.heartbeat_at is not None
    assert run.created_at <= run.started_at <= run.finished_at <= dt.datetime.now(dt.UTC)


def test_a_time_of_another_zone_is_the_same_moment_when_read_back(database: Database) -> None:
    moment = dt.datetime(2024, 3, 31, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))
    with database.session_scope() as session:
        run = training_runs.create(session, name="one", base_model="base", finished_at=moment)
    with database.read_scope() as session:
        found = training_runs.find_or_raise(session, run.id).finished_at
    assert found == moment and found is not None and found.utcoffset() == dt.timedelta(0)


def test_a_failed_run_keeps_its_reason_and_loses_it_when_it_runs_again(database: Database) -> None:
    with database.session_scope() as session:
        run = training_runs.create(session, name="one", base_model="base")
        training_runs.mark_failed(session, run.id, "CUDA out of memory")
        assert (run.status, run.error) == (RunStatus.FAILED, "CUDA out of memory")
        training_runs.set_status(session, run.id, RunStatus.RUNNING)
        assert run.error is None and run.finished_at is None


def test_numbers_come_back_by_step_and_a_repeated_step_counts_once(database: Database) -> None:
    with database.session_scope() as session:
        run = training_runs.create(session, name="one", base_model="base")
        rows = [MetricRow(step, "loss", 10 / step, epoch=step / 100) for step in range(2000, 0, -1)]
        assert run_records.record_metrics(session, run.id, [*rows, MetricRow(5, "eval_loss", 3.0)]) == 2001
        run_records.record_metrics(session, run.id, [MetricRow(7, "loss", 0.25)])
    with database.read_scope() as session:
        loss = run_records.list_metrics(session, run.id, "loss")
        assert [metric.step for metric in loss] == list(range(1, 2001))
        assert loss[6].value == 0.25
        assert {metric.name for metric in run_records.list_metrics(session, run.id)} == {"loss", "eval_loss"}


def test_a_loss_that_is_no_number_is_kept_as_a_gap(database: Database) -> None:
    with database.session_scope() as session:
        run = training_runs.create(session, name="diverged", base_model="base")
        rows = [MetricRow(1, "loss", 2.0), MetricRow(2, "loss", math.nan), MetricRow(3, "loss", math.inf)]
        run_records.record_metrics(session, run.id, rows)
    with database.read_scope() as session:
        assert [metric.value for metric in run_records.list_metrics(session, run.id)] == [2.0, None, math.inf]


def test_a_checkpoint_is_recorded_once_and_is_not_mistaken_for_the_adapter(database: Database) -> None:
    with database.session_scope() as session:
        run = training_runs.create(session, name="one", base_model="base", adapter_path="/run")
        for step in (200, 100, 200):
            run_records.add_checkpoint(session, run.id, step, f"/run/checkpoint-{step}")
        assert [checkpoint.step for checkpoint in run_records.list_checkpoints(session, run.id)] == [100, 200]
        assert training_runs.find_by_adapter_path(session, "/run") is run
        assert training_runs.find_by_adapter_path(session, "/run/checkpoint-100") is None
        assert training_runs.find_by_adapter_path(session, "/elsewhere") is None


def test_a_removed_run_takes_its_numbers_and_checkpoints_but_no_chat_and_no_dataset(database: Database) -> None:
    with database.session_scope() as session:
        rows = [datasets.NewRow("a", "b")]
        dataset = datasets.create_with_rows(session, name="rows", source="test", format="jsonl", rows=rows)
        run = training_runs.create(session, name="one", base_model="base", dataset_id=dataset.id)
        run_records.record_metrics(session, run.id, [MetricRow(1, "loss", 1.0)])
        run_records.add_checkpoint(session, run.id, 1, "/checkpoint-1")
        chat = conversations.create(session, title="chat", base_model="base", run_id=run.id)
    with database.session_scope() as session:
        training_runs.delete(session, run.id)
    with database.read_scope() as session:
        assert run_records.list_metrics(session, run.id) == []
        assert run_records.list_checkpoints(session, run.id) == []
        assert conversations.find_or_raise(session, chat.id).run_id is None
        assert datasets.find_or_raise(session, dataset.id).row_count == 1


def test_recording_for_a_run_that_was_removed_says_so(database: Database) -> None:
    with database.session_scope() as session:
        run_id = training_runs.create(session, name="one", base_model="base").id
        training_runs.delete(session, run_id)
    for record in (
        lambda session: run_records.record_metrics(session, run_id, [MetricRow(1, "loss", 1.0)]),
        lambda session: run_records.add_checkpoint(session, run_id, 1, "/checkpoint-1"),
        lambda session: training_runs.record_heartbeat(session, run_id),
        lambda session: training_runs.mark_failed(session, run_id, "error"),
    ):
        with pytest.raises(NotFoundError), database.session_scope() as session:
            record(session)


def test_ten_thousand_runs_are_listed_through_an_index(database: Database) -> None:
    """Sorting all rows for each page is what makes a long list slow."""
    with database.read_scope() as session:
        connection = session.connection()
        for condition in ("", "WHERE status = 'completed'"):
            sql = f"SELECT * FROM training_runs {condition} ORDER BY created_at DESC, id DESC LIMIT 100"
            plan = [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
            assert all("USING INDEX" in step for step in plan), plan


def test_a_page_has_what_matches_in_the_order_asked_for(database: Database) -> None:
    with database.session_scope() as session:
        for number in range(200):
            status = list(RunStatus)[number % 4]
            training_runs.create(
                session, name=f"Run {number:03}", base_model=f"base-{number % 3}", status=status, notes="100% mine"
            )
    with database.read_scope() as session:
        chosen = RunFilter(search="RUN 0", status=RunStatus.FAILED, base_model="base-1")
        page = training_runs.list_page(session, chosen, RunSort.NAME, limit=200)
        expected = [f"Run {n:03}" for n in range(100) if n % 4 == 3 and n % 3 == 1]
        assert [run.name for run in page] == expected
        assert training_runs.count_matching(session, chosen) == len(expected)
        assert training_runs.count_matching(session, RunFilter(search="100%")) == 200
        assert training_runs.count_matching(session, RunFilter(search="1_0")) == 0
        assert training_runs.list_base_models(session) == [("base-0", 67), ("base-1", 67), ("base-2", 66)]
        by_status = training_runs.list_page(session, RunFilter(), RunSort.STATUS, limit=200)
        order = [RunStatus.RUNNING, RunStatus.PENDING, RunStatus.FAILED, RunStatus.COMPLETED]
        assert [run.status for run in by_status] == [status for status in order for _ in range(50)]
        for sort in RunSort:
            pages = [training_runs.list_page(session, RunFilter(), sort, 60, start) for start in range(0, 240, 60)]
            assert len({run.id for page in pages for run in page}) == 200


def test_a_long_curve_is_thinned_without_losing_a_spike(database: Database) -> None:
    with database.session_scope() as session:
        run = training_runs.create(session, name="one", base_model="base")
        rows = [MetricRow(step, "loss", 1 / step) for step in range(1, 5001)]
        rows[3210] = MetricRow(3211, "loss", 99.0)
        rows[40] = MetricRow(41, "loss", math.nan)
        run_records.record_metrics(session, run.id, rows)
        few = run_records.metric_series(session, run.id, "loss", 100)
        assert len(few) <= 100 and (3211, 99.0) in few
        assert few == sorted(few) and few[0] == (1, 1.0) and few[-1] == (5000, 1 / 5000)
        assert len(run_records.metric_series(session, run.id, "loss", 10_000)) == 4999
        assert run_records.metric_series(session, run.id, "other", 100) == []


def test_what_happened_to_a_run_is_kept_until_the_run_goes(database: Database) -> None:
    with database.session_scope() as session:
        run = training_runs.create(session, name="one", base_model="base")
        run_records.record_event(session, run.id, EventKind.STARTED, "Training started.")
        training_runs.rename(session, run.id, "two")
        training_runs.set_notes(session, run.id, "good")
        events = run_records.list_events(session, run.id)
        assert [event.kind for event in events] == [EventKind.RENAMED, EventKind.STARTED]
        assert "“one”" in events[0].text and "“two”" in events[0].text
        assert len(run_records.list_events(session, run.id, limit=1)) == 1
        training_runs.delete(session, run.id)
        assert run_records.list_events(session, run.id) == []


def test_a_located_base_is_noted_for_every_run_on_it_and_no_other(database: Database) -> None:
    with database.session_scope() as session:
        runs = [training_runs.create(session, name=name, base_model=name[0]) for name in ("a1", "a2", "b1")]
        run_records.record_base_located(session, "a", "/models/a")
    with database.read_scope() as session:
        events = [run_records.list_events(session, run.id) for run in runs]
    assert [len(found) for found in events] == [1, 1, 0]
    (event,) = events[0]
    assert event.kind == EventKind.BASE_LOCATED and "/models/a" in event.text and event.created_at.tzinfo is not None
