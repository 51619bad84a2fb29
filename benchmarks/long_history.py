"""A conversation of 1,000 messages beside an empty one: the same answer, streamed on the same page."""

import asyncio
import tempfile
from pathlib import Path

from engine_alone import WARM_UP_TOKENS, tokens_to_measure
from helpers.chat_session import Message
from mounted_tab import MountedTab, StreamedAnswer, mounted_tab
from report import Figure, ratios
from ui.inference.inference_state import ObservableMessage

TITLE = "1,000 messages and none"
TURNS = 500
ROUNDS = 5
LEAST_SHARE = 0.95
MOST_UPDATE_TIMES = 1.5
# Above every id that the conversation gives out itself.
FIRST_ID = 1_000_000
QUESTION = "How does a cat sound?"
ANSWER = "A cat says **meow**, and when it is content it purrs. " * 3

EMPTY = "no history"
LONG = "1,000 messages"
DIALOG = "1,000 and Full Chat View open"


def measure(model: Path, rounds: int = ROUNDS) -> list[Figure]:
    """``model``: the folder of ``bench_model``. The request is the same each time: a single turn."""
    with tempfile.TemporaryDirectory() as folder:
        answers = asyncio.run(_measure_rounds(model, Path(folder), rounds))
    speed = {kind: [answer.arriving for answer in taken] for kind, taken in answers.items()}
    update = {kind: [answer.update_cpu * 1000 for answer in taken] for kind, taken in answers.items()}
    turn = {kind: [answer.turn_cpu * 1000 for answer in taken] for kind, taken in answers.items()}
    figures = []
    for kind in (LONG, DIALOG):
        figures += [
            Figure(
                TITLE,
                f"tokens/s on the page, {kind} ÷ {EMPTY}",
                "",
                ratios(speed[kind], speed[EMPTY]),
                at_least=LEAST_SHARE,
            ),
            Figure(
                TITLE,
                f"CPU of an update, {kind} ÷ {EMPTY}",
                "",
                ratios(update[kind], update[EMPTY]),
                at_most=MOST_UPDATE_TIMES,
            ),
        ]
    figures += [Figure(TITLE, f"CPU of an update, {kind}", "ms", taken) for kind, taken in update.items()]
    return figures + [
        Figure(TITLE, f"CPU of beginning and ending, {kind}", "ms", taken) for kind, taken in turn.items()
    ]


async def _measure_rounds(model: Path, folder: Path, rounds: int) -> dict[str, list[StreamedAnswer]]:
    answers: dict[str, list[StreamedAnswer]] = {EMPTY: [], LONG: [], DIALOG: []}
    async with mounted_tab(model, folder) as tab:
        await tab.answer(WARM_UP_TOKENS)
        new_tokens = tokens_to_measure(await tab.answer(WARM_UP_TOKENS))
        for _ in range(rounds):
            for kind, taken in answers.items():
                await _prepare(tab, kind)
                taken.append(await tab.answer(new_tokens))
    return answers


async def _prepare(tab: MountedTab, kind: str) -> None:
    tab.state.chat.messages = [] if kind == EMPTY else _history()
    if kind == DIALOG:
        tab.window.open_full_chat()
    else:
        tab.window.close_full_chat()
    await tab.page.settle()
    await tab.page.confirm_closed_dialogs()
    await tab.page.settle()


def _history() -> list[Message]:
    messages: list[Message] = []
    for turn in range(TURNS):
        messages.append(ObservableMessage(FIRST_ID + 2 * turn, "user", QUESTION))
        messages.append(ObservableMessage(FIRST_ID + 2 * turn + 1, "assistant", ANSWER))
    return messages
