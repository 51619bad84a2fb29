"""The dialog “Import dataset”: the source, what is recognised in it, and the result."""

from collections.abc import Mapping

import flet as ft

from helpers.dataset_import import DatasetPreview
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import fact_chip, facts, said, small_text, text_button
from ui.components.draft_field import DraftField
from ui.components.picker import picker
from ui.components.readable import readable_bytes
from ui.datasets.import_state import ImportPhase, ImportState
from ui.datasets.row_table import row_table, rows_words

FILE_TYPES = ["json", "jsonl", "ndjson", "csv", "tsv", "parquet"]


def import_dialog(importing: ImportState, files: ft.FilePicker, width: int) -> ft.AlertDialog:
    """``width`` is the window's, in pixels."""
    return ft.AlertDialog(
        # Esc closes it; an import goes on then.
        modal=False,
        on_dismiss=guard(importing.close),
        scrollable=True,
        title=ft.Text("Import dataset"),
        content=ft.Container(ImportForm(importing, files), width=min(width - 120, 860)),
    )


@safe_component
def ImportForm(importing: ImportState, files: ft.FilePicker) -> ft.Control:
    """Source, preview, name and buttons, or the result."""
    rows: list[ft.Control]
    if importing.phase is ImportPhase.DONE:
        rows = _result(importing)
    else:
        rows = [SourceField(importing, files)]
        if importing.from_hub:
            rows.append(HubFields(importing))
        if importing.busy:
            rows.append(_progress(importing))
        elif importing.hint and not importing.error:
            rows.append(small_text(importing.hint))
        if importing.error:
            rows.append(_failure(importing))
        if importing.columns:
            rows.append(_mapping(importing))
        if importing.preview is not None and importing.preview.format is not None:
            rows += _preview(importing.preview)
            rows.append(ft.Container(NameField(importing), padding=ft.Padding.only(top=theme.SPACE_M)))
        elif importing.columns:
            rows.append(small_text("Choose the prompt and the response to see the first rows."))
        elif not importing.busy and not importing.error:
            rows.append(
                small_text(
                    "JSON, JSONL, CSV, TSV or Parquet, or “owner/name” of the Hugging Face hub. "
                    "What is recognised is shown before anything is saved."
                )
            )
    rows.append(_buttons(importing))
    return ft.Column(rows, spacing=theme.SPACE_M, tight=True, horizontal_alignment=ft.CrossAxisAlignment.STRETCH)


@safe_component
def SourceField(importing: ImportState, files: ft.FilePicker) -> ft.Control:
    """The path or id, typed or picked."""
    typed = ft.use_ref(importing.path)

    def remember(text: str) -> None:
        typed.current = text
        importing.type_source(text)

    async def browse() -> None:
        picked = await files.pick_files(dialog_title="Choose a dataset", allowed_extensions=FILE_TYPES)
        if picked and picked[0].path:
            typed.current = picked[0].path
            await importing.check(picked[0].path)

    row: list[ft.Control] = [
        DraftField(
            importing.path,
            hash(importing.path),
            on_change=remember,
            on_submit=importing.check,
            label="File, folder or Hugging Face dataset id",
            autofocus=True,
            expand=True,
            dense=True,
            disabled=importing.phase is ImportPhase.IMPORTING,
        )
    ]
    # A browser may not see the files of the machine, so there the path is typed.
    if not ft.context.page.web:
        row.append(ft.OutlinedButton("Browse...", icon=ft.Icons.FOLDER_OPEN, on_click=guard(browse)))
    row.append(
        ft.FilledTonalButton(
            "Show rows", on_click=guard(lambda: importing.check(typed.current or "")), disabled=importing.busy
        )
    )
    return ft.Row(row)


@safe_component
def HubFields(importing: ImportState) -> ft.Control:
    """What only a dataset of the hub has; the token is used for this import and stored nowhere."""
    imported = importing.phase is ImportPhase.IMPORTING
    return ft.Row(
        [
            DraftField(
                importing.split,
                0,
                on_change=importing.type_split,
                label="Split (optional)",
                tooltip="Empty: “train”, or the only one",
                expand=1,
                dense=True,
                disabled=imported,
            ),
            DraftField(
                "",
                0,
                on_change=importing.type_token,
                label="Access token (optional)",
                tooltip="For private and gated datasets. It is used for this import and not stored.",
                password=True,
                expand=2,
                dense=True,
                disabled=imported,
            ),
        ]
    )


@safe_component
def NameField(importing: ImportState) -> ft.Control:
    """What the dataset will be called."""

    def remember(text: str) -> None:
        importing.name = text

    return ft.Row(
        [
            DraftField(
                importing.name,
                importing.version,
                on_change=remember,
                label="Name",
                disabled=importing.busy,
                expand=True,
                dense=True,
            )
        ]
    )


