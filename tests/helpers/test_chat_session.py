"""One conversation on the real model process with a tiny real model."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from errors import EmptyPromptError, ModelNotFoundError
from helpers.chat_session import (
    GENERATING_STATUS,
    LOADING_STATUS,
    AnswerOptions,
    ChatSession,
    MessageStatus,
    model_messages,
)
from helpers.local_inference import ContextOverflow, GenerationSettings, ModelSelection
from helpers.local_inference.worker import ModelProcess
from tiny_models import build_tiny_adapter, build_tiny_base

LONG_ANSWER = 200


@pytest.fixture(scope="module")
def process() -> Iterator[ModelProcess]:
    process = ModelProcess()
    yield process
    process.close()


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory) -> ModelSelection:
    folder: Path = tmp_path_factory.mktemp("model")
    base = build_tiny_base(folder / "base")
    return ModelSelection(str(base), str(build_tiny_adapter(base, folder / "adapter")))


@pytest.fixture
def chat(process: ModelProcess) -> ChatSession:
    return ChatSession(process)


def options(selection: ModelSelection, tokens: int = 8, **changes: object) -> AnswerOptions:
    return AnswerOptions(selection, GenerationSettings.create(temperature=0, max_new_tokens=tokens), **changes)


def finish(chat: ChatSession) -> None:
    """Advance until the answer ended; the process's own limits bound the wait."""
    until(lambda: not chat.advance())


def until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)  # gives the processor to the model process between two looks


def test_a_fresh_turn_sends_only_itself_and_a_message_sends_the_history(chat, selection):
    chat.ask("One", options(selection), with_history=False)
    finish(chat)
    chat.ask("Two", options(selection), with_history=False)
    finish(chat)
    fresh_tokens = chat.messages[-1].result.prompt_tokens
    chat.ask("Two", options(selection), with_history=True)
    finish(chat)
    assert [m.role for m in chat.messages] == ["user", "assistant"] * 3
    assert chat.messages[-1].result.prompt_tokens > 2 * fresh_tokens


def test_the_first_answer_says_it_loads_and_the_second_does_not(chat, selection):
    statuses = []
    for prompt in ("One", "Two"):
        chat.ask(prompt, options(selection), with_history=False)
        statuses.append(chat.status)
        finish(chat)
    assert statuses == [LOADING_STATUS, GENERATING_STATUS]
    assert chat.status == "" and chat.loaded_model.adapter_path == selection.adapter_path


def test_stop_keeps_the_text_so_far(chat, selection):
    chat.ask("Go on for long", options(selection, LONG_ANSWER), with_history=False)
    until(lambda: chat.advance() and chat.messages[-1].new_tokens > 2)
    chat.stop()
    assert chat.stopping
    finish(chat)
    answer = chat.messages[-1]
    assert answer.status is MessageStatus.STOPPED and answer.text and answer.new_tokens < LONG_ANSWER
    assert not chat.stopping and not chat.busy


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_an_empty_prompt_is_refused_and_changes_nothing(chat, selection, prompt):
    with pytest.raises(EmptyPromptError, match="empty"):
        chat.ask(prompt, options(selection), with_history=False)
    assert chat.messages == [] and not chat.busy


def test_a_failed_answer_keeps_the_question_and_is_not_sent_back(chat, selection):
    missing = AnswerOptions(ModelSelection("/nowhere/at/all"), GenerationSettings())
    chat.ask("Lost?", missing, with_history=True)
    finish(chat)
    failed = chat.messages[-1]
    assert failed.status is MessageStatus.FAILED and isinstance(failed.error, ModelNotFoundError)
    chat.ask("Again", options(selection), with_history=True)
    finish(chat)
    alone = ChatSession(chat.generator)
    alone.ask("Again", options(selection), with_history=False)
    finish(alone)
    assert chat.messages[-1].result.prompt_tokens == alone.messages[-1].result.prompt_tokens
    assert chat.messages[0].text == "Lost?"


def test_regenerate_answers_again_and_can_be_taken_back(chat, selection):
    chat.ask("One", options(selection), with_history=False)
    finish(chat)
    first = list(chat.messages)
    chat.regenerate(options(selection))
    finish(chat)
    assert chat.messages[0] is first[0] and chat.messages[1] is not first[1]
    assert chat.messages[1].text == first[1].text, "greedy answers repeat"
    chat.restore_previous()
    assert chat.messages == first


def test_editing_a_message_replaces_what_followed_and_can_be_taken_back(chat, selection):
    for prompt in ("One", "Two"):
        chat.ask(prompt, options(selection), with_history=True)
        finish(chat)
    before = list(chat.messages)
    chat.edit(chat.messages[0].id, "Changed", options(selection))
    finish(chat)
    assert [m.text for m in chat.messages if m.role == "user"] == ["Changed"]
    chat.restore_previous()
    assert chat.messages == before


def test_clearing_while_an_answer_is_written_leaves_nothing_behind(chat, selection):
    chat.ask("Go on for long", options(selection, LONG_ANSWER), with_history=False)
    until(lambda: chat.advance() and chat.messages[-1].new_tokens > 0)
    chat.clear()
    assert chat.messages == [] and not chat.busy and chat.status == ""
    assert not chat.advance()
    chat.ask("One", options(selection), with_history=False)
    finish(chat)
    assert chat.messages[-1].status is MessageStatus.COMPLETE


def test_conversations_are_what_the_model_saw(chat, selection):
    chat.ask("Alone", options(selection), with_history=False)
    finish(chat)
    chat.ask("Fresh", options(selection), with_history=False)
    finish(chat)
    assert [[m.text for m in c if m.role == "user"] for c in chat.conversations()] == [["Alone"], ["Fresh"]]
    chat.ask("All", options(selection), with_history=True)
    finish(chat)
    # “Alone” is how the last conversation begins, so it is not repeated.
    found = [[m.text for m in c if m.role == "user"] for c in chat.conversations()]
    assert found == [["Fresh"], ["Alone", "Fresh", "All"]]


def test_the_system_prompt_goes_first_and_a_blank_one_nowhere():
    assert [m.role for m in model_messages("Be kind.", [])] == ["system"]
    assert model_messages("  ", []) == ()


def test_a_conversation_that_is_too_long_is_treated_as_the_user_chose(process, tmp_path):
    short = ModelSelection(str(build_tiny_base(tmp_path / "short", max_position_embeddings=96)))
    chat = ChatSession(process)
    for _ in range(4):
        chat.ask("Say hello to the sailor and his ship", options(short), with_history=False)
        finish(chat)
    chat.ask("And now?", options(short), with_history=True)
    finish(chat)
    assert "too many" in chat.messages[-1].error.message
    chat.ask("And now?", options(short, on_overflow=ContextOverflow.DROP_OLDEST), with_history=True)
    finish(chat)
    answer = chat.messages[-1]
    assert answer.error is None and answer.result.prompt_tokens <= 96 - 8
    assert any("left out" in note for note in answer.result.model.notes)
