"""The right pane: everything about the chosen run, and what can be done with it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flet as ft

from helpers.run_overview import RunDetails
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import (
    card,
    card_title,
    empty_state,
    fact_row,
    icon_button,
    said,
    small_text,
    text_button,
)
from ui.components.doctor_report import DoctorReport
from ui.components.draft_field import DraftField
from ui.runs.loss_chart import LossChart, drawable
from ui.runs.quick_inference import QuickInference
from ui.runs.quick_state import QuickState
from ui.runs.run_details_state import RunDetailsState
from ui.runs.run_dialogs import RunQuestion
from ui.runs.run_words import SOURCE_WORDS, status_sign, when
from ui.runs.runs_state import RunsState

OpenInInference = Callable[[int, str | None], Any]


@safe_component
def RunDetailsPane(
    runs: RunsState,
    details: RunDetailsState,
    quick: QuickState,
    dark: bool,
    open_in_inference: OpenInInference,
    narrow: bool,
) -> ft.Control:
    """Cards below each other; the run's name and main action stay above them."""
    run = details.run
    if run is None:
        if runs.chosen is not None:
            return ft.Container(ft.ProgressRing(width=28, height=28), alignment=ft.Alignment.CENTER, expand=True)
        return empty_state(ft.Icons.TOUCH_APP_OUTLINED, "Choose a run to see its numbers, its health and its files.")
    return ft.Column(
        [
            DetailsHeader(runs, run, dark, open_in_inference, narrow),
            ft.Column(
                [
                    _facts(run),
                    _curve(run),
                    DoctorCard(details, run),
                    _checkpoints(run, open_in_inference),
                    QuickInference(quick, run, dark),
                    Notes(details, run, key=f"notes {run.id}"),
                    _hyperparameters(run),
                    _events(run),
                ],
                key=f"details {run.id}",
                spacing=theme.SPACE_M,
                scroll=ft.ScrollMode.AUTO,
                expand=True,
            ),
        ],
        spacing=theme.SPACE_M,
    )


@safe_component
def DetailsHeader(
    runs: RunsState, run: RunDetails, dark: bool, open_in_inference: OpenInInference, narrow: bool
) -> ft.Control:
    """Name, status, and what can be done."""
    controls: list[ft.Control] = [
        icon_button(
            ft.Icons.ARROW_BACK if narrow else ft.Icons.CLOSE,
            "Back to the list" if narrow else "Close the details",
            runs.close,
        ),
        ft.Text(
            run.name,
            size=18,
            weight=ft.FontWeight.W_500,
            expand=True,
            max_lines=1,
            overflow=ft.TextOverflow.ELLIPSIS,
        ),
        status_sign(run.status, dark),
        icon_button(ft.Icons.DRIVE_FILE_RENAME_OUTLINE, "Rename this run", lambda: runs.ask("rename")),
        icon_button(ft.Icons.DELETE_OUTLINE, "Remove this run", lambda: runs.ask("remove")),
        ft.FilledButton(
            "Open in Inference",
            icon=ft.Icons.CHAT_OUTLINED,
            on_click=guard(lambda: open_in_inference(run.id, None)),
            disabled=not run.adapter_path,
        ),
    ]
    return ft.Column(
        [ft.Row(controls, spacing=theme.SPACE_S, height=40), RunQuestion(runs, run)], spacing=0, tight=True
    )


def _facts(run: RunDetails) -> ft.Control:
    pairs = [
        ("Base model", run.base_model or "not known"),
        ("Dataset", run.dataset or "not recorded"),
        ("Adapter folder", run.adapter_path or "none yet"),
        ("Output folder", run.output_dir or "not recorded"),
        ("Started", when(run.started_at)),
        ("Finished", when(run.finished_at)),
        ("Source", SOURCE_WORDS[run.source]),
    ]
    rows: list[ft.Control] = [fact_row(name, value) for name, value in pairs]
    if run.error:
        rows.insert(0, said(run.error, theme.TEXT_BODY, ft.Colors.ERROR))
    return card(*rows, spacing=theme.SPACE_S)


def _curve(run: RunDetails) -> ft.Control:
    curves = [curve for name, points in run.series if (curve := drawable(name, points)) is not None]
    return card(card_title(ft.Icons.SHOW_CHART, "Loss"), LossChart(curves, [step for step, _ in run.checkpoints]))


@safe_component
def DoctorCard(details: RunDetailsState, run: RunDetails) -> ft.Control:
    """Examined as the run is opened, on a thread."""
    ft.use_effect(guard(details.examine), [run.id])
    body: ft.Control
    if not run.adapter_path:
        body = small_text("This run has no adapter to examine.")
    elif details.report is not None:
        body = DoctorReport(details.report)
    else:
        ring = ft.ProgressRing(width=16, height=16, stroke_width=2)
        body = ft.Row([ring, small_text("Examining the adapter…")], spacing=theme.SPACE_S)
    again = icon_button(ft.Icons.REFRESH, "Examine again", details.examine, disabled=details.examining)
    return card(card_title(ft.Icons.HEALTH_AND_SAFETY_OUTLINED, "Adapter doctor", again), body)


def _checkpoints(run: RunDetails, open_in_inference: OpenInInference) -> ft.Control:
    rows: list[ft.Control] = [
        ft.Row(
            [
                said(Path(path).name, theme.TEXT_BODY, expand=True),
                small_text(f"step {step:,}"),
                ft.Semantics(
                    container=True,
                    content=text_button(
                        "Open in Inference",
                        ft.Icons.CHAT_OUTLINED,
                        partial(open_in_inference, run.id, path),
                        tooltip=f"Chat with {Path(path).name}",
                    ),
                ),
            ],
            spacing=theme.SPACE_M,
        )
        for step, path in run.checkpoints
    ]
    title = card_title(ft.Icons.BOOKMARK_BORDER, "Checkpoints")
    return card(title, *(rows or [small_text("No checkpoints were recorded.")]), spacing=theme.SPACE_S)


@safe_component
def Notes(details: RunDetailsState, run: RunDetails) -> ft.Control:
    """The user's own words; kept once writing pauses."""

    def save(text: str) -> None:
        details.note_soon(run.id, text)

    field = DraftField(
        run.notes, run.id, on_change=save, label="Notes", multiline=True, min_lines=2, max_lines=8, expand=True
    )
    return card(card_title(ft.Icons.NOTES, "Notes"), ft.Row([field]), small_text("Saved as you write."))


def _hyperparameters(run: RunDetails) -> ft.Control:
    pairs = sorted(run.hyperparameters.items())
    rows: list[ft.Control] = [fact_row(name, _readable(value), name_width=220) for name, value in pairs]
    title = card_title(ft.Icons.TUNE, "Hyperparameters")
    return card(title, *(rows or [small_text("None were recorded.")]), spacing=4)


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _events(run: RunDetails) -> ft.Control:
    rows: list[ft.Control] = [fact_row(when(moment), text, name_width=150) for moment, text in run.events]
    title = card_title(ft.Icons.HISTORY, "What happened")
    return card(title, *(rows or [small_text("Nothing was recorded.")]), spacing=4)
