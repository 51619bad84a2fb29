"""The Runs screen: the list on the left, the chosen run on the right; in a narrow window one of the two."""

from collections.abc import Callable
from typing import Any

import flet as ft

from db.models import RunStatus
from db.training_runs import RunSort
from helpers.run_overview import PAGE_SIZE, RunRow
from ui import theme
from ui.app_state import WindowState
from ui.background_tasks import guard, safe_component
from ui.components.cards import empty_state, icon_button, small_text
from ui.components.draft_field import DraftField
from ui.components.picker import picker
from ui.runs.add_runs import AddQuestion, WaysIn, add_menu, ways_to_add
from ui.runs.quick_state import QuickState
from ui.runs.run_details import OpenInInference, RunDetailsPane
from ui.runs.run_words import STATUS_WORDS, short_base, status_sign, when
from ui.runs.runs_state import RunsState
from ui.runs.scan_dialog import ScanDialog
from ui.runs.scan_state import ScanState

ALL = "all"
SORT_WORDS = {
    RunSort.NEWEST: "Newest first",
    RunSort.OLDEST: "Oldest first",
    RunSort.NAME: "Name",
    RunSort.BASE_MODEL: "Base model",
    RunSort.STATUS: "Status",
}
LIST_WIDTH = 470


@safe_component
def RunsScreen(
    window: WindowState, runs: RunsState, scan: ScanState, quick: QuickState, open_in_inference: OpenInInference
) -> ft.Control:
    """Reads the list each time it opens."""
    files = ft.use_memo(ft.FilePicker, [])
    ft.use_effect(guard(runs.refresh), [])
    narrow = window.width < theme.NARROW_WIDTH
    ways_in = ways_to_add(scan, runs)
    panes: list[ft.Control] = []
    if not narrow or runs.chosen is None:
        listed = ft.Column(
            [
                _header(runs, ways_in),
                Filters(runs),
                ft.Container(RunList(runs, window.dark, ways_in), expand=True),
                Pages(runs),
            ],
            spacing=theme.SPACE_M,
        )
        panes.append(ft.Container(listed, width=None if narrow else LIST_WIDTH, expand=True if narrow else None))
    if not narrow or runs.chosen is not None:
        detail = RunDetailsPane(runs, runs.details, quick, window.dark, open_in_inference, narrow)
        panes.append(ft.Container(detail, expand=True))
    row = ft.Row(panes, spacing=theme.SPACE_L, expand=True, vertical_alignment=ft.CrossAxisAlignment.STRETCH)
    questions = [ScanDialog(scan, files, window.web, runs.changed), AddQuestion(runs, files, window.web)]
    return ft.Column([row, *questions], spacing=0, expand=True)


def _header(runs: RunsState, ways_in: WaysIn) -> ft.Control:
    return ft.Row(
        [
            ft.Text("Runs", size=18, weight=ft.FontWeight.W_500),
            small_text(_count_words(runs), expand=True),
            add_menu(ways_in),
            icon_button(ft.Icons.REFRESH, "Refresh the list", runs.refresh),
        ],
        spacing=theme.SPACE_M,
        height=40,
    )


def _count_words(runs: RunsState) -> str:
    if not runs.loaded:
        return "Reading…"
    if runs.failure:
        return ""
    noun = "run" if runs.total == 1 else "runs"
    return f"{runs.matching:,} of {runs.total:,} {noun}" if runs.filtered else f"{runs.total:,} {noun}"


@safe_component
def Filters(runs: RunsState) -> ft.Control:
    """Search, status, base model and order."""
    statuses = [ft.DropdownOption(key=ALL, text="All")]
    statuses += [ft.DropdownOption(key=status.value, text=words) for status, words in STATUS_WORDS.items()]
    bases = [ft.DropdownOption(key=ALL, text="All")]
    bases += [ft.DropdownOption(key=name, text=short_base(name)) for name in runs.base_models]
    sorts = [ft.DropdownOption(key=sort.value, text=words) for sort, words in SORT_WORDS.items()]
    return ft.Column(
        [
            ft.Row(
                [
                    DraftField(
                        runs.search,
                        runs.search_version,
                        on_change=runs.typed,
                        label="Search runs",
                        hint_text="Name, base model or notes",
                        prefix_icon=ft.Icons.SEARCH,
                        dense=True,
                        text_size=theme.TEXT_BODY,
                        expand=True,
                        autofocus=True,
                    )
                ]
            ),
            ft.Row(
                [
                    picker(
                        "Status",
                        runs.status.value if runs.status else ALL,
                        statuses,
                        lambda key: runs.filter_status(None if key == ALL else RunStatus(key)),
                        expand=1,
                    ),
                    picker(
                        "Base model",
                        runs.base_model or ALL,
                        bases,
                        lambda key: runs.filter_base(None if key == ALL else key),
                        expand=1,
                        menu_height=400,
                    ),
                    picker("Order", runs.sort.value, sorts, lambda key: runs.sort_by(RunSort(key)), expand=1),
                ],
                spacing=theme.SPACE_S,
            ),
        ],
        spacing=theme.SPACE_M,
        tight=True,
    )


