"""Which run and base model answer, and whether the adapter was found fit to."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import flet as ft

from db import settings, training_runs
from db.database import Database
from db.models import RunStatus, TrainingRun
from errors import NotFoundError
from helpers.adapter_validation import Finding, ValidationReport, validate_adapter
from helpers.base_models import resolve_base_model
from helpers.local_inference import Dtype, ModelSelection, Quantization
from helpers.run_import import add_adapter_folder
from ui.background_tasks import Notify, run_blocking

DEFAULT_BASE_MODEL = "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit"
IDLE_STATUS = "Select a completed training run to load for inference."
VALIDATING_STATUS = "Validating adapter..."
READY_STATUS = "Adapter validated. Ready for inference."
RECENT_RUNS = 100
LOCATIONS_KEY = "base_model_locations"
QUANTIZATION_KEY = "quantization"

FolderSignature = frozenset[tuple[str, int, int]]

_WRONG_BASE_CODES = {"base_unknown", "base_missing", "base_not_on_disk", "base_other_machine"}


class ChoicePhase(StrEnum):
    """IDLE: nothing chosen. VALIDATING. READY: the prompt is unlocked. FAILED: it is locked, with a reason."""

    IDLE = "idle"
    VALIDATING = "validating"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class RunOption:
    """A run as the dropdown lists it. ``blocked`` says why it cannot be chosen; empty = it can."""

    id: int
    name: str
    status: RunStatus
    blocked: str
    label: str


@ft.observable
@dataclass(eq=False)
class ModelChoiceState:
    """The choice and its validation. ``base_model`` is what the field shows; ``report`` is None until validated.

    ``notify`` gets one line for a snackbar; ``on_ready`` is called each time an adapter was found fit.
    """

    database: Database
    notify: Notify
    on_ready: Callable[[], None] = lambda: None
    runs: list[RunOption] = field(default_factory=list)
    run_id: int | None = None
    base_model: str = DEFAULT_BASE_MODEL
    adapter_path: str | None = None
    run_path: str | None = None
    phase: ChoicePhase = ChoicePhase.IDLE
    status: str = IDLE_STATUS
    hint: str = ""
    report: ValidationReport | None = None
    quantization: Quantization = Quantization.AUTO
    locations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ticket = 0
        self._checked: FolderSignature | None = None

    async def load(self) -> None:
        """Read the remembered choices and the recent runs."""
        self.quantization = Quantization(await run_blocking(self._read_setting, QUANTIZATION_KEY, "auto"))
        self.locations = await run_blocking(self._read_setting, LOCATIONS_KEY, {})
        await self.refresh_runs()

    async def refresh_runs(self) -> None:
        """Read the recent runs again, newest first."""
        self.runs = await run_blocking(self._read_runs)

    async def select_run(self, run_id: int) -> None:
        """Choose a completed run and validate it; any other run only says why it cannot be chosen."""
        option = next((run for run in self.runs if run.id == run_id), None)
        if option is not None and option.blocked:
            self.notify(f"“{option.name}” cannot be used. {option.blocked}")
            return
        run = await run_blocking(self._read_run, run_id)
        self.run_id = run.id
        self.base_model = run.base_model or self.base_model
        self.adapter_path = run.adapter_path
        self.run_path = run.output_dir
        await self.validate()

    async def use_latest_run(self) -> None:
        """Choose the newest completed run that can be used."""
        await self.refresh_runs()
        latest = next((run for run in self.runs if not run.blocked), None)
        if latest is None:
            self.notify("There is no completed run yet. Add an adapter folder, or finish a training run first.")
            return
        await self.select_run(latest.id)

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
        run = await run_blocking(add_adapter_folder, self.database, Path(folder).expanduser())
        await self.refresh_runs()
        await self.select_run(run.id)

    async def locate_base_model(self, folder: str) -> None:
        """Remember where the recorded base lies on this machine, and validate again. Raises NotFoundError."""
        path = Path(folder).expanduser()
        if not (path / "config.json").is_file():
            raise NotFoundError(
                f"{path} holds no config.json.",
                "Choose the folder that has the base model's config.json and weights.",
            )
        self.locations = {**self.locations, self.base_model: str(path)}
        await run_blocking(self._write_setting, LOCATIONS_KEY, dict(self.locations))
        await self.validate()

    async def choose_quantization(self, quantization: Quantization) -> None:
        """How the base is held from the next load on; remembered."""
        self.quantization = quantization
        await run_blocking(self._write_setting, QUANTIZATION_KEY, str(quantization))

    async def validate(self) -> bool:
        """Run the static checks; False when they found an error or another choice was made meanwhile."""
        if self.adapter_path is None:
            self._fail("This run has no adapter folder.", "Choose another run, or add the adapter's folder.")
            return False
        self._ticket += 1
        ticket = self._ticket
        self.phase, self.status, self.hint, self.report = ChoicePhase.VALIDATING, VALIDATING_STATUS, "", None
        signature = await run_blocking(_signature, self.adapter_path)
        report = await run_blocking(validate_adapter, Path(self.adapter_path), self.base_model, self.locations)
        if ticket != self._ticket:
            return False
        self._checked = signature
        return self._take_in(report)

    async def check_still_valid(self) -> bool:
        """Whether the adapter that was validated still lies there; reads the weights again only if they changed."""
        if self.phase is not ChoicePhase.READY or self.adapter_path is None:
            return False
        unchanged = self._checked is not None and self._checked == await run_blocking(_signature, self.adapter_path)
        return unchanged or await self.validate()

    @property
    def run_name(self) -> str:
        """The chosen run's name; empty before a choice."""
        return next((run.name for run in self.runs if run.id == self.run_id), "")

    @property
    def selection(self) -> ModelSelection:
        """What the engine is asked for."""
        base = resolve_base_model(self.base_model, self.locations)
        return ModelSelection(
            base_model=str(base.path) if base.source == "located" else self.base_model,
            adapter_path=self.adapter_path,
            run_path=self.run_path,
            quantization=self.quantization,
            dtype=Dtype.AUTO,
        )

    @property
    def base_is_missing(self) -> bool:
        """True when the recorded base is what keeps the adapter from being used."""
        return self.report is not None and any(finding.code in _WRONG_BASE_CODES for finding in self.report.findings)

    @property
    def remarks(self) -> list[Finding]:
        """Findings worth reading beside the first error."""
        return list(self.report.findings) if self.report is not None else []

    def _take_in(self, report: ValidationReport) -> bool:
        self.report = report
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

    def _read_setting(self, key: str, default: Any) -> Any:
        with self.database.read_scope() as session:
            return settings.get(session, key, default)

    def _write_setting(self, key: str, value: Any) -> None:
        with self.database.session_scope() as session:
            settings.set(session, key, value)

    def _read_run(self, run_id: int) -> TrainingRun:
        with self.database.read_scope() as session:
            return training_runs.find_or_raise(session, run_id)

    def _read_runs(self) -> list[RunOption]:
        with self.database.read_scope() as session:
            return [_option(run) for run in training_runs.list_recent(session, limit=RECENT_RUNS)]


