"""One message of the conversation, drawn as a Prompt / Response pair in the tab and as a bubble in the chat."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flet as ft

from helpers.chat_session import MessageStatus
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import fact_chip, icon_button, said, small_text
from ui.components.draft_field import DraftField
from ui.components.observable_message import GrowingAnswer, ObservableMessage
from ui.components.readable import readable_seconds
from ui.fonts import CODE_FONT

CURSOR = " ▍"


@dataclass(frozen=True)
class MessageActions:
    """What a message's buttons do. None = the button is not shown."""

    regenerate: Callable[[], Any] | None = None
    undo: Callable[[], Any] | None = None
    explain: Callable[[], Any] | None = None
    edit: Callable[[str], Any] | None = None


@safe_component
def PairMessage(message: ObservableMessage, actions: MessageActions, dark: bool, busy: bool) -> ft.Control:
    """The tab's form: the prompt as a line, the response as a card."""
    if message.role == "user":
        return ft.Row(
            [
                ft.Icon(ft.Icons.PERSON_OUTLINE, size=18, color=theme.SECONDARY_TEXT, semantics_label="Prompt"),
                said(message.text, theme.TEXT_BODY, theme.SECONDARY_TEXT, expand=True),
                _copy_button(message),
            ],
            vertical_alignment=ft.CrossAxisAlignment.CENTER,
            spacing=theme.SPACE_S,
        )
    return ft.Container(
        bgcolor=ft.Colors.SURFACE_CONTAINER,
        border_radius=theme.RADIUS,
        padding=ft.Padding.only(left=theme.SPACE_L, right=theme.SPACE_S, top=theme.SPACE_M, bottom=4),
        content=ft.Column(
            [*_answer(message, dark), _footer(message, actions, busy, spread=True)], spacing=4, tight=True
        ),
    )


@safe_component
def BubbleMessage(
    message: ObservableMessage,
    actions: MessageActions,
    dark: bool,
    busy: bool,
    width: int,
    editing: bool,
    set_editing: Any,
) -> ft.Control:
    """The chat's form: the user on the right, the assistant on the left, at most ``width`` pixels wide."""
    mine = message.role == "user"
    if mine and editing and actions.edit is not None:
        return EditBubble(message, actions.edit, lambda: set_editing(False))
    content: list[ft.Control] = (
        [said(message.text, 15, ft.Colors.ON_PRIMARY_CONTAINER)] if mine else _answer(message, dark)
    )
    bubble = ft.Container(
        content=ft.Column(content, spacing=theme.SPACE_S, tight=True),
        bgcolor=ft.Colors.PRIMARY_CONTAINER if mine else ft.Colors.SURFACE_CONTAINER_HIGH,
        border_radius=ft.BorderRadius(16, 16, 16 if mine else 4, 4 if mine else 16),
        padding=ft.Padding.symmetric(horizontal=16, vertical=12),
        # At most the row's width, but no wider than the text.
        expand=True,
        expand_loose=True,
    )
    below = _user_buttons(message, actions, busy, set_editing) if mine else _footer(message, actions, busy)
    return ft.Row(
        [
            ft.Container(
                width=width,
                content=ft.Column(
                    [ft.Row([bubble], alignment=_side(mine)), below],
                    spacing=2,
                    tight=True,
                    horizontal_alignment=ft.CrossAxisAlignment.END if mine else ft.CrossAxisAlignment.START,
                ),
            )
        ],
        alignment=_side(mine),
    )


@safe_component
def GrowingText(growing: GrowingAnswer) -> ft.Control:
    """A running answer; a token redraws this alone."""
    # Markdown parses and highlights everything again on each change, so it is plain text.
    return said(growing.text + CURSOR, 15)


@safe_component
def GrowingCount(growing: GrowingAnswer) -> ft.Control:
    """How many tokens a running answer has."""
    return small_text(_counted(growing.new_tokens))


@safe_component
def EditBubble(message: ObservableMessage, save: Callable[[str], Any], close: Callable[[], Any]) -> ft.Control:
    """Change a message and go on from there."""
    text = ft.use_ref(message.text)

    def typed(value: str) -> None:
        text.current = value

    async def submit() -> None:
        close()
        await save(text.current or "")

    return ft.Column(
        [
            DraftField(
                message.text, 0, on_change=typed, label="Edit message", multiline=True, max_lines=8, autofocus=True
            ),
            ft.Row(
                [
                    small_text("The messages after it are replaced.", expand=True),
                    ft.TextButton("Cancel", on_click=guard(close)),
                    ft.FilledTonalButton("Send again", on_click=guard(submit)),
                ]
            ),
        ],
        tight=True,
    )


def _side(mine: bool) -> ft.MainAxisAlignment:
    return ft.MainAxisAlignment.END if mine else ft.MainAxisAlignment.START


