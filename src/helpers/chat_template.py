"""Which tokenizer and chat template apply, where they came from, and the prompt they make.

The adapter folder comes first, then the training run's folder, then the base model; tokenizer and template are looked
for apart, since trainers often save only one of them. Finding reads small files and needs no transformers; loading
the tokenizer does.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import AdapterError, ModelLoadError, PlaygroundError, PromptError
from helpers.local_inference.requests import ChatMessage

PLAIN_FORM = "plain User:/Assistant: form"
_ADAPTER, _RUN, _BASE = "adapter folder", "run folder", "base model"
# Any one of these groups of files is a whole tokenizer; tokenizer_config.json alone is only its settings.
_TOKENIZER_FILES = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("tekken.json",),
)
_TURN_MARKER = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")
_PROBE = "PROBE0ANSWER"
# transformers takes the shape of these files for granted; an ImportError names the package a format needs.
_WHAT_DAMAGED_FILES_RAISE = (AttributeError, ImportError, KeyError, OSError, TypeError, ValueError)


@dataclass(frozen=True)
class ChatFormat:
    """The tokenizer and template that apply. ``template`` None = there is none, the plain form is used.

    Sources are words for the user: "adapter folder", "run folder", "base model". ``notes`` are sentences.
    ``eos_ids`` come from the model's generation config.
    """

    tokenizer_folder: Path
    tokenizer_source: str
    template: str | None
    template_source: str
    eos_ids: frozenset[int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text and as the token ids the model gets. ``notes`` say what was changed on the way."""

    text: str
    token_ids: tuple[int, ...]
    notes: tuple[str, ...]


def find_chat_format(base: Path, adapter: Path | None = None, run: Path | None = None) -> ChatFormat:
    """Search the folders in order; raises ModelLoadError where no folder has a tokenizer."""
    folders = [(_ADAPTER, adapter), (_RUN, run), (_BASE, base)]
    places: list[tuple[str, Path]] = []
    for source, folder in folders:
        if folder is not None and all(folder != seen for _, seen in places):
            places.append((source, folder))
    notes: list[str] = []
    tokenizer = _find_tokenizer(places, notes)
    template_source, template = PLAIN_FORM, None
    for source, folder in places:
        template = _read_template(folder, notes)
        if template is not None:
            template_source = source
            break
    else:
        notes.append(
            "There is no chat template, so the prompt is written in a plain User:/Assistant: form. "
            "The answer ends where the model begins a line with “User:”."
        )
    eos_ids = frozenset().union(*(_eos_ids(folder) for _, folder in places))
    return ChatFormat(tokenizer[1], tokenizer[0], template, template_source, eos_ids, tuple(notes))


def _find_tokenizer(places: Sequence[tuple[str, Path]], notes: list[str]) -> tuple[str, Path]:
    for source, folder in places:
        if any(all((folder / name).is_file() for name in group) for group in _TOKENIZER_FILES):
            return source, folder
        if (folder / "tokenizer_config.json").is_file() and source != _BASE:
            notes.append(
                f"The {source} holds settings of a tokenizer but not the tokenizer itself; the next one is used."
            )
    searched = ", ".join(f"“{folder}”" for _, folder in places)
    raise ModelLoadError(
        f"There is no tokenizer in {searched}.",
        "Copy tokenizer.json and tokenizer_config.json of the base model into its folder.",
        "The tokenizer is missing",
    )


def _read_template(folder: Path, notes: list[str]) -> str | None:
    plain = folder / "chat_template.jinja"
    if plain.is_file():
        return _read_text(plain)
    found = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if found is None:
        found = _read_json(folder / "chat_template.json").get("chat_template")
    named: dict[str, str] = {}
    if isinstance(found, str):
        return found
    if isinstance(found, list):
        entries = [item for item in found if isinstance(item, dict) and {"name", "template"} <= set(item)]
        named = {str(item["name"]): str(item["template"]) for item in entries}
    elif isinstance(found, dict):
        named = {str(name): str(template) for name, template in found.items()}
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        named[path.stem] = _read_text(path)
    if not named:
        return None
    name = "default" if "default" in named else next(iter(named))
    if name != "default":
        notes.append(f"There are several chat templates and none is called “default”; “{name}” is used.")
    return named[name]


