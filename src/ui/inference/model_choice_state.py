"""Which run and base model answer, and whether the adapter was found fit to."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import flet as ft

from db import run_records, settings
from db.database import Database
from errors import NotFoundError
from helpers.adapter_validation import Finding, ValidationReport, validate_adapter
from helpers.base_models import BaseSource
from helpers.local_inference import Dtype, ModelSelection, Quantization
from helpers.local_inference.adapter_strength import require_strength
from helpers.model_choice import base_model_locations, forget_base_location, remember_base_location
from helpers.run_import import add_adapter_folder
from ui.background_tasks import Notify, run_blocking
from ui.inference.run_options import RunOption, find_latest_usable, find_run_or_raise, list_run_options

log = logging.getLogger(__name__)

DEFAULT_BASE_MODEL = "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit"
IDLE_STATUS = "Select a completed training run to load for inference."
VALIDATING_STATUS = "Validating adapter..."
READY_STATUS = "Adapter validated. Ready for inference."
QUANTIZATION_KEY = "quantization"

FolderSignature = frozenset[tuple[str, int, int, int]]

_MISSING_BASE_CODES = {
    "base_unknown",
    "base_not_found",
    "base_not_downloaded",
    "base_without_weights",
    "base_damaged",
}


class ChoicePhase(StrEnum):
    """IDLE: nothing chosen. VALIDATING. READY: the prompt is unlocked. FAILED: it is locked, with a reason."""

    IDLE = "idle"
    VALIDATING = "validating"
    READY = "ready"
    FAILED = "failed"


@ft.observable
@dataclass(eq=False)
class ModelChoiceState:
    """The choice and its validation. ``base_model`` is what the field shows; ``report`` is None until validated.
    ``run_name`` is empty before a choice; ``checkpoint_path`` is None where the run's own adapter is chosen.
    ``strength``: 0 = the base alone, 1 = the adapter as trained; of the next answer.

    ``notify`` gets one line for a snackbar; ``on_ready`` is called each time an adapter was found fit.
    """

    database: Database
    notify: Notify
    on_ready: Callable[[], None] = lambda: None
    runs: list[RunOption] = field(default_factory=list)
    run_id: int | None = None
    run_name: str = ""
    checkpoint_path: str | None = None
    base_model: str = DEFAULT_BASE_MODEL
    adapter_path: str | None = None
    run_path: str | None = None
    strength: float = 1.0
    dataset_id: int | None = None
    phase: ChoicePhase = ChoicePhase.IDLE
    status: str = IDLE_STATUS
    hint: str = ""
    report: ValidationReport | None = None
    quantization: Quantization = Quantization.AUTO
    locations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ticket = 0
        self._checked: FolderSignature | None = None
        # Records are read one after the other, so that the run clicked last is the one that stays.
        self._reading = asyncio.Lock()

    async def load(self) -> None:
        """Read the remembered choices and the recent runs."""
        self.quantization = await run_blocking(self._read_quantization)
        self.locations = await run_blocking(self._read_locations)
        await self.refresh_runs()

    async def refresh_runs(self) -> None:
        """Read the recent runs again, newest first."""
        self.runs = await run_blocking(list_run_options, self.database)

    async def select_run(self, run_id: int, checkpoint_path: str | None = None) -> None:
        """Choose a completed run and validate it; any other run only says why it cannot be chosen.

        ``checkpoint_path``: one of its checkpoints, of a run in any status; None = its adapter.
        """
        async with self._reading:
            # Read again: training may have ended, or the folder gone, since the list was drawn.
            run, blocked = await run_blocking(find_run_or_raise, self.database, run_id, checkpoint_path)
            if not blocked:
                checkpoint = f" · {Path(checkpoint_path).name}" if checkpoint_path else ""
                self.run_id, self.run_name, self.checkpoint_path = run.id, run.name + checkpoint, checkpoint_path
                self.base_model = run.base_model or self.base_model
                self._choose_adapter(checkpoint_path or run.adapter_path)
                self.run_path = run.output_dir
                self.dataset_id = run.dataset_id
        if blocked:
            self.notify(f"“{run.name}” cannot be used. {blocked}")
            await self.refresh_runs()
            return
        await self.validate()

    async def use_latest_run(self) -> None:
        """Choose the completed run that finished last and can be used."""
        await self.refresh_runs()
        latest = await run_blocking(find_latest_usable, self.database)
        if latest is None:
            self.notify("There is no completed run yet. Add an adapter folder, or finish a training run first.")
            return
        await self.select_run(latest)

    async def change_base_model(self, name: str) -> None:
        """Use another base; validates again when an adapter is chosen."""
        name = name.strip()
        if not name or name == self.base_model:
            return
        self.base_model = name
        if self.adapter_path is not None:
            await self.validate()

    async def add_adapter_folder(self, folder: str) -> None:
        """Record a folder that is in no run, and choose it. Raises AdapterError when it holds no adapter."""
        run = await run_blocking(add_adapter_folder, self.database, _typed_path(folder))
        await self.refresh_runs()
        await self.select_run(run.id)

    async def locate_base_model(self, folder: str) -> None:
        """Remember where the recorded base lies on this machine, and validate again. Raises NotFoundError."""
        path = _typed_path(folder)
        if not (path / "config.json").is_file():
            raise NotFoundError(
                f"{path} holds no config.json.",
                "Choose the folder that has the base model's config.json and weights.",
            )
        self.locations = await run_blocking(self._remember_location, self.base_model, str(path))
        await self.validate()

    async def forget_base_location(self, base_model: str) -> None:
        """Look for a base where it was recorded again; validates again where an adapter is chosen."""
        self.locations = await run_blocking(self._forget_location, base_model)
        if self.adapter_path is not None:
            await self.validate()

    def choose_strength(self, value: float) -> None:
        """How strongly the adapter acts in the next answer. Raises SettingsError where ``value`` is not 0 to 2."""
        require_strength(value)
        if self.fixed_strength is None:
            self.strength = value

    async def choose_quantization(self, quantization: Quantization) -> None:
        """How the base is held from the next load on; remembered."""
        self.quantization = quantization
        await run_blocking(self._write_quantization, quantization)

    async def validate(self) -> bool:
        """Run the static checks; False when they found an error or another choice was made meanwhile."""
        self._ticket += 1
        ticket = self._ticket
        if self.adapter_path is None:
            self._fail("This run has no adapter folder.", "Choose another run, or add the adapter's folder.")
            return False
        self.phase, self.status, self.hint, self.report = ChoicePhase.VALIDATING, VALIDATING_STATUS, "", None
        examined, chosen = False, (self.adapter_path, self.base_model, self.run_path)
        try:
            # Read again: another window may have located the base, or forgotten where it lies.
            locations = await run_blocking(self._read_locations)
            signature, report = await run_blocking(_examine, *chosen, locations)
            examined = True
        finally:
            # Whatever happens, the spinner ends; the cause itself goes on to the handler's guard.
            if not examined and ticket == self._ticket:
                self.phase, self.status = ChoicePhase.FAILED, "The adapter could not be examined."
                self.hint = "Choose the run again; the log has the details."
        if ticket != self._ticket:
            return False
        self._checked, self.locations = signature, locations
        return self._take_in(report)

    async def check_still_valid(self) -> bool:
        """Whether the adapter that was validated still lies there; reads the weights again only if they changed."""
        if self.phase is not ChoicePhase.READY or self.adapter_path is None:
            return False
        ticket = self._ticket
        signature = await run_blocking(_signature, self.adapter_path)
        if ticket != self._ticket:
            return False
        unchanged = signature is not None and signature == self._checked
        return unchanged or await self.validate()

    @property
    def selection(self) -> ModelSelection:
        """What the engine is asked for: the base and adapter that were validated."""
        base = self.report.base if self.report is not None else None
        located = self.report is not None and self.report.base_source is BaseSource.LOCATED
        return ModelSelection(
            base_model=str(base.path) if base is not None and located else self.base_model,
            adapter_path=self.adapter_path,
            run_path=self.run_path,
            quantization=self.quantization,
            dtype=Dtype.AUTO,
            adapter_strength=self.strength,
        )

    @property
    def fixed_strength(self) -> str | None:
        """Why the chosen adapter has no strength but 1; None = it has, or nothing is known of it yet."""
        adapter = self.report.adapter if self.report is not None else None
        return adapter.fixed_strength if adapter is not None else None

    @property
    def base_is_missing(self) -> bool:
        """True when the base is not here or not whole, or the folder that was located for it does not fit."""
        if self.report is None:
            return False
        wrongly_located = self.report.base_source is BaseSource.LOCATED and not self.report.ok
        return wrongly_located or any(finding.code in _MISSING_BASE_CODES for finding in self.report.findings)

    @property
    def remarks(self) -> list[Finding]:
        """Findings worth reading beside the first error."""
        return list(self.report.findings) if self.report is not None else []

    def _choose_adapter(self, path: str | None) -> None:
        if path != self.adapter_path:
            self.strength = 1.0
        self.adapter_path = path

    def _take_in(self, report: ValidationReport) -> bool:
        self.report = report
        if self.fixed_strength is not None:
            self.strength = 1.0
        error = report.first_error
        if error is not None:
            self._fail(error.message, error.hint)
            return False
        self.phase, self.status, self.hint = ChoicePhase.READY, READY_STATUS, ""
        self.on_ready()
        return True

    def _fail(self, message: str, hint: str) -> None:
        self.phase, self.status, self.hint = ChoicePhase.FAILED, message, hint
        self.notify(f"{message} {hint}".strip())

    def _read_quantization(self) -> Quantization:
        with self.database.read_scope() as session:
            stored = settings.get(session, QUANTIZATION_KEY, Quantization.AUTO)
        try:
            return Quantization(stored)
        except ValueError:
            log.warning("the remembered quantisation %r is not known to this version; using auto", stored)
            return Quantization.AUTO

    def _write_quantization(self, quantization: Quantization) -> None:
        with self.database.session_scope() as session:
            settings.set(session, QUANTIZATION_KEY, str(quantization))

    def _read_locations(self) -> Mapping[str, str]:
        with self.database.read_scope() as session:
            return base_model_locations(session)

    def _remember_location(self, base_model: str, folder: str) -> Mapping[str, str]:
        # Read and written in one go: another window may have located another base since this one was opened.
        with self.database.session_scope() as session:
            locations = remember_base_location(session, base_model, folder)
            run_records.record_base_located(session, base_model, folder)
        return locations

    def _forget_location(self, base_model: str) -> Mapping[str, str]:
        with self.database.session_scope() as session:
            return forget_base_location(session, base_model)


def _typed_path(text: str) -> Path:
    # os.path's form leaves an unknown "~someone" as it is, where Path.expanduser raises.
    return Path(os.path.abspath(os.path.expanduser(text)))


def _examine(
    folder: str, base_model: str, run_path: str | None, locations: Mapping[str, str]
) -> tuple[FolderSignature | None, ValidationReport]:
    # The signature first: files that change while they are examined are then examined again.
    signature = _signature(folder)
    within = Path(run_path) if run_path else None
    return signature, validate_adapter(Path(folder), base_model, locations, within=within)


def _signature(folder: str) -> FolderSignature | None:
    """Names, sizes and times of the folder's files; None when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            files = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    except OSError:
        return None
    return frozenset((name, found.st_size, found.st_mtime_ns, found.st_ctime_ns) for name, found in files)
