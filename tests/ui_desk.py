"""One workspace with runs of tiny real models, and the windows open on it."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from db import training_runs
from db.database import Database
from db.models import RunStatus
from helpers.local_inference.worker import ModelProcess
from ui.app_services import AppServices
from ui.inference.inference_state import InferenceState

CONTEXT_LENGTH = 4096
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class TinyModels:
    """A base, another base of other shapes, and two adapters on the first that answer differently."""

    base: Path
    other_base: Path
    first: Path
    second: Path


@dataclass
class Window:
    """One window's state and the snackbars it showed."""

    state: InferenceState
    notices: list[str] = field(default_factory=list)


class Desk:
    """A workspace in ``folder``; adapters are copied there, so that a test may damage them."""

    def __init__(self, folder: Path, database: Database, models: TinyModels, process: ModelProcess) -> None:
        self.folder = folder
        self.database = database
        self.models = models
        self.process = process

    def adapter(self, name: str, original: Path | None = None) -> Path:
        """A private copy of ``original``, None = the first adapter."""
        return Path(shutil.copytree(original or self.models.first, self.folder / name))

    def add_run(self, name: str, adapter: Path | None = None, **fields: Any) -> int:
        """Record a run, completed unless ``fields`` say otherwise; its number."""
        values = {"status": RunStatus.COMPLETED, "base_model": str(self.models.base), **fields}
        with self.database.session_scope() as session:
            adapter_path = str(adapter) if adapter is not None else None
            return training_runs.create(session, name=name, adapter_path=adapter_path, **values).id

    def window(self) -> Window:
        """A new window on this workspace and the one model process."""
        notices: list[str] = []
        services = AppServices(self.database, self.folder, self.process, demo=False)
        return Window(InferenceState(services, notices.append), notices)

    async def ready_window(self, adapter: Path | None = None) -> Window:
        """A window in which an adapter is validated; short greedy answers."""
        run = self.add_run("the run", adapter or self.models.first)
        window = self.window()
        await window.state.load()
        await window.state.model.select_run(run)
        window.state.sampling.change(temperature=0, max_new_tokens=8)
        assert window.notices == []
        return window


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Let everything else go on until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)  # gives the processor to threads and the model process
