"""Files of examples become datasets, whatever shape they have; bad rows are counted, bad files explained."""

import csv
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import datasets
from db.database import Database
from db.datasets import NewRow
from errors import ImportFormatError, NotFoundError
from helpers.dataset_formats import DatasetFormat, UnusableRow, to_row
from helpers.dataset_import import import_dataset, recognise


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "workspace" / "playground.db") as opened:
        yield opened


def _write_json_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def _rows(database: Database, dataset_id: int) -> list[NewRow]:
    with database.read_scope() as session:
        found = datasets.first_rows(session, dataset_id, 10_000)
    return [NewRow(row.prompt, row.response, row.system, row.messages) for row in found]


TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Ahoy"},
]
LONGER = [*TURNS, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Farewell"}]
SHAREGPT = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Ahoy"},
]
PARTS = [
    {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]},
    {"role": "assistant", "content": "Ahoy"},
]

SHAPES = [
    ({"messages": TURNS}, "messages", NewRow("Hi", "Ahoy", "Be brief.")),
    ({"messages": LONGER}, "messages", NewRow("Hi", "Ahoy", "Be brief.", LONGER)),
    ({"messages": PARTS}, "messages", NewRow("Hi there", "Ahoy")),
    ({"Messages": TURNS, "id": 7}, "messages", NewRow("Hi", "Ahoy", "Be brief.")),
    ({"conversations": SHAREGPT}, "conversations", NewRow("Hi", "Ahoy", "Be brief.")),
    ({"conversations": SHAREGPT[1:], "system": "Be kind."}, "conversations", NewRow("Hi", "Ahoy", "Be kind.")),
    ({"instruction": "Add", "input": "2, 3", "output": "5"}, "instruction/input/output", NewRow("Add\n\n2, 3", "5")),
    ({"instruction": "Greet", "input": "", "output": "Hi"}, "instruction/input/output", NewRow("Greet", "Hi")),
    ({"instruction": "Greet", "output": "Hi"}, "instruction/input/output", NewRow("Greet", "Hi")),
    ({"instruction": "Why?", "context": "Sky", "response": "Air"}, "instruction/context/response",
     NewRow("Why?\n\nSky", "Air")),
    ({"prompt": "2+3", "response": 5}, "prompt/response", NewRow("2+3", "5")),
    ({"prompt": "2+3", "completion": "5"}, "prompt/completion", NewRow("2+3", "5")),
    ({"prompt": TURNS[:2], "completion": TURNS[2:]}, "prompt/completion", NewRow("Hi", "Ahoy", "Be brief.")),
    ({"Question": "2+3", "Answer": "5"}, "question/answer", NewRow("2+3", "5")),
    ({"input": "2+3", "output": "5", "system_prompt": "Add."}, "input/output", NewRow("2+3", "5", "Add.")),
]  # fmt: skip


@pytest.mark.parametrize(("record", "format", "expected"), SHAPES)
def test_every_shape_becomes_prompt_and_answer(
    database: Database, tmp_path: Path, record: dict[str, Any], format: str, expected: NewRow
) -> None:
    path = _write_json_lines(tmp_path / "data.jsonl", [record] * 3)
    preview = recognise(path)
    assert (preview.format, preview.first_rows, preview.usable) == (format, (expected,) * 3, 3)
    assert preview.columns == tuple(record)
    result = import_dataset(database, path)
    assert _rows(database, result.dataset.id) == [expected] * 3
    assert (result.dataset.name, result.dataset.format, result.imported, result.skipped) == ("data", format, 3, {})


PAIRS = [
    {"prompt": f"Question {number} – 問い 🦜", "response": f"Line one\nline “{number}”, two"} for number in range(12)
]


def _as_json(path: Path) -> None:
    path.write_text(json.dumps(PAIRS, indent=1, ensure_ascii=False), encoding="utf-8")


def _as_json_in_an_object(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "data": PAIRS}), encoding="utf-8")


def _as_json_lines(path: Path) -> None:
    path.write_text("\n".join(json.dumps(pair, ensure_ascii=False) for pair in PAIRS), encoding="utf-8")


