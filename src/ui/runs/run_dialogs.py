"""Rename, remove, and delete the files: the last one only after a second question that names the folder."""

from pathlib import Path
from typing import Any, cast

import flet as ft

from helpers.run_overview import RunDetails
from ui import theme
from ui.background_tasks import guard, safe_component, show_notice
from ui.components.dialogs import text_dialog
from ui.runs.runs_state import RunsState


@safe_component
def RunQuestion(runs: RunsState, run: RunDetails) -> ft.Control:
    """Draws nothing in place; answers ``runs.asking``: rename, remove or delete."""
    folder, set_folder = ft.use_state(cast("Path | None", None))
    asking, ask = runs.asking, runs.ask

    async def rename(name: str) -> None:
        ask("")
        await runs.rename(run.id, name)

    async def remove() -> None:
        ask("")
        await runs.remove(run.id)
        show_notice(f"“{run.name}” is removed from the list. Its files stay.")

    async def ask_to_delete() -> None:
        set_folder(await runs.folder_to_delete(run.id))
        ask("delete")

    async def delete() -> None:
        ask("")
        gone = await runs.remove_with_files(run.id)
        show_notice(f"{gone} is deleted, and “{run.name}” is removed from the list.")

    def close() -> None:
        ask("")

    dialog: ft.AlertDialog | None = None
    if asking == "rename":
        hint = f"“{run.name}” keeps its folder; only the name in this list changes."
        dialog = text_dialog("Rename this run", "New name", hint, "Rename", rename, close, text=run.name)
    elif asking == "remove":
        dialog = _remove_dialog(run, remove, ask_to_delete, close)
    elif asking == "delete" and folder is not None:
        dialog = _delete_dialog(folder, run, delete, close)
    ft.use_dialog(dialog)
    return ft.Container(width=0, height=0)


def _remove_dialog(run: RunDetails, remove: Any, delete: Any, close: Any) -> ft.AlertDialog:
    return ft.AlertDialog(
        modal=True,
        title=ft.Text(f"Remove “{run.name}”?"),
        content=ft.Container(
            ft.Text("It leaves the list with its numbers and notes. The adapter's files stay where they are."),
            width=480,
        ),
        actions=[
            ft.TextButton("Cancel", on_click=guard(close)),
            ft.TextButton("Delete its files too…", on_click=guard(delete)),
            ft.FilledButton("Remove from list", autofocus=True, on_click=guard(remove)),
        ],
    )


def _delete_dialog(folder: Path, run: RunDetails, delete: Any, close: Any) -> ft.AlertDialog:
    demo = " The demo's own copy comes back when its workspace is made again." if run.source == "demo" else ""
    return ft.AlertDialog(
        modal=True,
        title=ft.Text("Delete this folder for good?"),
        content=ft.Container(
            ft.Column(
                [
                    ft.Text(str(folder), weight=ft.FontWeight.W_500),
                    ft.Text(
                        f"Everything in it is deleted, with all checkpoints. This cannot be undone.{demo}",
                        color=theme.SECONDARY_TEXT,
                    ),
                ],
                tight=True,
                spacing=theme.SPACE_M,
            ),
            width=560,
        ),
        actions=[
            ft.TextButton("Keep the files", autofocus=True, on_click=guard(close)),
            ft.FilledButton(
                "Delete folder and run",
                bgcolor=ft.Colors.ERROR,
                color=ft.Colors.ON_ERROR,
                on_click=guard(delete),
            ),
        ],
    )
