"""The parts a window works with, all real: a workspace, tiny models, and one model process for all tests."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.database import Database
from helpers.local_inference.worker import ModelProcess
from ui_desk import CONTEXT_LENGTH, Desk, TinyModels


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests, each in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in arguments}))
    return True


@pytest.fixture(scope="session")
def model_process() -> Iterator[ModelProcess]:
    process = ModelProcess()
    with pytest.MonkeyPatch.context() as patch:
        # Tiny matrices gain nothing from threads, and lose much on a busy machine.
        patch.setenv("OMP_NUM_THREADS", "1")
        process.warm_up()
        yield process
        process.close()


@pytest.fixture(scope="session")
def models(model_process: ModelProcess, tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    # Imported here: it takes seconds, which the tests without models do without.
    from tiny_models import build_tiny_adapter, build_tiny_base

    folder = tmp_path_factory.mktemp("models")
    base = build_tiny_base(folder / "base", max_position_embeddings=CONTEXT_LENGTH)
    other = build_tiny_base(folder / "other-base", hidden_size=48, head_dim=12)
    first = build_tiny_adapter(base, folder / "first", seed=1)
    return TinyModels(base, other, first, build_tiny_adapter(base, folder / "second", seed=2))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "playground.db", busy_timeout=2) as opened:
        yield opened


@pytest.fixture
def desk(tmp_path: Path, database: Database, models: TinyModels, model_process: ModelProcess) -> Desk:
    return Desk(tmp_path, database, models, model_process)