def _answer(message: ObservableMessage, dark: bool) -> list[ft.Control]:
    parts: list[ft.Control] = []
    if message.status is MessageStatus.STREAMING:
        parts.append(GrowingText(message.growing))
    elif message.text:
        parts.append(_markdown(message.text, dark))
    if message.error is not None:
        parts.append(_failure(str(message.error.message), message.error.hint))
    if message.expected is not None:
        parts.append(_expected(message.expected))
    if message.status is MessageStatus.STOPPED and not message.text:
        parts.append(small_text("Stopped before the first token."))
    elif message.status is MessageStatus.COMPLETE and not message.text:
        parts.append(small_text("The model ended its turn without writing anything."))
    return parts


def _markdown(text: str, dark: bool) -> ft.Control:
    return ft.Markdown(
        text,
        selectable=True,
        soft_line_break=True,
        extension_set=ft.MarkdownExtensionSet.GITHUB_WEB,
        code_theme=theme.code_theme(dark),
        code_style_sheet=ft.MarkdownStyleSheet(code_text_style=ft.TextStyle(size=14, font_family=CODE_FONT)),
        md_style_sheet=ft.MarkdownStyleSheet(
            p_text_style=ft.TextStyle(size=15),
            list_bullet_text_style=ft.TextStyle(size=15),
            code_text_style=ft.TextStyle(size=14, font_family=CODE_FONT),
            codeblock_decoration=ft.BoxDecoration(
                bgcolor=ft.Colors.SURFACE_CONTAINER_LOWEST, border_radius=theme.RADIUS_S
            ),
            codeblock_padding=ft.Padding.all(theme.SPACE_M),
        ),
    )


def _expected(text: str) -> ft.Control:
    return ft.Row(
        [
            ft.Icon(ft.Icons.FLAG_OUTLINED, size=14, color=theme.SECONDARY_TEXT),
            said(f"Expected: {text}", theme.TEXT_SMALL, theme.SECONDARY_TEXT, expand=True),
        ],
        spacing=6,
        vertical_alignment=ft.CrossAxisAlignment.START,
    )


def _failure(message: str, hint: str) -> ft.Control:
    words: list[ft.Control] = [said(message, 13, ft.Colors.ERROR)]
    if hint:
        words.append(small_text(hint))
    return ft.Row(
        [
            ft.Icon(ft.Icons.ERROR, size=18, color=ft.Colors.ERROR),
            ft.Column(words, spacing=2, expand=True, tight=True),
        ],
        vertical_alignment=ft.CrossAxisAlignment.START,
        spacing=theme.SPACE_S,
    )


def _footer(message: ObservableMessage, actions: MessageActions, busy: bool, spread: bool = False) -> ft.Control:
    facts: list[ft.Control] = [
        GrowingCount(message.growing)
        if message.status is MessageStatus.STREAMING
        else small_text(statistics(message))
    ]
    if message.status is MessageStatus.STOPPED:
        facts.insert(0, fact_chip("stopped", "You stopped this answer; its text so far is kept."))
    if message.speaker:
        facts.insert(0, fact_chip(message.speaker, "The run that answered", strong=True))
    buttons = [_copy_button(message)]
    if actions.undo is not None:
        buttons.append(
            icon_button(ft.Icons.UNDO, "Bring back the messages before the last change", actions.undo, disabled=busy)
        )
    if actions.regenerate is not None:
        buttons.append(icon_button(ft.Icons.REFRESH, "Regenerate", actions.regenerate, disabled=busy))
    if actions.explain is not None and message.result is not None:
        buttons.append(icon_button(ft.Icons.INFO_OUTLINE, "What made this answer", actions.explain))
    return ft.Row(
        [
            ft.Row(facts, wrap=True, spacing=theme.SPACE_S, run_spacing=2, expand=True if spread else None),
            ft.Row(buttons, spacing=0, tight=True),
        ],
        spacing=theme.SPACE_S,
        wrap=not spread,
    )


def statistics(message: ObservableMessage) -> str:
    """Tokens, seconds, speed and time to first token, as far as they are known; the strength where it is not 1."""
    result = message.result
    if result is None:
        return _counted(message.new_tokens)
    speed = f" · {result.tokens_per_second:.0f} tok/s" if result.new_tokens > 1 else ""
    strength = result.model.adapter_strength
    scaled = f" · strength {strength:g}" if strength != 1 else ""
    limit = " · token limit reached" if str(result.finish_reason) == "length" else ""
    return (
        f"{result.new_tokens} tokens · {result.seconds:.1f} s{speed} · "
        f"first token {readable_seconds(result.time_to_first_token)}{scaled}{limit}"
    )


def _counted(new_tokens: int) -> str:
    return f"{new_tokens} tokens" if new_tokens else ""


def _copy_button(message: ObservableMessage) -> ft.Control:
    return icon_button(
        ft.Icons.CONTENT_COPY,
        "Copy",
        disabled=message.status is MessageStatus.STREAMING,
        action=ft.CopyToClipboard(message.text),
    )


def _user_buttons(message: ObservableMessage, actions: MessageActions, busy: bool, set_editing: Any) -> ft.Row:
    buttons = [_copy_button(message)]
    if actions.edit is not None:
        edit = "Edit and go on from here"
        buttons.append(icon_button(ft.Icons.EDIT_OUTLINED, edit, lambda: set_editing(True), disabled=busy))
    return ft.Row(buttons, spacing=0, tight=True)
