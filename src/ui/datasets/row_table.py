"""A table of examples: number, prompt and response, drawn by the screen and by the preview of an import."""

from collections.abc import Sequence

import flet as ft

from db.datasets import NewRow
from db.models import DatasetRow
from ui import theme
from ui.components.cards import said, small_text

SHOWN_CHARACTERS = 400


def row_table(rows: Sequence[tuple[int, NewRow | DatasetRow]]) -> ft.Control:
    """``rows`` are positions, counted from 0, with their examples; long texts are cut."""
    head = _line(small_text("Row", width=64), small_text("Prompt", expand=2), small_text("Response", expand=3))
    lines: list[ft.Control] = [head]
    for position, row in rows:
        lines.append(ft.Divider(height=1, thickness=1, color=ft.Colors.OUTLINE_VARIANT))
        lines.append(_row_line(position, row))
    return ft.Column(lines, spacing=6, tight=True)


def _row_line(position: int, row: NewRow | DatasetRow) -> ft.Control:
    asked: list[ft.Control] = []
    if row.system:
        asked.append(small_text(f"System: {_cut(row.system)}"))
    asked.append(said(_cut(row.prompt), 13))
    answered: list[ft.Control] = [said(_cut(row.response), 13)]
    if row.messages:
        answered.append(small_text(f"and more: {len(row.messages)} messages in all"))
    return _line(
        small_text(f"{position + 1:,}", width=64),
        ft.Column(asked, spacing=2, tight=True, expand=2),
        ft.Column(answered, spacing=2, tight=True, expand=3),
    )


def _line(*cells: ft.Control) -> ft.Row:
    return ft.Row(list(cells), spacing=theme.SPACE_M, vertical_alignment=ft.CrossAxisAlignment.START)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


def rows_words(count: int) -> str:
    """A number of rows in words."""
    return "1 row" if count == 1 else f"{count:,} rows"
