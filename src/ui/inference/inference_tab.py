"""The Inference tab: left what runs, right the conversation with the prompt below it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

import flet as ft

from helpers.chat_export import ExportFormat
from helpers.chat_session import Message
from helpers.local_inference import RenderedPrompt
from ui import theme
from ui.app_state import WindowState
from ui.background_tasks import guard, safe_component, show_notice
from ui.components.cards import small_text
from ui.components.dialogs import confirm_dialog
from ui.inference.answer_details import answer_details_dialog, exact_prompt_dialog
from ui.inference.full_chat_dialog import full_chat_dialog
from ui.inference.inference_state import InferenceState, ObservableChat
from ui.inference.model_card import ModelCard
from ui.inference.prompt_card import PromptCard
from ui.inference.sampling_card import SamplingCard
from ui.inference.transcript import Transcript

PLACEHOLDER = "Responses will appear here after running inference."
EXPORTS = {
    ExportFormat.TXT: ("Plain text (.txt)", "txt"),
    ExportFormat.MARKDOWN: ("Markdown (.md)", "md"),
    ExportFormat.JSON: ("JSON with every detail (.json)", "json"),
    ExportFormat.JSONL: ("JSONL in chat format (.jsonl)", "jsonl"),
}


@safe_component
def InferenceTab(window: WindowState, state: InferenceState) -> ft.Control:
    """Two panes; below 1100 pixels the left one can be folded away."""
    explained, explain = ft.use_state(cast("Message | None", None))
    rendered, show_rendered = ft.use_state(cast("RenderedPrompt | None", None))
    asking_clear, ask_clear = ft.use_state(False)
    chat = state.chat

    async def show_prompt() -> None:
        show_rendered(await state.render_prompt(state.prompt.text, with_history=state.sampling.include_history))

    def clear() -> None:
        ask_clear(False)
        chat.clear()

    ft.use_dialog(
        full_chat_dialog(
            state,
            (window.width, window.height),
            window.dark,
            explain,
            lambda: ask_clear(True),
            window.close_full_chat,
        )
        if window.full_chat_open
        else None
    )
    ft.use_dialog(_question(asking_clear, clear, lambda: ask_clear(False)))
    ft.use_dialog(_explanation(explained, rendered, lambda: (explain(None), show_rendered(None))))
    narrow = window.width < theme.NARROW_WIDTH
    panes: list[ft.Control] = []
    if window.side_pane_open or not narrow:
        panes.append(SidePane(state, window.dark, theme.NARROW_PANE_WIDTH if narrow else theme.SIDE_PANE_WIDTH))
    compact = narrow and window.side_pane_open
    beside = theme.RAIL_WIDTH + 2 * theme.SPACE_L + (theme.SIDE_PANE_WIDTH + theme.SPACE_L if not narrow else 0)
    panes.append(
        ft.Container(
            content=ft.Column(
                [
                    ResponsesHeader(chat, window, state, compact, lambda: ask_clear(True)),
                    ft.Container(Transcript(chat, state, window.dark, explain, None, PLACEHOLDER), expand=True),
                    RunningStatus(chat),
                    PromptCard(state.model, chat, state, compact, show_prompt),
                ],
                spacing=theme.SPACE_S,
            ),
            # Lines longer than this are hard to read, so a wide window gets margins.
            width=theme.READING_WIDTH if window.width - beside > theme.READING_WIDTH else None,
            expand=None if window.width - beside > theme.READING_WIDTH else True,
        )
    )
    return ft.Row(
        panes,
        spacing=theme.SPACE_L,
        expand=True,
        alignment=ft.MainAxisAlignment.CENTER,
        vertical_alignment=ft.CrossAxisAlignment.STRETCH,
    )


def _question(asking: bool, clear: Callable[..., Any], close: Callable[..., Any]) -> ft.AlertDialog | None:
    if not asking:
        return None
    return confirm_dialog(
        "Clear history?",
        "Every prompt and response here and in the Full Chat View is removed. Export the chat first to keep it.",
        "Clear history",
        clear,
        close,
    )


def _explanation(
    explained: Message | None, rendered: RenderedPrompt | None, close: Callable[..., Any]
) -> ft.AlertDialog | None:
    if explained is not None:
        return answer_details_dialog(explained, close)
    return exact_prompt_dialog(rendered, close) if rendered is not None else None


@safe_component
def SidePane(state: InferenceState, dark: bool, width: int) -> ft.Control:
    """What runs and how it generates."""
    return ft.Container(
        width=width,
        content=ft.Column(
            [
                ModelCard(state.model, state.chat, state, dark),
                SamplingPane(state.chat, state),
            ],
            spacing=theme.SPACE_M,
            scroll=ft.ScrollMode.AUTO,
        ),
    )


@safe_component
def SamplingPane(chat: ObservableChat, state: InferenceState) -> ft.Control:
    """The sampling card, bounded by the loaded model's context."""
    context = chat.loaded_model.context_length if chat.loaded_model is not None else None
    report = state.model.report
    if context is None and report is not None and report.base is not None:
        context = report.base.context_length
    return SamplingCard(state.sampling, context, state.count_tokens_soon)


