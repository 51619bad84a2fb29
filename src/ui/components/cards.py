"""Cards, headings, chips and the small pieces that every screen is put together from."""

from collections.abc import Callable, Sequence
from typing import Any

import flet as ft

from ui import theme
from ui.background_tasks import guard


def card(*controls: ft.Control, spacing: int = theme.SPACE_M, expand: bool | int | None = None) -> ft.Container:
    """A quiet surface around controls that belong together."""
    return ft.Container(
        content=ft.Column(
            list(controls),
            spacing=spacing,
            tight=True,
            horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
        ),
        bgcolor=ft.Colors.SURFACE_CONTAINER_LOW,
        border=ft.Border.all(1, ft.Colors.OUTLINE_VARIANT),
        border_radius=theme.RADIUS,
        padding=theme.SPACE_L,
        expand=expand,
    )


def card_title(icon: ft.IconData, text: str, *trailing: ft.Control) -> ft.Row:
    """The heading of a card."""
    return ft.Row(
        [
            ft.Icon(icon, size=18, color=ft.Colors.PRIMARY),
            ft.Text(text, size=theme.TEXT_TITLE, weight=ft.FontWeight.W_500, expand=True),
            *trailing,
        ],
        spacing=theme.SPACE_S,
    )


def small_text(text: str, color: ft.ColorValue = theme.SECONDARY_TEXT, **look: Any) -> ft.Text:
    """Secondary information."""
    return ft.Text(text, size=theme.TEXT_SMALL, color=color, **look)


def said(text: str, size: float = theme.TEXT_BODY, color: ft.ColorValue | None = None, **look: Any) -> ft.Text:
    """Text that can be selected and copied."""
    # Flutter tells screen readers nothing of a selectable text but what its label says.
    return ft.Text(text, size=size, color=color, selectable=True, semantics_label=text, **look)


def labelled(label: str, control: ft.Control, expand: bool | int | None = None) -> ft.Container:
    """A name for screen readers, where the control itself gives none (Flet's dropdowns, sliders, bare fields)."""
    return ft.Container(ft.Semantics(content=control, label=label, container=True), expand=expand)


def fact_chip(text: str, tooltip: str | None = None, strong: bool = False) -> ft.Container:
    """A short fact; the tooltip explains it."""
    return ft.Container(
        content=ft.Text(
            text,
            size=theme.TEXT_SMALL,
            color=ft.Colors.ON_SECONDARY_CONTAINER if strong else theme.SECONDARY_TEXT,
            no_wrap=True,
        ),
        bgcolor=ft.Colors.SECONDARY_CONTAINER if strong else ft.Colors.SURFACE_CONTAINER_HIGHEST,
        border_radius=theme.RADIUS_S,
        padding=ft.Padding.symmetric(horizontal=8, vertical=3),
        tooltip=tooltip,
    )


def icon_button(
    icon: ft.IconData, tooltip: str, on_click: Callable[..., Any] | None = None, **look: Any
) -> ft.Control:
    """A small button without words; the tooltip is its label."""
    button = ft.IconButton(
        icon,
        icon_size=16,
        padding=0,
        visual_density=ft.VisualDensity.COMPACT,
        tooltip=tooltip,
        on_click=guard(on_click) if on_click is not None else None,
        **look,
    )
    # In a list Flutter merges the tooltips of a row's buttons; a node of its own keeps each button's name.
    named = ft.Semantics(content=button, container=True)
    # The box keeps Flutter from padding the button to the size of a fingertip.
    return ft.Container(named, width=32, height=32)


def text_button(
    text: str, icon: ft.IconData, on_click: Callable[..., Any], tooltip: str | None = None, disabled: bool = False
) -> ft.TextButton:
    """A quiet action with words, small enough to stand beside others in a card."""
    return ft.TextButton(
        text,
        icon=icon,
        tooltip=tooltip,
        on_click=guard(on_click),
        disabled=disabled,
        style=ft.ButtonStyle(
            padding=ft.Padding.symmetric(horizontal=6), text_style=ft.TextStyle(size=13), icon_size=16
        ),
    )


def fact_row(name: str, value: str, name_width: int = 110) -> ft.Row:
    """A name and its value, the value wrapping beside it."""
    return ft.Row(
        [small_text(name, width=name_width), said(value, theme.TEXT_SMALL, expand=True)],
        vertical_alignment=ft.CrossAxisAlignment.START,
        spacing=theme.SPACE_S,
    )


def facts(chips: Sequence[ft.Control]) -> ft.Row:
    """Chips side by side, wrapping."""
    return ft.Row(list(chips), wrap=True, spacing=6, run_spacing=6)


def empty_state(icon: ft.IconData, text: str) -> ft.Container:
    """What is shown where nothing is yet."""
    return ft.Container(
        content=ft.Column(
            [
                ft.Icon(icon, size=36, color=ft.Colors.OUTLINE),
                ft.Text(text, size=theme.TEXT_BODY, color=theme.SECONDARY_TEXT, text_align=ft.TextAlign.CENTER),
            ],
            horizontal_alignment=ft.CrossAxisAlignment.CENTER,
            alignment=ft.MainAxisAlignment.CENTER,
            spacing=theme.SPACE_M,
        ),
        alignment=ft.Alignment.CENTER,
        expand=True,
    )
