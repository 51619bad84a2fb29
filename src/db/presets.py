"""The user's own generation presets. The built-in ones are code, not rows."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Preset
from errors import NotFoundError, SettingsError


def list_all(session: Session) -> Sequence[Preset]:
    """All presets by name."""
    return session.scalars(select(Preset).order_by(func.lower(Preset.name), Preset.id)).all()


def save(session: Session, name: str, settings: dict[str, Any]) -> Preset:
    """Saves settings under a name; a preset of this name is replaced."""
    preset = session.scalars(select(Preset).where(Preset.name == name)).first()
    if preset is None:
        preset = Preset(name=name)
        session.add(preset)
    preset.settings = settings
    session.flush()
    return preset


def rename(session: Session, preset_id: int, name: str) -> Preset:
    """Gives a preset another name. Raises NotFoundError, or SettingsError where another preset has the name."""
    preset = _find_or_raise(session, preset_id)
    if session.scalar(select(Preset.id).where(Preset.name == name, Preset.id != preset_id)) is not None:
        raise SettingsError(
            f"There is already a preset “{name}”.", "Choose another name, or delete that preset first."
        )
    preset.name = name
    session.flush()
    return preset


def delete(session: Session, preset_id: int) -> None:
    """Removes a preset. Raises NotFoundError."""
    session.delete(_find_or_raise(session, preset_id))
    session.flush()


def _find_or_raise(session: Session, preset_id: int) -> Preset:
    preset = session.get(Preset, preset_id)
    if preset is None:
        raise NotFoundError(f"There is no preset of number {preset_id}.", "It may have been deleted.")
    return preset