def _eos_ids(folder: Path) -> frozenset[int]:
    """End-of-sequence ids of a model's generation config, else of its config: the ids generate() would stop at."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            found = _read_json(path).get("eos_token_id")
            ids = found if isinstance(found, list) else [found]
            return frozenset(token_id for token_id in ids if isinstance(token_id, int))
    return frozenset()


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(_read_text(path))
    except ValueError as error:
        raise _damaged(path, error) from None
    return document if isinstance(document, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ModelLoadError:
    return ModelLoadError(
        f"{path.name} in “{path.parent}” is damaged: {error}.", "Save the tokenizer or download the model again."
    )


@dataclass
class ChatTokenizer:
    """A loaded tokenizer together with the chat format that applies."""

    tokenizer: Any
    chat_format: ChatFormat
    stop_ids: frozenset[int] = field(init=False)
    stop_texts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Stop ids: the tokenizer's EOS, the generation config's, and the token that ends a turn in the template.

        A template may end turns with a text that is no token of this tokenizer; then that text is a stop sequence.
        """
        ids = set(self.chat_format.eos_ids)
        if self.tokenizer.eos_token_id is not None:
            ids.add(self.tokenizer.eos_token_id)
        self.stop_texts = ("\nUser:",) if self.chat_format.template is None else ()
        ending = self._text_after_an_answer()
        tokens = [token for token in self.tokenizer.get_added_vocab() if ending.startswith(token)]
        if tokens:
            ids.add(self.tokenizer.convert_tokens_to_ids(max(tokens, key=len)))
        elif marker := _TURN_MARKER.match(ending):
            self.stop_texts = (marker.group(),)
        self.stop_ids = frozenset(ids)

    @property
    def special_ids(self) -> frozenset[int]:
        """Tokens that structure a conversation and are not part of an answer's text."""
        added = self.tokenizer.added_tokens_decoder
        return frozenset(self.tokenizer.all_special_ids) | {key for key, token in added.items() if token.special}

    def render(self, messages: Sequence[ChatMessage], *, ends_with_answer: bool = False) -> RenderedChat:
        """The prompt for the next answer; raises PromptError where the template refuses the conversation.

        ``ends_with_answer``: the last message is that answer, and the text ends as the template ends its turn.
        """
        if self.chat_format.template is None:
            return self._render_plain(messages, ends_with_answer)
        notes: tuple[str, ...] = ()
        system = "\n\n".join(message.content for message in messages if message.role == "system").strip()
        if system and not self._shows(messages, system):
            messages = _with_system_in_first_user_message(messages)
            notes = (
                "This chat template has no system role, so the system prompt stands at the start of the "
                "first user message.",
            )
        text = self._apply(messages, tokenize=False, ends_with_answer=ends_with_answer)
        token_ids = tuple(self._apply(messages, tokenize=True, ends_with_answer=ends_with_answer)["input_ids"])
        if not token_ids:
            raise self._template_error("writes nothing for this conversation")
        return RenderedChat(text, token_ids, notes)

    def _shows(self, messages: Sequence[ChatMessage], system: str) -> bool:
        from jinja2 import TemplateError

        try:
            return system in self._apply_unguarded(messages, tokenize=False)
        except TemplateError:
            # Either the system role is refused, or folding fails too and the error is told then.
            return False

    def _apply(self, messages: Sequence[ChatMessage], *, tokenize: bool, ends_with_answer: bool) -> Any:
        from jinja2 import TemplateError

        try:
            return self._apply_unguarded(messages, tokenize=tokenize, add_generation_prompt=not ends_with_answer)
        except (TemplateError, TypeError) as error:
            raise self._template_error(f"refuses this conversation: {error}") from error

    def _template_error(self, what: str) -> PromptError:
        return PromptError(
            f"The chat template of the {self.chat_format.template_source} {what}.",
            "Check its chat_template.jinja, or the chat_template in tokenizer_config.json.",
            "The chat template failed",
        )

    def _apply_unguarded(
        self, messages: Sequence[ChatMessage], *, tokenize: bool, add_generation_prompt: bool = True
    ) -> Any:
        # Tokenised inside the template: a second pass of the tokenizer would put a second BOS in front.
        return self.tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            chat_template=self.chat_format.template,
            add_generation_prompt=add_generation_prompt,
            tokenize=tokenize,
        )

    def _render_plain(self, messages: Sequence[ChatMessage], ends_with_answer: bool) -> RenderedChat:
        titles = {"system": "", "user": "User: ", "assistant": "Assistant: "}
        lines = [f"{titles[message.role]}{message.content.strip()}" for message in messages]
        beginning = [] if ends_with_answer else ["Assistant:"]
        token_ids = self.tokenizer("\n".join([*lines, *beginning]))["input_ids"]
        return RenderedChat(self.tokenizer.decode(token_ids), tuple(token_ids), ())

    def _text_after_an_answer(self) -> str:
        from jinja2 import TemplateError

        if self.chat_format.template is None:
            return ""
        turns = [ChatMessage("user", "Hello"), ChatMessage("assistant", _PROBE)]
        for conversation in (turns, [*turns, ChatMessage("user", "Hello")]):
            try:
                text = self._apply_unguarded(conversation, tokenize=False, add_generation_prompt=False)
            except (TemplateError, TypeError):
                continue
            ending: str = text.rpartition(_PROBE)[2].strip()
            if ending:
                return ending
        return ""


def load_chat_tokenizer(chat_format: ChatFormat) -> ChatTokenizer:
    """Load the tokenizer that was found. Raises AdapterError or ModelLoadError where its files are damaged."""
    from transformers import AutoTokenizer

    folder = chat_format.tokenizer_folder
    try:
        with _bare_exceptions_as_value_errors():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            # Files of another kind of tokenizer than its settings name are passed over in silence.
            raise ValueError("it has no vocabulary")
    except _WHAT_DAMAGED_FILES_RAISE as error:
        raise _tokenizer_error(chat_format, error) from error
    return ChatTokenizer(tokenizer, chat_format)


@contextmanager
def _bare_exceptions_as_value_errors() -> Iterator[None]:
    """The tokenizers library has no error class of its own: it raises Exception itself for a file it cannot read."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ValueError(str(error)) from error


def _tokenizer_error(chat_format: ChatFormat, error: Exception) -> PlaygroundError:
    reason = f"it lacks {error}" if isinstance(error, KeyError) else f"{error}"
    message = f"The tokenizer in “{chat_format.tokenizer_folder}” cannot be loaded: {reason}."
    if chat_format.tokenizer_source == _BASE:
        return ModelLoadError(message, "Download the base model again.", "The tokenizer is damaged")
    return AdapterError(
        message,
        "Save it again, or delete the tokenizer files there so that the base model's tokenizer is used.",
        "The tokenizer is damaged",
    )


def _with_system_in_first_user_message(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    messages = list(messages)
    system = "\n\n".join(message.content for message in messages if message.role == "system").strip()
    rest = [message for message in messages if message.role != "system"]
    for position, message in enumerate(rest):
        if message.role == "user":
            rest[position] = ChatMessage("user", f"{system}\n\n{message.content}")
            break
    return rest
