"""The state of one import: the file, what is recognised in it, and how it went."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import flet as ft

from db.database import Database
from errors import PlaygroundError
from helpers.dataset_formats import ColumnMapping
from helpers.dataset_import import (
    DatasetPreview,
    ImportCancelled,
    ImportProgress,
    ImportResult,
    import_dataset,
    preview,
)
from ui.background_tasks import pump, run_blocking

# Read in about a second; the counts of a longer file are those of its beginning.
MOST_ROWS_PREVIEWED = 50_000


class ImportPhase(StrEnum):
    """Where an import stands."""

    CHOOSING = "choosing"
    CHECKING = "checking"
    CHECKED = "checked"
    IMPORTING = "importing"
    DONE = "done"


@ft.observable
@dataclass(eq=False)
class ImportState:
    """``preview`` and ``result`` are None until there is one; ``error`` and ``hint`` say why there is none.

    ``version`` grows when ``name`` is set by other means than typing it. ``columns`` are those the user maps, empty
    where the format is known. ``progress`` is None until the first rows are saved.
    """

    database: Database
    on_imported: Callable[[int], Awaitable[None]]
    open: bool = False
    phase: ImportPhase = ImportPhase.CHOOSING
    path: str = ""
    name: str = ""
    version: int = 0
    preview: DatasetPreview | None = None
    result: ImportResult | None = None
    error: str = ""
    hint: str = ""
    columns: tuple[str, ...] = ()
    mapped: dict[str, str] = field(default_factory=dict)
    progress: ImportProgress | None = None

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._newest: ImportProgress | None = None

    @property
    def busy(self) -> bool:
        """Whether the file is being read."""
        return self.phase in (ImportPhase.CHECKING, ImportPhase.IMPORTING)

    def begin(self) -> None:
        """Open the dialog, empty unless an import is still running."""
        if not self.busy:
            self.path = self.name = self.error = self.hint = ""
            self.preview = self.result = None
            self.columns, self.mapped = (), {}
            self.phase = ImportPhase.CHOOSING
            self.version += 1
        self.open = True

    def close(self) -> None:
        """Close the dialog; an import that runs goes on."""
        self.open = False

    async def check(self, path: str) -> None:
        """Read the file and show what would be imported; failures are kept in ``error``."""
        if self.busy or not path.strip():
            return
        self.path = path.strip().strip('"')
        self.name = self._file().stem
        self.version += 1
        self.columns, self.mapped = (), {}
        await self._read()

    async def choose_column(self, part: str, column: str) -> None:
        """Say which column is the ``prompt``, ``response`` or ``system`` (empty = none) and read the file so."""
        if self.busy:
            return
        self.mapped = {**self.mapped, part: column}
        if self._mapping() is not None:
            await self._read()

    async def run(self) -> None:
        """Import what is shown; failures are kept in ``error`` and nothing is saved then."""
        if self.phase is not ImportPhase.CHECKED:
            return
        self._start(ImportPhase.IMPORTING)
        self._stop.clear()
        work = asyncio.create_task(self._import())
        await pump(lambda: self._take_progress(work))
        try:
            self.result = await work
        except ImportCancelled:
            self.hint, self.phase = "The import was cancelled; nothing of it is kept.", ImportPhase.CHECKED
            return
        except PlaygroundError as error:
            self._fail(error, ImportPhase.CHECKED)
            return
        self.phase = ImportPhase.DONE
        await self.on_imported(self.result.dataset.id)

    def cancel(self) -> None:
        """Stop a running import; nothing of it is kept."""
        self._stop.set()

    async def _read(self) -> None:
        self.preview = None
        self._start(ImportPhase.CHECKING)
        try:
            found = await run_blocking(preview, self._file(), mapping=self._mapping(), most_rows=MOST_ROWS_PREVIEWED)
        except PlaygroundError as error:
            self._fail(error, ImportPhase.CHOOSING)
            return
        if found.format is None:
            self.columns = found.columns
        self.preview = found
        self.phase = ImportPhase.CHECKED if found.usable else ImportPhase.CHOOSING

    async def _import(self) -> ImportResult:
        self._newest = None
        return await run_blocking(
            import_dataset,
            self.database,
            self._file(),
            self.name.strip() or None,
            mapping=self._mapping(),
            on_progress=self._remember_progress,
            should_stop=self._stop.is_set,
        )

    def _remember_progress(self, progress: ImportProgress) -> None:
        # Called on the import's thread, which must not write what is drawn.
        self._newest = progress

    def _take_progress(self, work: asyncio.Task[ImportResult]) -> bool:
        if self.progress != self._newest:
            self.progress = self._newest
        return not work.done()

    def _mapping(self) -> ColumnMapping | None:
        asked, answered = self.mapped.get("prompt"), self.mapped.get("response")
        if not asked or not answered:
            return None
        return ColumnMapping(asked, answered, self.mapped.get("system") or None)

    def _file(self) -> Path:
        return Path(self.path).expanduser()

    def _start(self, phase: ImportPhase) -> None:
        self.phase = phase
        self.error = self.hint = ""
        self.progress = None

    def _fail(self, error: PlaygroundError, phase: ImportPhase) -> None:
        self.error, self.hint, self.phase = error.message, error.hint, phase
