"""Runs in words and signs: status with icon, times, file names."""

import datetime as dt

import flet as ft

from db.models import RunSource, RunStatus
from ui import theme
from ui.components.cards import small_text

STATUS_WORDS = {
    RunStatus.PENDING: "Pending",
    RunStatus.RUNNING: "Running",
    RunStatus.COMPLETED: "Completed",
    RunStatus.FAILED: "Failed",
}
SOURCE_WORDS = {
    RunSource.TRACKED: "recorded while it trained",
    RunSource.IMPORTED: "added from a folder",
    RunSource.SCANNED: "found by a scan",
    RunSource.DEMO: "comes with the demo",
}


def status_sign(status: RunStatus, dark: bool) -> ft.Control:
    """Icon and word."""
    icon, color = {
        RunStatus.PENDING: (ft.Icons.SCHEDULE, theme.SECONDARY_TEXT),
        RunStatus.RUNNING: (ft.Icons.PLAY_CIRCLE_OUTLINE, ft.Colors.PRIMARY),
        RunStatus.COMPLETED: (ft.Icons.CHECK_CIRCLE_OUTLINE, theme.SUCCESS_DARK if dark else theme.SUCCESS_LIGHT),
        RunStatus.FAILED: (ft.Icons.ERROR_OUTLINE, ft.Colors.ERROR),
    }[status]
    return ft.Row([ft.Icon(icon, size=16, color=color), small_text(STATUS_WORDS[status])], spacing=4, tight=True)


def when(moment: dt.datetime | None) -> str:
    """Date and time on this machine's clock; a dash when there is none."""
    return moment.astimezone().strftime("%b %d, %Y %H:%M") if moment is not None else "–"


def short_base(name: str) -> str:
    """The last part of a hub id or path."""
    return name.rstrip("/").rsplit("/", 1)[-1] if name else "base not known"
