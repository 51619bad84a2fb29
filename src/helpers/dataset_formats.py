"""The shapes in which datasets for fine-tuning are written, and how a record of each becomes a row.

Column names are compared without case. Sources of the shapes: TRL's dataset formats (messages, prompt/completion),
ShareGPT exports (conversations with from/value), Stanford Alpaca and Databricks Dolly (instruction).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from db.datasets import NewRow

Record = Mapping[str, Any]

_ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
}
_SYSTEM_COLUMNS = ("system", "system_prompt")


class DatasetFormat(StrEnum):
    """How the rows of a dataset are written; the value names the columns."""

    MESSAGES = "messages"
    CONVERSATIONS = "conversations"
    ALPACA = "instruction/input/output"
    DOLLY = "instruction/context/response"
    PROMPT_RESPONSE = "prompt/response"
    PROMPT_COMPLETION = "prompt/completion"
    QUESTION_ANSWER = "question/answer"
    INPUT_OUTPUT = "input/output"
    MAPPED = "own columns"


@dataclass(frozen=True)
class ColumnMapping:
    """The columns, as the user names them, of a dataset of no known format; ``system`` None = there is none."""

    prompt: str
    response: str
    system: str | None = None


class UnusableRow(Exception):
    """A record that cannot become a row; its text is the reason, the same for all records with the same fault."""


@dataclass(frozen=True)
class _Shape:
    format: DatasetFormat
    columns: tuple[str, ...]
    to_row: Callable[[Record], NewRow]


def recognise_format(columns: Iterable[str]) -> DatasetFormat | None:
    """The format that these columns belong to, the most telling first; None = none of them."""
    present = {_plain(column) for column in columns}
    return next((shape.format for shape in _SHAPES if present.issuperset(shape.columns)), None)


def to_row(format: DatasetFormat, record: Record, mapping: ColumnMapping | None = None) -> NewRow:
    """The row of one record; ``mapping`` belongs to the format MAPPED. Raises UnusableRow with the reason."""
    plain = {_plain(column): value for column, value in record.items()}
    if mapping is not None:
        row = _mapped(plain, mapping)
    else:
        shape = next((shape for shape in _SHAPES if shape.format is format), None)
        if shape is None:
            raise UnusableRow("its columns are not chosen")
        row = shape.to_row(plain)
    texts = [row.prompt, row.response, row.system or "", *(message["content"] for message in row.messages or ())]
    if not all(map(_is_valid_unicode, texts)):
        raise UnusableRow("its text is not valid UTF-8")
    if not row.prompt.strip():
        raise UnusableRow("the prompt is empty")
    if not row.response.strip():
        raise UnusableRow("the answer is empty")
    return row


def _mapped(record: Record, mapping: ColumnMapping) -> NewRow:
    system = _text(record, _plain(mapping.system)) if mapping.system else ""
    prompt, response = _text(record, _plain(mapping.prompt)), _text(record, _plain(mapping.response))
    return NewRow(prompt, response, system if system.strip() else None)


def _plain(column: str) -> str:
    return column.strip().casefold()


def _is_valid_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(record: Record, column: str) -> str:
    value = record.get(column)
    # NaN is how tables write that there is nothing.
    if value is None or value != value:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise UnusableRow(f"“{column}” is not text")


def _system(record: Record) -> str | None:
    return next((text for column in _SYSTEM_COLUMNS if (text := _text(record, column)).strip()), None)


def _from_instruction(details: str, response: str) -> Callable[[Record], NewRow]:
    def convert(record: Record) -> NewRow:
        instruction, added = _text(record, "instruction"), _text(record, details)
        prompt = f"{instruction}\n\n{added}" if added.strip() else instruction
        return NewRow(prompt, _text(record, response), _system(record))

    return convert


def _from_pair(prompt: str, response: str) -> Callable[[Record], NewRow]:
    def convert(record: Record) -> NewRow:
        asked, answered = record.get(prompt), record.get(response)
        if isinstance(asked, list) and isinstance(answered, list):
            return _from_turns([*asked, *answered], _system(record))
        return NewRow(_text(record, prompt), _text(record, response), _system(record))

    return convert


def _from_turn_list(column: str) -> Callable[[Record], NewRow]:
    def convert(record: Record) -> NewRow:
        turns = record.get(column)
        if isinstance(turns, str):
            # CSV has no lists.
            try:
                turns = json.loads(turns)
            except (ValueError, RecursionError):
                raise UnusableRow(f"“{column}” is not a list of messages") from None
        if not isinstance(turns, list):
            raise UnusableRow(f"“{column}” is not a list of messages")
        return _from_turns(turns, _system(record))

    return convert


def _from_turns(turns: list[Any], system: str | None) -> NewRow:
    """Prompt and response are the first question and the answer to it; what else was said is kept in ``messages``."""
    messages = [_message(turn) for turn in turns]
    own_system = next((message["content"] for message in messages if message["role"] == "system"), None)
    spoken = [message for message in messages if message["role"] != "system"]
    asked = next((place for place, message in enumerate(spoken) if message["role"] == "user"), None)
    if asked is None:
        raise UnusableRow("it has no message of the user")
    answer = next((message for message in spoken[asked + 1 :] if message["role"] == "assistant"), None)
    if answer is None:
        raise UnusableRow("it has no answer to the user")
    has_more = len(spoken) > 2 or len(messages) - len(spoken) > 1
    return NewRow(spoken[asked]["content"], answer["content"], own_system or system, messages if has_more else None)


def _message(turn: Any) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        raise UnusableRow("a message is not an object with role and content")
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str):
        raise UnusableRow("a message has no role")
    content = turn.get("content", turn.get("value"))
    return {"role": _ROLES.get(role.casefold(), role), "content": _content(content)}


def _content(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return "".join(texts)
    raise UnusableRow("a message has content that is not text")


def _shape(format: DatasetFormat, prompt: str, response: str) -> _Shape:
    return _Shape(format, (prompt, response), _from_pair(prompt, response))


_SHAPES = (
    _Shape(DatasetFormat.MESSAGES, ("messages",), _from_turn_list("messages")),
    _Shape(DatasetFormat.CONVERSATIONS, ("conversations",), _from_turn_list("conversations")),
    _Shape(DatasetFormat.ALPACA, ("instruction", "output"), _from_instruction("input", "output")),
    _Shape(DatasetFormat.DOLLY, ("instruction", "response"), _from_instruction("context", "response")),
    _shape(DatasetFormat.PROMPT_RESPONSE, "prompt", "response"),
    _shape(DatasetFormat.PROMPT_COMPLETION, "prompt", "completion"),
    _shape(DatasetFormat.QUESTION_ANSWER, "question", "answer"),
    _shape(DatasetFormat.INPUT_OUTPUT, "input", "output"),
)
