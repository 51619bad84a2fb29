"""The card “Quick local inference”: ask the open run something without leaving its details."""

from collections.abc import Callable
from typing import Any, cast

import flet as ft

from db.models import RunStatus
from helpers.chat_session import Message
from helpers.run_overview import RunDetails
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import card, card_title, small_text
from ui.components.draft_field import DraftField
from ui.components.picker import picker
from ui.inference.answer_details import answer_details_dialog
from ui.inference.inference_state import InferenceState, ObservableChat
from ui.inference.model_choice_state import ChoicePhase, ModelChoiceState
from ui.inference.prompt_state import PromptState
from ui.inference.status_line import status_line
from ui.inference.stop_button import stop_button
from ui.inference.transcript import Transcript
from ui.runs.quick_state import QuickState

TRANSCRIPT_HEIGHT = 280


@safe_component
def QuickInference(quick: QuickState, run: RunDetails, dark: bool) -> ft.Control:
    """A button at first; validating reads the weights, which not every look at a run should cost."""
    usable = run.status is RunStatus.COMPLETED and bool(run.adapter_path)
    title = card_title(ft.Icons.BOLT, "Quick local inference")
    if quick.desk is None or quick.run_id != run.id:
        words = (
            "Ask this run something here, with prompts of its own dataset."
            if usable
            else "Only a completed run with an adapter can answer. A checkpoint can be opened in Inference."
        )
        start = ft.FilledTonalButton(
            "Try this run", icon=ft.Icons.PLAY_ARROW, on_click=guard(lambda: quick.start(run.id)), disabled=not usable
        )
        return card(title, ft.Row([small_text(words, expand=True), start]))
    desk = quick.desk
    return card(title, QuickDesk(desk, desk.model, desk.chat, dark))


@safe_component
def QuickDesk(desk: InferenceState, model: ModelChoiceState, chat: ObservableChat, dark: bool) -> ft.Control:
    """Status, prompt, buttons and the answers."""
    explained, explain = ft.use_state(cast("Message | None", None))
    ft.use_dialog(answer_details_dialog(explained, lambda: explain(None)) if explained is not None else None)
    ready = model.phase is ChoicePhase.READY
    rows: list[ft.Control] = [
        status_line(model.phase, model.status, model.hint, dark),
        QuickPrompt(desk.prompt, ready, desk.generate),
        ft.Row(
            [small_text(chat.status, expand=True), _button(chat, desk, ready)],
            vertical_alignment=ft.CrossAxisAlignment.CENTER,
        ),
    ]
    if chat.messages:
        talk = Transcript(chat, desk, dark, explain, None, "")
        rows.append(ft.Container(talk, height=TRANSCRIPT_HEIGHT))
    return ft.Column(rows, spacing=theme.SPACE_M, tight=True)


@safe_component
def QuickPrompt(prompt: PromptState, ready: bool, generate: Callable[[], Any]) -> ft.Control:
    """Samples of the run's dataset, where it has one, and the field."""
    rows: list[ft.Control] = []
    if prompt.samples:
        options = [
            ft.DropdownOption(key=str(number), text=sample.prompt[:120])
            for number, sample in enumerate(prompt.samples)
        ]
        shown = str(prompt.sample_number) if prompt.sample_number is not None else None
        rows.append(
            ft.Row(
                [
                    picker(
                        "Prompts of its dataset",
                        shown,
                        options,
                        lambda key: prompt.choose_sample(int(key)),
                        expand=True,
                        disabled=not ready,
                    ),
                    ft.IconButton(ft.Icons.SHUFFLE, tooltip="Other prompts", on_click=guard(prompt.draw_samples)),
                ]
            )
        )
    rows.append(
        ft.Row(
            [
                DraftField(
                    prompt.text,
                    prompt.version,
                    on_change=prompt.typed,
                    label="Quick prompt",
                    multiline=True,
                    min_lines=2,
                    max_lines=5,
                    disabled=not ready,
                    expand=True,
                )
            ]
        )
    )
    return ft.Column(rows, spacing=theme.SPACE_M, tight=True)


def _button(chat: ObservableChat, desk: InferenceState, ready: bool) -> ft.Control:
    if chat.busy:
        return stop_button(chat)
    return ft.FilledButton(
        "Generate", icon=ft.Icons.PLAY_ARROW, on_click=guard(lambda: desk.generate()), disabled=not ready
    )
