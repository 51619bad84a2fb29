"""A chat as text, Markdown, JSON or JSONL (chat messages, one conversation a line), and a safe way to write it."""

import errno
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from errors import ExportError

JSON_VERSION = 1
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile(r"\r\n?")
_BACKTICKS = re.compile(r"`+")
# These end a line for some readers, but not for JSON.
_LINE_SEPARATORS = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}
_TITLES = {"system": "System", "user": "Prompt", "assistant": "Response"}


class ExportFormat(StrEnum):
    """The four formats; the value is the file name's ending."""

    TXT = "txt"
    MARKDOWN = "md"
    JSON = "json"
    JSONL = "jsonl"


@dataclass(frozen=True)
class ExportMessage:
    """One message of the chat.

    ``details``: what made an answer (model, adapter, seed, tokens, seconds ...), None = not known. ``stopped``: the
    user ended the answer early. ``starts_conversation``: the model saw nothing of what stands before it, as with a
    Generate without history; the first message of a chat always starts one.
    """

    role: str
    content: str
    details: Mapping[str, Any] | None = None
    stopped: bool = False
    created_at: datetime | None = None
    starts_conversation: bool = False


@dataclass(frozen=True)
class ExportHeader:
    """What stands above the chat: a title, when it was exported, and facts such as base model and adapter."""

    title: str
    exported_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)


def export_chat(
    messages: Sequence[ExportMessage], export_format: ExportFormat, header: ExportHeader | None = None
) -> bytes:
    """The whole chat as UTF-8 in one of the formats.

    JSON keeps everything; JSONL keeps roles and texts in the form that TRL and ``datasets`` read, each conversation a
    line. Half a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD; so does NUL in the two formats that people
    read, where line ends become a line feed.
    """
    writers = {
        ExportFormat.TXT: _as_text,
        ExportFormat.MARKDOWN: _as_markdown,
        ExportFormat.JSON: _as_json,
        ExportFormat.JSONL: _as_jsonl,
    }
    return writers[export_format](messages, header).encode("utf-8")


def conversations(messages: Sequence[ExportMessage]) -> list[list[ExportMessage]]:
    """The chat cut where a message starts a new conversation."""
    parts: list[list[ExportMessage]] = []
    for message in messages:
        if message.starts_conversation or not parts:
            parts.append([])
        parts[-1].append(message)
    return parts


