"""Tiny real models shared by the engine's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.local_inference import ModelProcess
from helpers.local_inference.engine import Engine
from tiny_models import build_tiny_adapter, build_tiny_base


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from threads, and lose much on a busy machine. Model processes inherit it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for models that several tests use."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def base(models: Path) -> Path:
    """A tiny Llama whose context is long enough for an answer that never seems to end."""
    return build_tiny_base(models / "base", max_position_embeddings=100_000)


@pytest.fixture(scope="session")
def adapter(base: Path, models: Path) -> Path:
    return build_tiny_adapter(base, models / "adapter", seed=1)


@pytest.fixture(scope="session")
def other_adapter(base: Path, models: Path) -> Path:
    return build_tiny_adapter(base, models / "other-adapter", seed=2)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="session")
def shared_model_process() -> Iterator[ModelProcess]:
    """One warm process for tests that leave it alive."""
    process = ModelProcess()
    process.warm_up()
    yield process
    process.close()
