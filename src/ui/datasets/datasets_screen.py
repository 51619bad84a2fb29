"""The Datasets screen: the saved datasets on the left, the chosen one and its rows on the right."""

from typing import Any

import flet as ft

from db.models import Dataset
from ui import theme
from ui.app_state import WindowState
from ui.background_tasks import guard, safe_component
from ui.components.cards import card, card_title, empty_state, fact_row, icon_button, small_text, text_button
from ui.components.dialogs import confirm_dialog, text_dialog
from ui.components.draft_field import DraftField
from ui.datasets.datasets_state import DATASETS_ON_A_PAGE, ROWS_ON_A_PAGE, DatasetsState
from ui.datasets.import_dialog import import_dialog
from ui.datasets.import_state import ImportState
from ui.datasets.row_table import row_table, rows_words

NONE_YET = "No datasets yet. Import one: its prompts become the samples to try a model with."


@safe_component
def DatasetsScreen(window: WindowState, state: DatasetsState) -> ft.Control:
    """List and details; read anew whenever the screen is opened."""
    ft.use_effect(state.load, [])
    pane = theme.SIDE_PANE_WIDTH if window.width >= theme.NARROW_WIDTH else theme.NARROW_PANE_WIDTH
    return ft.Row(
        [
            ft.Container(DatasetList(state), width=pane),
            ft.Container(DatasetDetails(state), expand=True),
            ImportHost(state.importing, window),
        ],
        spacing=theme.SPACE_L,
        vertical_alignment=ft.CrossAxisAlignment.STRETCH,
        expand=True,
    )


@safe_component
def ImportHost(importing: ImportState, window: WindowState) -> ft.Control:
    """Holds the import's dialog."""
    files = ft.use_memo(ft.FilePicker, [])
    ft.use_dialog(import_dialog(importing, files, window.width) if importing.open else None)
    return ft.Container(width=0)


@safe_component
def DatasetList(state: DatasetsState) -> ft.Control:
    """Search, the list, and the way to import."""
    begin = guard(state.importing.begin)
    rows: list[ft.Control] = [
        card_title(
            ft.Icons.DATASET_OUTLINED,
            "Datasets",
            ft.FilledButton("Import dataset", icon=ft.Icons.FILE_DOWNLOAD_OUTLINED, on_click=begin),
        ),
        ft.Row([DraftField("", 0, on_change=state.find, label="Search", dense=True, expand=True)]),
    ]
    if state.deleting:
        rows.append(
            ft.Column([ft.ProgressBar(), small_text(f"Deleting “{state.deleting}”...")], spacing=6, tight=True)
        )
    rows.append(_list_or_reason(state))
    if state.matching > DATASETS_ON_A_PAGE:
        first = state.page * DATASETS_ON_A_PAGE
        rows.append(
            _pages(
                "datasets",
                (first, min(first + DATASETS_ON_A_PAGE, state.matching), state.matching),
                lambda: state.turn_page(-1),
                lambda: state.turn_page(1),
            )
        )
    return card(*rows, expand=True)


def _list_or_reason(state: DatasetsState) -> ft.Control:
    if not state.loaded:
        return ft.Column([ft.ProgressBar(), small_text("Reading the list...")], tight=True)
    if state.error:
        return ft.Column(
            [
                ft.Text(state.error, color=ft.Colors.ERROR, size=theme.TEXT_BODY),
                ft.Row([text_button("Try again", ft.Icons.REFRESH, state.load)]),
            ],
            tight=True,
        )
    if not state.datasets:
        return empty_state(
            ft.Icons.DATASET_OUTLINED, NONE_YET if not state.total else "No dataset matches the search."
        )
    chosen = state.chosen.id if state.chosen is not None else None
    entries: list[ft.Control] = [_entry(state, dataset, dataset.id == chosen) for dataset in state.datasets]
    return ft.ListView(entries, expand=True, spacing=2)


