"""Saved datasets: order, sampling, names, removal."""

import datetime as dt
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from db import datasets, training_runs
from db.database import Database
from db.datasets import NewRow
from db.models import Dataset, utc_now
from errors import NotFoundError, SettingsError


def _saved(database: Database, rows: int, name: str = "capitals") -> Dataset:
    with database.session_scope() as session:
        examples = (NewRow(f"prompt {number}", f"response {number}") for number in range(rows))
        return datasets.create_with_rows(session, name=name, source="capitals.jsonl", format="jsonl", rows=examples)


def test_rows_keep_their_order_and_content(database: Database) -> None:
    messages = [{"role": "user", "content": "Hi 🦜"}, {"role": "assistant", "content": "你好"}]
    rows = [NewRow("a", "b"), NewRow("Hi 🦜", "你好", system="Be kind.", messages=messages), NewRow("", "")]
    with database.session_scope() as session:
        saved = datasets.create_with_rows(session, name="rows", source="test", format="jsonl", rows=rows)
    with database.read_scope() as session:
        found = datasets.first_rows(session, saved.id, 10)
    assert [NewRow(row.prompt, row.response, row.system, row.messages) for row in found] == rows
    assert saved.row_count == 3


def test_more_rows_than_one_statement_takes_are_numbered_without_a_gap(database: Database) -> None:
    saved = _saved(database, 2500)
    assert saved.row_count == 2500
    with database.read_scope() as session:
        assert [row.position for row in datasets.first_rows(session, saved.id, 9999)] == list(range(2500))


def test_an_error_among_the_rows_leaves_nothing_of_the_dataset(database: Database) -> None:
    def rows() -> Iterator[NewRow]:
        yield from (NewRow(str(number), "") for number in range(1500))
        raise ValueError("row 1500 is broken")

    with pytest.raises(ValueError, match="1500"), database.session_scope() as session:
        datasets.create_with_rows(session, name="half", source="test", format="jsonl", rows=rows())
    with database.read_scope() as session:
        assert datasets.list_all(session) == []
        assert datasets.first_rows(session, 1, 1) == []


def test_a_sample_has_different_rows_and_the_same_seed_draws_the_same(database: Database) -> None:
    saved = _saved(database, 1000)
    with database.read_scope() as session:
        draws = [
            [row.prompt for row in datasets.sample_rows(session, saved.id, 5, random.Random(seed))]
            for seed in (1, 1, 2, 3)
        ]
    assert draws[0] == draws[1] != draws[2] != draws[3]
    assert all(len(set(draw)) == 5 for draw in draws)


def test_a_sample_of_a_small_or_empty_dataset_is_what_there_is(database: Database) -> None:
    small, empty = _saved(database, 3, "small"), _saved(database, 0, "empty")
    with database.read_scope() as session:
        assert len(datasets.sample_rows(session, small.id, 5, random.Random(1))) == 3
        assert datasets.sample_rows(session, empty.id, 5, random.Random(1)) == []


def test_every_row_can_be_drawn(database: Database) -> None:
    saved = _saved(database, 10)
    rng = random.Random(7)
    with database.read_scope() as session:
        drawn = {row.position for _ in range(40) for row in datasets.sample_rows(session, saved.id, 3, rng)}
    assert drawn == set(range(10))


def test_a_name_that_is_taken_gets_a_number(database: Database) -> None:
    names = [_saved(database, 1, name).name for name in ("a", "a", "a", " a ", "A", "a (2)", "%")]
    assert names == ["a", "a (2)", "a (3)", "a (4)", "A", "a (2) (2)", "%"]


def test_a_name_that_is_blank_or_taken_is_refused_and_the_own_one_is_not(database: Database) -> None:
    first, second = _saved(database, 1, "a"), _saved(database, 1, "b")
    for name, words in (
        ("a", "Another dataset is called “a”"),
        (" a ", "called “a”"),
        ("", "no name"),
        (" \n", "no name"),
    ):
        with pytest.raises(SettingsError, match=words), database.session_scope() as session:
            datasets.rename(session, second.id, name)
    with database.session_scope() as session:
        assert datasets.rename(session, first.id, " a ").name == "a"
        assert datasets.rename(session, second.id, " ä 🦜 ").name == "ä 🦜"
    with database.read_scope() as session:
        assert [dataset.name for dataset in datasets.list_all(session)] == ["ä 🦜", "a"]


