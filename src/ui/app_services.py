"""The parts a window works with, wired together by ``main``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from db.database import Database
from helpers.local_inference.worker import ModelProcess


@dataclass(frozen=True)
class AppServices:
    """One workspace and one model process, shared by every window on them.

    ``quit`` ends the whole app; None where the window's own close button does.
    """

    database: Database
    workspace: Path
    model_process: ModelProcess
    demo: bool
    quit: Callable[[], None] | None = None
