"""Exports lose nothing, stay valid whatever the texts contain, and never harm a file that is already there."""

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from errors import ExportError
from helpers.chat_export import (
    ExportFormat,
    ExportHeader,
    ExportMessage,
    conversations,
    export_chat,
    write_export,
)
from unprivileged import without_privileges

# Everything that JSON, Markdown or a text editor could trip over, more often than chance would bring it.
AWKWARD = [
    "\r\n",
    "\r",
    "\0",
    "\u2028",
    "\x85",
    "\ud800",
    "\udfff",
    "```",
    "````",
    "~~~",
    "\n# Heading\n",
    "> ",
    "<b>",
    "`",
]
any_text = st.lists(st.one_of(st.text(st.characters(codec=None)), st.sampled_from(AWKWARD))).map("".join)
any_message = st.builds(
    ExportMessage,
    role=st.sampled_from(["system", "user", "assistant"]),
    content=any_text,
    details=st.none() | st.dictionaries(any_text, any_text | st.integers() | st.floats(), max_size=3),
    stopped=st.booleans(),
    created_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    starts_conversation=st.booleans(),
)
any_chat = st.lists(any_message, max_size=6)

HEADER = ExportHeader("Pirate", datetime(2026, 3, 1, 12, 0, tzinfo=UTC), {"Base model": "demo/tiny-chat"})
CHAT = [
    ExportMessage("user", "What is the capital of France?", starts_conversation=True),
    ExportMessage("assistant", "Paris, matey!", {"seed": 7, "new_tokens": 5, "model": {"rank": 4}}),
    ExportMessage("user", "And of Spain?", starts_conversation=True),
    ExportMessage("assistant", "Madr", stopped=True),
    ExportMessage("user", "Go on."),
    ExportMessage("assistant", "Madrid, arr!"),
]