def _option(run: TrainingRun) -> RunOption:
    when = (run.finished_at or run.created_at).astimezone().strftime("%b %d")
    rank = run.hyperparameters.get("r") or run.hyperparameters.get("lora_r") or run.hyperparameters.get("rank")
    shown = [run.name, f"r{rank}" if rank else "", when]
    blocked = _why_blocked(run)
    if blocked:
        shown = [run.name, str(run.status.value) if run.status is not RunStatus.COMPLETED else "not usable", when]
    return RunOption(run.id, run.name, run.status, blocked, " · ".join(part for part in shown if part))


def _why_blocked(run: TrainingRun) -> str:
    match run.status:
        case RunStatus.PENDING:
            return "It has not started yet."
        case RunStatus.RUNNING:
            return "It is still training."
        case RunStatus.FAILED:
            return f"It failed. {run.error or ''}".strip()
    if not run.adapter_path:
        return "It recorded no adapter folder."
    if not Path(run.adapter_path).is_dir():
        return f"Its adapter folder is gone: {run.adapter_path}"
    return ""


def _signature(folder: str) -> FolderSignature | None:
    """Names, sizes and times of the folder's files; None when it cannot be read."""
    try:
        files = [entry for entry in os.scandir(folder) if entry.is_file()]
        return frozenset((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in files)
    except OSError:
        return None
