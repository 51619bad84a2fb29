"""A sound adapter for every test of this folder."""

import shutil
from pathlib import Path

import pytest

from adapter_bench import Bench
from tiny_models import build_tiny_adapter, build_tiny_base


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("originals")
    base = build_tiny_base(folder / "base")
    return base, build_tiny_adapter(base, folder / "adapter", tokenizer=True)


@pytest.fixture
def bench(originals: tuple[Path, Path], tmp_path: Path) -> Bench:
    base, adapter = (Path(shutil.copytree(original, tmp_path / original.name)) for original in originals)
    made = Bench(base, adapter)
    made.edit_config(base_model_name_or_path=str(base))
    return made