def _as_json_lines_of_windows(path: Path) -> None:
    path.write_bytes("\r\n\r\n".join(json.dumps(pair) for pair in PAIRS).encode("utf-8-sig"))


def _as_utf16(path: Path) -> None:
    path.write_bytes("\n".join(json.dumps(pair, ensure_ascii=False) for pair in PAIRS).encode("utf-16"))


def _as_table(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "response"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(PAIRS)


def _as_parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(PAIRS), path, row_group_size=5)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("list.json", _as_json),
        ("object.json", _as_json_in_an_object),
        ("lines.json", _as_json_lines),
        ("lines.jsonl", _as_json_lines),
        ("windows.ndjson", _as_json_lines_of_windows),
        ("utf16.JSONL", _as_utf16),
        ("comma.csv", _as_table),
        ("excel.csv", lambda path: _as_table(path, ";", "utf-8-sig")),
        ("tab.tsv", lambda path: _as_table(path, "\t")),
        ("table.parquet", _as_parquet),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(database: Database, tmp_path: Path, name: str, write: Any) -> None:
    write(tmp_path / name)
    result = import_dataset(database, tmp_path / name, name="mine")
    assert _rows(database, result.dataset.id) == [NewRow(pair["prompt"], pair["response"]) for pair in PAIRS]
    assert (result.dataset.name, result.dataset.source) == ("mine", str(tmp_path / name))


def test_messages_in_a_csv_cell_are_read(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["messages"], [json.dumps(TURNS)], ["no list"]])
    result = import_dataset(database, path)
    assert _rows(database, result.dataset.id) == [NewRow("Hi", "Ahoy", "Be brief.")]
    assert result.skipped == {"“messages” is not a list of messages": 1}


def test_rows_that_cannot_be_used_are_counted_with_the_reason_and_the_rest_is_kept(
    database: Database, tmp_path: Path
) -> None:
    good = {"prompt": "Hi", "response": "Ahoy"}
    path = tmp_path / "mixed.jsonl"
    lines = [
        json.dumps(good).encode(),
        b"{broken",
        b"[1, 2]",
        b'"text"',
        json.dumps({"prompt": " ", "response": "x"}).encode(),
        json.dumps({"prompt": "x"}).encode(),
        json.dumps({"prompt": "x", "response": None}).encode(),
        json.dumps({"prompt": {"a": 1}, "response": "x"}).encode(),
        b'{"prompt": "caf\xe9", "response": "latin-1"}',
        b'{"prompt": "half \\ud83e emoji", "response": "x"}',
        b"[" * 100_000,
        b"",
        json.dumps(good).encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    expected = {
        "the line is not JSON": 2,
        "it is not an object with named columns": 2,
        "the prompt is empty": 1,
        "the answer is empty": 2,
        "“prompt” is not text": 1,
        "its text is not valid UTF-8": 2,
    }
    preview, result = recognise(path), import_dataset(database, path)
    assert result.skipped == preview.skipped == expected
    assert result.imported == preview.usable == 2
    assert _rows(database, result.dataset.id) == [NewRow("Hi", "Ahoy")] * 2


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no message of the user"),
        ([{"role": "assistant", "content": "Ahoy"}], "no message of the user"),
        ([{"role": "user", "content": "Hi"}], "no answer"),
        ([{"role": "assistant", "content": "Ahoy"}, {"role": "user", "content": "Hi"}], "no answer"),
        ([{"content": "Hi"}], "no role"),
        (["Hi"], "not an object"),
        (None, "not a list"),
        ([{"role": "user", "content": [{"type": "image"}]}], "not text"),
        ([{"role": "user", "content": {"a": 1}}], "not text"),
    ],
)
def test_a_chat_that_is_no_question_and_answer_says_why(messages: Any, reason: str) -> None:
    with pytest.raises(UnusableRow, match=reason):
        to_row(DatasetFormat.MESSAGES, {"messages": messages})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "from", "content", "value"]), inner),
    max_leaves=8,
)


