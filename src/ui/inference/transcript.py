"""The list of messages, shared by the tab and the Full Chat View."""

from collections.abc import Callable
from typing import Any, cast

import flet as ft

from helpers.chat_session import Message
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import empty_state
from ui.components.message_view import BubbleMessage, MessageActions, PairMessage
from ui.components.observable_message import ObservableMessage
from ui.inference.inference_state import InferenceState, ObservableChat

# Every message on the page is diffed when the list changes, so a long history is shown from its end.
PAGE_OF_MESSAGES = 100


@safe_component
def Transcript(
    chat: ObservableChat,
    state: InferenceState,
    dark: bool,
    explain: Callable[[Message], Any],
    bubble_width: int | None,
    placeholder: str,
) -> ft.Control:
    """All messages, newest at the end. ``bubble_width`` None draws Prompt / Response pairs instead of bubbles."""
    shown, set_shown = ft.use_state(PAGE_OF_MESSAGES)
    if not chat.messages:
        return empty_state(ft.Icons.CHAT_BUBBLE_OUTLINE, placeholder)
    hidden = max(len(chat.messages) - shown, 0)
    controls: list[ft.Control] = []
    if hidden:
        more = min(hidden, PAGE_OF_MESSAGES)
        controls.append(
            ft.TextButton(
                f"Show {more} earlier messages",
                icon=ft.Icons.EXPAND_LESS,
                on_click=guard(lambda: set_shown(shown + PAGE_OF_MESSAGES)),
            )
        )
    last = chat.messages[-1]
    for message in cast(list[ObservableMessage], chat.messages[hidden:]):
        # Only rows whose buttons depend on it are drawn again when an answer begins and ends.
        busy = chat.busy and (message is last or message.role == "user")
        controls.append(
            _MessageRow(
                message,
                busy,
                message is last,
                chat.previous is not None,
                state,
                dark,
                explain,
                bubble_width,
                key=message.id,
            )
        )
    return ft.ListView(
        controls,
        expand=True,
        auto_scroll=True,
        spacing=theme.SPACE_M,
        padding=ft.Padding.only(right=theme.SPACE_L),
    )


@safe_component
def MessageRow(
    message: ObservableMessage,
    busy: bool,
    is_last: bool,
    can_undo: bool,
    state: InferenceState,
    dark: bool,
    explain: Callable[[Message], Any],
    bubble_width: int | None,
) -> ft.Control:
    """One message with its buttons; it redraws alone, and while its text grows only that does."""
    editing, set_editing = ft.use_state(False)
    newest_answer = is_last and message.role == "assistant"
    actions = MessageActions(
        regenerate=state.regenerate if newest_answer else None,
        undo=state.chat.restore_previous if newest_answer and can_undo else None,
        explain=lambda: explain(message),
        edit=lambda text: state.edit(message.id, text),
    )
    if bubble_width is None:
        return PairMessage(message, actions, dark, busy)
    return BubbleMessage(message, actions, dark, busy, bubble_width, editing, set_editing)


_MessageRow = ft.memo(MessageRow)  # type: ignore[no-untyped-call]
