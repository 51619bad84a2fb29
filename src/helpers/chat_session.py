"""One conversation in memory: ask, stop, regenerate, edit, clear.

The Inference tab and the Full Chat View hold the same object. It knows the model process only as something that
takes a request and gives a handle, and it is moved on by calling :meth:`ChatSession.advance`, so it needs no window.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from db.models import MessageStatus as MessageStatus
from errors import EmptyPromptError, NotFoundError, PlaygroundError
from helpers.local_inference import (
    ChatMessage,
    ContextOverflow,
    FinishReason,
    GenerationEvent,
    GenerationFailed,
    GenerationFinished,
    GenerationRequest,
    GenerationResult,
    GenerationSettings,
    LoadedModel,
    ModelLoading,
    ModelReady,
    ModelSelection,
    PromptProcessed,
    Role,
    TextDelta,
)

LOADING_STATUS = "Loading fine-tuned model and generating response..."
GENERATING_STATUS = "Generating response from fine-tuned model..."
_LONG_PREFILL_TOKENS = 512


@dataclass(eq=False)
class Message:
    """One message on screen.

    ``expected``: the dataset's answer to a sample prompt. ``with_history``: whether the messages before it went to
    the model too. ``speaker``: the run that answers. ``result`` and ``error`` belong to answers; None until it ends.
    """

    id: int
    role: Role
    text: str = ""
    status: MessageStatus = MessageStatus.COMPLETE
    expected: str | None = None
    with_history: bool = True
    speaker: str = ""
    system_prompt: str = ""
    new_tokens: int = 0
    result: GenerationResult | None = None
    error: PlaygroundError | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def answered(self) -> bool:
        """True for an answer that has text worth sending back to the model."""
        return self.role == "assistant" and self.status is not MessageStatus.STREAMING and bool(self.text)

    def grow(self, text: str, new_tokens: int) -> None:
        """Add ``text`` to a running answer, which has ``new_tokens`` tokens then."""
        self.text += text
        self.new_tokens = new_tokens


class GenerationHandle(Protocol):
    """What the model process gives for a request."""

    def drain(self) -> list[GenerationEvent]:
        """Everything that has arrived since the last call."""

    def stop(self) -> None:
        """Ask for the end; the handle still delivers its last event."""


class TextGenerator(Protocol):
    """Whoever answers requests; the model process in the app."""

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue the request."""


@dataclass(frozen=True)
class AnswerOptions:
    """Everything but the prompt that decides an answer. ``speaker``: who answers, as the user knows it.

    ``on_overflow``: what happens to a conversation that is longer than the model's context.
    """

    model: ModelSelection
    settings: GenerationSettings
    system_prompt: str = ""
    speaker: str = ""
    on_overflow: ContextOverflow = ContextOverflow.REFUSE


