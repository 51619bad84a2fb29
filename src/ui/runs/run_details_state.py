"""Everything that is known of the run whose details are open."""

from dataclasses import dataclass, replace
from pathlib import Path

import flet as ft

from db import training_runs
from db.database import Database
from errors import PlaygroundError
from helpers.adapter_validation import ValidationReport, validate_adapter
from helpers.model_choice import base_model_locations
from helpers.run_overview import RunDetails, read_details
from ui.background_tasks import Debounced, Notify, run_blocking

SAVE_AFTER_SECONDS = 0.5


@ft.observable
@dataclass(eq=False)
class RunDetailsState:
    """``run`` is None while none is open or it is being read; ``report`` until the doctor is done, and for a run
    without an adapter.
    """

    database: Database
    notify: Notify
    run: RunDetails | None = None
    report: ValidationReport | None = None
    examining: bool = False

    def __post_init__(self) -> None:
        self._ticket = 0
        self._save_soon = Debounced(SAVE_AFTER_SECONDS)

    async def open(self, run_id: int) -> bool:
        """Read the run; False when there is none of this number. The doctor's report is asked for separately."""
        self._ticket += 1
        ticket = self._ticket
        details = await run_blocking(read_details, self.database, run_id)
        if ticket != self._ticket:
            return True
        if details is None:
            return False
        if self.run is None or self.run.id != run_id:
            self.report, self.examining = None, False
        self.run = details
        return True

    def close(self) -> None:
        """Forget the run."""
        self._ticket += 1
        self.run, self.report, self.examining = None, None, False

    async def examine(self) -> None:
        """Ask the adapter doctor; nothing happens for a run without an adapter."""
        run = self.run
        if run is None or not run.adapter_path:
            return
        self.examining = True
        try:
            report = await run_blocking(self._examine, run)
            if self.run is not None and self.run.id == run.id:
                self.report = report
        finally:
            if self.run is None or self.run.id == run.id:
                self.examining = False

    async def save_notes(self, run_id: int, notes: str) -> None:
        """Keep what the user noted. Raises NotFoundError, StorageError."""
        await run_blocking(self._write_notes, run_id, notes)
        if self.run is not None and self.run.id == run_id:
            self.run = replace(self.run, notes=notes)

    def note_soon(self, run_id: int, notes: str) -> None:
        """Keep the notes once writing pauses, also when the details close meanwhile."""

        async def save() -> None:
            try:
                await self.save_notes(run_id, notes)
            except PlaygroundError as error:
                self.notify(str(error))

        self._save_soon.call(save)

    def _examine(self, run: RunDetails) -> ValidationReport:
        with self.database.read_scope() as session:
            locations = base_model_locations(session)
        within = Path(run.output_dir) if run.output_dir else None
        return validate_adapter(Path(run.adapter_path or ""), run.base_model or None, locations, within=within)

    def _write_notes(self, run_id: int, notes: str) -> None:
        with self.database.session_scope() as session:
            training_runs.set_notes(session, run_id, notes)
