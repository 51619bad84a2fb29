"""The user's presets and remembered choices."""

from typing import Any

import pytest

from db import presets, settings
from db.database import Database
from errors import NotFoundError, SettingsError


def test_presets_are_listed_by_name_and_saving_again_replaces(database: Database) -> None:
    with database.session_scope() as session:
        for name in ("zebra", "Apple", "mango"):
            presets.save(session, name, {"temperature": 0.5})
        presets.save(session, "mango", {"temperature": 1.5})
    with database.read_scope() as session:
        found = presets.list_all(session)
    assert [preset.name for preset in found] == ["Apple", "mango", "zebra"]
    assert [preset.settings["temperature"] for preset in found] == [0.5, 1.5, 0.5]


def test_renaming_a_preset_never_replaces_another(database: Database) -> None:
    with database.session_scope() as session:
        mine, other = (presets.save(session, name, {}) for name in ("mine", "other"))
        with pytest.raises(SettingsError, match="other"):
            presets.rename(session, mine.id, "other")
        presets.rename(session, mine.id, "mine")
        presets.rename(session, mine.id, "better")
        presets.delete(session, other.id)
        assert [preset.name for preset in presets.list_all(session)] == ["better"]
        for missing in (lambda: presets.delete(session, other.id), lambda: presets.rename(session, 99, "x")):
            with pytest.raises(NotFoundError):
                missing()


@pytest.mark.parametrize("value", [None, False, 0, "", "dark 🌙", [1, 2], {"a": {"b": None}}])
def test_a_remembered_choice_comes_back_as_it_was(database: Database, value: Any) -> None:
    with database.session_scope() as session:
        settings.set(session, "key", "earlier")
        settings.set(session, "key", value)
    with database.read_scope() as session:
        assert settings.get(session, "key", default="nothing") == value
        assert settings.get(session, "other", default="nothing") == "nothing"
        assert settings.get(session, "other") is None
