"""Colours, spacing and text sizes: one seed colour, Material 3 surfaces, steps of 4 px."""

import flet as ft

SEED_COLOR = "#6750A4"

SPACE_S = 8
SPACE_M = 12
SPACE_L = 16
RADIUS = 12
RADIUS_S = 8
NARROW_WIDTH = 1100
RAIL_WIDTH = 84
SIDE_PANE_WIDTH = 372
NARROW_PANE_WIDTH = 328
READING_WIDTH = 1320

TEXT_TITLE = 16
TEXT_BODY = 14
TEXT_SMALL = 12

SECONDARY_TEXT = ft.Colors.ON_SURFACE_VARIANT
SUCCESS_LIGHT = "#2E7D32"
SUCCESS_DARK = "#81C784"

THEME_MODES = {"system": ft.ThemeMode.SYSTEM, "light": ft.ThemeMode.LIGHT, "dark": ft.ThemeMode.DARK}


def app_theme(font_family: str | None = None) -> ft.Theme:
    """The theme for both brightnesses; Flet derives the colours from the seed."""
    return ft.Theme(
        color_scheme_seed=SEED_COLOR,
        font_family=font_family,
        visual_density=ft.VisualDensity.COMFORTABLE,
        scrollbar_theme=ft.ScrollbarTheme(thickness=8, radius=4),
        snackbar_theme=ft.SnackBarTheme(show_close_icon=True),
    )


def is_dark(page: ft.Page) -> bool:
    """Whether the page is drawn dark now, by its own mode or by the system's."""
    if page.theme_mode == ft.ThemeMode.SYSTEM:
        return bool(page.platform_brightness == ft.Brightness.DARK)
    return bool(page.theme_mode == ft.ThemeMode.DARK)


def input_border() -> ft.OutlineInputBorder:
    """The outline of text fields and dropdowns."""
    return ft.OutlineInputBorder(border_radius=RADIUS_S, side=ft.BorderSide(1, ft.Colors.OUTLINE_VARIANT))


def code_theme(dark: bool) -> ft.MarkdownCodeTheme:
    """Highlighting that is readable on the page's own background."""
    return ft.MarkdownCodeTheme.ATOM_ONE_DARK if dark else ft.MarkdownCodeTheme.ATOM_ONE_LIGHT
