"""What belongs to one window and not to its content: size, brightness, open screen, Full Chat View."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import flet as ft

from db import settings
from db.database import Database
from helpers.chat_export import write_export
from ui.background_tasks import run_blocking

THEME_KEY = "theme_mode"
THEME_CHOICES = ("system", "light", "dark")


@ft.observable
@dataclass(eq=False)
class WindowState:
    """Sizes in logical pixels. ``web`` is true in the browser view, which downloads files instead of saving them."""

    database: Database
    width: int = 1280
    height: int = 800
    dark: bool = False
    theme_choice: str = "system"
    screen: int = 0
    full_chat_open: bool = False
    side_pane_open: bool = True
    web: bool = True

    async def load(self) -> None:
        """Read the remembered theme."""
        self.theme_choice = await run_blocking(self._read_theme)

    async def choose_theme(self, choice: str) -> None:
        """system, light or dark; remembered."""
        self.theme_choice = choice
        await run_blocking(self._write_theme, choice)

    def redraw(self) -> None:
        """Draw everything again: what changed while a browser was disconnected was not sent to it."""
        cast(Any, self).notify()

    def resized(self, width: float, height: float) -> None:
        """Take in the window's size."""
        self.width, self.height = int(width), int(height)

    def open_screen(self, place: int) -> None:
        """Show the screen that stands at ``place`` in the rail."""
        self.screen = place

    def open_full_chat(self) -> None:
        """Show the Full Chat View."""
        self.full_chat_open = True

    def close_full_chat(self) -> None:
        """Hide the Full Chat View."""
        self.full_chat_open = False

    def toggle_side_pane(self) -> None:
        """Fold the left pane away or bring it back; only narrow windows do."""
        self.side_pane_open = not self.side_pane_open

    async def save_file(self, picker: ft.FilePicker, name: str, content: bytes) -> str:
        """Ask where to save and write there; returns the place, empty when cancelled. Raises ExportError."""
        if self.web:
            await picker.save_file(file_name=name, src_bytes=content)
            return f"{name} is in the browser's downloads"
        chosen = await picker.save_file(dialog_title="Export chats", file_name=name)
        if not chosen:
            return ""
        await run_blocking(write_export, Path(chosen), content)
        return chosen

    def _read_theme(self) -> str:
        with self.database.read_scope() as session:
            choice = str(settings.get(session, THEME_KEY, "system"))
        return choice if choice in THEME_CHOICES else "system"

    def _write_theme(self, choice: str) -> None:
        with self.database.session_scope() as session:
            settings.set(session, THEME_KEY, choice)
