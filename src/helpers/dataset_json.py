"""Reads the examples of a JSON document one by one, however large the document is.

The examples are the elements of its array or, in an object, those of its first array of objects ({"data": [...]}).
An object without such an array is one example.
"""

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, Any

from errors import ImportFormatError

_CHARACTERS_PER_READ = 256 * 1024
# The longest literal, -Infinity, and a \uXXXX pair fit in it.
_MOST_CUT_OFF = 16
_SPACE = " \t\n\r"
_DECODER = json.JSONDecoder()


def json_records(file: IO[str], name: str, read_at_once: int = _CHARACTERS_PER_READ) -> Iterator[Any]:
    """The examples of the document in order; they need not be objects.

    Raises ImportFormatError, also after some examples, where the document is not valid JSON or holds no examples.
    """
    document = _Document(file, name, read_at_once)
    try:
        first = document.next_character()
        if first == "[":
            yield from document.elements()
        elif first == "{":
            yield from _records_of_object(document)
        else:
            document.value()
            raise ImportFormatError(f"{name} holds no list of examples.", "Save it as a list of JSON objects.")
        if document.next_character():
            raise document.error("Extra data")
    except RecursionError as error:
        raise ImportFormatError(f"{name} is nested too deeply.", "Save it as a list of objects.") from error


def _records_of_object(document: "_Document") -> Iterator[Any]:
    content: dict[str, Any] = {}
    streamed = False
    document.take("{")
    while document.next_character() != "}":
        if content or streamed:
            document.take(",")
        if document.next_character() != '"':
            raise document.error("Expecting property name enclosed in double quotes")
        key = document.value()
        document.take(":")
        if document.next_character() != "[":
            content[key] = document.value()
            continue
        elements = document.elements()
        first = list(islice(elements, 1))
        if not streamed and first and isinstance(first[0], dict) and not _is_a_message(first[0]):
            streamed = True
            yield from chain(first, elements)
        elif streamed:
            for _ in elements:
                pass
        else:
            content[key] = [*first, *elements]
    document.take("}")
    if not streamed:
        yield content


def _is_a_message(value: dict[str, Any]) -> bool:
    return "role" in value or "from" in value


class _Document:
    """The text of a JSON document, of which only the part that is being parsed is in memory."""

    def __init__(self, file: IO[str], name: str, read_at_once: int) -> None:
        self._file = file
        self._name = name
        self._read_at_once = read_at_once
        self._text = ""
        self._at = 0
        self._at_end = False
        # Where the text in memory begins.
        self._line, self._column = 1, 1

    def next_character(self) -> str:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._at_end:
                return ""
            self._read_on()

    def take(self, expected: str) -> None:
        """Goes past this character. Raises ImportFormatError where it is another."""
        if self.next_character() != expected:
            raise self.error(f"Expecting '{expected}'")
        self._at += 1

    def value(self) -> Any:
        """The value that begins here."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _MOST_CUT_OFF
                if self._at_end or not cut_off:
                    raise self.error(error.msg, error.pos) from error
            else:
                # A number near the end of the text may go on, as “1” does in “1e+5”.
                is_number = isinstance(value, int | float)
                if self._at_end or not is_number or end <= len(self._text) - _MOST_CUT_OFF:
                    self._at = end
                    return value
            self._read_on()

    def elements(self) -> Iterator[Any]:
        """The elements of the array that begins here."""
        self.take("[")
        is_first = True
        while is_first or self.next_character() != "]":
            if not is_first:
                self.take(",")
            elif self.next_character() == "]":
                break
            is_first = False
            yield self.value()
        self.take("]")

    def error(self, what: str, at: int | None = None) -> ImportFormatError:
        """That the text at this place (None = here) is not JSON."""
        line, column = self._place(self._at if at is None else at)
        return ImportFormatError(
            f"{self._name} is not valid JSON: line {line}, column {column}: {what}.",
            "Correct the file. For one JSON object per line, the name should end in .jsonl.",
        )

    def _read_on(self) -> None:
        self._line, self._column = self._place(self._at)
        rest = self._text[self._at :]
        # As much again as there is: a long value is not parsed over and over.
        added = self._file.read(max(self._read_at_once, len(rest)))
        self._text, self._at, self._at_end = rest + added, 0, not added

    def _place(self, at: int) -> tuple[int, int]:
        lines = self._text.count("\n", 0, at)
        if not lines:
            return self._line, self._column + at
        return self._line + lines, at - self._text.rindex("\n", 0, at)
