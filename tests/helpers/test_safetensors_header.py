"""The own header reader agrees with the safetensors library on good files and on every way to damage one."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from helpers.safetensors_header import Damage, SafetensorsDamagedError, read_header

# The format forbids it; the library keeps the last one.
TWICE = b'{"t":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}'
TENSORS = {
    "a.lora_A.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.lora_B.weight": np.ones((4, 3), dtype=np.float16),
    "scalar": np.array(3, dtype=np.int64),
    "none": np.zeros((0, 4), dtype=np.uint8),
}
WHOLE = save(TENSORS, metadata={"format": "pt"})
HEADER_LENGTH = struct.unpack("<Q", WHOLE[:8])[0]


def packed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"t": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_names_shapes_types_and_places_are_those_of_the_library(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(WHOLE)
    header = read_header(path)
    assert header.shapes == {name: tensor.shape for name, tensor in TENSORS.items()}
    assert {tensor.name: tensor.dtype for tensor in header.tensors}["a.lora_B.weight"] == "F16"
    assert header.metadata == {"format": "pt"}
    for tensor in header.tensors:
        assert WHOLE[tensor.begin : tensor.end] == TENSORS[tensor.name].tobytes()


@given(
    st.one_of(
        st.binary(max_size=64),
        st.integers(0, len(WHOLE)).map(lambda cut: WHOLE[:cut]),
        st.binary(min_size=1, max_size=9).map(lambda tail: WHOLE + tail),
        # One byte of length or header exchanged for another.
        st.tuples(st.integers(0, 7 + HEADER_LENGTH), st.integers(0, 255)).map(
            lambda change: WHOLE[: change[0]] + bytes([change[1]]) + WHOLE[change[0] + 1 :]
        ),
    )
)
@settings(max_examples=300, deadline=None)
@example(packed({"a": one()["t"], "b": one()["t"]}, b"x" * 8))
@example(packed({"a": one()["t"], "b": one(offsets=(16, 24))["t"]}, b"x" * 24))
@example(packed(one(shape=[2**62, 4, 2**62]), b"x" * 8))
@example(packed(one(offsets=(8, 0)), b"x" * 8))
@example(packed(one(shape=[-2]), b"x" * 8))
@example(packed(one(shape=[True, 2]), b"x" * 8))
@example(packed(one(dtype="F5"), b"x" * 8))
@example(packed({}))
@example(packed(b"{}" + b" " * 62))
@example(packed([]))
@example(packed({"__metadata__": {"a": 1}}))
@example(packed({"__metadata__": []}))
@example(packed(b"[" * 5000))
def test_a_file_is_accepted_exactly_when_the_library_accepts_it(content: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(content)
        try:
            with safe_open(path, "numpy") as opened:
                known = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            known = None
        try:
            own = read_header(path).shapes
        except SafetensorsDamagedError:
            own = None
        assert own == known


@pytest.mark.parametrize(
    ("content", "damage", "words"),
    [
        (b"", Damage.EMPTY, "0 bytes"),
        (b"abc", Damage.TRUNCATED, "ends after 3 bytes"),
        (WHOLE[:40], Damage.TRUNCATED, "ends after 40 bytes, inside its own header"),
        (WHOLE[:-5], Damage.TRUNCATED, f"has {len(WHOLE) - 5} bytes, but its header announces {len(WHOLE)}"),
        (WHOLE + b"xyz", Damage.INCONSISTENT, "3 bytes follow the last tensor"),
        (b"\0" * 64, Damage.NOT_SAFETENSORS, "not the JSON"),
        (b"PK\x03\x04" + b"zipzipzip", Damage.NOT_SAFETENSORS, "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", Damage.NOT_SAFETENSORS, "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", Damage.NOT_SAFETENSORS, "web page"),
        (packed(one(dtype="F5"), b"x" * 8), Damage.INCONSISTENT, "“t” has the unknown number type “F5”"),
        (packed(one(shape=[3]), b"x" * 8), Damage.INCONSISTENT, "“t” of shape [3] in F32 does not take 8 bytes"),
        (packed(TWICE, b"x"), Damage.NOT_SAFETENSORS, "a name stands in it twice"),
        (packed(one(offsets=(8, 16)), b"x" * 16), Damage.INCONSISTENT, "“t” leaves a gap"),
    ],
)
def test_each_damage_is_told_apart(tmp_path: Path, content: bytes, damage: Damage, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(SafetensorsDamagedError) as caught:
        read_header(path)
    assert caught.value.damage is damage and words in str(caught.value)