@dataclass(eq=False)
class ChatSession:
    """One conversation and the answer being written.

    ``status`` is a sentence while ``busy``, else empty; ``status_detail`` says what exactly is being done.
    ``load_progress`` is 0..1 while weights load, None when unknown or not loading. ``previous`` holds the messages
    as they were before the last regenerate or edit, None when there is nothing to go back to. ``loaded_model``
    describes the model that answered last, None before the first answer and after a failure.
    """

    generator: TextGenerator
    messages: list[Message] = field(default_factory=list)
    busy: bool = False
    stopping: bool = False
    status: str = ""
    status_detail: str = ""
    load_progress: float | None = None
    previous: list[Message] | None = None
    loaded_model: LoadedModel | None = None

    message_type = Message

    def __post_init__(self) -> None:
        self._handle: GenerationHandle | None = None
        self._next_id = 1
        self._asked_model: ModelSelection | None = None
        self._loaded: ModelSelection | None = None

    def ask(self, prompt: str, options: AnswerOptions, *, with_history: bool, expected: str | None = None) -> None:
        """Send a prompt. Raises EmptyPromptError; a failure later becomes the answer's ``error``.

        ``with_history`` False asks a fresh single turn: only the system prompt and this prompt are sent.
        """
        if self.busy:
            return
        if not prompt.strip():
            raise EmptyPromptError("The prompt is empty.", "Write a question or choose a sample prompt.")
        self.previous = None
        question = self._new_message("user", text=prompt, expected=expected, with_history=with_history)
        self._answer([*self.messages, question], options)

    def regenerate(self, options: AnswerOptions) -> None:
        """Ask for the last answer again; the old one comes back with :meth:`restore_previous`."""
        last_question = next((m for m in reversed(self.messages) if m.role == "user"), None)
        if self.busy or last_question is None:
            return
        kept = self.messages[: self.messages.index(last_question) + 1]
        self.previous = list(self.messages)
        self._answer(kept, options)

    def edit(self, message_id: int, text: str, options: AnswerOptions) -> None:
        """Replace a user message and answer from there; the later ones come back with :meth:`restore_previous`.

        Raises EmptyPromptError, and NotFoundError for a message that was cleared meanwhile.
        """
        if self.busy:
            return
        if not text.strip():
            raise EmptyPromptError("The message is empty.", "Write something, or cancel the edit.")
        place = next((i for i, m in enumerate(self.messages) if m.id == message_id), None)
        if place is None:
            raise NotFoundError("This message is no longer there.", "The history was cleared meanwhile.")
        self.previous = list(self.messages)
        question = self._new_message("user", text=text, with_history=self.messages[place].with_history)
        self._answer([*self.messages[:place], question], options)

    def restore_previous(self) -> None:
        """Take back the last regenerate or edit."""
        if self.previous is not None and not self.busy:
            self.messages = self.previous
            self.previous = None

    def stop(self) -> None:
        """End the running answer; its text so far stays."""
        if self._handle is not None and not self.stopping:
            self.stopping = True
            self._handle.stop()

    def clear(self) -> None:
        """Forget every message. A running answer is stopped and its remaining events are dropped."""
        self.stop()
        self._finish()
        self.messages = []
        self.previous = None

    def forget_loaded_model(self) -> None:
        """The model process was ended: the next answer loads again."""
        self._loaded = None
        self.loaded_model = None

    def advance(self) -> bool:
        """Take in what the model process has reported. Returns whether an answer is still being written."""
        if self._handle is not None:
            self._apply(self._handle.drain())
        return self.busy

    def conversations(self) -> Iterator[list[Message]]:
        """The messages as the model saw them, one list for each conversation.

        A fresh single turn is a conversation of its own; a message sent with history continues all before it. A
        conversation that another one continues is not repeated.
        """
        seen: list[list[Message]] = []
        for place, message in enumerate(self.messages):
            if message.role != "user":
                continue
            answer = self.messages[place + 1 : place + 2]
            history = answered_turns(self.messages[:place]) if message.with_history else []
            if answer and answer[0].answered:
                seen.append([*history, message, *answer])
        for number, conversation in enumerate(seen):
            if not any(_continues(other, conversation) for other in seen[number + 1 :]):
                yield conversation

    def _new_message(
        self, role: Role, text: str = "", expected: str | None = None, with_history: bool = True
    ) -> Message:
        message = self.message_type(
            id=self._next_id, role=role, text=text, expected=expected, with_history=with_history
        )
        self._next_id += 1
        return message

    def _answer(self, messages: list[Message], options: AnswerOptions) -> None:
        question = messages[-1]
        history = answered_turns(messages[:-1]) if question.with_history else []
        request = GenerationRequest(
            options.model,
            model_messages(options.system_prompt, [*history, question]),
            options.settings,
            options.on_overflow,
        )
        self._handle = self.generator.submit(request)
        answer = self._new_message("assistant", expected=question.expected, with_history=question.with_history)
        answer.status = MessageStatus.STREAMING
        answer.speaker = options.speaker
        answer.system_prompt = options.system_prompt
        self.messages = [*messages, answer]
        self.status = GENERATING_STATUS if _in_place(self._loaded, options.model) else LOADING_STATUS
        self._asked_model = options.model
        self.busy = True

    def _apply(self, events: Sequence[GenerationEvent]) -> None:
        answer = self.messages[-1]
        new_text = "".join(event.text for event in events if isinstance(event, TextDelta))
        if new_text:
            answer.grow(new_text, next(e.new_tokens for e in reversed(events) if isinstance(e, TextDelta)))
            self._show(GENERATING_STATUS)
        for event in events:
            match event:
                case ModelLoading():
                    # Every answer begins with the tokenizer; only what has a size is a model on its way.
                    status = LOADING_STATUS if event.total_bytes else self.status
                    self._show(status, event.stage, _share(event.done_bytes, event.total_bytes))
                case ModelReady():
                    self._loaded = self._asked_model
                    self.loaded_model = event.model
                    self._show(GENERATING_STATUS)
                case PromptProcessed() if event.total_tokens > _LONG_PREFILL_TOKENS:
                    read = f"Reading the prompt: {event.done_tokens:,} of {event.total_tokens:,} tokens"
                    self._show(GENERATING_STATUS, read)
                case GenerationFinished():
                    self._finished(answer, event.result)
                case GenerationFailed():
                    self._failed(answer, event.error)

    def _show(self, status: str, detail: str = "", load_progress: float | None = None) -> None:
        # Every write redraws the subscribers, so an unchanged status is not written again.
        if self.status != status:
            self.status = status
        if self.status_detail != detail:
            self.status_detail = detail
        if self.load_progress != load_progress:
            self.load_progress = load_progress

    def _finished(self, answer: Message, result: GenerationResult) -> None:
        answer.text = result.text
        answer.new_tokens = result.new_tokens
        answer.result = result
        stopped = result.finish_reason is FinishReason.STOPPED
        answer.status = MessageStatus.STOPPED if stopped else MessageStatus.COMPLETE
        self._finish()

    def _failed(self, answer: Message, error: PlaygroundError) -> None:
        self.forget_loaded_model()
        answer.error = error
        answer.status = MessageStatus.FAILED
        self._finish()

    def _finish(self) -> None:
        self._handle = None
        self.stopping = False
        self.status = ""
        self.status_detail = ""
        self.load_progress = None
        self.busy = False


