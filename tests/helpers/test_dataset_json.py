"""JSON documents are read piece by piece, with the result and the complaints of reading them as a whole."""

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import ImportFormatError
from helpers.dataset_files import read_records
from helpers.dataset_json import json_records

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


@given(
    elements=st.lists(VALUES), indent=st.none() | st.integers(0, 3), escaped=st.booleans(), portion=st.integers(1, 40)
)
def test_an_array_gives_its_elements_wherever_it_is_cut(
    elements: list[Any], indent: int | None, escaped: bool, portion: int
) -> None:
    text = json.dumps(elements, indent=indent, ensure_ascii=escaped)
    assert list(json_records(io.StringIO(text), "x", portion)) == elements


@given(content=st.dictionaries(st.text(max_size=3), VALUES, max_size=5), portion=st.integers(1, 40))
def test_an_object_gives_its_first_array_of_objects_or_itself(content: dict[str, Any], portion: int) -> None:
    lists = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    wanted = [value for value in lists if not {"role", "from"} & value[0].keys()]
    text = json.dumps(content)
    assert list(json_records(io.StringIO(text), "x", portion)) == (wanted[0] if wanted else [content])


@given(text=st.text('{}[]",:1.5e-tru\\uabn \n'), portion=st.integers(1, 20))
def test_what_the_standard_parser_refuses_is_refused(text: str, portion: int) -> None:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if not isinstance(whole, list | dict):
        with pytest.raises(ImportFormatError):
            list(json_records(io.StringIO(text), "x", portion))
    elif isinstance(whole, list):
        assert list(json_records(io.StringIO(text), "x", portion)) == whole


@pytest.mark.parametrize("portion", [1, 3, 1000])
def test_a_fault_is_named_with_its_line_and_column(portion: int) -> None:
    with pytest.raises(ImportFormatError, match="line 3, column 9: Expecting"):
        list(json_records(io.StringIO('[\n{"a": 1},\n{"b": 2 "c": 3}\n]'), "x", portion))


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"version": 1, "data": [', '], "count": 2}')])
def test_memory_does_not_grow_with_an_array_without_line_breaks(tmp_path: Path, begin: str, end: str) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.json"
        element = json.dumps({"prompt": "question " * 40, "response": "answer " * 40})
        path.write_text(begin + ",".join([element] * rows) + end, encoding="utf-8")
        tracemalloc.start()
        assert sum(1 for _ in read_records(path)) == rows
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    small = peak(2_000)
    assert peak(20_000) < small * 1.5