def utf8(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return "".join("\ufffd" if "\ud800" <= mark <= "\udfff" else mark for mark in text)


def readable(text: str) -> str:
    return utf8(text).replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")


@given(any_chat)
@settings(deadline=None)
def test_json_keeps_every_message_with_all_that_is_known_of_it(chat: list[ExportMessage]) -> None:
    held = json.loads(export_chat(chat, ExportFormat.JSON, HEADER))["messages"]
    assert [(m["role"], m["content"], m["stopped"]) for m in held] == [
        (m.role, utf8(m.content), m.stopped) for m in chat
    ]
    assert [m["created_at"] for m in held] == [m.created_at.isoformat() if m.created_at else None for m in chat]
    assert [m["details"] is None for m in held] == [m.details is None for m in chat]


@given(any_chat)
@settings(deadline=None)
def test_jsonl_holds_one_whole_conversation_a_line(chat: list[ExportMessage]) -> None:
    text = export_chat(chat, ExportFormat.JSONL, HEADER).decode()
    lines = text.splitlines()
    assert text.count("\n") == len(lines), "no reader may see another line end inside a line"
    messages = [message for line in lines for message in json.loads(line)["messages"]]
    assert messages == [{"role": m.role, "content": utf8(m.content)} for m in chat]
    assert [len(json.loads(line)["messages"]) for line in lines] == [len(part) for part in conversations(chat)]


@given(any_chat)
@settings(max_examples=200, deadline=None)
def test_markdown_headings_are_only_those_of_the_export(chat: list[ExportMessage]) -> None:
    tokens = MarkdownIt().parse(export_chat(chat, ExportFormat.MARKDOWN, HEADER).decode())
    top_level = [token.tag for token in tokens if token.type == "heading_open" and token.level == 0]
    assert top_level == ["h1"] + [tag for part in conversations(chat) for tag in ["h2"] + ["h3"] * len(part)]


@given(any_text)
@settings(max_examples=200, deadline=None)
def test_markdown_shows_a_prompt_exactly_as_typed(content: str) -> None:
    tokens = MarkdownIt().parse(export_chat([ExportMessage("user", content)], ExportFormat.MARKDOWN).decode())
    assert [token.content for token in tokens if token.type == "fence"] == [readable(content) + "\n"]


def test_markdown_renders_the_code_of_an_answer_and_closes_a_fence_left_open() -> None:
    chat = [ExportMessage("assistant", "Look:\n```python\nprint(1)"), ExportMessage("user", "Thanks")]
    html = MarkdownIt().render(export_chat(chat, ExportFormat.MARKDOWN).decode())
    assert (
        '<blockquote>\n<p>Look:</p>\n<pre><code class="language-python">print(1)\n</code></pre>\n</blockquote>'
        in html
    )
    assert "<h3>Prompt</h3>" in html


@given(any_chat)
@settings(deadline=None)
def test_text_holds_every_content_in_order(chat: list[ExportMessage]) -> None:
    text = export_chat(chat, ExportFormat.TXT, HEADER).decode()
    place = 0
    for message in chat:
        place = text.index(f":\n{readable(message.content)}", place) + 1


def test_text_reads_as_prompt_and_response_pairs() -> None:
    text = export_chat(CHAT[:2], ExportFormat.TXT, HEADER).decode()
    assert text == (
        "Pirate\nExported: 2026-03-01 12:00:00+00:00\nBase model: demo/tiny-chat\n\n"
        "==================== 1 ====================\n\n"
        "Prompt:\nWhat is the capital of France?\n\n"
        "Response:\nParis, matey!\n[seed: 7, new_tokens: 5]\n"
    )


def test_a_stopped_answer_is_marked() -> None:
    for export_format in (ExportFormat.TXT, ExportFormat.MARKDOWN):
        assert "Response (stopped)" in export_chat(CHAT, export_format).decode()


def test_each_generate_without_history_is_a_conversation_of_its_own() -> None:
    lines = [json.loads(line)["messages"] for line in export_chat(CHAT, ExportFormat.JSONL).splitlines()]
    assert [[m["content"] for m in line] for line in lines] == [
        ["What is the capital of France?", "Paris, matey!"],
        ["And of Spain?", "Madr", "Go on.", "Madrid, arr!"],
    ]


def test_datasets_loads_the_jsonl_as_chat_messages(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "chat.jsonl"
    write_export(path, export_chat([*CHAT, ExportMessage("assistant", "".join(AWKWARD))], ExportFormat.JSONL))
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert [len(row["messages"]) for row in rows] == [2, 5]
    assert rows[0]["messages"][1] == {"role": "assistant", "content": "Paris, matey!"}


def test_an_empty_chat_gives_a_valid_file_in_every_format() -> None:
    assert json.loads(export_chat([], ExportFormat.JSON))["messages"] == []
    assert [export_chat([], f) for f in (ExportFormat.TXT, ExportFormat.MARKDOWN, ExportFormat.JSONL)] == [
        b"",
        b"",
        b"",
    ]


def test_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_export(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["chat.txt"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_can_be_read_by_whom_the_system_lets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_export(tmp_path / "chat.txt", b"new")
    assert (tmp_path / "chat.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX limit on file sizes")
def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "chat.txt"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system's own limit makes a write fail halfway, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(ExportError) as caught:
            write_export(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "100,000 bytes" in caught.value.message and str(tmp_path) in caught.value.message
    assert "unchanged" in caught.value.message and "Free some space" in caught.value.hint
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["chat.txt"]


def test_a_read_only_folder_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    path = folder / "chat.txt"
    path.write_text("old")
    folder.chmod(0o555)
    with without_privileges(tmp_path), pytest.raises(ExportError) as caught:
        write_export(path, b"new")
    folder.chmod(0o755)
    assert "no permission" in caught.value.message and str(path) in caught.value.message
    assert "another folder" in caught.value.hint
    assert path.read_text() == "old" and os.listdir(folder) == ["chat.txt"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing/chat.txt", "There is no folder"),
        ("file.txt/chat.txt", "There is no folder"),
        ("folder", "is not a file"),
        ("n" * 300, "cannot be the name"),
        ("a\0b", "cannot be the name"),
    ],
)
def test_an_impossible_place_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file.txt").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError) as caught:
        write_export(tmp_path / name, b"new")
    assert words in caught.value.message and caught.value.hint
    assert (tmp_path / "file.txt").read_text() == "kept"
