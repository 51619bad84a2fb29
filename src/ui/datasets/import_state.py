"""The state of one import: the source, what is recognised in it, and how it went."""

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
from helpers.dataset_hub import hub_dataset_of
from helpers.dataset_import import (
    DatasetPreview,
    ImportCancelled,
    ImportProgress,
    ImportResult,
    import_dataset,
    preview,
)
from ui.background_tasks import pump, run_blocking

# Read in a moment; the counts of a longer file are those of its beginning.
MOST_ROWS_PREVIEWED = 5_000


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
    where the format is known. ``progress`` is None until the first rows are saved. ``from_hub``: the source is a
    dataset of the Hugging Face hub, which may have a ``split`` and need a token.
    """

    database: Database
    on_imported: Callable[[int], Awaitable[None]]
    open: bool = False
    phase: ImportPhase = ImportPhase.CHOOSING
    path: str = ""
    from_hub: bool = False
    split: str = ""
    name: str = ""
    version: int = 0
    preview: DatasetPreview | None = None
    result: ImportResult | None = None
    error: str = ""
    hint: str = ""
    columns: tuple[str, ...] = ()
    mapped: dict[str, str] = field(default_factory=dict)
    progress: ImportProgress | None = None
    cancelling: bool = False

    def __post_init__(self) -> None:
        # Kept for as long as the dialog needs it, drawn and stored nowhere.
        self._token = ""
        self._reading = 0
        self._stop = threading.Event()
        self._newest: ImportProgress | None = None

    @property
    def busy(self) -> bool:
        """Whether the source is being read."""
        return self.phase in (ImportPhase.CHECKING, ImportPhase.IMPORTING)

    def begin(self) -> None:
        """Open the dialog, empty unless an import is still running."""
        if self.phase is not ImportPhase.IMPORTING:
            self._forget_preview()
            self.path = self.name = self.split = self._token = ""
            self.from_hub = False
            self.result = None
            self.version += 1
        self.open = True

    def close(self) -> None:
        """Close the dialog; a preview that is being read is dropped, an import that runs goes on."""
        if self.phase is ImportPhase.CHECKING:
            self._forget_preview()
        if self.phase is not ImportPhase.IMPORTING:
            self._token = ""
        self.open = False

    def type_source(self, text: str) -> None:
        """Take note of what is typed; what was read of another source is dropped, also when it comes later."""
        if self.phase is ImportPhase.IMPORTING:
            return
        source = _source_in(text)
        self.from_hub = hub_dataset_of(source) is not None
        if source != self.path:
            self._forget_preview()

    def type_split(self, split: str) -> None:
        """Choose the part of a hub dataset; empty = “train” or the only one."""
        if split.strip() != self.split and self.phase is not ImportPhase.IMPORTING:
            self._forget_preview()
            self.split = split.strip()

    def type_token(self, token: str) -> None:
        """Use an access token for this import; empty = the login of this machine."""
        self._token = token.strip()

    async def check(self, path: str) -> None:
        """Read the source's first rows and show what would be imported; failures are kept in ``error``."""
        if self.busy or not path.strip():
            return
        self.path = _source_in(path)
        hub = hub_dataset_of(self.path)
        self.from_hub = hub is not None
        self.name = hub.name.rpartition("/")[2] if hub is not None else Path(self.path).stem
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
        self.cancelling = False
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
        self.cancelling = True
        self._stop.set()

    async def _read(self) -> None:
        self.preview = None
        self._start(ImportPhase.CHECKING)
        self._reading += 1
        reading = self._reading
        try:
            found = await run_blocking(
                preview,
                self._source(),
                mapping=self._mapping(),
                most_rows=MOST_ROWS_PREVIEWED,
                split=self.split or None,
                hub_token=self._token or None,
            )
        except PlaygroundError as error:
            if reading == self._reading:
                self._fail(error, ImportPhase.CHOOSING)
            return
        if reading != self._reading:
            return  # The dialog was closed, or another source was typed.
        if found.format is None:
            self.columns = found.columns
        self.preview = found
        self.phase = ImportPhase.CHECKED if found.usable else ImportPhase.CHOOSING

    def _forget_preview(self) -> None:
        self._reading += 1
        self._start(ImportPhase.CHOOSING)
        self.preview = None
        self.columns, self.mapped = (), {}

    async def _import(self) -> ImportResult:
        self._newest = None
        return await run_blocking(
            import_dataset,
            self.database,
            self._source(),
            self.name.strip() or None,
            mapping=self._mapping(),
            on_progress=self._remember_progress,
            should_stop=self._stop.is_set,
            split=self.split or None,
            hub_token=self._token or None,
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

    def _source(self) -> str | Path:
        return self.path if self.from_hub else Path(self.path).expanduser()

    def _start(self, phase: ImportPhase) -> None:
        self.phase = phase
        self.error = self.hint = ""
        self.progress = None

    def _fail(self, error: PlaygroundError, phase: ImportPhase) -> None:
        self.error, self.hint, self.phase = error.message, error.hint, phase


def _source_in(text: str) -> str:
    # File managers copy paths with quotes around them.
    return text.strip().strip('"')