def _in_place(loaded: ModelSelection | None, asked: ModelSelection) -> bool:
    """Whether nothing is loaded for ``asked``: a live adapter's strength changes without that."""
    if loaded is None or asked.merge_adapter:
        return loaded == asked
    return replace(loaded, adapter_strength=asked.adapter_strength) == asked


def model_messages(system_prompt: str, messages: Sequence[Message]) -> tuple[ChatMessage, ...]:
    """What the model gets: the system prompt, if there is one, then the messages."""
    system = (ChatMessage("system", system_prompt),) if system_prompt.strip() else ()
    return (*system, *(ChatMessage(message.role, message.text) for message in messages))


def answered_turns(messages: Sequence[Message]) -> list[Message]:
    """What is sent as history: questions with their answers; a failed turn would teach the model an empty reply."""
    pairs = itertools.pairwise(messages)
    return [
        m for question, answer in pairs if question.role == "user" and answer.answered for m in (question, answer)
    ]


def _continues(longer: list[Message], conversation: list[Message]) -> bool:
    """Whether the model saw all of ``conversation`` in ``longer`` too; another system prompt makes another one."""
    same_system = longer[-1].system_prompt.strip() == conversation[-1].system_prompt.strip()
    return same_system and longer[: len(conversation)] == conversation


def _share(done: int | None, total: int | None) -> float | None:
    return min(done / total, 1.0) if done is not None and total else None
