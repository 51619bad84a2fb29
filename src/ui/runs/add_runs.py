"""The ways runs get into the list: a scan, one adapter folder, FineFoundry's database."""

from collections.abc import Callable
from typing import Any

import flet as ft

from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.dialogs import text_dialog
from ui.runs.runs_state import RunsState
from ui.runs.scan_state import ScanState

# Words with their icon and what they do.
WaysIn = dict[str, tuple[ft.IconData, Callable[[], Any]]]


def ways_to_add(scan: ScanState, runs: RunsState) -> WaysIn:
    """Each opens a dialog."""
    return {
        "Scan a folder…": (ft.Icons.TRAVEL_EXPLORE, scan.show),
        "Adapter folder…": (ft.Icons.CREATE_NEW_FOLDER_OUTLINED, lambda: runs.ask("folder")),
        "FineFoundry database…": (ft.Icons.STORAGE, lambda: runs.ask("finefoundry")),
    }


def add_menu(ways_in: WaysIn) -> ft.Control:
    """A button that lists the ways."""
    color = ft.Colors.ON_SECONDARY_CONTAINER
    face = ft.Row(
        [
            ft.Icon(ft.Icons.ADD, size=18, color=color),
            ft.Text("Add runs…", size=theme.TEXT_BODY, weight=ft.FontWeight.W_500, color=color),
        ],
        tight=True,
        spacing=theme.SPACE_S,
    )
    return ft.PopupMenuButton(
        content=ft.Container(
            face,
            bgcolor=ft.Colors.SECONDARY_CONTAINER,
            border_radius=20,
            padding=ft.Padding.only(left=14, right=18, top=8, bottom=8),
        ),
        items=[
            ft.PopupMenuItem(content=words, icon=icon, on_click=guard(lambda _, act=act: act()))
            for words, (icon, act) in ways_in.items()
        ],
        menu_position=ft.PopupMenuPosition.UNDER,
        tooltip="Add runs from a folder or a FineFoundry database",
    )


@safe_component
def AddQuestion(runs: RunsState, files: ft.FilePicker, web: bool) -> ft.Control:
    """Draws nothing in place; answers ``runs.asking``: folder or finefoundry."""

    async def add(folder: str) -> None:
        runs.ask("")
        await runs.add_folder(folder)

    async def read(path: str) -> None:
        runs.ask("")
        await runs.import_finefoundry(path)

    async def browse_folder() -> None:
        folder = await files.get_directory_path(dialog_title="The adapter's folder")
        if folder:
            await add(folder)

    async def browse_file() -> None:
        picked = await files.pick_files(dialog_title="FineFoundry's database", allowed_extensions=["db"])
        if picked and picked[0].path:
            await read(picked[0].path)

    dialog: ft.AlertDialog | None = None
    if runs.asking == "folder":
        hint = "The folder with adapter_config.json. It is recorded as a completed run; nothing is copied or changed."
        browse = None if web else browse_folder
        dialog = text_dialog("Add an adapter folder", "Folder", hint, "Add", add, runs.back, browse)
    elif runs.asking == "finefoundry":
        hint = (
            "Its runs and datasets are added; the file is only read. What is in the list already is not added twice."
        )
        browse = None if web else browse_file
        label = "Path of finefoundry.db"
        dialog = text_dialog("Import a FineFoundry database", label, hint, "Import", read, runs.back, browse)
    ft.use_dialog(dialog)
    return ft.Container(width=0, height=0)
