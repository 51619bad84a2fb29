"""How the next answer is sampled: preset, sliders, system prompt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flet as ft

from db import presets
from db.database import Database
from errors import SettingsError
from helpers.local_inference import BUILT_IN_PRESETS, DEFAULT_PRESET, GenerationSettings
from ui.background_tasks import run_blocking

CUSTOM_PRESET = "Custom"


@ft.observable
@dataclass(eq=False)
class SamplingState:
    """The settings on screen. ``version`` grows when values are set by other means than typing them.

    ``include_history`` False makes each Generate a fresh single turn; the Full Chat View always sends the history.
    """

    database: Database
    preset: str = DEFAULT_PRESET
    settings: GenerationSettings = BUILT_IN_PRESETS[DEFAULT_PRESET]
    own_presets: Mapping[str, GenerationSettings] = field(default_factory=dict)
    system_prompt: str = ""
    include_history: bool = False
    version: int = 0

    def __post_init__(self) -> None:
        self._preset_ids: dict[str, int] = {}

    async def load(self) -> None:
        """Read the user's own presets."""
        self.own_presets = await run_blocking(self._read_presets)

    @property
    def preset_names(self) -> list[str]:
        """Built-in presets, then the user's own."""
        return [*BUILT_IN_PRESETS, *self.own_presets]

    @property
    def preset_is_own(self) -> bool:
        """Whether the chosen preset is one the user saved and may delete."""
        return self.preset in self.own_presets

    def choose_preset(self, name: str) -> None:
        """Take over every value of a preset."""
        found = BUILT_IN_PRESETS.get(name) or self.own_presets.get(name)
        if found is not None:
            self.settings = found
            self.preset = name
            self.version += 1

    def change(self, **values: Any) -> None:
        """Set single values; the preset then shows “Custom”. Raises SettingsError."""
        changed = self.settings.with_changes(**values)
        if changed != self.settings:
            self.settings = changed
            self.preset = CUSTOM_PRESET

    async def save_preset(self, name: str) -> None:
        """Keep the current values under ``name``. Raises SettingsError for a name that is taken or empty."""
        name = name.strip()
        if not name or name in BUILT_IN_PRESETS or name == CUSTOM_PRESET:
            raise SettingsError(
                f"“{name}” is a built-in preset." if name else "The preset has no name.", "Choose another name."
            )
        await run_blocking(self._write_preset, name, self.settings)
        await self.load()
        self.preset = name

    async def delete_preset(self) -> None:
        """Delete the chosen own preset; its values stay on screen as “Custom”."""
        if self.preset_is_own:
            await run_blocking(self._remove_preset, self._preset_ids[self.preset])
            self.preset = CUSTOM_PRESET
            await self.load()

    def _read_presets(self) -> dict[str, GenerationSettings]:
        with self.database.read_scope() as session:
            saved = presets.list_all(session)
        self._preset_ids = {preset.name: preset.id for preset in saved}
        return {preset.name: GenerationSettings.create(**preset.settings) for preset in saved}

    def _write_preset(self, name: str, settings: GenerationSettings) -> None:
        with self.database.session_scope() as session:
            presets.save(session, name, settings.model_dump(mode="json"))

    def _remove_preset(self, preset_id: int) -> None:
        with self.database.session_scope() as session:
            presets.delete(session, preset_id)
