"""Choices of the user that the app remembers, by key. Values are anything JSON can hold."""

from typing import Any

from sqlalchemy.orm import Session

from db.models import Setting


def get(session: Session, key: str, default: Any = None) -> Any:
    """The remembered value, or ``default`` where there is none."""
    setting = session.get(Setting, key)
    return default if setting is None else setting.value


def set(session: Session, key: str, value: Any) -> None:
    """Remembers a value, in place of an earlier one."""
    session.merge(Setting(key=key, value=value))
    session.flush()
