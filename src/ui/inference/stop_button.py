"""Progress ring and Stop, shown in place of the button that started the answer."""

import flet as ft

from ui import theme
from ui.background_tasks import guard
from ui.inference.inference_state import ObservableChat


def stop_button(chat: ObservableChat) -> ft.Control:
    """The ring shows the share of the weights that is loaded, and turns while that is unknown."""
    return ft.Row(
        [
            ft.ProgressRing(width=20, height=20, stroke_width=2, value=chat.load_progress),
            ft.FilledButton(
                "Stopping..." if chat.stopping else "Stop",
                icon=ft.Icons.STOP,
                tooltip="Esc",
                on_click=guard(chat.stop),
                disabled=chat.stopping,
            ),
        ],
        tight=True,
        spacing=theme.SPACE_M,
    )