def write_export(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all: a file already there stays as it is when this fails.

    Raises ExportError with the cause and the next step.
    """
    if "\0" in str(path):
        raise _unusable_name(path)
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        raise ExportError(f"“{path}” is not a file.", "Choose a file name in that folder.")
    draft = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            shutil.copymode(target, draft)
        draft.replace(target)
    except OSError as failure:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise _in_the_users_words(path, len(data), failure) from failure


def _in_the_users_words(path: Path, size: int, failure: OSError) -> ExportError:
    kept = " A file already there is unchanged." if os.path.exists(path) else ""
    if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        message = f"There is no room for {size:,} bytes in “{path.parent}”.{kept}"
        return ExportError(message, "Free some space or choose another folder.")
    if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        message = f"“{path}” cannot be written: this account has no permission, or the file is open elsewhere.{kept}"
        return ExportError(message, "Choose another folder or file name.")
    if failure.errno in (errno.ENOENT, errno.ENOTDIR):
        return ExportError(f"There is no folder “{path.parent}”.", "Choose a folder that exists.")
    if failure.errno in (errno.ENAMETOOLONG, errno.EINVAL):
        return _unusable_name(path)
    return ExportError(f"“{path}” cannot be written: {failure.strerror or failure}.{kept}", "Choose another folder.")


def _unusable_name(path: Path) -> ExportError:
    return ExportError(f"“{path.name}” cannot be the name of a file.", "Choose a shorter, plainer name.")


def _as_text(messages: Sequence[ExportMessage], header: ExportHeader | None) -> str:
    blocks = []
    if header is not None:
        facts = [("Exported", _moment(header.exported_at)), *header.facts.items()]
        lines = [_line(header.title), *(f"{_line(name)}: {_line(value)}" for name, value in facts)]
        blocks.append("\n".join(lines))
    for number, conversation in enumerate(conversations(messages), start=1):
        blocks.append(f"{'=' * 20} {number} {'=' * 20}")
        for message in conversation:
            block = f"{_heading(message)}:\n{_readable(message.content)}"
            details = _details_line(message)
            blocks.append(f"{block}\n[{details}]" if details else block)
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _as_markdown(messages: Sequence[ExportMessage], header: ExportHeader | None) -> str:
    blocks = []
    if header is not None:
        blocks.append(f"# {_inline_code(header.title)}")
        facts = [("Exported", _moment(header.exported_at)), *header.facts.items()]
        blocks.append("\n".join(f"- {_line(name)}: {_inline_code(value)}" for name, value in facts))
    for number, conversation in enumerate(conversations(messages), start=1):
        blocks.append(f"## {number}")
        for message in conversation:
            blocks.append(f"### {_heading(message)}")
            # A prompt is shown as typed, an answer as the Markdown it is. Quoted, neither can end its own block:
            # no fence or heading in it reaches the rest of the document.
            answer = message.role == "assistant"
            blocks.append(_quoted(message.content) if answer else _fenced(message.content))
            details = _details_line(message)
            if details:
                blocks.append(_inline_code(details))
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _as_json(messages: Sequence[ExportMessage], header: ExportHeader | None) -> str:
    document = {
        "format": "adapter-playground-chat",
        "version": JSON_VERSION,
        "title": header.title if header else None,
        "exported_at": header.exported_at if header else None,
        "facts": header.facts if header else {},
        "messages": [
            {
                "role": message.role,
                "content": message.content,
                "starts_conversation": message.starts_conversation or place == 0,
                "stopped": message.stopped,
                "created_at": message.created_at,
                "details": message.details,
            }
            for place, message in enumerate(messages)
        ],
    }
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _as_jsonl(messages: Sequence[ExportMessage], _header: ExportHeader | None) -> str:
    lines = [
        {"messages": [{"role": message.role, "content": message.content} for message in conversation]}
        for conversation in conversations(messages)
    ]
    return "".join(json.dumps(_plain(line), ensure_ascii=False).translate(_LINE_SEPARATORS) + "\n" for line in lines)


def _plain(value: Any) -> Any:
    """``value`` in what JSON knows: other types by their text, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return _SURROGATES.sub("\ufffd", text)


def _heading(message: ExportMessage) -> str:
    title = _TITLES.get(message.role, _line(message.role))
    return f"{title} (stopped)" if message.stopped else title


def _details_line(message: ExportMessage) -> str:
    """The details that are one value each, in a line; nested ones are for JSON."""
    parts = [f"at: {_moment(message.created_at)}"] if message.created_at else []
    for name, value in (message.details or {}).items():
        if isinstance(value, float):
            parts.append(f"{_line(name)}: {value:.4g}")
        elif isinstance(value, str | int | Path) and value != "":
            parts.append(f"{_line(name)}: {_line(value)}")
    return ", ".join(parts)


def _moment(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")


def _readable(text: str) -> str:
    return _LINE_END.sub("\n", _SURROGATES.sub("\ufffd", text).replace("\0", "\ufffd"))


def _line(value: Any) -> str:
    return " ".join(_readable(str(value)).split())


def _longest_backticks(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)


def _fenced(text: str) -> str:
    readable = _readable(text)
    fence = "`" * max(3, _longest_backticks(readable) + 1)
    return f"{fence}text\n{readable}\n{fence}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in _readable(text).split("\n"))


def _inline_code(value: Any) -> str:
    text = _line(value)
    ticks = "`" * (_longest_backticks(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{ticks}{space}{text}{space}{ticks}"
