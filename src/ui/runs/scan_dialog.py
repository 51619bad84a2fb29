"""The dialog “Scan a folder”: where to look, how far it is, what was found."""

from collections.abc import Callable
from typing import Any

import flet as ft

from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import said, small_text
from ui.components.draft_field import DraftField
from ui.runs.scan_state import ScanState

MOST_LISTED = 50


@safe_component
def ScanDialog(scan: ScanState, files: ft.FilePicker, web: bool, refresh: Callable[[], Any]) -> ft.Control:
    """Draws nothing in place; the dialog opens over the screen."""
    dialog = ft.AlertDialog(
        modal=True,
        scrollable=True,
        title=ft.Text("Scan a folder for adapters"),
        content=ft.Container(ScanContent(scan, files, web, refresh), width=600),
    )
    ft.use_dialog(dialog if scan.open else None)
    return ft.Container(width=0, height=0)


@safe_component
def ScanContent(scan: ScanState, files: ft.FilePicker, web: bool, refresh: Callable[[], Any]) -> ft.Control:
    """Field, progress, result and buttons."""
    typed = ft.use_ref("")

    def remember(text: str) -> None:
        typed.current = text

    async def start(folder: str) -> None:
        if folder.strip() and await scan.scan(folder.strip()):
            await refresh()

    async def browse() -> None:
        folder = await files.get_directory_path(dialog_title="The folder to scan")
        if folder:
            await start(folder)

    field = DraftField(
        "", 0, on_change=remember, on_submit=start, label="Folder to scan", autofocus=True, expand=True
    )
    row: list[ft.Control] = [field]
    if not web:
        row.append(ft.OutlinedButton("Browse…", icon=ft.Icons.FOLDER_OPEN, on_click=guard(browse)))
    buttons: list[ft.Control] = [
        ft.TextButton("Close", on_click=guard(scan.close)),
        ft.FilledButton("Scan", icon=ft.Icons.SEARCH, on_click=guard(lambda: start(typed.current or ""))),
    ]
    if scan.running:
        words = "Stopping…" if scan.stopping else "Cancel scan"
        buttons = [ft.FilledTonalButton(words, on_click=guard(scan.cancel), disabled=scan.stopping)]
    return ft.Column(
        [
            ft.Text(
                "Finds adapters at any depth, with their checkpoints and loss history. No file is copied or changed.",
                size=theme.TEXT_BODY,
                color=theme.SECONDARY_TEXT,
            ),
            ft.Row(row),
            *_outcome(scan),
            ft.Row(buttons, alignment=ft.MainAxisAlignment.END),
        ],
        tight=True,
        spacing=theme.SPACE_L,
    )


def _outcome(scan: ScanState) -> list[ft.Control]:
    if scan.running:
        seen = f"{scan.folders:,} folders seen, {scan.adapters:,} adapters found"
        return [ft.ProgressBar(), ft.Semantics(content=small_text(seen), live_region=True)]
    if scan.failure:
        return [said(scan.failure, theme.TEXT_BODY, ft.Colors.ERROR)]
    if not scan.done:
        return []
    counts = f"{len(scan.added):,} new, {scan.known:,} already in the list, {len(scan.skipped):,} skipped"
    lines: list[ft.Control] = [said(f"{scan.folders:,} folders seen: {counts}.", theme.TEXT_BODY)]
    lines += _listed("New runs", scan.added)
    lines += _listed("Skipped", [f"{folder}: {reason}" for folder, reason in scan.skipped])
    return [ft.Column(lines, spacing=4, tight=True)]


def _listed(title: str, entries: list[str]) -> list[ft.Control]:
    if not entries:
        return []
    more = [f"and {len(entries) - MOST_LISTED:,} more"] if len(entries) > MOST_LISTED else []
    return [small_text(title, ft.Colors.PRIMARY), *(said(text, 12) for text in [*entries[:MOST_LISTED], *more])]
