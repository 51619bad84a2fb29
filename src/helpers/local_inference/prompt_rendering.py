"""The exact prompt of a request. Needs the tokenizer and two small JSON files, no weights and no torch operations."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from errors import AdapterError, EmptyPromptError, ModelError, ModelLoadError, PromptTooLongError, SettingsError
from helpers.base_models import BaseSummary, read_base_config, read_json_object
from helpers.chat_template import ChatTokenizer, RenderedChat, find_chat_format, load_chat_tokenizer
from helpers.local_inference.base_model_files import LoadingReport, find_base_folder, folder_fingerprint
from helpers.local_inference.generation_events import RenderedPrompt
from helpers.local_inference.generation_settings import GenerationSettings
from helpers.local_inference.requests import ChatMessage, ModelSelection

_MOST_TOKENIZERS = 8
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True)
class PreparedModel:
    """What is known of a selection before any weight is read."""

    base: BaseSummary
    chat: ChatTokenizer

    def recommended_sampling(self) -> dict[str, Any]:
        """What the base's ``generation_config.json`` recommends, as far as it is a setting and in its range."""
        path = self.base.path / "generation_config.json"
        recommended = read_json_object(path) if path.is_file() else {}
        values = {name: recommended[name] for name in _SAMPLING if recommended.get(name) is not None}
        if recommended.get("do_sample") is False:
            values = {"temperature": 0.0}
        return {name: value for name, value in values.items() if _is_valid(name, value)}


def _is_valid(name: str, value: Any) -> bool:
    try:
        GenerationSettings.create(**{name: value})
    except SettingsError:
        return False
    return True


@dataclass(frozen=True)
class PreparedPrompt:
    """A rendered conversation and what it will be answered with."""

    model: PreparedModel
    chat: RenderedChat

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about tokenizer, template and prompt."""
        return self.model.chat.chat_format.notes + self.chat.notes

    def for_display(self) -> RenderedPrompt:
        """The values that cross to the app."""
        chat_format = self.model.chat.chat_format
        return RenderedPrompt(
            text=self.chat.text,
            token_count=len(self.chat.token_ids),
            context_length=self.model.base.context_length,
            tokenizer_source=chat_format.tokenizer_source,
            template_source=chat_format.template_source,
            notes=self.notes,
        )


class PromptRenderer:
    """Renders prompts; keeps the last few tokenizers. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokenizers: OrderedDict[tuple[str, ...], ChatTokenizer] = OrderedDict()

    def prepare_model(
        self, selection: ModelSelection, report: LoadingReport, *, weights: bool = False
    ) -> PreparedModel:
        """Find the base, its tokenizer and its template. ``weights``: fetch a base from the hub whole.

        Raises ModelNotFoundError, ModelLoadError or AdapterError.
        """
        folder = find_base_folder(selection.base_model, report, weights=weights)
        try:
            base = read_base_config(folder, selection.base_model)
        except ModelError as error:
            raise ModelLoadError(error.message, error.hint) from error
        adapter = Path(selection.adapter_path) if selection.adapter_path else None
        if adapter is not None and not adapter.is_dir():
            raise AdapterError(
                f"The adapter folder “{adapter}” does not exist any more.",
                "Pick the run again, or another adapter folder.",
            )
        run = Path(selection.run_path) if selection.run_path else None
        with self._lock:
            return PreparedModel(base, self._tokenizer(folder, adapter, run))

    def prepare(
        self,
        selection: ModelSelection,
        messages: Sequence[ChatMessage],
        report: LoadingReport,
        *,
        weights: bool = False,
    ) -> PreparedPrompt:
        """The prompt for the next answer to ``messages``; also raises PromptError."""
        model = self.prepare_model(selection, report, weights=weights)
        with self._lock:
            return PreparedPrompt(model, model.chat.render(messages))

    def leave_out_oldest(
        self, prompt: PreparedPrompt, messages: Sequence[ChatMessage], max_new_tokens: int
    ) -> PreparedPrompt:
        """``prompt``, or where it leaves too little room for an answer, the one without the fewest oldest turns.

        Room is ``max_new_tokens``, at most a quarter of the context. The system prompt and the last question always
        stay, so the result may still be too long: see :func:`require_room`. A note says how many turns are left out.
        """
        context = prompt.model.base.context_length
        if context is None:
            return prompt
        most_tokens = context - min(max_new_tokens, context // 4)
        if len(prompt.chat.token_ids) <= most_tokens:
            return prompt
        starts = [position for position, message in enumerate(messages) if message.role == "user"][1:]
        chat, fewest, most = prompt.chat, 1, len(starts)
        with self._lock:
            # Each rendering tokenises the whole conversation, so the number of turns is found by halving.
            while fewest <= most:
                middle = (fewest + most) // 2
                shorter = prompt.model.chat.render(_without_before(messages, starts[middle - 1]))
                if len(shorter.token_ids) <= most_tokens or middle == len(starts):
                    chat = replace(shorter, notes=(*shorter.notes, _left_out(middle)))
                    most = middle - 1
                else:
                    fewest = middle + 1
        return replace(prompt, chat=chat)

    def _tokenizer(self, base: Path, adapter: Path | None, run: Path | None) -> ChatTokenizer:
        folders = [base, *(folder for folder in (adapter, run) if folder is not None and folder.is_dir())]
        key = tuple(f"{folder}:{folder_fingerprint(folder)}" for folder in folders)
        if key not in self._tokenizers:
            run = run if run in folders else None
            self._tokenizers[key] = load_chat_tokenizer(find_chat_format(base, adapter, run))
            if len(self._tokenizers) > _MOST_TOKENIZERS:
                self._tokenizers.popitem(last=False)
        self._tokenizers.move_to_end(key)
        return self._tokenizers[key]


def _without_before(messages: Sequence[ChatMessage], start: int) -> list[ChatMessage]:
    return [message for message in messages[:start] if message.role == "system"] + list(messages[start:])


def _left_out(turns: int) -> str:
    what = "The oldest turn is" if turns == 1 else f"The {turns} oldest turns are"
    return f"{what} left out of the prompt, since the conversation is too long for the model's context."


def require_question(messages: Sequence[ChatMessage]) -> None:
    """Raises EmptyPromptError where there is nothing to answer."""
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise EmptyPromptError("The prompt is empty.", "Write a question or choose a sample prompt.")


def require_room(prompt_tokens: int, context_length: int | None) -> None:
    """Raises PromptTooLongError where the prompt leaves no room for an answer."""
    if context_length is not None and prompt_tokens >= context_length:
        raise PromptTooLongError(
            f"The prompt has {prompt_tokens:,} tokens, and the model's context holds {context_length:,}: "
            f"{prompt_tokens - context_length + 1:,} too many, since an answer needs room too.",
            "Shorten the prompt, clear the history, or let the oldest turns be left out.",
        )
