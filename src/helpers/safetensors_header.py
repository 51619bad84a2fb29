"""Reads and checks the header of a safetensors file without touching its tensors.

The layout is that of the format's README (huggingface/safetensors, "Format"): 8 bytes little-endian header length N,
N bytes JSON ``{name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {text: text}}``, then the
tensors' bytes without holes to the end of the file.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeGuard

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


class Damage(StrEnum):
    """How a file fails to be a safetensors file."""

    EMPTY = "empty"
    NOT_SAFETENSORS = "not_safetensors"
    TRUNCATED = "truncated"
    INCONSISTENT = "inconsistent"


class SafetensorsDamagedError(ValueError):
    """The file is not a whole safetensors file; ``str(error)`` says how, as the end of a sentence."""

    def __init__(self, damage: Damage, words: str) -> None:
        super().__init__(words)
        self.damage = damage


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its safetensors dtype name, shape, and byte range counted from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class SafetensorsHeader:
    """A checked header: every tensor's bytes lie inside the file, in the order of ``tensors``, without holes."""

    tensors: tuple[TensorEntry, ...]
    metadata: Mapping[str, str]
    file_size: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by tensor name."""
        return {tensor.name: tensor.shape for tensor in self.tensors}


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check the header of ``path``; raises SafetensorsDamagedError, or OSError where it cannot be read."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise SafetensorsDamagedError(Damage.EMPTY, "it is empty (0 bytes)")
        start = file.read(LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) == LENGTH_BYTES and length > MAX_HEADER_BYTES:
            raise SafetensorsDamagedError(Damage.NOT_SAFETENSORS, _what_it_is_instead(start + file.read(120)))
        if LENGTH_BYTES + length > size or len(start) < LENGTH_BYTES:
            words = f"it ends after {size:,} bytes, inside its own header"
            raise SafetensorsDamagedError(Damage.TRUNCATED, words)
        raw = file.read(length)
    document = _parse(raw)
    metadata = document.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _inconsistent("its metadata is not a table of texts")
    data_start = LENGTH_BYTES + length
    tensors = sorted((_entry(name, value, data_start) for name, value in document.items()), key=lambda t: t.begin)
    _check_layout(tensors, data_start, size)
    return SafetensorsHeader(tuple(tensors), metadata, size)


def _parse(raw: bytes) -> dict[str, Any]:
    # The format wants "{" first; anything else is another kind of file whose first bytes happened to be small.
    if not raw.startswith(b"{"):
        raise SafetensorsDamagedError(Damage.NOT_SAFETENSORS, "its header is not the JSON of a safetensors file")
    try:
        document = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise SafetensorsDamagedError(Damage.NOT_SAFETENSORS, f"its header is not readable JSON ({error})") from error
    # The first byte was "{", so that it is an object.
    table: dict[str, Any] = document
    return table


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands in it twice")
    return table


def _entry(name: str, value: Any, data_start: int) -> TensorEntry:
    shape, offsets = (value.get("shape"), value.get("data_offsets")) if isinstance(value, dict) else (None, None)
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _inconsistent(f"the entry of tensor “{name}” lacks a valid shape or place in the file")
    dtype = value.get("dtype")
    bits = _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise _inconsistent(f"tensor “{name}” has the unknown number type “{dtype}”")
    tensor = TensorEntry(name, dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])
    if tensor.elements * bits != (tensor.end - tensor.begin) * 8:
        held = tensor.end - tensor.begin
        raise _inconsistent(f"tensor “{name}” of shape {list(shape)} in {dtype} does not take {held:,} bytes")
    return tensor


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _check_layout(tensors: list[TensorEntry], data_start: int, size: int) -> None:
    position = data_start
    for tensor in tensors:
        if tensor.begin != position:
            kind = "overlaps the one before it" if tensor.begin < position else "leaves a gap before it"
            raise _inconsistent(f"tensor “{tensor.name}” {kind}")
        position = tensor.end
    if position > size:
        words = f"it has {size:,} bytes, but its header announces {position:,}"
        raise SafetensorsDamagedError(Damage.TRUNCATED, words)
    if position < size:
        raise _inconsistent(f"{size - position:,} bytes follow the last tensor that its header announces")


def _inconsistent(words: str) -> SafetensorsDamagedError:
    return SafetensorsDamagedError(Damage.INCONSISTENT, words)


def _what_it_is_instead(start: bytes) -> str:
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: the weights themselves were never downloaded (run `git lfs pull`)"
    if start.startswith(b"PK"):
        return "it is a zip archive, such as PyTorch's own .bin format, under another name"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, saved instead of the weights"
    return "its first bytes are not those of a safetensors file"
