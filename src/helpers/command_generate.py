"""``generate``: one answer on stdout, as it is written or as one JSON document."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from sqlalchemy.orm import Session

from db import presets
from errors import NotFoundError, PromptError
from helpers.command_output import note, print_json
from helpers.local_inference import (
    BUILT_IN_PRESETS,
    DEFAULT_PRESET,
    ChatMessage,
    FinishReason,
    GenerationFinished,
    GenerationRequest,
    GenerationResult,
    GenerationSettings,
    ModelLoading,
    ModelReady,
    TextDelta,
)
from helpers.local_inference.prompt_rendering import require_question


def read_prompt(prompt: str) -> str:
    """The prompt itself, or standard input where it is “-”. Raises PromptError for bytes that are no UTF-8."""
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise PromptError("The prompt on standard input is not UTF-8 text.", "Convert it to UTF-8.") from error


def messages_for(prompt: str, system_prompt: str) -> tuple[ChatMessage, ...]:
    """A single turn, after the system prompt where there is one."""
    system = (ChatMessage("system", system_prompt),) if system_prompt.strip() else ()
    return (*system, ChatMessage("user", prompt))


def settings_for(session: Session, preset: str | None, changes: dict[str, Any]) -> GenerationSettings:
    """A preset, the user's or a built-in one, with ``changes`` on top. Raises NotFoundError, SettingsError."""
    wanted = (preset or DEFAULT_PRESET).casefold()
    built_in = {name.casefold(): settings for name, settings in BUILT_IN_PRESETS.items()}
    own = {saved.name.casefold(): saved.settings for saved in presets.list_all(session)}
    if wanted in own:
        known = {name: value for name, value in own[wanted].items() if name in GenerationSettings.model_fields}
        return GenerationSettings.create(**{**known, **changes})
    if wanted not in built_in:
        names = ", ".join([*BUILT_IN_PRESETS, *(saved.name for saved in presets.list_all(session))])
        raise NotFoundError(f"There is no preset called “{preset}”.", f"Choose one of: {names}.")
    return built_in[wanted].with_changes(**changes) if changes else built_in[wanted]


def print_answer(request: GenerationRequest, *, as_json: bool) -> GenerationResult:
    """Answer ``request`` and print it; the first Ctrl+C ends it with what is there. Raises PlaygroundError."""
    require_question(request.messages)
    with _stop_on_interrupt() as stopped:
        # Only now: torch takes seconds to load, and a wrong option is reported before.
        from helpers.local_inference.engine import Engine

        result = _stream(Engine(), request, stopped, as_json)
    if as_json:
        print_json(result.to_json())
    else:
        print(flush=True)
        note(_statistics(result))
    return result


def _stream(engine: Any, request: GenerationRequest, stopped: threading.Event, as_json: bool) -> GenerationResult:
    result = None
    stage = ""
    for event in engine.stream(request, stopped.is_set):
        match event:
            case ModelLoading() if event.stage != stage:
                stage = event.stage
                note(stage)
            case ModelReady():
                for remark in event.model.notes:
                    note(remark)
            case TextDelta() if not as_json:
                print(event.text, end="", flush=True)
            case GenerationFinished():
                result = event.result
    assert result is not None, "the engine ended without a result"
    return result


def _statistics(result: GenerationResult) -> str:
    ended = {
        FinishReason.STOP: "",
        FinishReason.LENGTH: ", cut at the token limit",
        FinishReason.STOPPED: ", stopped",
    }[result.finish_reason]
    return (
        f"{result.new_tokens} tokens in {result.seconds:.2f} s ({result.tokens_per_second:.1f} tokens/s, "
        f"first after {result.time_to_first_token:.2f} s), seed {result.seed}{ended}"
    )


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl+C sets; a second one ends the program at once."""
    stopped = threading.Event()

    def stop(signal_number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