@given(
    format=st.sampled_from(DatasetFormat),
    record=st.dictionaries(
        st.sampled_from([*DatasetFormat, "prompt", "response", "instruction", "input", "output", "system"]),
        JSON_VALUES,
    ),
)
def test_any_record_is_a_usable_row_or_has_a_reason(format: DatasetFormat, record: dict[str, Any]) -> None:
    try:
        row = to_row(format, record)
    except UnusableRow as reason:
        assert str(reason)
    else:
        assert row.prompt.strip() and row.response.strip()


def test_ragged_tables_lose_only_their_ragged_rows(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("question,answer\n1,one\n2\n3,three,extra\n\n4,four\n", encoding="utf-8")
    result = import_dataset(database, path)
    assert [row.response for row in _rows(database, result.dataset.id)] == ["one", "four"]
    assert result.skipped == {"the answer is empty": 1, "it has more fields than the header": 1}


def test_a_field_of_many_pages_is_read(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(f"question,answer\nWhy?,{'word ' * 100_000}\n", encoding="utf-8")
    assert len(_rows(database, import_dataset(database, path).dataset.id)[0].response) == 500_000


def _refused(database: Database, path: Path, error: type[Exception] = ImportFormatError) -> str:
    """Preview and import say the same, and nothing is saved."""
    with pytest.raises(error) as of_preview:
        recognise(path)
    with pytest.raises(error) as of_import:
        import_dataset(database, path)
    assert str(of_preview.value) == str(of_import.value)
    with database.read_scope() as session:
        assert datasets.list_all(session) == []
    return str(of_import.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jsonl", b"", "empty.jsonl is empty"),
        ("blank.jsonl", b"\n \n", "No row of blank.jsonl can be used"),
        ("empty.json", b"[]", "No row of empty.json"),
        ("broken.json", b'[{"prompt": 1},\n {"prompt"]', "line 2, column 11"),
        ("number.json", b"42", "holds no list of examples"),
        ("deep.json", b"[" * 100_000, "nested too deeply"),
        ("header.csv", b"question,answer\n", "No row of header.csv"),
        ("no-json.jsonl", b"hello\nworld\n", "the line is not JSON (2 rows)"),
        ("text.jsonl", b'{"text": "a", "source": "b"}\n', "“text”, “source”"),
        ("all-empty.jsonl", b'{"prompt": "", "response": ""}\n' * 3, "the prompt is empty (3 rows)"),
        ("fake.parquet", b"PAR1 no parquet", "not a readable Parquet file"),
        ("half.jsonl", "{}".encode("utf-16")[:-1], "not readable text"),
        ("notes.txt", b"hello", ".json, .jsonl"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(
    database: Database, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert words in _refused(database, path)


def test_unknown_columns_are_named_with_the_known_ones(database: Database, tmp_path: Path) -> None:
    message = _refused(database, _write_json_lines(tmp_path / "a.jsonl", [{f"c{n}": 1 for n in range(20)}]))
    assert "“c0”" in message and "8 more" in message and "question/answer" in message


def test_a_missing_file_and_a_folder_are_named(database: Database, tmp_path: Path) -> None:
    assert "There is no file" in _refused(database, tmp_path / "none.csv", NotFoundError)
    (tmp_path / "folder.csv").mkdir()
    assert "is not a file" in _refused(database, tmp_path / "folder.csv")


def test_the_same_file_twice_gives_two_datasets(database: Database, tmp_path: Path) -> None:
    path = _write_json_lines(tmp_path / "a.jsonl", [{"prompt": "Hi", "response": "Ahoy"}])
    assert [import_dataset(database, path).dataset.name for _ in range(2)] == ["a", "a (2)"]


def test_an_import_that_fails_half_way_saves_nothing(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl"
    lines = "".join(f'{{"question": "{number}", "answer": "x"}}\n' for number in range(3000))
    path.write_bytes(lines.encode("utf-16")[:-1])
    assert "not readable text" in _refused(database, path)


def test_memory_does_not_grow_with_the_file(database: Database, tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.jsonl"
        line = json.dumps({"prompt": "question " * 40, "response": "answer " * 40})
        path.write_text(f"{line}\n" * rows, encoding="utf-8")
        tracemalloc.start()
        import_dataset(database, path)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    small = peak(2_000)
    assert peak(10_000) < small * 1.5
