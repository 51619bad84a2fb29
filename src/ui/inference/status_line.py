"""One line that says how things stand: an icon and words, never colour alone."""

import flet as ft

from ui import theme
from ui.inference.model_choice_state import ChoicePhase


def status_line(phase: ChoicePhase, text: str, hint: str = "", dark: bool = False) -> ft.Control:
    """The status of the chosen adapter with the next step below it."""
    color = {
        ChoicePhase.READY: theme.SUCCESS_DARK if dark else theme.SUCCESS_LIGHT,
        ChoicePhase.FAILED: ft.Colors.ERROR,
    }.get(phase, theme.SECONDARY_TEXT)
    words: list[ft.Control] = [
        ft.Text(text, size=13, color=ft.Colors.ERROR if phase is ChoicePhase.FAILED else ft.Colors.ON_SURFACE)
    ]
    if hint:
        words.append(ft.Text(hint, size=theme.TEXT_SMALL, color=theme.SECONDARY_TEXT))
    return ft.Semantics(
        live_region=True,
        content=ft.Row(
            [_sign(phase, color), ft.Column(words, spacing=2, expand=True, tight=True)],
            spacing=theme.SPACE_S,
            vertical_alignment=ft.CrossAxisAlignment.START,
        ),
    )


def _sign(phase: ChoicePhase, color: ft.ColorValue) -> ft.Control:
    if phase is ChoicePhase.VALIDATING:
        return ft.Container(ft.ProgressRing(width=14, height=14, stroke_width=2), padding=2)
    icon = {
        ChoicePhase.READY: ft.Icons.CHECK_CIRCLE,
        ChoicePhase.FAILED: ft.Icons.ERROR,
    }.get(phase, ft.Icons.INFO_OUTLINE)
    return ft.Icon(icon, size=18, color=color)
