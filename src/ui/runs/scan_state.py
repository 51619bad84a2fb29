"""A scan of a folder tree for adapters: how far it is, and what came of it."""

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path

import flet as ft

from db.database import Database
from errors import PlaygroundError
from helpers.run_import import register_found, scan_for_adapters
from ui.background_tasks import pump, run_blocking


class ScanCancelled(PlaygroundError):
    """The user ended the scan; nothing was recorded."""


@ft.observable
@dataclass(eq=False)
class ScanState:
    """``open`` shows the dialog. ``known``: adapters that were in the list before; ``skipped``: (folder, reason)."""

    database: Database
    open: bool = False
    running: bool = False
    stopping: bool = False
    done: bool = False
    folders: int = 0
    adapters: int = 0
    added: list[str] = field(default_factory=list)
    known: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    failure: str = ""

    def __post_init__(self) -> None:
        self._cancel = threading.Event()
        self._progress = (0, 0)

    def show(self) -> None:
        """Open the dialog, empty."""
        self.open, self.done, self.failure = True, False, ""

    def close(self) -> None:
        """Close the dialog; a running scan is ended."""
        self.cancel()
        self.open = False

    def cancel(self) -> None:
        """End the scan; nothing is recorded."""
        if self.running:
            self.stopping = True
        self._cancel.set()

    async def scan(self, folder: str) -> bool:
        """Scan and record what is new; False when it was cancelled or failed, which ``failure`` then says."""
        if self.running:
            return False
        self._cancel.clear()
        self._progress = (0, 0)
        self.running, self.stopping, self.done, self.failure = True, False, False, ""
        self.folders = self.adapters = 0
        ended = threading.Event()
        root = Path(folder).expanduser().absolute()
        task = run_blocking(self._scan, root, ended)
        try:
            outcome, _ = await asyncio.gather(task, pump(lambda: self._show_progress(ended)))
        except PlaygroundError as error:
            self.failure = str(error)
            return False
        finally:
            self.running = self.stopping = False
        self.added, self.known, self.skipped = outcome
        self.done = True
        return True

    def _show_progress(self, ended: threading.Event) -> bool:
        self.folders, self.adapters = self._progress
        return not ended.is_set()

    def _scan(self, root: Path, ended: threading.Event) -> tuple[list[str], int, list[tuple[str, str]]]:
        try:
            result = scan_for_adapters(root, self._report)
            if self._cancel.is_set():
                raise ScanCancelled("The scan was cancelled.", "Nothing was added.")
            new = register_found(self.database, result.found)
        finally:
            ended.set()
        skipped = [(str(folder), reason) for folder, reason in result.skipped]
        return [run.name for run in new], len(result.found) - len(new), skipped

    def _report(self, folders: int, adapters: int) -> None:
        self._progress = (folders, adapters)
        if self._cancel.is_set():
            raise ScanCancelled("The scan was cancelled.", "Nothing was added.")
