"""The prompt: its text, the sample prompts of a dataset, and the answer that is expected."""

import asyncio

import pytest

from db import datasets
from db.database import Database
from errors import NotFoundError
from held_threads import HeldThreads
from helpers.dataset_import import remove_dataset
from ui.inference.prompt_state import PromptState
from ui_desk import until


def add_dataset(database: Database, name: str, rows: int = 20, response: str = "answer") -> int:
    """A dataset of prompts that name it and number them; the answers too unless ``response`` is empty."""
    new = [
        datasets.NewRow(f"{name} question {number}", f"{name} {response} {number}" if response else "")
        for number in range(rows)
    ]
    with database.session_scope() as session:
        return datasets.create_with_rows(session, name=name, source="test", format="chatml", rows=new).id


async def opened(database: Database) -> PromptState:
    """The prompt of a new window."""
    prompt = PromptState(database)
    await prompt.load()
    return prompt


async def test_five_different_prompts_of_the_newest_dataset_are_offered(database):
    add_dataset(database, "old")
    newest = add_dataset(database, "new")
    prompt = await opened(database)
    assert [dataset.name for dataset in prompt.datasets] == ["new", "old"] and prompt.dataset_id == newest
    assert len({sample.prompt for sample in prompt.samples}) == 5
    assert all(sample.prompt.startswith("new ") for sample in prompt.samples)
    assert prompt.text == "" and prompt.sample_number is None, "nothing is filled in before a choice"


async def test_a_small_dataset_offers_what_it_has_and_no_dataset_nothing(database):
    prompt = await opened(database)
    assert prompt.samples == [] and prompt.dataset_id is None
    await prompt.draw_samples()
    add_dataset(database, "small", rows=2)
    await prompt.load()
    assert len(prompt.samples) == 2


async def test_a_sample_fills_the_prompt_and_shows_its_expected_answer(database):
    add_dataset(database, "data")
    prompt = await opened(database)
    version = prompt.version
    prompt.choose_sample(2)
    assert prompt.text == prompt.samples[2].prompt and prompt.sample_number == 2
    assert prompt.expected == prompt.samples[2].expected == prompt.text.replace("question", "answer")
    assert prompt.version > version, "the field takes the text over"


async def test_the_expected_answer_goes_when_the_text_is_no_longer_the_samples(database):
    add_dataset(database, "data")
    prompt = await opened(database)
    prompt.choose_sample(0)
    version = prompt.version
    prompt.typed(prompt.text)
    assert prompt.expected is not None
    prompt.typed(prompt.text + "?")
    assert (prompt.expected, prompt.sample_number, prompt.version) == (None, None, version)
    prompt.choose_sample(1)
    prompt.set_text("My own question")
    assert (prompt.expected, prompt.sample_number) == (None, None)


async def test_a_sample_without_an_answer_is_left_as_soon_as_its_text_changes(database):
    add_dataset(database, "questions", response="")
    prompt = await opened(database)
    prompt.choose_sample(3)
    assert (prompt.expected, prompt.sample_number) == (None, 3)
    prompt.typed("My own question")
    assert prompt.sample_number is None


async def test_new_samples_are_drawn_and_the_prompt_being_written_stays(database):
    add_dataset(database, "data", rows=500)
    prompt = await opened(database)
    prompt.choose_sample(1)
    text, expected, first = prompt.text, prompt.expected, list(prompt.samples)
    await prompt.draw_samples()
    assert prompt.samples != first and len(prompt.samples) == 5
    assert (prompt.text, prompt.expected, prompt.sample_number) == (text, expected, None)
    prompt.typed(text)
    assert prompt.expected == expected, "it is still the sample's own text"
    prompt.typed(text + "!")
    assert prompt.expected is None


async def test_refreshing_keeps_the_chosen_dataset_and_its_samples(database):
    chosen = add_dataset(database, "chosen")
    prompt = await opened(database)
    samples = list(prompt.samples)
    add_dataset(database, "newer")
    await prompt.load()
    assert (prompt.dataset_id, prompt.samples, len(prompt.datasets)) == (chosen, samples, 2)


async def test_the_samples_of_a_deleted_dataset_go_with_it(database):
    only = add_dataset(database, "only")
    prompt = await opened(database)
    prompt.choose_sample(0)
    text = prompt.text
    remove_dataset(database, only)
    await prompt.load()
    assert (prompt.datasets, prompt.dataset_id, prompt.samples, prompt.sample_number) == ([], None, [], None)
    assert prompt.text == text, "what stands in the field stays"


async def test_choosing_a_dataset_that_was_deleted_meanwhile_offers_none_of_another(database):
    gone = add_dataset(database, "gone")
    add_dataset(database, "first")
    prompt = await opened(database)
    remove_dataset(database, gone)
    with pytest.raises(NotFoundError):
        await prompt.choose_dataset(gone)
    assert prompt.samples == []


async def test_samples_that_arrive_late_are_not_shown_under_another_dataset(database):
    slow, chosen = add_dataset(database, "slow"), add_dataset(database, "chosen")
    prompt = await opened(database)
    threads = HeldThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    with threads.hold(slow):
        late = asyncio.ensure_future(prompt.choose_dataset(slow))
        await until(lambda: prompt.dataset_id == slow)
        await prompt.choose_dataset(chosen)
    await late
    assert prompt.dataset_id == chosen
    assert len(prompt.samples) == 5 and all(sample.prompt.startswith("chosen ") for sample in prompt.samples)