def test_a_search_finds_names_and_sources_by_any_part_and_counts_what_it_pages_through(database: Database) -> None:
    for number in range(7):
        _saved(database, 1, f"Capitals {number}")
    _saved(database, 1, "100% sure")
    with database.session_scope() as session:
        datasets.begin(session, source="capitals.jsonl", format="f")
    with database.read_scope() as session:
        pages = [datasets.list_page(session, search=" cAPITALS ", offset=offset, limit=3) for offset in (0, 3, 6, 9)]
        assert [[dataset.name for dataset in page] for page in pages] == [
            ["100% sure", "Capitals 6", "Capitals 5"],
            ["Capitals 4", "Capitals 3", "Capitals 2"],
            ["Capitals 1", "Capitals 0"],
            [],
        ]
        for search, count in (
            ("capitals", 8),
            ("capitals 3", 1),
            ("%", 1),
            ("_", 0),
            ("", 8),
            ("jsonl", 8),
            ("x", 0),
        ):
            assert datasets.count_matching(session, search) == count
            assert len(datasets.list_page(session, search=search)) == count


def test_the_runs_of_a_dataset_are_those_trained_on_it_the_newest_first(database: Database) -> None:
    used, other = _saved(database, 1, "used"), _saved(database, 1, "other")
    with database.session_scope() as session:
        for name, dataset in (("first", used), ("foreign", other), ("none", None), ("last", used)):
            number = dataset.id if dataset is not None else None
            training_runs.create(session, name=name, base_model="base", dataset_id=number)
    with database.read_scope() as session:
        assert [run.name for run in datasets.runs_using(session, used.id)] == ["last", "first"]
        assert datasets.runs_using(session, 999) == []


def test_a_dataset_is_found_by_name_or_number(database: Database) -> None:
    first = _saved(database, 1, "first")
    named_like_a_number = _saved(database, 1, str(first.id))
    with database.read_scope() as session:
        find = datasets.find_by_name_or_id_or_raise
        assert find(session, "first").id == first.id
        assert find(session, str(first.id)).id == named_like_a_number.id
        assert find(session, str(named_like_a_number.id)).id == named_like_a_number.id
        assert [dataset.id for dataset in datasets.list_all(session)] == [named_like_a_number.id, first.id]
        for missing in ("nothing", "999", "", "9" * 30):
            with pytest.raises(NotFoundError):
                find(session, missing)


def test_a_dataset_that_is_removed_is_gone_at_once_and_its_rows_go_in_portions(database: Database) -> None:
    saved = _saved(database, 10)
    with database.session_scope() as session:
        run = training_runs.create(session, name="run", base_model="base", dataset_id=saved.id)
    with database.session_scope() as session:
        datasets.set_aside(session, saved.id)
    with database.read_scope() as session:
        assert training_runs.find_or_raise(session, run.id).dataset_id is None
        with pytest.raises(NotFoundError):
            datasets.sample_rows(session, saved.id, 1, random.Random(1))
    left = []
    remains = True
    while remains:
        with database.session_scope() as session:
            remains = datasets.delete_some(session, saved.id, 4)
            left.append(len(datasets.first_rows(session, saved.id, 10)))
    assert left == [6, 2, 0, 0]


def test_what_a_program_that_ended_left_unfinished_is_told_from_what_is_at_work(database: Database) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with database.session_scope() as session:
        at_work, killed, elsewhere, silent = (datasets.begin(session, source="s", format="f") for _ in range(4))
        own = session.get_one(Dataset, at_work).name
        session.get_one(Dataset, killed).name = own.replace(str(os.getpid()), str(ended.pid), 1)
        session.get_one(Dataset, elsewhere).name = f"(unfinished {ended.pid} 0 another machine)"
        session.get_one(Dataset, silent).created_at = utc_now() - dt.timedelta(minutes=11)
    with database.read_scope() as session:
        assert datasets.abandoned_ids(session) == [killed, silent]
    with database.session_scope() as session:
        datasets.append_rows(session, silent, 0, ())
    with database.read_scope() as session:
        assert datasets.abandoned_ids(session) == [killed], "none at all are a sign of life too"


def test_sampling_and_removing_go_through_an_index(database: Database) -> None:
    """What makes them independent of how many rows other datasets have."""
    with database.read_scope() as session:
        for sql in (
            "SELECT * FROM dataset_rows WHERE dataset_id = 1 AND position IN (1, 5, 9)",
            "DELETE FROM dataset_rows WHERE dataset_id = 1",
        ):
            plan = [str(row[-1]) for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
            assert all("SEARCH" in step and "INDEX" in step for step in plan), plan
