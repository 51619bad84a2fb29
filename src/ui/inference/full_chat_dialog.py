"""The Full Chat View: the same conversation, large and quiet, made to be shown to others."""

from collections.abc import Callable
from typing import Any

import flet as ft

from helpers.chat_session import Message
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import fact_chip, small_text
from ui.components.draft_field import DraftField
from ui.inference.inference_state import InferenceState, ObservableChat
from ui.inference.model_choice_state import ModelChoiceState
from ui.inference.stop_button import stop_button
from ui.inference.transcript import Transcript

PLACEHOLDER = "Start chatting with your fine-tuned model."


def full_chat_dialog(
    state: InferenceState,
    size: tuple[int, int],
    dark: bool,
    explain: Callable[[Message], Any],
    clear: Callable[[], Any],
    close: Callable[[], Any],
) -> ft.AlertDialog:
    """``size`` is the window's, in pixels; the dialog leaves a margin of it visible."""
    width, height = min(size[0] - 64, 1080), size[1] - 64
    return ft.AlertDialog(
        modal=True,
        inset_padding=ft.Padding.all(24),
        content_padding=ft.Padding.only(left=20, right=20, top=20, bottom=0),
        bgcolor=ft.Colors.SURFACE,
        semantics_label="Full Chat View",
        content=ft.Container(
            width=width - 40,
            height=height - 40,
            content=ft.Column(
                [
                    ChatHeader(state.model),
                    ft.Container(
                        Transcript(state.chat, state, dark, explain, int((width - 40) * 0.78), PLACEHOLDER),
                        expand=True,
                    ),
                    ChatStatus(state.chat),
                    ChatComposer(state.chat, state),
                    ChatFooter(state.chat, clear, close),
                ],
                spacing=theme.SPACE_M,
            ),
        ),
    )


@safe_component
def ChatHeader(model: ModelChoiceState) -> ft.Control:
    """The title, and who speaks."""
    speaker = f"{model.run_name} on {model.base_model}" if model.run_name else model.base_model
    if model.strength != 1:
        speaker += f" · strength {model.strength:g}"
    return ft.Row(
        [
            ft.Icon(ft.Icons.CHAT, color=ft.Colors.PRIMARY),
            ft.Text("Full Chat View", size=20, weight=ft.FontWeight.W_500, expand=True),
            fact_chip(speaker, "The adapter and base model that answer", strong=True),
        ],
        spacing=theme.SPACE_M,
    )


@safe_component
def ChatStatus(chat: ObservableChat) -> ft.Control:
    """What is being done, while something is."""
    text = " ".join(part for part in (chat.status, chat.status_detail) if part)
    return ft.Container(small_text(text), height=16)


@safe_component
def ChatComposer(chat: ObservableChat, state: InferenceState) -> ft.Control:
    """The message box with Send, or Stop while an answer is written."""
    # The version tells the field to take over another text: none after sending, the old one if nothing was sent.
    version, set_version = ft.use_state(0)
    text = ft.use_ref("")

    def typed(value: str) -> None:
        text.current = value

    async def send() -> None:
        message = text.current or ""
        if chat.busy or not message.strip():
            return
        text.current = ""
        set_version(lambda number: number + 1)
        sent = False
        try:
            sent = await state.send(message)
        finally:
            if not sent:
                text.current = message
                set_version(lambda number: number + 1)

    action: ft.Control = (
        stop_button(chat)
        if chat.busy
        else ft.FilledButton("Send", icon=ft.Icons.SEND, tooltip="Enter", on_click=guard(send))
    )
    return ft.Row(
        [
            DraftField(
                text.current or "",
                version,
                on_change=typed,
                on_submit=lambda _: send(),
                label="Message",
                hint_text="Type your message... (Shift+Enter for a new line)",
                multiline=True,
                shift_enter=True,
                min_lines=1,
                max_lines=6,
                autofocus=True,
                expand=True,
            ),
            action,
        ],
        spacing=theme.SPACE_M,
    )


@safe_component
def ChatFooter(chat: ObservableChat, clear: Callable[[], Any], close: Callable[[], Any]) -> ft.Control:
    """Clear history and Close."""
    return ft.Row(
        [
            ft.TextButton(
                "Clear history",
                icon=ft.Icons.DELETE_SWEEP_OUTLINED,
                on_click=guard(clear),
                disabled=not chat.messages,
            ),
            ft.TextButton("Close", icon=ft.Icons.CLOSE, tooltip="Esc", on_click=guard(close)),
        ],
        alignment=ft.MainAxisAlignment.END,
    )
