"""What the Runs screen lists: one page of runs at a time, read from the workspace, however many there are."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import flet as ft

from db import run_listing, training_runs
from db.database import Database
from db.models import RunStatus
from db.training_runs import RunFilter, RunSort
from errors import PlaygroundError, SettingsError, StorageError
from helpers.finefoundry_import import import_finefoundry
from helpers.run_import import add_adapter_folder
from helpers.run_overview import PAGE_SIZE, RunRow, read_page
from helpers.run_removal import delete_run_files, removable_folder
from helpers.run_upkeep import bring_up_to_date
from ui.background_tasks import Debounced, Notify, run_blocking
from ui.runs.run_details_state import RunDetailsState

SEARCH_AFTER_SECONDS = 0.25


async def _nobody() -> None:
    """No other screen shows runs or datasets."""


@ft.observable
@dataclass(eq=False)
class RunsState:
    """``rows`` is the page on screen, ``matching`` how many runs the filter lets through, ``total`` how many there
    are. ``chosen`` is the run whose details are open, None = none. ``failure`` says why the list could not be read,
    empty when it could. ``asking`` names the open question, empty = none.

    ``on_leave`` is called when the open run's details close; ``on_change`` after runs or datasets came, went or got
    another name.
    """

    database: Database
    notify: Notify
    on_leave: Callable[[], None] = lambda: None
    on_change: Callable[[], Awaitable[None]] = _nobody
    rows: list[RunRow] = field(default_factory=list)
    matching: int = 0
    total: int = 0
    page: int = 0
    search: str = ""
    search_version: int = 0
    status: RunStatus | None = None
    base_model: str | None = None
    sort: RunSort = RunSort.NEWEST
    base_models: list[str] = field(default_factory=list)
    loaded: bool = False
    chosen: int | None = None
    failure: str = ""
    asking: str = ""

    def __post_init__(self) -> None:
        self.details = RunDetailsState(self.database, self.notify)
        self._ticket = 0
        self._search_soon = Debounced(SEARCH_AFTER_SECONDS)

    @property
    def pages(self) -> int:
        """How many pages the matching runs fill; at least one."""
        return max(1, -(-self.matching // PAGE_SIZE))

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.search.strip() or self.status or self.base_model)

    async def refresh(self) -> None:
        """Read the page and the open run again, and mark trainings whose process died. Raises StorageError."""
        unwritable = ""
        try:
            await run_blocking(bring_up_to_date, self.database)
        except StorageError as error:
            # A workspace that cannot be written to can still be looked at.
            unwritable = str(error)
        await self._read()
        if self.failure:
            return
        if unwritable:
            self.notify(unwritable)
        if self.chosen is not None and not await self.details.open(self.chosen):
            self.close()

    def typed(self, text: str) -> None:
        """Search once typing pauses."""
        self.search = text
        self._search_soon.call(self._read_first)

    async def filter_status(self, status: RunStatus | None) -> None:
        """Show runs of one status; None = all."""
        self.status = status
        await self._read_first()

    async def filter_base(self, base_model: str | None) -> None:
        """Show runs on one base model; None = all."""
        self.base_model = base_model
        await self._read_first()

    async def sort_by(self, sort: RunSort) -> None:
        """Another order."""
        self.sort = sort
        await self._read_first()

    async def clear_filters(self) -> None:
        """Show every run again."""
        self.search, self.status, self.base_model = "", None, None
        self.search_version += 1
        await self._read_first()

    async def turn(self, pages: int) -> None:
        """Go on or back by so many pages."""
        self.page = min(max(self.page + pages, 0), self.pages - 1)
        await self._read()

    async def choose(self, run_id: int) -> None:
        """Open a run's details. Raises StorageError."""
        if run_id != self.chosen:
            self.close()
        self.chosen = run_id
        if not await self.details.open(run_id):
            self.close()
            self.notify("This run was removed meanwhile.")
            await self._read()

    def close(self) -> None:
        """Close the details."""
        if self.chosen is not None:
            self.on_leave()
        self.chosen, self.asking = None, ""
        self.details.close()

    def back(self) -> None:
        """Close what was opened last: the question, then the details."""
        if self.asking:
            self.asking = ""
        else:
            self.close()

    def ask(self, question: str) -> None:
        """Open a question; empty closes the one that is open."""
        self.asking = question

    async def add_folder(self, folder: str) -> None:
        """Record one adapter folder and open it. Raises AdapterError, StorageError."""
        run = await run_blocking(add_adapter_folder, self.database, Path(folder).expanduser().absolute())
        await self.changed()
        await self.choose(run.id)

    async def import_finefoundry(self, path: str) -> None:
        """Add what a finefoundry.db holds. Raises NotFoundError, ImportFormatError, StorageError."""
        done = await run_blocking(import_finefoundry, self.database, Path(path))
        skipped = f", {len(done.skipped):,} left out: {done.skipped[0][1]}" if done.skipped else ""
        runs, sets = len(done.runs), len(done.datasets)
        new_runs = f"{runs:,} new {'run' if runs == 1 else 'runs'}"
        self.notify(f"{new_runs} and {sets:,} new {'dataset' if sets == 1 else 'datasets'}{skipped}")
        await self.changed()

    async def changed(self) -> None:
        """Read again, here and in the other screens, after runs or datasets came or went. Raises StorageError."""
        await self.refresh()
        await self.on_change()

    async def rename(self, run_id: int, name: str) -> None:
        """Give a run another name. Raises SettingsError for an empty one, and NotFoundError."""
        if not name.strip():
            raise SettingsError("A run needs a name.", "Type at least one letter.")
        await run_blocking(self._write_name, run_id, name.strip())
        await self.changed()

    async def remove(self, run_id: int) -> None:
        """Take a run out of the list; its files stay. Raises NotFoundError."""
        await run_blocking(self._remove, run_id)
        self.close()
        await self.changed()

    async def folder_to_delete(self, run_id: int) -> Path:
        """The folder that deleting the run's files would take. Raises StorageError where it must stay."""
        return await run_blocking(self._removable, run_id)

    async def remove_with_files(self, run_id: int) -> Path:
        """Delete the run's folder, then take it out of the list; the folder that is gone. Raises StorageError."""
        # A quick answer must not read what is being deleted.
        self.on_leave()
        folder = await run_blocking(self._delete_files, run_id)
        self.close()
        await self.changed()
        return folder

    async def _read_first(self) -> None:
        self.page = 0
        await self._read()

    async def _read(self) -> None:
        self._ticket += 1
        ticket = self._ticket
        wanted = RunFilter(search=self.search.strip(), status=self.status, base_model=self.base_model)
        try:
            read = await run_blocking(read_page, self.database, wanted, self.sort, self.page)
        except PlaygroundError as error:
            if ticket == self._ticket:
                self.failure, self.loaded = str(error), True
            return
        # A search typed meanwhile has asked again; its answer counts.
        if ticket != self._ticket:
            return
        self.rows, self.matching, self.total = read.rows, read.matching, read.total
        self.base_models, self.page = read.base_models, read.page
        self.failure, self.loaded = "", True

    def _write_name(self, run_id: int, name: str) -> None:
        with self.database.session_scope() as session:
            training_runs.rename(session, run_id, name)

    def _remove(self, run_id: int) -> None:
        with self.database.session_scope() as session:
            training_runs.delete(session, run_id)

    def _folders(self, run_id: int) -> tuple[str | None, str | None, Sequence[str]]:
        """The run's adapter and output folder, and the folders of all others."""
        with self.database.read_scope() as session:
            run = training_runs.find_or_raise(session, run_id)
            others = run_listing.folders_of_others(session, run_id)
        if run.status is RunStatus.RUNNING:
            raise StorageError("This training is still running.", "Stop it first, then delete its files.")
        return run.adapter_path, run.output_dir, others

    def _removable(self, run_id: int) -> Path:
        return removable_folder(*self._folders(run_id))

    def _delete_files(self, run_id: int) -> Path:
        folder = delete_run_files(*self._folders(run_id))
        self._remove(run_id)
        return folder
