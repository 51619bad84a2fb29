"""The Inference tab's state: what runs, how it samples, what is asked, and the one shared conversation."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import flet as ft

from errors import ModelError, PlaygroundError
from helpers.chat_export import ExportFormat, ExportHeader, ExportMessage, export_chat
from helpers.chat_session import (
    AnswerOptions,
    ChatSession,
    Message,
    MessageStatus,
    answered_turns,
    model_messages,
)
from helpers.local_inference import ModelSelection, PromptRequest, RenderedPrompt
from ui.app_services import AppServices
from ui.background_tasks import Debounced, Notify, pump, run_blocking
from ui.components.observable_message import ObservableMessage as ObservableMessage
from ui.components.readable import readable_bytes
from ui.inference.model_choice_state import ChoicePhase, ModelChoiceState
from ui.inference.prompt_state import PromptState
from ui.inference.sampling_state import SamplingState

COUNT_AFTER_SECONDS = 0.25


@ft.observable
class ObservableChat(ChatSession):
    """The conversation, drawn by the tab and the Full Chat View alike; each message redraws on its own."""

    message_type = ObservableMessage


class InferenceState:
    """One window's Inference tab. Not observable itself: views subscribe to the part they draw."""

    def __init__(self, services: AppServices, notify: Notify) -> None:
        self.services = services
        self.notify = notify
        self.model = ModelChoiceState(services.database, notify, on_ready=self._get_ready)
        self.sampling = SamplingState(services.database)
        self.prompt = PromptState(services.database)
        self.chat = ObservableChat(services.model_process)
        self._starting = False
        self._uncountable: ModelSelection | None = None
        # A run's own dataset is offered once, so that another choice of the user stays.
        self._offered_dataset_id: int | None = None
        self._offer_dataset = Debounced(0)
        self._count = Debounced(COUNT_AFTER_SECONDS)
        # A chat holds its listeners weakly.
        self._listener = self._chat_changed
        cast(Any, self.chat).subscribe(self._listener)

    async def load(self) -> None:
        """Read runs, presets and datasets from the workspace."""
        await self.model.load()
        await self.sampling.load()
        await self.prompt.load()

    def options(self) -> AnswerOptions:
        """Everything but the prompt that decides the next answer."""
        return AnswerOptions(
            self.model.selection,
            self.sampling.settings,
            self.sampling.system_prompt,
            self.model.run_name,
            self.sampling.on_overflow,
        )

    async def generate(self) -> bool:
        """Answer the prompt in the tab; checks the adapter folder again first. Raises EmptyPromptError.

        Returns when the answer has ended; False = the prompt was not sent, and the user was told why.
        """
        with_history = self.sampling.include_history
        prompt, expected = self.prompt.text, self.prompt.expected
        return await self._answer(
            lambda: self.chat.ask(prompt, self.options(), with_history=with_history, expected=expected)
        )

    async def send(self, text: str) -> bool:
        """Answer a message of the Full Chat View with the whole history. Raises EmptyPromptError.

        Returns when the answer has ended; False = the message was not sent, so its text should stay in the field.
        """
        return await self._answer(lambda: self.chat.ask(text, self.options(), with_history=True))

    async def regenerate(self) -> None:
        """Answer the last question again."""
        await self._answer(lambda: self.chat.regenerate(self.options()))

    async def edit(self, message_id: int, text: str) -> None:
        """Change a question and go on from there. Raises EmptyPromptError."""
        await self._answer(lambda: self.chat.edit(message_id, text, self.options()))

    async def _answer(self, begin: Callable[[], None]) -> bool:
        # Events of one page interleave at every await: a second click must not start a second answer.
        if self.chat.busy or self._starting:
            return False
        if self.model.phase is not ChoicePhase.READY:
            self.notify(f"{self.model.status} {self.model.hint}".strip())
            return False
        self._starting = True
        try:
            if not await self.model.check_still_valid():
                return False
            begin()
        finally:
            self._starting = False
        await pump(self.chat.advance)
        return True

    def _get_ready(self) -> None:
        # The process imports torch while the user writes, so the first answer need not wait for it.
        self._uncountable = None
        self.services.model_process.warm_up()
        self.count_tokens_soon()
        dataset_id = self.model.dataset_id
        if dataset_id is not None and dataset_id != self._offered_dataset_id:
            self._offered_dataset_id = dataset_id
            self._offer_dataset.call(lambda: self.prompt.choose_dataset(dataset_id))

    def _chat_changed(self, _chat: object, field: str | None) -> None:
        if field in ("messages", "busy") and self.sampling.include_history and not self.chat.busy:
            self.count_tokens_soon()

    def count_tokens_soon(self) -> None:
        """Count the prompt's tokens once typing pauses."""
        self._count.call(self.count_tokens)

    async def count_tokens(self) -> None:
        """Count with the tokenizer and template that will be used; None while no adapter is ready."""
        text, selection = self.prompt.text, self.model.selection
        if self.model.phase is not ChoicePhase.READY or not text.strip() or selection == self._uncountable:
            self.prompt.rendered = None
            return
        try:
            rendered = await self.render_prompt(text, with_history=self.sampling.include_history)
        except PlaygroundError as error:
            # The same cause is reported in full by Generate; a count is only a convenience.
            rendered = None
            if isinstance(error, ModelError):
                # A base that is out of reach is not looked for again at every pause in typing.
                self._uncountable = selection
        if self.prompt.text == text:
            self.prompt.rendered = rendered

    async def render_prompt(self, text: str, *, with_history: bool) -> RenderedPrompt:
        """The exact prompt the model would get. Raises PlaygroundError."""
        history = answered_turns(self.chat.messages) if with_history else []
        question = Message(0, "user", text)
        sampling = self.sampling
        messages = model_messages(sampling.system_prompt, [*history, question])
        request = PromptRequest(
            self.model.selection, messages, sampling.on_overflow, sampling.settings.max_new_tokens
        )
        return await asyncio.wrap_future(self.services.model_process.render_prompt(request))

    async def unload(self) -> str:
        """End the model process; a sentence that says what was given back."""
        if self.chat.busy:
            return "An answer is being written. Stop it first."
        freed = (await run_blocking(self.services.model_process.unload)).freed_bytes
        self.chat.forget_loaded_model()
        return f"Model unloaded. {readable_bytes(freed)} of memory given back." if freed else "No model was loaded."

    def export(self, chosen: ExportFormat) -> bytes:
        """The conversation as a file's content: JSONL as the model saw it, the others as it stands on screen."""
        if chosen is ExportFormat.JSONL:
            messages = [message for chat in self.chat.conversations() for message in _as_the_model_saw(chat)]
        else:
            messages = [_exported(m) for m in self.chat.messages if m.role == "user" or m.text or m.error]
        facts = {"Base model": self.model.base_model, "Adapter": self.model.adapter_path or "none"}
        return export_chat(messages, chosen, ExportHeader("Adapter Playground chat", datetime.now(UTC), facts))


def _as_the_model_saw(conversation: list[Message]) -> list[ExportMessage]:
    system = conversation[-1].system_prompt.strip()
    messages = [ExportMessage("system", system)] if system else []
    messages += [_exported(message) for message in conversation]
    messages[0] = replace(messages[0], starts_conversation=True)
    return [messages[0], *(replace(message, starts_conversation=False) for message in messages[1:])]


def _exported(message: Message) -> ExportMessage:
    details = message.result.to_json() if message.result is not None else None
    if details is not None:
        del details["text"]
        if message.result is not None and message.result.model.adapter_strength != 1:
            # Of nested details, only JSON tells; an answer at another strength says so in every format.
            details["strength"] = message.result.model.adapter_strength
    if message.error is not None:
        details = {"error": str(message.error)}
    return ExportMessage(
        role=message.role,
        content=message.text,
        details=details,
        stopped=message.status is MessageStatus.STOPPED,
        created_at=message.created_at,
        starts_conversation=message.role == "user" and not message.with_history,
    )
