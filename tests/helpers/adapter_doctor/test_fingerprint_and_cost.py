"""The fingerprint, the quick look for lists, and what an examination costs."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapter_bench import WEIGHTS, Bench
from errors import AdapterError
from helpers.adapter_validation import (
    adapter_fingerprint,
    folder_problem,
    short_fingerprint,
)
from helpers.local_inference.adapter_files import read_adapter_folder


def test_any_changed_weight_changes_the_fingerprint_and_a_copy_does_not(bench: Bench) -> None:
    before = adapter_fingerprint(bench.adapter)
    copy = Path(shutil.copytree(bench.adapter, bench.adapter.parent / "copy"))
    assert adapter_fingerprint(copy) == before and len(short_fingerprint(before)) == 12
    raw = bytearray((copy / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (copy / WEIGHTS).write_bytes(raw)
    assert adapter_fingerprint(copy) != before
    bench.edit_config(lora_alpha=32)
    assert adapter_fingerprint(bench.adapter) != before


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_model.bin"])
def test_doctor_and_engine_know_an_adapter_by_the_same_fingerprint(name: str, bench: Bench) -> None:
    import torch
    from safetensors.torch import load_file as load_tensors

    if name != WEIGHTS:
        torch.save(load_tensors(bench.adapter / WEIGHTS), bench.adapter / name)
        (bench.adapter / WEIGHTS).unlink()
    summary = bench.check().adapter
    assert summary is not None and summary.fingerprint == read_adapter_folder(bench.adapter).fingerprint


def test_a_changed_file_is_read_again_though_it_was_read_before(bench: Bench) -> None:
    path = bench.adapter / WEIGHTS
    os.utime(path, (1_000_000, 1_000_000))
    assert bench.check().ok
    bench.edit_weights(lambda name, tensor: tensor * np.nan)
    assert not bench.check().ok


def test_the_fingerprint_of_a_broken_adapter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AdapterError) as caught:
        adapter_fingerprint(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_the_quick_look_sees_broken_folders_and_reads_no_weights(bench: Bench) -> None:
    assert folder_problem(bench.adapter) is None
    bench.edit_weights(lambda name, tensor: tensor * np.nan)
    assert folder_problem(bench.adapter) is None
    (bench.adapter / WEIGHTS).unlink()
    finding = folder_problem(bench.adapter)
    assert finding is not None and finding.code == "weights_missing"


@pytest.fixture(scope="module")
def large_adapter(originals: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An adapter of 200 MB: the small one with a saved module that is mostly a hole in the file."""
    folder = Path(shutil.copytree(originals[1], tmp_path_factory.mktemp("large") / "adapter"))
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors, folder / WEIGHTS)
    raw = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    held = len(raw) - 8 - length
    size = 200 << 20
    header["base_model.model.big.weight"] = {
        "dtype": "BF16",
        "shape": [size // 2],
        "data_offsets": [held, held + size],
    }
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    os.truncate(folder / WEIGHTS, 8 + len(text) + held + size)
    yield folder
    shutil.rmtree(folder)


def test_a_large_adapter_is_read_in_little_memory_without_torch(large_adapter: Path) -> None:
    import subprocess
    import sys

    program = """
import resource, sys
from pathlib import Path
from helpers.adapter_validation import validate_adapter
validate_adapter(Path(sys.argv[1]).parent / "warm up")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = validate_adapter(Path(sys.argv[1]))
print(report.ok, report.adapter.size_bytes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
loaded = [name for name in ("torch", "transformers", "peft", "safetensors") if name in sys.modules]
sys.exit(bool(loaded))
"""
    source = str(Path(__file__).resolve().parents[3] / "src")
    done = subprocess.run(
        [sys.executable, "-c", program, str(large_adapter)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ok, size, megabytes = done.stdout.split()
    assert ok == "True" and int(size) > 200 << 20
    assert int(megabytes) < 40


def test_importing_the_doctor_loads_neither_numpy_nor_torch() -> None:
    import subprocess
    import sys

    program = (
        "import sys, helpers.adapter_validation; "
        "print([name for name in ('numpy', 'torch', 'huggingface_hub') if name in sys.modules])"
    )
    source = str(Path(__file__).resolve().parents[3] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
