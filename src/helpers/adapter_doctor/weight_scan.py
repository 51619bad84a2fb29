"""Reads an adapter's weights once, in small pieces: checksum, NaN, infinity, all-zero and all-one tensors."""

import hashlib
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from errors import AdapterError
from helpers.adapter_doctor.adapter_folder import CONFIG_NAME, PICKLE_NAME, WEIGHTS_NAME
from helpers.adapter_fingerprint import fingerprint_of
from helpers.safetensors_header import Damage, SafetensorsDamagedError, SafetensorsHeader, TensorEntry, read_header

_PIECE_BYTES = 1 << 20
_SETTLED_SECONDS = 2.0
_BYTES: np.dtype[Any] = np.dtype("u1")
# numpy type of the raw bits, bits of |x| of infinity, bits of 1.0 (IEEE 754; bfloat16 is the upper half of float32).
_FLOATS: dict[str, tuple[np.dtype[Any], int, int]] = {
    "F16": (np.dtype("<u2"), 0x7C00, 0x3C00),
    "BF16": (np.dtype("<u2"), 0x7F80, 0x3F80),
    "F32": (np.dtype("<u4"), 0x7F800000, 0x3F800000),
    "F64": (np.dtype("<u8"), 0x7FF0000000000000, 0x3FF0000000000000),
}


@dataclass(frozen=True)
class TensorValues:
    """What all numbers of one tensor have in common. Integer tensors: only ``all_zero`` is judged."""

    has_nan: bool
    has_infinity: bool
    all_zero: bool
    all_one: bool


@dataclass(frozen=True)
class WeightScan:
    """Header and values of a whole file; ``digest`` is the SHA-256 of all its bytes."""

    header: SafetensorsHeader
    values: dict[str, TensorValues]
    digest: str


def scan_weights(path: Path) -> WeightScan:
    """Read every byte of a safetensors file with about 3 MiB of memory; an unchanged file is read only once.

    Plain reads, not a memory map: a training that rewrites the file meanwhile gives an error, not a bus error.
    Raises SafetensorsDamagedError and OSError.
    """
    status = path.stat()
    # A file changed this moment could change again within one tick of its time stamp: do not remember it.
    scan = _scan if time.time() - status.st_mtime > _SETTLED_SECONDS else _scan.__wrapped__
    return scan(path.resolve(), (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


@lru_cache(maxsize=64)
def _scan(path: Path, _signature: tuple[int, ...]) -> WeightScan:
    header = read_header(path)
    checksum = hashlib.sha256()
    values = {}
    piece = bytearray(_PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        start = header.tensors[0].begin if header.tensors else header.file_size
        checksum.update(file.read(start))
        for tensor in header.tensors:
            judge = _Judge(tensor)
            left = tensor.end - tensor.begin
            while left:
                part = memoryview(piece)[: min(left, _PIECE_BYTES)]
                if file.readinto(part) != len(part):
                    raise SafetensorsDamagedError(Damage.TRUNCATED, "it became shorter while it was read")
                checksum.update(part)
                judge.look_at(part)
                left -= len(part)
            values[tensor.name] = judge.values()
    return WeightScan(header, values, checksum.hexdigest())


class _Judge:
    """Smallest and largest |x| of a tensor, compared as raw bits: they rise with |x|, infinity and NaN on top."""

    def __init__(self, tensor: TensorEntry) -> None:
        self.is_float = tensor.dtype in _FLOATS
        self.bits, self.infinity, self.one = _FLOATS.get(tensor.dtype, (_BYTES, 0, 0))
        self.without_sign = (1 << (8 * self.bits.itemsize - 1)) - 1 if self.is_float else 0xFF
        self.scratch = np.empty(_PIECE_BYTES // self.bits.itemsize, self.bits)
        self.smallest, self.largest = -1, -1

    def look_at(self, part: memoryview) -> None:
        raw = np.frombuffer(part, self.bits)
        sizes = np.bitwise_and(raw, self.without_sign, out=self.scratch[: raw.size])
        low, high = int(sizes.min()), int(sizes.max())
        self.smallest = low if self.smallest < 0 else min(self.smallest, low)
        self.largest = max(self.largest, high)

    def values(self) -> TensorValues:
        return TensorValues(
            has_nan=self.is_float and self.largest > self.infinity,
            has_infinity=self.is_float and self.largest == self.infinity,
            all_zero=self.largest == 0,
            all_one=self.is_float and self.smallest == self.largest == self.one,
        )


def adapter_fingerprint(folder: Path) -> str:
    """SHA-256 over ``adapter_config.json`` and every byte of the weights; raises AdapterError.

    Nothing is sampled: any changed weight changes it. The weights are read anyway to look for NaN, and hashing takes
    about a second per gigabyte; an unchanged file is not read twice.
    """
    try:
        config = (folder / CONFIG_NAME).read_bytes()
        weights = folder / WEIGHTS_NAME
        digest = scan_weights(weights).digest if weights.is_file() else _file_digest(folder / PICKLE_NAME)
    except (OSError, SafetensorsDamagedError) as failure:
        hint = "Check the adapter's folder and validate it again."
        raise AdapterError(f"The adapter in “{folder}” cannot be read: {failure}.", hint) from failure
    return fingerprint_of(config, digest)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
