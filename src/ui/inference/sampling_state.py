"""How the next answer is sampled: preset, sliders, system prompt."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flet as ft

from db import presets, settings
from db.database import Database
from db.models import Preset
from errors import SettingsError
from helpers.local_inference import BUILT_IN_PRESETS, DEFAULT_PRESET, ContextOverflow, GenerationSettings
from ui.background_tasks import run_blocking

log = logging.getLogger(__name__)

CUSTOM_PRESET = "Custom"
OVERFLOW_KEY = "context_overflow"


@ft.observable
@dataclass(eq=False)
class SamplingState:
    """The settings on screen. ``version`` grows when values are set by other means than typing them.

    ``include_history`` False makes each Generate a fresh single turn; the Full Chat View always sends the history.
    ``on_overflow`` is remembered from one start to the next.
    """

    database: Database
    preset: str = DEFAULT_PRESET
    settings: GenerationSettings = BUILT_IN_PRESETS[DEFAULT_PRESET]
    own_presets: Mapping[str, GenerationSettings] = field(default_factory=dict)
    system_prompt: str = ""
    include_history: bool = False
    on_overflow: ContextOverflow = ContextOverflow.REFUSE
    version: int = 0

    def __post_init__(self) -> None:
        self._preset_ids: dict[str, int] = {}

    async def load(self) -> None:
        """Read the user's own presets; one that a newer version saved and this one cannot read is left out."""
        self.on_overflow = await run_blocking(self._read_overflow)
        saved = await run_blocking(self._read_presets)
        readable: dict[str, GenerationSettings] = {}
        for preset in saved:
            try:
                readable[preset.name] = GenerationSettings.create(**preset.settings)
            except SettingsError as error:
                log.warning("the preset %r is left out: %s", preset.name, error)
        self._preset_ids = {preset.name: preset.id for preset in saved}
        self.own_presets = readable
        if self._find(self.preset) != self.settings:
            # Another window has changed or deleted it.
            self.preset = CUSTOM_PRESET

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
        found = self._find(name)
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

    async def choose_overflow(self, on_overflow: ContextOverflow) -> None:
        """Decide what happens to a conversation that is too long, now and after the next start."""
        self.on_overflow = on_overflow
        await run_blocking(self._write_overflow, on_overflow)

    async def save_preset(self, name: str) -> None:
        """Keep the current values under ``name``, in place of an own preset that has it. Raises SettingsError for a
        name that cannot be used.
        """
        name = name.strip()
        reason = self._why_not_a_name(name)
        if reason:
            raise SettingsError(reason, "Choose another name.")
        kept = self.settings
        await run_blocking(self._write_preset, name, kept)
        await self.load()
        if self.settings == kept:
            self.preset = name

    async def delete_preset(self) -> None:
        """Delete the chosen own preset; its values stay on screen as “Custom”."""
        if self.preset_is_own:
            try:
                await run_blocking(self._remove_preset, self._preset_ids[self.preset])
            finally:
                # Also where another window was quicker: then the list was out of date.
                await self.load()

    def _find(self, name: str) -> GenerationSettings | None:
        return BUILT_IN_PRESETS.get(name) or self.own_presets.get(name)

    def _why_not_a_name(self, name: str) -> str:
        if not name:
            return "The preset has no name."
        if name.casefold() in {taken.casefold() for taken in (*BUILT_IN_PRESETS, CUSTOM_PRESET)}:
            return f"“{name}” is a built-in preset."
        if name in self._preset_ids and name not in self.own_presets:
            return f"“{name}” was saved by a newer version of the app, which would lose it."
        return ""

    def _read_overflow(self) -> ContextOverflow:
        with self.database.read_scope() as session:
            stored = settings.get(session, OVERFLOW_KEY, ContextOverflow.REFUSE)
        return ContextOverflow(stored) if stored in list(ContextOverflow) else ContextOverflow.REFUSE

    def _write_overflow(self, on_overflow: ContextOverflow) -> None:
        with self.database.session_scope() as session:
            settings.set(session, OVERFLOW_KEY, str(on_overflow))

    def _read_presets(self) -> Sequence[Preset]:
        with self.database.read_scope() as session:
            return presets.list_all(session)

    def _write_preset(self, name: str, kept: GenerationSettings) -> None:
        with self.database.session_scope() as session:
            presets.save(session, name, kept.model_dump(mode="json"))

    def _remove_preset(self, preset_id: int) -> None:
        with self.database.session_scope() as session:
            presets.delete(session, preset_id)