def _entry(state: DatasetsState, dataset: Dataset, chosen: bool) -> ft.Control:
    return ft.ListTile(
        title=ft.Text(dataset.name, size=theme.TEXT_BODY, max_lines=1, overflow=ft.TextOverflow.ELLIPSIS),
        subtitle=small_text(
            f"{rows_words(dataset.row_count)} · {dataset.format} · {dataset.created_at:%Y-%m-%d}",
            max_lines=1,
            overflow=ft.TextOverflow.ELLIPSIS,
        ),
        selected=chosen,
        selected_tile_color=ft.Colors.SECONDARY_CONTAINER,
        shape=ft.RoundedRectangleBorder(radius=theme.RADIUS_S),
        content_padding=ft.Padding.symmetric(horizontal=12),
        dense=True,
        on_click=guard(lambda: state.choose(dataset.id)),
        key=dataset.id,
    )


@safe_component
def DatasetDetails(state: DatasetsState) -> ft.Control:
    """What is known of the chosen dataset, its rows, and what can be done with it."""
    asking, set_asking = ft.use_state("")
    dataset = state.chosen
    ft.use_dialog(_question(asking, state, dataset, lambda: set_asking("")) if asking and dataset else None)
    if dataset is None:
        return card(empty_state(ft.Icons.TABLE_ROWS_OUTLINED, "Choose a dataset to see its rows."), expand=True)
    return card(
        card_title(
            ft.Icons.TABLE_ROWS_OUTLINED,
            dataset.name,
            text_button("Rename", ft.Icons.EDIT_OUTLINED, lambda: set_asking("rename")),
            text_button(
                "Delete", ft.Icons.DELETE_OUTLINE, lambda: set_asking("delete"), disabled=bool(state.deleting)
            ),
        ),
        fact_row("Rows", f"{dataset.row_count:,}"),
        fact_row("Format", dataset.format),
        fact_row("Source", dataset.source),
        fact_row("Imported", f"{dataset.created_at:%Y-%m-%d %H:%M} UTC"),
        fact_row("Used by", ", ".join(state.used_by) if state.used_by else "no run yet"),
        ft.Divider(height=1, thickness=1, color=ft.Colors.OUTLINE_VARIANT),
        _row_controls(state, dataset),
        ft.Column([_rows(state)], scroll=ft.ScrollMode.AUTO, expand=True),
        expand=True,
    )


def _rows(state: DatasetsState) -> ft.Control:
    return row_table([(row.position, row) for row in state.rows])


def _row_controls(state: DatasetsState, dataset: Dataset) -> ft.Control:
    if state.random_rows:
        shown: ft.Control = small_text(f"{len(state.rows)} random rows")
        other: ft.Control = text_button("Rows in order", ft.Icons.FORMAT_LIST_NUMBERED, lambda: state.show_rows(0))
    else:
        first, count = state.first_row, dataset.row_count
        shown = _pages(
            "rows",
            (first, min(first + ROWS_ON_A_PAGE, count), count),
            lambda: state.show_rows(first - ROWS_ON_A_PAGE),
            lambda: state.show_rows(first + ROWS_ON_A_PAGE),
        )
        other = ft.Container()
    return ft.Row(
        [shown, ft.Container(expand=True), other, text_button("5 random rows", ft.Icons.SHUFFLE, state.draw_rows)]
    )


def _pages(what: str, span: tuple[int, int, int], back: Any, forth: Any) -> ft.Control:
    first, end, total = span
    return ft.Row(
        [
            icon_button(ft.Icons.CHEVRON_LEFT, f"Previous {what}", back, disabled=first == 0),
            small_text(f"{min(first + 1, total):,}–{end:,} of {total:,}"),
            icon_button(ft.Icons.CHEVRON_RIGHT, f"Next {what}", forth, disabled=end >= total),
        ],
        spacing=4,
        tight=True,
    )


def _question(asking: str, state: DatasetsState, dataset: Dataset, close: Any) -> ft.AlertDialog:
    async def rename(name: str) -> None:
        await state.rename(dataset.id, name)
        close()

    async def delete() -> None:
        close()
        await state.delete(dataset)

    if asking == "rename":
        hint = f"The new name of “{dataset.name}”."
        return text_dialog("Rename dataset", "Name", hint, "Rename", rename, close, text=dataset.name)
    users = f" These runs lose their sample prompts: {', '.join(state.used_by)}." if state.used_by else ""
    return confirm_dialog(
        f"Delete “{dataset.name}”?",
        f"{rows_words(dataset.row_count)} will be deleted from the workspace; the source stays.{users}",
        "Delete dataset",
        delete,
        close,
    )
