"""Streamed text is whole characters, joined equals the final text, and stop sequences are never shown."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers

from helpers.chat_template import ChatFormat, ChatTokenizer
from helpers.local_inference.detokenizer import IncrementalDetokenizer
from helpers.local_inference.stop_sequences import StopSequences
from tiny_models import tiny_tokenizer

TEXTS = [
    "Ahoy, matey!",
    "  two blanks first,\n\n\tthen   more ",
    "Grüße aus 東京 und Москва",
    "🏴‍☠️ pirates 👩‍👩‍👧‍👦 and 🇫🇷 flags 😀😀",
    'def f(x):\n    return {"a": [1, 2]}  # naïve\n',
    "",
]


@cache
def sentencepiece_style() -> Tokenizer:
    """Words begin with “▁”, unknown characters fall back to bytes, the decoder drops the first blank (Llama 2)."""
    pieces = [
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "a",
        "h",
        "o",
        "y",
        "m",
        "t",
        "e",
        "w",
        "r",
        "s",
    ]
    merges = [
        ("a", "h"),
        ("o", "y"),
        ("ah", "oy"),
        ("m", "a"),
        ("t", "e"),
        ("▁", "ma"),
        ("▁ma", "te"),
        ("t", "w"),
        ("▁", "tw"),
    ]
    pieces += ["".join(pair) for pair in merges]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(pieces)}, merges, byte_fallback=True, unk_token="<unk>"
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def byte_level() -> Any:
    return tiny_tokenizer().backend_tokenizer


@pytest.mark.parametrize("make", [byte_level, sentencepiece_style])
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:10])
def test_joined_pieces_are_the_text_and_no_piece_is_a_broken_character(
    make: Callable[[], Tokenizer], text: str
) -> None:
    tokenizer = make()
    pieces = detokenized(tokenizer, tokenizer.encode(text).ids)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("make", [byte_level, sentencepiece_style])
@given(text=st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_token_by_token(make: Callable[[], Tokenizer], text: str) -> None:
    tokenizer = make()
    ids = tokenizer.encode(text.replace("\ufffd", "?").replace("▁", "_")).ids
    assert "".join(detokenized(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_character_cut_off_by_the_token_limit_is_left_out() -> None:
    ids = byte_level().encode("Ahoy 😀").ids
    assert "".join(detokenized(byte_level(), ids[:-1])) == "Ahoy "


def test_bytes_that_are_no_text_do_not_hold_back_what_follows() -> None:
    first_byte_of_many = byte_level().token_to_id("ð")
    ids = [first_byte_of_many] * 50 + byte_level().encode("Ahoy").ids
    pieces = detokenized(byte_level(), ids)
    assert "".join(pieces).endswith("Ahoy")
    assert sum(1 for piece in pieces if piece) > 10


def test_special_tokens_have_no_text() -> None:
    tokenizer = ChatTokenizer(tiny_tokenizer(), ChatFormat(Path(), "", None, "", frozenset(), ()))
    ids = tokenizer.tokenizer("a<|im_end|>b<|im_start|> c")["input_ids"]
    detokenizer = IncrementalDetokenizer(tokenizer.tokenizer.decode, tokenizer.special_ids)
    assert "".join(detokenizer.push(token) for token in ids) == "ab c"


def test_the_cost_of_a_token_does_not_grow_with_the_answer() -> None:
    longest = 0

    def decode(ids: list[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return str(byte_level().decode(ids))

    ids = byte_level().encode("Grüße 東京 😀 " * 100).ids
    detokenizer = IncrementalDetokenizer(decode)
    for token in ids:
        detokenizer.push(token)
    assert longest <= 8


@given(text=st.text("ab\n", max_size=30), stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
@settings(max_examples=300, deadline=None)
def test_text_ends_before_the_first_stop_sequence_and_shows_no_part_of_it(text: str, stops: list[str]) -> None:
    filtered = StopSequences(stops)
    shown = ""
    for character in text:
        shown += filtered.push(character)
        if filtered.reached:
            break
    else:
        shown += filtered.finish()
    # The sequence that is complete first ends the answer; among several at one place the one that begins first.
    ends = [(end, stop) for end in range(len(text) + 1) for stop in stops if text[:end].endswith(stop)]
    first_end = min((end for end, _ in ends), default=None)
    if first_end is None:
        assert shown == text and not filtered.reached
    else:
        longest = max(len(stop) for end, stop in ends if end == first_end)
        assert shown == text[: first_end - longest] and filtered.reached


def test_what_cannot_become_a_stop_sequence_is_shown_at_once() -> None:
    filtered = StopSequences(["\nUser:"])
    assert [filtered.push(piece) for piece in ("Ahoy", "\n", "Us", "ually")] == ["Ahoy", "", "", "\nUsually"]


def test_a_stop_sequence_inside_one_piece_ends_it_there() -> None:
    filtered = StopSequences(["END", "###"])
    assert filtered.push("one ### two END") == "one "
    assert filtered.reached and filtered.push("more") == ""


def detokenized(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = IncrementalDetokenizer(tokenizer.decode)
    return [*(detokenizer.push(token) for token in ids), detokenizer.finish()]
