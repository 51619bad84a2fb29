"""A slider with its name, an exact value that can be typed, and a one-line explanation."""

from collections.abc import Callable
from typing import Any, cast

import flet as ft

from errors import SettingsError
from helpers.local_inference import SettingRange, setting_range
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import labelled
from ui.components.draft_field import DraftField


@safe_component
def SettingSlider(
    name: str | SettingRange,
    value: float,
    low: float,
    high: float,
    step: float,
    digits: int,
    on_commit: Callable[[float], Any],
    disabled: bool = False,
) -> ft.Control:
    """``name`` is a field of GenerationSettings, or says itself what it is. The slider moves in steps of ``step``
    from ``low``; ``digits`` after the decimal point, 0 = whole numbers. A typed value may lie between the steps.
    """
    dragged, set_dragged = ft.use_state(cast("float | None", None))
    known = setting_range(name) if isinstance(name, str) else name
    shown = value if dragged is None else dragged

    def rounded(raw: float) -> float:
        stepped = min(low + round((raw - low) / step) * step, high)
        return round(stepped, digits) if digits else round(stepped)

    def released(e: ft.Event[ft.Slider]) -> None:
        set_dragged(None)
        on_commit(rounded(float(e.control.value or 0)))

    def typed(text: str) -> None:
        if text == f"{value:.{digits}f}":
            return
        on_commit(parse_number(known.label, text, whole=digits == 0))

    exact = DraftField(
        f"{shown:.{digits}f}",
        hash(shown),
        on_commit=typed,
        width=76,
        disabled=disabled,
        dense=True,
        text_size=13,
        text_align=ft.TextAlign.RIGHT,
        content_padding=ft.Padding.symmetric(horizontal=8, vertical=4),
        tooltip=f"{known.label}: type an exact value",
    )
    slider = ft.Slider(
        min=low,
        max=high,
        value=min(max(shown, low), high),
        disabled=disabled,
        padding=ft.Padding.symmetric(horizontal=4, vertical=2),
        on_change=guard(lambda e: set_dragged(rounded(float(e.control.value or 0)))),
        on_change_end=guard(released),
    )
    return _named_slider(known, exact, slider)


def _named_slider(known: SettingRange, exact: ft.Control, slider: ft.Control) -> ft.Control:
    name = ft.Text(known.label, size=theme.TEXT_SMALL, tooltip=known.explanation, expand=True)
    return ft.Column(
        [ft.Row([name, labelled(f"{known.label} value", exact)]), labelled(known.label, slider)],
        spacing=0,
        tight=True,
        horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
    )


def parse_number(label: str, text: str, *, whole: bool) -> float:
    """The number a user typed; a decimal comma counts. Raises SettingsError."""
    try:
        return int(text.strip()) if whole else float(text.strip().replace(",", "."))
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise SettingsError(f"{label}: “{text}” is not {kind}.", "Type a number.") from None
