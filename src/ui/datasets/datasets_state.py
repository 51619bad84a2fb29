"""The Datasets screen's state: which datasets are saved, the one that is looked at, and its rows."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import flet as ft

from db import datasets
from db.database import Database
from db.models import Dataset, DatasetRow
from errors import PlaygroundError
from helpers.dataset_import import remove_dataset
from ui.background_tasks import Notify, run_blocking
from ui.datasets.import_state import ImportState

DATASETS_ON_A_PAGE = 50
ROWS_ON_A_PAGE = 20
RANDOM_ROWS = 5


@ft.observable
@dataclass(eq=False)
class DatasetsState:
    """One window's Datasets screen. ``chosen`` None = no dataset is looked at; ``loaded`` False = not read yet.

    ``error`` says why the list could not be read, empty when it could. ``random_rows`` marks ``rows`` as a random
    sample instead of the page at ``first_row``. ``deleting`` names the dataset that is being deleted, else empty.
    """

    database: Database
    notify: Notify
    on_change: Callable[[], Awaitable[None]]
    search: str = ""
    page: int = 0
    matching: int = 0
    total: int = 0
    datasets: list[Dataset] = field(default_factory=list)
    loaded: bool = False
    error: str = ""
    chosen: Dataset | None = None
    used_by: list[str] = field(default_factory=list)
    rows: list[DatasetRow] = field(default_factory=list)
    first_row: int = 0
    random_rows: bool = False
    deleting: str = ""

    def __post_init__(self) -> None:
        self.importing = ImportState(self.database, self._imported)

    async def load(self) -> None:
        """Read the list; what cannot be read is said in its place."""
        search, page = self.search, self.page
        try:
            shown, matching, total = await run_blocking(self._read_datasets, search, page)
        except PlaygroundError as error:
            self.error, self.loaded = str(error), True
            return
        if (search, page) != (self.search, self.page):
            return  # A newer request is on its way.
        last = max(matching - 1, 0) // DATASETS_ON_A_PAGE
        if page > last:
            self.page = last
            await self.load()
            return
        self.datasets, self.matching, self.total = shown, matching, total
        self.error, self.loaded = "", True

    async def find(self, search: str) -> None:
        """Show the datasets with this text in name or source."""
        self.search, self.page = search, 0
        await self.load()

    async def turn_page(self, pages: int) -> None:
        """Go on or back in the list."""
        last = max(self.matching - 1, 0) // DATASETS_ON_A_PAGE
        self.page = min(max(self.page + pages, 0), last)
        await self.load()

    async def choose(self, dataset_id: int) -> None:
        """Look at a dataset from its first row on. Raises NotFoundError when it was deleted meanwhile."""
        found, used_by = await run_blocking(self._read_details, dataset_id)
        self.chosen, self.used_by, self.rows = found, used_by, []
        await self.show_rows(0)

    async def show_rows(self, first: int) -> None:
        """Show the page of rows that begins at position ``first``."""
        dataset = self.chosen
        if dataset is None:
            return
        first = min(max(first, 0), max(dataset.row_count - 1, 0))
        rows = await run_blocking(self._read_rows, dataset.id, first)
        if self.chosen is dataset:
            self.rows, self.first_row, self.random_rows = rows, first, False

    async def draw_rows(self) -> None:
        """Show five random rows."""
        dataset = self.chosen
        if dataset is None:
            return
        rows = await run_blocking(self._sample_rows, dataset.id)
        if self.chosen is dataset:
            self.rows, self.random_rows = rows, True

    async def rename(self, dataset_id: int, name: str) -> None:
        """Give the dataset another name. Raises SettingsError for one that is empty or taken, and NotFoundError."""
        renamed = await run_blocking(self._write_name, dataset_id, name.strip())
        if self.chosen is not None and self.chosen.id == dataset_id:
            self.chosen = renamed
        await self._changed()

    async def delete(self, dataset: Dataset) -> None:
        """Delete a dataset with its rows; the runs that used it stay. Raises NotFoundError."""
        if self.deleting:
            return
        self.deleting = dataset.name
        try:
            # Off the list and out of the details at once; a million rows take a while.
            if self.chosen is not None and self.chosen.id == dataset.id:
                self._forget_chosen()
            self.datasets = [other for other in self.datasets if other.id != dataset.id]
            await run_blocking(remove_dataset, self.database, dataset.id)
        finally:
            self.deleting = ""
            await self._changed()
        self.notify(f"“{dataset.name}” is deleted.")

    async def _imported(self, dataset_id: int) -> None:
        self.search, self.page = "", 0
        await self._changed()
        await self.choose(dataset_id)

    async def _changed(self) -> None:
        await self.load()
        await self.on_change()

    def _forget_chosen(self) -> None:
        self.chosen = None
        self.used_by, self.rows = [], []

    def _read_datasets(self, search: str, page: int) -> tuple[list[Dataset], int, int]:
        with self.database.read_scope() as session:
            first = page * DATASETS_ON_A_PAGE
            shown = datasets.list_page(session, search=search, offset=first, limit=DATASETS_ON_A_PAGE)
            return list(shown), datasets.count_matching(session, search), datasets.count_matching(session)

    def _read_details(self, dataset_id: int) -> tuple[Dataset, list[str]]:
        with self.database.read_scope() as session:
            found = datasets.find_or_raise(session, dataset_id)
            return found, [run.name for run in datasets.runs_using(session, dataset_id)]

    def _read_rows(self, dataset_id: int, first: int) -> list[DatasetRow]:
        with self.database.read_scope() as session:
            return list(datasets.rows_page(session, dataset_id, first, ROWS_ON_A_PAGE))

    def _sample_rows(self, dataset_id: int) -> list[DatasetRow]:
        with self.database.read_scope() as session:
            return list(datasets.sample_rows(session, dataset_id, RANDOM_ROWS, random.Random()))

    def _write_name(self, dataset_id: int, name: str) -> Dataset:
        with self.database.session_scope() as session:
            return datasets.rename(session, dataset_id, name)