def skipped_words(skipped: Mapping[str, int]) -> str:
    """Reasons with their counts, the most frequent first; empty when nothing is skipped."""
    ordered = sorted(skipped.items(), key=lambda pair: -pair[1])
    return "\n".join(f"{count:,} skipped: {reason}" for reason, count in ordered)


def _preview(preview: DatasetPreview) -> list[ft.Control]:
    skipped = sum(preview.skipped.values())
    known_as = fact_chip(f"Format {preview.format}", "How the rows are written in the source", strong=True)
    if preview.exact:
        counts = [
            fact_chip(f"{rows_words(preview.usable)} to import"),
            fact_chip(f"{rows_words(skipped)} to skip"),
        ]
    else:
        counts = [fact_chip(f"{preview.usable:,} of the first {rows_words(preview.usable + skipped)} can be used")]
    parts: list[ft.Control] = [facts([known_as, *counts])]
    if not preview.exact:
        parts.append(small_text("These counts are of the beginning; the import counts all rows."))
    if skipped:
        parts.append(said(skipped_words(preview.skipped), theme.TEXT_SMALL, theme.SECONDARY_TEXT))
    return [*parts, row_table(list(enumerate(preview.first_rows)))]


def _result(importing: ImportState) -> list[ft.Control]:
    result = importing.result
    if result is None:
        return []
    parts: list[ft.Control] = [
        ft.Row(
            [
                ft.Icon(ft.Icons.CHECK_CIRCLE_OUTLINE, color=ft.Colors.PRIMARY),
                said(f"{rows_words(result.imported)} imported as “{result.dataset.name}”.", expand=True),
            ]
        )
    ]
    if result.skipped:
        parts.append(said(skipped_words(result.skipped), theme.TEXT_SMALL, theme.SECONDARY_TEXT))
    return parts


def _mapping(importing: ImportState) -> ft.Control:
    chosen = importing.mapped
    columns = [ft.DropdownOption(key=column, text=column) for column in importing.columns]
    none = ft.DropdownOption(key="", text="None")

    def part(name: str, label: str, options: list[ft.DropdownOption]) -> ft.Control:
        return picker(
            label,
            chosen.get(name),
            options,
            lambda column: importing.choose_column(name, column),
            expand=True,
            disabled=importing.busy,
        )

    return ft.Column(
        [
            said("These columns are of no known format. Say what they hold.", 13),
            ft.Row(
                [
                    part("prompt", "Prompt column", columns),
                    part("response", "Response column", columns),
                    part("system", "System column", [none, *columns]),
                ]
            ),
        ],
        spacing=theme.SPACE_S,
        tight=True,
    )


def _progress(importing: ImportState) -> ft.Control:
    progress, share, words = importing.progress, None, "Importing..."
    if importing.phase is ImportPhase.CHECKING:
        words = "Reading the first rows..."
    elif progress is not None:
        share = min(progress.bytes_read / progress.bytes_total, 1.0) if progress.bytes_total else None
        words = f"Importing: {progress.rows:,} rows"
        if progress.bytes_total:
            words += f" · {readable_bytes(progress.bytes_read)} of {readable_bytes(progress.bytes_total)}"
        elif progress.bytes_read:
            words += f" · {readable_bytes(progress.bytes_read)}"
    if importing.cancelling and importing.phase is ImportPhase.IMPORTING:
        share, words = None, "Cancelling; what was saved is being removed..."
    return ft.Column([ft.ProgressBar(value=share), small_text(words)], spacing=6, tight=True)


def _failure(importing: ImportState) -> ft.Control:
    words: list[ft.Control] = [said(importing.error, 13, ft.Colors.ERROR)]
    if importing.hint:
        words.append(small_text(importing.hint))
    again: list[ft.Control] = []
    if importing.phase is ImportPhase.CHOOSING:
        again = [text_button("Try again", ft.Icons.REFRESH, lambda: importing.check(importing.path))]
    return ft.Row(
        [
            ft.Icon(ft.Icons.ERROR_OUTLINE, size=18, color=ft.Colors.ERROR),
            ft.Column(words, spacing=2, expand=True, tight=True),
            *again,
        ],
        vertical_alignment=ft.CrossAxisAlignment.START,
    )


def _buttons(importing: ImportState) -> ft.Control:
    if importing.phase is ImportPhase.DONE:
        buttons: list[ft.Control] = [ft.FilledButton("Done", autofocus=True, on_click=guard(importing.close))]
    elif importing.phase is ImportPhase.IMPORTING:
        buttons = [
            ft.TextButton("Cancel import", on_click=guard(importing.cancel), disabled=importing.cancelling),
            ft.OutlinedButton("Go on in the background", on_click=guard(importing.close)),
        ]
    else:
        ready = importing.phase is ImportPhase.CHECKED
        buttons = [
            ft.TextButton("Close", on_click=guard(importing.close)),
            ft.FilledButton("Import", on_click=guard(importing.run), disabled=not ready),
        ]
    return ft.Row(buttons, alignment=ft.MainAxisAlignment.END)
