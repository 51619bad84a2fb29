"""From a recorded run or an adapter folder to what the engine is asked for."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from db import settings, training_runs
from db.models import RunStatus, TrainingRun
from errors import AdapterError, ModelError, ModelNotFoundError, NotFoundError, SettingsError
from helpers.adapter_validation import folder_problem, validate_adapter
from helpers.base_models import BaseSource, missing_base_message, resolve_base_model
from helpers.local_inference import Dtype, ModelSelection, Quantization

LATEST = "latest"
BASE_MODEL_LOCATIONS_KEY = "base_model_locations"


def base_model_locations(session: Session) -> Mapping[str, str]:
    """Recorded base model name -> the folder the user located for it."""
    located: Mapping[str, str] = settings.get(session, BASE_MODEL_LOCATIONS_KEY, {})
    return located


def remember_base_location(session: Session, name: str, folder: str) -> Mapping[str, str]:
    """Note that the base recorded as ``name`` lies in ``folder``, for every run that records it; all locations."""
    located = {**base_model_locations(session), name: folder}
    settings.set(session, BASE_MODEL_LOCATIONS_KEY, located)
    return located


def forget_base_location(session: Session, name: str) -> Mapping[str, str]:
    """Look for the base recorded as ``name`` where it was recorded again; the locations that are left."""
    located = {recorded: folder for recorded, folder in base_model_locations(session).items() if recorded != name}
    settings.set(session, BASE_MODEL_LOCATIONS_KEY, located)
    return located


def find_usable_run_or_raise(session: Session, wanted: str) -> TrainingRun:
    """The run of this name or number, or the latest completed one; raises NotFoundError, AdapterError.

    A run that is not completed, or recorded no adapter, is refused with the reason.
    """
    if wanted.strip().lower() == LATEST:
        latest = training_runs.find_latest_completed(session)
        if latest is None:
            raise NotFoundError(
                "There is no completed run yet.", "Add an adapter folder with “adapter-playground runs add DIR”."
            )
        return latest
    run = training_runs.find_by_name_or_id_or_raise(session, wanted)
    reason = why_not_usable(run)
    if reason:
        raise AdapterError(f"Run {run.id} “{run.name}” cannot be used. {reason}", "Choose a completed run.")
    return run


def why_not_usable(run: TrainingRun) -> str:
    """Why a run cannot be chatted with, as a sentence; empty = it can. Reads no weights, so it is quick in lists."""
    match run.status:
        case RunStatus.PENDING:
            return "It has not started yet."
        case RunStatus.RUNNING:
            return "It is still training."
        case RunStatus.FAILED:
            return f"It failed. {run.error or ''}".strip()
    if not run.adapter_path:
        return "It recorded no adapter folder."
    problem = folder_problem(Path(run.adapter_path))
    return problem.message if problem is not None else ""


def choose_model(
    session: Session, *, run: str | None, adapter: Path | None, use_adapter: bool, base_model: str | None
) -> ModelSelection:
    """What was named on the command line: a run, an adapter folder, or a base model alone.

    Raises SettingsError where it is not clear which, NotFoundError, AdapterError, ModelError.
    """
    locations = base_model_locations(session)
    if run is not None and adapter is None:
        recorded = find_usable_run_or_raise(session, run)
        return selection_for_run(recorded, base_model, locations, use_adapter=use_adapter)
    if adapter is not None and run is None and use_adapter:
        return selection_for_adapter(adapter, base_model, locations)
    if run is None and adapter is None and not use_adapter and base_model:
        return _selection(base_model, None, None, locations)
    raise SettingsError(
        "Say which model answers.", "Give one of: --run, --adapter, or --no-adapter with --base-model."
    )


def selection_for_run(
    run: TrainingRun, base_model: str | None, locations: Mapping[str, str], *, use_adapter: bool = True
) -> ModelSelection:
    """The run's adapter on its base; ``base_model`` replaces the recorded one. Raises AdapterError, ModelError."""
    base = base_model or run.base_model
    if not use_adapter:
        return _selection(base, None, run.output_dir, locations)
    within = Path(run.output_dir) if run.output_dir else None
    validate_adapter(Path(run.adapter_path or ""), base, locations, within=within).raise_first_error()
    return _selection(base, run.adapter_path, run.output_dir, locations)


def selection_for_adapter(adapter: Path, base_model: str | None, locations: Mapping[str, str]) -> ModelSelection:
    """An adapter folder on ``base_model``, None = the one it records. Raises AdapterError, ModelError."""
    report = validate_adapter(adapter, base_model, locations)
    report.raise_first_error()
    if report.base_name is None:
        raise ModelError("The adapter does not say which base model it was trained on.", "Name it with --base-model.")
    return _selection(report.base_name, str(adapter.expanduser().resolve()), None, locations)


def _selection(base: str, adapter: str | None, run_path: str | None, locations: Mapping[str, str]) -> ModelSelection:
    resolved = resolve_base_model(base, locations)
    if resolved.source is BaseSource.ELSEWHERE:
        raise ModelNotFoundError(*missing_base_message(base))
    name = str(resolved.path) if resolved.source is BaseSource.LOCATED else base
    return ModelSelection(name, adapter, run_path, Quantization.AUTO, Dtype.AUTO)
