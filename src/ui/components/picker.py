"""The app's dropdown: full width, dense, with a name for screen readers."""

from collections.abc import Callable, Sequence
from typing import Any

import flet as ft

from ui import theme
from ui.background_tasks import guard
from ui.components.cards import labelled


def picker(
    label: str,
    value: str | None,
    options: Sequence[ft.DropdownOption],
    on_choose: Callable[[str], Any],
    expand: int | bool | None = None,
    **look: Any,
) -> ft.Control:
    """``on_choose`` gets the chosen option's key. ``value`` None shows the label alone."""

    def chosen(e: ft.Event[ft.Dropdown]) -> Any:
        return on_choose(e.control.value) if e.control.value is not None else None

    dropdown = ft.Dropdown(
        label=label,
        value=value,
        options=list(options),
        on_select=guard(chosen),
        border=theme.input_border(),
        text_size=theme.TEXT_BODY,
        dense=True,
        expand=True,
        **look,
    )
    return labelled(label, ft.Row([dropdown]), expand)