@safe_component
def RunList(runs: RunsState, dark: bool, ways_in: WaysIn) -> ft.Control:
    """One page of rows."""
    if not runs.loaded:
        return ft.Container(ft.ProgressRing(width=28, height=28, stroke_width=3), alignment=ft.Alignment.CENTER)
    if runs.failure:
        again = ft.FilledTonalButton("Try again", icon=ft.Icons.REFRESH, on_click=guard(runs.refresh))
        return _instead(ft.Icons.ERROR_OUTLINE, f"The runs could not be read. {runs.failure}", [again])
    if not runs.total:
        words = "No runs yet. Scan a folder that holds your training outputs, or add one adapter folder."
        buttons: list[ft.Control] = [
            ft.OutlinedButton(name, icon=icon, on_click=guard(act)) for name, (icon, act) in ways_in.items()
        ]
        return _instead(ft.Icons.MODEL_TRAINING, words, buttons)
    if not runs.rows:
        show_all = ft.TextButton("Show all runs", on_click=guard(runs.clear_filters))
        return _instead(ft.Icons.SEARCH_OFF, "No run matches.", [show_all])
    rows: list[ft.Control] = [
        _MemoRow(row, row.id == runs.chosen, dark, runs.choose, key=row.id) for row in runs.rows
    ]
    return ft.ListView(rows, key=f"page {runs.page}", expand=True, spacing=4)


def _instead(icon: ft.IconData, words: str, buttons: list[ft.Control]) -> ft.Control:
    return ft.Column(
        [
            ft.Container(empty_state(icon, words), height=160),
            ft.Row(buttons, wrap=True, alignment=ft.MainAxisAlignment.CENTER),
        ],
        horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
    )


@safe_component
def ListedRun(row: RunRow, chosen: bool, dark: bool, choose: Callable[[int], Any]) -> ft.Control:
    """Name and status above, what it is made of below."""
    made_of = " · ".join(part for part in (short_base(row.base_model), row.dataset, row.kind) if part)
    loss = f"loss {row.last_loss:.4g}" if row.last_loss is not None else ""
    cut = ft.TextOverflow.ELLIPSIS
    face = ft.Column(
        [
            ft.Row(
                [
                    ft.Text(
                        row.name,
                        size=theme.TEXT_BODY,
                        weight=ft.FontWeight.W_500,
                        expand=True,
                        max_lines=1,
                        overflow=cut,
                    ),
                    status_sign(row.status, dark),
                ]
            ),
            ft.Row(
                [
                    small_text(made_of, expand=True, max_lines=1, overflow=cut),
                    small_text(loss),
                    small_text(when(row.finished_at)),
                ],
                spacing=theme.SPACE_M,
            ),
            *([small_text(row.error, ft.Colors.ERROR, max_lines=1, overflow=cut)] if row.error else []),
        ],
        spacing=4,
        tight=True,
    )
    return ft.TextButton(
        content=face,
        on_click=guard(lambda: choose(row.id)),
        style=ft.ButtonStyle(
            shape=ft.RoundedRectangleBorder(radius=theme.RADIUS_S),
            bgcolor=ft.Colors.SECONDARY_CONTAINER if chosen else ft.Colors.SURFACE_CONTAINER_LOW,
            color=ft.Colors.ON_SURFACE,
            padding=ft.Padding.symmetric(horizontal=12, vertical=10),
        ),
    )


_MemoRow = ft.memo(ListedRun)  # type: ignore[no-untyped-call]


@safe_component
def Pages(runs: RunsState) -> ft.Control:
    """Which part of the list is on screen; nothing where all of it is."""
    if runs.pages == 1 or runs.failure:
        return ft.Container(height=0)
    first = runs.page * PAGE_SIZE + 1
    last = min(first + PAGE_SIZE - 1, runs.matching)
    return ft.Row(
        [
            icon_button(ft.Icons.CHEVRON_LEFT, "Previous page", lambda: runs.turn(-1), disabled=runs.page == 0),
            small_text(f"{first:,}–{last:,} of {runs.matching:,}"),
            icon_button(
                ft.Icons.CHEVRON_RIGHT, "Next page", lambda: runs.turn(1), disabled=runs.page >= runs.pages - 1
            ),
        ],
        alignment=ft.MainAxisAlignment.CENTER,
    )
