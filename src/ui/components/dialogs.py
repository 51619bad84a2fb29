"""Small dialogs that ask one thing. Each returns its answer through a callback and does nothing itself."""

import inspect
from collections.abc import Callable
from typing import Any

import flet as ft

from errors import PlaygroundError
from ui import theme
from ui.background_tasks import guard, safe_component
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
) -> ft.AlertDialog:
    """Ask for one line, which begins as ``text``. ``on_browse`` adds a button that opens the system's picker."""
    return ft.AlertDialog(
        modal=True,
        title=ft.Text(title),
        content=ft.Container(TextQuestion(label, hint, yes, on_text, on_close, on_browse, text), width=560),
    )


@safe_component
def TextQuestion(
    label: str,
    hint: str,
    yes: str,
    on_text: Callable[[str], Any],
    on_close: Answer,
    on_browse: Answer | None,
    begins_as: str = "",
) -> ft.Control:
    """The field and its buttons; nothing happens while the field is empty. A refusal is said below the field."""
    typed = ft.use_ref(begins_as)
    refusal, set_refusal = ft.use_state("")

    def remember(text: str) -> None:
        typed.current = text

    async def answer() -> None:
        text = (typed.current or "").strip()
        if not text:
            return
        try:
            outcome = on_text(text)
            if inspect.isawaitable(outcome):
                await outcome
        except PlaygroundError as error:
            # A notice would stand behind the dialog.
            set_refusal(str(error))

    field = DraftField(
        begins_as, 0, on_change=remember, on_submit=lambda _: answer(), label=label, autofocus=True, expand=True
    )
    row: list[ft.Control] = [field]
    if on_browse is not None:
        row.append(ft.OutlinedButton("Browse...", icon=ft.Icons.FOLDER_OPEN, on_click=guard(on_browse)))
    return ft.Column(
        [
            ft.Text(hint, size=theme.TEXT_BODY, color=theme.SECONDARY_TEXT),
            ft.Row(row),
            *([ft.Text(refusal, size=theme.TEXT_BODY, color=ft.Colors.ERROR)] if refusal else []),
            ft.Row(
                [
                    ft.TextButton("Cancel", on_click=guard(on_close)),
                    ft.FilledButton(yes, on_click=guard(answer)),
                ],
                alignment=ft.MainAxisAlignment.END,
            ),
        ],
        tight=True,
        spacing=theme.SPACE_L,
    )