@safe_component
def ResponsesHeader(
    chat: ObservableChat, window: WindowState, state: InferenceState, compact: bool, ask_clear: Callable[..., Any]
) -> ft.Control:
    """The heading with everything that concerns the whole conversation; ``compact`` leaves out the words."""
    picker = ft.use_memo(ft.FilePicker, [])

    async def export(chosen: ExportFormat) -> None:
        name = f"chat-{datetime.now():%Y%m%d-%H%M%S}.{EXPORTS[chosen][1]}"
        saved = await window.save_file(picker, name, state.export(chosen))
        if saved:
            show_notice(f"Chat exported: {saved}")

    empty = not chat.messages
    controls: list[ft.Control] = [
        ft.Text("Prompt & responses", size=18, weight=ft.FontWeight.W_500, expand=True, max_lines=1),
        _clear_button(ask_clear, empty, compact),
        _export_menu(export, empty, compact),
        ft.FilledTonalButton(
            "Full Chat View",
            icon=ft.Icons.OPEN_IN_FULL,
            on_click=guard(window.open_full_chat),
            tooltip="The same conversation, large (Ctrl+Shift+F)",
        ),
    ]
    if compact:
        del controls[0]
        controls.insert(0, ft.Container(expand=True))
    if window.width < theme.NARROW_WIDTH:
        shown = window.side_pane_open
        controls.insert(
            0,
            ft.IconButton(
                ft.Icons.MENU_OPEN if shown else ft.Icons.TUNE,
                tooltip="Hide model and settings" if shown else "Show model and settings",
                on_click=guard(window.toggle_side_pane),
            ),
        )
    return ft.Row(controls, spacing=4 if compact else theme.SPACE_S)


def _clear_button(ask_clear: Callable[..., Any], empty: bool, compact: bool) -> ft.Control:
    icon = ft.Icons.DELETE_SWEEP_OUTLINED
    if compact:
        return ft.IconButton(icon, tooltip="Clear history", on_click=guard(ask_clear), disabled=empty)
    return ft.TextButton(
        "Clear history",
        icon=icon,
        on_click=guard(ask_clear),
        disabled=empty,
        tooltip="Remove every prompt and response; asks once",
    )


def _export_menu(export: Callable[[ExportFormat], Any], empty: bool, compact: bool) -> ft.Control:
    color = ft.Colors.OUTLINE if empty else ft.Colors.PRIMARY
    face: list[ft.Control] = [ft.Icon(ft.Icons.DOWNLOAD, size=18, color=color)]
    if not compact:
        face.append(ft.Text("Export chats", size=theme.TEXT_BODY, weight=ft.FontWeight.W_500, color=color))
    return ft.PopupMenuButton(
        content=ft.Container(
            ft.Row(face, tight=True, spacing=theme.SPACE_S), padding=ft.Padding.symmetric(horizontal=12, vertical=8)
        ),
        items=[
            ft.PopupMenuItem(content=label, on_click=guard(lambda _, kind=kind: export(kind)))
            for kind, (label, _suffix) in EXPORTS.items()
        ],
        disabled=empty,
        tooltip="Export chats to a file",
    )


@safe_component
def RunningStatus(chat: ObservableChat) -> ft.Control:
    """What is being done while an answer is written; keeps its height when nothing is."""
    words = [ft.Text(chat.status, size=13)] if chat.status else []
    if chat.status_detail:
        words.append(small_text(chat.status_detail))
    return ft.Semantics(live_region=True, content=ft.Container(ft.Row(list(words), spacing=theme.SPACE_M), height=20))
