"""Pickled weights are looked at without running them."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from adapter_bench import WEIGHTS, Bench, found
from helpers.adapter_validation import (
    Severity,
)


def as_pickle(bench: Bench, content: object = None, **options: Any) -> Path:
    import torch

    path = bench.adapter / "adapter_model.bin"
    tensors = {name: torch.from_numpy(tensor) for name, tensor in load_file(bench.adapter / WEIGHTS).items()}
    torch.save(content if content is not None else tensors, path, **options)
    (bench.adapter / WEIGHTS).unlink()
    return path


class RunsCode:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_tensors_is_allowed_with_a_warning(bench: Bench, zipped: bool) -> None:
    as_pickle(bench, _use_new_zipfile_serialization=zipped)
    report = bench.check()
    found(report, "weights_pickle", Severity.WARNING, "adapter_model.bin", "weights_only=True", "safetensors")
    assert report.ok and report.adapter is not None
    assert report.adapter.size_bytes == (bench.adapter / "adapter_model.bin").stat().st_size
    assert report.adapter.fingerprint is not None


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_run_code_is_named_and_not_run(bench: Bench, zipped: bool, protocol: int) -> None:
    mark = bench.adapter.parent / "it ran"
    as_pickle(bench, {"a": RunsCode(mark)}, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found(bench.check(), "pickle_runs_code", Severity.ERROR, "adapter_model.bin", "pathlib", "safetensors")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"garbage, not a pickle", b"PK\x03\x04broken", b"\x80\x02}"])
def test_a_damaged_pickle(bench: Bench, content: bytes) -> None:
    as_pickle(bench).write_bytes(content)
    found(bench.check(), "weights_damaged", Severity.ERROR, "adapter_model.bin")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_pytorch_did_not_write(bench: Bench, method: int) -> None:
    path = as_pickle(bench)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl" if method else "notes.txt", b"\x80\x02}.")
    found(bench.check(), "weights_damaged", Severity.ERROR, "zip archive", "not one of PyTorch")


def test_an_empty_pickle(bench: Bench) -> None:
    as_pickle(bench).write_bytes(b"")
    found(bench.check(), "weights_empty", Severity.ERROR, "adapter_model.bin", "0 bytes")


def test_safetensors_come_before_a_pickle_beside_them(bench: Bench) -> None:
    (bench.adapter / "adapter_model.bin").write_bytes(b"garbage")
    assert bench.check().findings == ()
