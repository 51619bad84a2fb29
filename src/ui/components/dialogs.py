"""Small dialogs that ask one thing. Each returns its answer through a callback and does nothing itself."""

from collections.abc import Callable
from typing import Any

import flet as ft

from ui import theme
from ui.background_tasks import guard
from ui.components.draft_field import DraftField

Answer = Callable[..., Any]


def confirm_dialog(title: str, text: str, yes: str, on_yes: Answer, on_close: Answer) -> ft.AlertDialog:
    """Ask before something is lost."""
    return ft.AlertDialog(
        modal=True,
        title=ft.Text(title),
        content=ft.Text(text),
        actions=[
            ft.TextButton("Cancel", on_click=guard(on_close)),
            ft.FilledButton(yes, autofocus=True, on_click=guard(on_yes)),
        ],
    )


def text_dialog(
    title: str,
    label: str,
    hint: str,
    yes: str,
    on_text: Callable[[str], Any],
    on_close: Answer,
    on_browse: Answer | None = None,
    text: str = "",
    version: int = 0,
) -> ft.AlertDialog:
    """Ask for one line of text. ``on_browse`` adds a button that opens the system's folder picker."""
    typed = {"text": text}

    def remember(value: str) -> None:
        typed["text"] = value

    field = DraftField(
        text,
        version,
        on_change=remember,
        on_submit=on_text,
        label=label,
        autofocus=True,
        expand=True,
    )
    browse = (
        ft.OutlinedButton("Browse...", icon=ft.Icons.FOLDER_OPEN, on_click=guard(on_browse)) if on_browse else None
    )
    row: list[ft.Control] = [field, browse] if browse else [field]
    return ft.AlertDialog(
        modal=True,
        title=ft.Text(title),
        content=ft.Container(
            width=560,
            content=ft.Column(
                [ft.Text(hint, size=theme.TEXT_BODY, color=theme.SECONDARY_TEXT), ft.Row(row)],
                tight=True,
                spacing=theme.SPACE_L,
            ),
        ),
        actions=[
            ft.TextButton("Cancel", on_click=guard(on_close)),
            ft.FilledButton(yes, on_click=guard(lambda: on_text(typed["text"]))),
        ],
    )
