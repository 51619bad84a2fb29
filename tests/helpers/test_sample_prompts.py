"""Sample prompts of a saved dataset."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from db import datasets
from db.database import Database
from db.datasets import NewRow
from errors import NotFoundError
from helpers.sample_prompts import SamplePrompt, draw_sample_prompts


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "playground.db") as opened:
        yield opened


def _dataset(database: Database, rows: int) -> int:
    with database.session_scope() as session:
        examples = (NewRow(f"prompt {number}", f"answer {number}", f"system {number}") for number in range(rows))
        saved = datasets.create_with_rows(session, name="rows", source="test", format="jsonl", rows=examples)
        return saved.id


def test_each_prompt_comes_with_its_own_answer_and_system_prompt(database: Database) -> None:
    prompts = draw_sample_prompts(database, _dataset(database, 200))
    assert len(set(prompts)) == 5
    for sample in prompts:
        number = sample.prompt.removeprefix("prompt ")
        assert sample == SamplePrompt(f"prompt {number}", f"answer {number}", f"system {number}")


def test_a_refresh_draws_others_and_a_seed_the_same(database: Database) -> None:
    dataset_id = _dataset(database, 10_000)
    assert draw_sample_prompts(database, dataset_id) != draw_sample_prompts(database, dataset_id)
    seeded = [draw_sample_prompts(database, dataset_id, rng=random.Random(3)) for _ in range(2)]
    assert seeded[0] == seeded[1]


def test_a_small_dataset_gives_what_it_has(database: Database) -> None:
    assert len(draw_sample_prompts(database, _dataset(database, 2))) == 2


def test_a_dataset_that_is_gone_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError):
        draw_sample_prompts(database, 99)
