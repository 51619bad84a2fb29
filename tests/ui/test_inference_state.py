"""One window's Inference tab without a page: real adapters, a real workspace, the real model process."""

import asyncio
import json
import os
import shutil
import signal

import pytest

from db.datasets import NewRow, create_with_rows
from errors import EmptyPromptError, ModelProcessError, NotFoundError
from helpers.chat_export import ExportFormat
from helpers.chat_session import GENERATING_STATUS, LOADING_STATUS, MessageStatus
from helpers.local_inference import ContextOverflow
from helpers.local_inference.worker import ModelProcess
from ui.inference.inference_state import InferenceState
from ui.inference.loaded_model_words import loaded_model_pairs
from ui.inference.model_choice_state import ChoicePhase
from ui_desk import WEIGHTS, until

LONG_ANSWER = 3000
SYSTEM_PROMPT = "Answer like a sailor."


async def ask(state: InferenceState, prompt: str) -> None:
    state.prompt.set_text(prompt)
    assert await state.generate()


def texts(state: InferenceState, role: str) -> list[str]:
    return [message.text for message in state.chat.messages if message.role == role]


def token_count(models, *messages: tuple[str, str]) -> int:
    """The length by the tokenizer itself, with the chat template and the opening of the answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models.base)
    chat = [{"role": role, "content": content} for role, content in messages]
    return len(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))


async def test_generate_asks_afresh_and_send_continues_the_one_history(desk):
    state = (await desk.ready_window()).state
    await ask(state, "One")
    await ask(state, "Two")
    assert await state.send("Three")
    assert texts(state, "user") == ["One", "Two", "Three"] and all(texts(state, "assistant"))
    prompts = [message.result.prompt_tokens for message in state.chat.messages if message.result]
    one, two, _ = texts(state, "assistant")
    alone = token_count(desk.models, ("user", "Two"))
    everything = ("user", "One"), ("assistant", one), ("user", "Two"), ("assistant", two), ("user", "Three")
    assert prompts[1:] == [alone, token_count(desk.models, *everything)]
    assert {message.speaker for message in state.chat.messages if message.role == "assistant"} == {"the run"}


async def test_include_history_makes_generate_continue_too(desk):
    state = (await desk.ready_window()).state
    await ask(state, "One")
    state.sampling.include_history = True
    await ask(state, "Two")
    continued = ("user", "One"), ("assistant", texts(state, "assistant")[0]), ("user", "Two")
    assert state.chat.messages[-1].result.prompt_tokens == token_count(desk.models, *continued)


async def test_clicks_at_the_same_moment_give_one_answer(desk):
    state = (await desk.ready_window()).state
    state.prompt.set_text("Once")
    sent = await asyncio.gather(state.generate(), state.generate(), state.send("Twice"), state.generate())
    assert sent == [True, False, False, False]
    assert texts(state, "user") == ["Once"] and len(state.chat.messages) == 2


@pytest.mark.parametrize("prompt", ["", " \n\t "])
async def test_an_empty_prompt_is_refused_and_nothing_changes(desk, prompt):
    state = (await desk.ready_window()).state
    state.prompt.set_text(prompt)
    with pytest.raises(EmptyPromptError):
        await state.generate()
    assert state.chat.messages == [] and not state.chat.busy
    await ask(state, "Now a real one")


async def test_without_a_validated_adapter_nothing_is_sent_and_the_reason_is_said(desk):
    damaged = desk.adapter("damaged")
    (damaged / WEIGHTS).write_bytes((damaged / WEIGHTS).read_bytes()[:-100])
    run = desk.add_run("damaged", damaged)
    window = desk.window()
    state = window.state
    await state.load()
    state.prompt.set_text("Hello")
    assert not await state.generate() and not await state.send("Hello")
    await state.model.select_run(run)
    assert state.model.phase is ChoicePhase.FAILED
    assert not await state.generate() and not await state.send("Hello")
    assert state.chat.messages == [] and state.prompt.text == "Hello"
    idle, failed = window.notices[0], window.notices[-1]
    assert idle == "Select a completed training run to load for inference."
    assert state.model.status in failed and state.model.hint in failed


async def test_a_folder_deleted_between_validation_and_generate_fails_and_loses_nothing(desk):
    adapter = desk.adapter("deleted")
    window = await desk.ready_window(adapter)
    state = window.state
    await ask(state, "One")
    before = list(state.chat.messages)
    shutil.rmtree(adapter)
    state.prompt.set_text("Two")
    assert not await state.generate() and not await state.send("Three")
    assert state.model.phase is ChoicePhase.FAILED and str(adapter) in state.model.status and state.model.hint
    assert state.chat.messages == before and state.prompt.text == "Two" and not state.chat.busy
    assert all(str(adapter) in notice for notice in window.notices)
    desk.adapter("deleted")
    await state.model.validate()
    await ask(state, "Two")
    assert texts(state, "user") == ["One", "Two"]


async def test_weights_replaced_by_others_are_validated_again_and_answer(desk):
    adapter = desk.adapter("replaced")
    state = (await desk.ready_window(adapter)).state
    await ask(state, "Say hello to the sailor.")
    report = state.model.report
    shutil.copyfile(desk.models.second / WEIGHTS, adapter / WEIGHTS)
    await ask(state, "Say hello to the sailor.")
    first, second = (message.result for message in state.chat.messages if message.result)
    assert state.model.report is not report
    assert state.model.report.adapter.fingerprint != report.adapter.fingerprint
    assert first.model.adapter_fingerprint != second.model.adapter_fingerprint
    assert first.text != second.text


async def test_weights_damaged_after_validation_are_noticed_before_they_are_loaded(desk):
    adapter = desk.adapter("damaged")
    window = await desk.ready_window(adapter)
    (adapter / WEIGHTS).write_bytes(b"")
    window.state.prompt.set_text("Hello")
    assert not await window.state.generate()
    assert window.state.model.phase is ChoicePhase.FAILED and len(window.notices) == 1


async def test_the_expected_answer_of_a_sample_goes_with_the_question_and_the_answer(desk):
    state = (await desk.ready_window()).state
    state.prompt.set_text("Capital of France?")
    state.prompt.expected = "Paris"
    await state.generate()
    state.prompt.expected = None
    await state.send("And of Italy?")
    assert [message.expected for message in state.chat.messages] == ["Paris", "Paris", None, None]
    await state.edit(state.chat.messages[0].id, "Capital of Spain?")
    assert texts(state, "user") == ["Capital of Spain?"]


async def test_a_message_that_is_gone_cannot_be_edited(desk):
    state = (await desk.ready_window()).state
    await ask(state, "One")
    gone = state.chat.messages[0].id
    state.chat.clear()
    with pytest.raises(NotFoundError, match="no longer there"):
        await state.edit(gone, "Two")
    assert state.chat.messages == [] and not state.chat.busy


async def test_the_count_is_the_tokenizers_own_and_what_the_answer_reports(desk):
    state = (await desk.ready_window()).state
    state.sampling.system_prompt = SYSTEM_PROMPT
    state.prompt.set_text("Say “naïve” 東京 🚀")
    await state.count_tokens()
    counted = state.prompt.rendered
    own = token_count(desk.models, ("system", SYSTEM_PROMPT), ("user", state.prompt.text))
    await state.generate()
    assert counted.token_count == own == state.chat.messages[-1].result.prompt_tokens
    assert "<|im_start|>system\n" + SYSTEM_PROMPT in counted.text and counted.text.endswith("assistant\n")


async def test_the_exact_prompt_is_what_the_next_answer_gets_also_after_a_failure(desk):
    state = (await desk.ready_window()).state
    state.sampling.include_history = True
    await ask(state, "One")
    state.prompt.set_text("word " * 5000)
    await state.generate()
    assert state.chat.messages[-1].status is MessageStatus.FAILED
    rendered = await state.render_prompt("Three", with_history=True)
    await state.send("Three")
    assert rendered.token_count == state.chat.messages[-1].result.prompt_tokens
    assert "word word" not in rendered.text


async def test_a_system_prompt_that_the_template_has_no_place_for_is_told_with_the_answer(desk):
    adapter = desk.adapter("without system role")
    (adapter / "chat_template.jinja").write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    state = (await desk.ready_window(adapter)).state
    state.sampling.system_prompt = SYSTEM_PROMPT
    await ask(state, "Hello")
    rendered = await state.render_prompt("Hello", with_history=False)
    assert f"user\n{SYSTEM_PROMPT}\n\nHello" in rendered.text
    # The lines of “What made this answer”.
    (note,) = [said for name, said in loaded_model_pairs(state.chat.messages[-1].result.model) if name == "Note"]
    assert "first user message" in note and rendered.notes == (note,)


async def test_where_the_oldest_turns_are_left_out_the_count_and_the_prompt_are_what_is_sent(desk):
    state = (await desk.ready_window()).state
    state.sampling.include_history = True
    await state.sampling.choose_overflow(ContextOverflow.DROP_OLDEST)
    await ask(state, "first " + "word " * 700)
    state.prompt.set_text("second " + "word " * 700)
    await state.count_tokens()
    counted = state.prompt.rendered
    assert "second" in counted.text and "first" not in counted.text
    assert any("left out" in note for note in counted.notes)
    await state.generate()
    result = state.chat.messages[-1].result
    assert counted.token_count == result.prompt_tokens and counted.notes == result.model.notes


async def test_only_the_newest_text_is_counted_once_typing_pauses(desk):
    state = (await desk.ready_window()).state
    counts = []

    def listen(prompt: object, field: str) -> None:
        if field == "rendered" and state.prompt.rendered is not None:
            counts.append(state.prompt.rendered.token_count)

    state.prompt.subscribe(listen)
    for end in range(1, 30):
        state.prompt.typed("a long sentence of many words"[:end])
        state.count_tokens_soon()
        await asyncio.sleep(0)
    await until(lambda: counts)
    assert counts == [token_count(desk.models, ("user", "a long sentence of many words"))]
    state.prompt.typed("  ")
    await state.count_tokens()
    assert state.prompt.rendered is None


async def test_a_count_that_arrives_late_for_an_older_text_is_dropped(desk):
    state = (await desk.ready_window()).state
    state.prompt.typed("older")
    late = asyncio.ensure_future(state.count_tokens())
    await asyncio.sleep(0)
    state.prompt.typed("a newer and longer text")
    await late
    assert state.prompt.rendered is None


async def test_the_count_follows_the_history_where_the_history_is_sent(desk):
    state = (await desk.ready_window()).state
    state.sampling.include_history = True
    await ask(state, "One")
    answer = texts(state, "assistant")[0]
    state.prompt.set_text("One")
    with_history = token_count(desk.models, ("user", "One"), ("assistant", answer), ("user", "One"))
    await until(lambda: state.prompt.rendered and state.prompt.rendered.token_count == with_history)
    state.chat.clear()
    alone = token_count(desk.models, ("user", "One"))
    await until(lambda: state.prompt.rendered and state.prompt.rendered.token_count == alone)


async def test_the_runs_own_dataset_is_offered_and_another_choice_of_the_user_stays(desk):
    rows = [NewRow("Question", "Answer")]
    with desk.database.session_scope() as session:
        own, other = (
            create_with_rows(session, name=name, source="test", format="chatml", rows=rows).id
            for name in ("own", "other")
        )
    run = desk.add_run("run", desk.models.first, dataset_id=own)
    state = desk.window().state
    await state.load()
    assert state.prompt.dataset_id == other, "the newest"
    await state.model.select_run(run)
    await until(lambda: state.prompt.dataset_id == own and state.prompt.samples)
    await state.prompt.choose_dataset(other)
    await state.model.validate()
    await state.count_tokens()
    assert state.prompt.dataset_id == other


async def test_every_format_exports_what_was_said_and_jsonl_what_the_model_saw(desk):
    state = (await desk.ready_window()).state
    state.sampling.system_prompt = SYSTEM_PROMPT
    await ask(state, "What is the capital?")
    state.sampling.system_prompt = ""
    await ask(state, "Speak plainly: 東京")
    await state.send("And now both")
    said = texts(state, "user")
    answers = texts(state, "assistant")
    for chosen in ExportFormat:
        document = state.export(chosen).decode("utf-8")
        assert all(text in document for text in said), chosen
    messages = json.loads(state.export(ExportFormat.JSON))["messages"]
    assert [message["content"] for message in messages] == [message.text for message in state.chat.messages]
    assert messages[1]["details"]["seed"] == state.chat.messages[1].result.seed
    lines = [json.loads(line)["messages"] for line in state.export(ExportFormat.JSONL).decode().splitlines()]
    flat = [[(message["role"], message["content"]) for message in line] for line in lines]
    system, one, two = ("system", SYSTEM_PROMPT), ("user", said[0]), ("user", said[1])
    three = [("user", said[2]), ("assistant", answers[2])]
    first, second = ("assistant", answers[0]), ("assistant", answers[1])
    assert [system, one, first] in flat and [two, second] in flat
    assert [one, first, two, second, *three] in flat and len(flat) == 3


async def test_another_strength_loads_nothing_again_and_every_export_says_it(desk):
    state = (await desk.ready_window()).state
    await ask(state, "One")
    seen = []

    def listen(_: object, field: str) -> None:
        if field == "status":
            seen.append(state.chat.status)

    state.chat.subscribe(listen)
    state.model.choose_strength(0.25)
    await ask(state, "One")
    assert GENERATING_STATUS in seen and LOADING_STATUS not in seen
    assert state.chat.messages[-1].result.model.adapter_strength == 0.25
    for chosen in (ExportFormat.TXT, ExportFormat.MARKDOWN):
        assert state.export(chosen).decode().count("strength: 0.25") == 1
    answers = [m for m in json.loads(state.export(ExportFormat.JSON))["messages"] if m["details"]]
    assert [answer["details"]["model"]["adapter_strength"] for answer in answers] == [1, 0.25]


async def test_an_export_says_which_answer_failed_and_why(desk):
    state = (await desk.ready_window()).state
    state.prompt.set_text("word " * 5000)
    await state.generate()
    failed = state.chat.messages[-1]
    assert failed.status is MessageStatus.FAILED
    for chosen in (ExportFormat.TXT, ExportFormat.MARKDOWN, ExportFormat.JSON):
        assert failed.error.message in state.export(chosen).decode("utf-8")
    assert state.export(ExportFormat.JSONL) == b"", "a question without an answer teaches nothing"


async def test_two_windows_on_one_workspace_have_a_history_each(desk):
    here, there = (await desk.ready_window()).state, (await desk.ready_window(desk.models.second)).state
    await asyncio.gather(ask(here, "Here?"), ask(there, "There?"), there.send("dropped"))
    assert texts(here, "user") == ["Here?"] and texts(there, "user") == ["There?"]
    paths = [state.chat.messages[1].result.model.adapter_path for state in (here, there)]
    assert paths == [str(desk.models.first), str(desk.models.second)]
    here.chat.clear()
    assert len(there.chat.messages) == 2


async def test_unloading_says_what_was_given_back_and_waits_for_no_answer(desk):
    state = (await desk.ready_window()).state
    state.sampling.change(max_new_tokens=LONG_ANSWER)
    state.prompt.set_text("Go on")
    answering = asyncio.ensure_future(state.generate())
    await until(lambda: state.chat.busy and state.chat.messages[-1].new_tokens)
    assert await state.unload() == "An answer is being written. Stop it first."
    state.chat.stop()
    await answering
    assert state.chat.messages[-1].status is MessageStatus.STOPPED and state.chat.messages[-1].text


async def test_unloading_an_idle_process_gives_memory_back_and_twice_is_no_error(desk, model_process):
    own = ModelProcess()
    desk.process = own
    state = desk.window().state
    assert await state.unload() == "No model was loaded."
    own.warm_up()
    assert (await state.unload()).startswith("Model unloaded. ")
    assert not own.is_running
    own.close()


async def test_the_text_so_far_survives_a_killed_model_process_and_the_next_generate_works(desk):
    state = (await desk.ready_window()).state
    await ask(state, "One")
    before = list(state.chat.messages)
    state.sampling.change(max_new_tokens=LONG_ANSWER)
    state.prompt.set_text("Two")
    answering = asyncio.ensure_future(state.generate())
    await until(lambda: state.chat.busy and state.chat.messages[-1].text)
    os.kill(desk.process.pid, signal.SIGKILL)
    await answering
    answer = state.chat.messages[-1]
    assert answer.status is MessageStatus.FAILED and answer.text and isinstance(answer.error, ModelProcessError)
    assert answer.error.hint and not state.chat.busy and state.chat.loaded_model is None
    assert state.chat.messages[:2] == before
    state.sampling.change(max_new_tokens=8)
    await ask(state, "Three")
    assert state.chat.messages[-1].status is MessageStatus.COMPLETE and state.chat.messages[-1].text
