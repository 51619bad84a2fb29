"""The card “Prompt”: sample prompts, the text, its length, Generate and Stop."""

from typing import Any

import flet as ft

from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import card, card_title, small_text
from ui.components.draft_field import DraftField
from ui.components.picker import picker
from ui.inference.inference_state import InferenceState, ObservableChat
from ui.inference.model_choice_state import ChoicePhase, ModelChoiceState
from ui.inference.prompt_state import PromptState
from ui.inference.stop_button import stop_button


@safe_component
def PromptCard(
    model: ModelChoiceState, chat: ObservableChat, state: InferenceState, compact: bool, show_prompt: Any
) -> ft.Control:
    """Locked until an adapter is validated. ``compact`` puts the two pickers below each other."""
    ready = model.phase is ChoicePhase.READY
    return card(
        card_title(
            ft.Icons.EDIT_OUTLINED,
            "Prompt",
            *([] if ready else [ft.Icon(ft.Icons.LOCK_OUTLINE, size=16, color=theme.SECONDARY_TEXT)]),
        ),
        SamplePicker(state.prompt, state, ready, compact),
        PromptText(state.prompt, ready, state),
        ft.Row(
            [
                ft.Container(PromptLength(state.prompt, state, ready, show_prompt), expand=True),
                GenerateButton(chat, state, ready),
            ],
            vertical_alignment=ft.CrossAxisAlignment.CENTER,
        ),
    )


@safe_component
def SamplePicker(prompt: PromptState, state: InferenceState, ready: bool, compact: bool) -> ft.Control:
    """A dataset and five random prompts of it."""

    def choose_sample(number: str) -> None:
        prompt.choose_sample(int(number))
        state.count_tokens_soon()

    known = {dataset.id: dataset for dataset in prompt.datasets}
    dataset_row = [
        picker(
            "Dataset for sample prompts",
            str(prompt.dataset_id) if prompt.dataset_id in known else None,
            [
                ft.DropdownOption(key=str(dataset.id), text=f"{dataset.name} ({dataset.row_count:,} rows)")
                for dataset in prompt.datasets
            ],
            lambda key: prompt.choose_dataset(int(key)),
            expand=2,
            hint_text="No saved dataset",
            disabled=not ready,
        ),
        ft.IconButton(
            ft.Icons.REFRESH, tooltip="Refresh the datasets", on_click=guard(prompt.load), disabled=not ready
        ),
    ]
    sample_row = [
        picker(
            "Sample prompts",
            str(prompt.sample_number) if prompt.sample_number is not None else None,
            [
                ft.DropdownOption(key=str(number), text=_one_line(sample.prompt))
                for number, sample in enumerate(prompt.samples)
            ],
            choose_sample,
            expand=3,
            hint_text="Choose one" if prompt.samples else "None",
            disabled=not ready,
        ),
        ft.IconButton(
            ft.Icons.SHUFFLE,
            tooltip="Draw 5 new sample prompts",
            on_click=guard(prompt.draw_samples),
            disabled=not ready or not prompt.samples,
        ),
    ]
    if compact:
        return ft.Column([ft.Row(dataset_row, spacing=4), ft.Row(sample_row, spacing=4)], spacing=theme.SPACE_S)
    return ft.Row([*dataset_row, *sample_row], spacing=4)


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 90 else f"{flat[:89]}…"


@safe_component
def PromptText(prompt: PromptState, ready: bool, state: InferenceState) -> ft.Control:
    """The text field; a chosen sample fills it."""

    def typed(text: str) -> None:
        prompt.typed(text)
        state.count_tokens_soon()

    return DraftField(
        prompt.text,
        prompt.version,
        on_change=typed,
        label="Prompt",
        hint_text="Ask your fine-tuned model something." if ready else "Validate an adapter to unlock the prompt.",
        multiline=True,
        min_lines=3,
        max_lines=8,
        text_size=15,
        disabled=not ready,
    )


@safe_component
def PromptLength(prompt: PromptState, state: InferenceState, ready: bool, show_prompt: Any) -> ft.Control:
    """Characters, real tokens and the context; the sample's expected answer."""
    rendered = prompt.rendered
    parts = [f"{len(prompt.text):,} characters"]
    color = theme.SECONDARY_TEXT
    if rendered is not None and ready:
        limit = rendered.context_length
        parts.append(f"{rendered.token_count:,} tokens" + (f" of {limit:,}" if limit else ""))
        if limit and rendered.token_count >= limit:
            color = ft.Colors.ERROR
            parts.append("too long for this model")
    row: list[ft.Control] = [
        small_text(" · ".join(parts), color, tooltip="Tokens with the chat template around them")
    ]
    if ready and prompt.text.strip():
        row.append(
            ft.TextButton(
                "Exact prompt",
                tooltip="The text the model gets, with its special tokens",
                on_click=guard(show_prompt),
                style=ft.ButtonStyle(
                    padding=ft.Padding.symmetric(horizontal=6), text_style=ft.TextStyle(size=theme.TEXT_SMALL)
                ),
            )
        )
    if prompt.expected is not None:
        row.append(
            small_text(
                f"Expected: {_one_line(prompt.expected)}",
                tooltip=prompt.expected,
                max_lines=1,
                overflow=ft.TextOverflow.ELLIPSIS,
                expand=True,
            )
        )
    return ft.Row(row, spacing=theme.SPACE_S)


@safe_component
def GenerateButton(chat: ObservableChat, state: InferenceState, ready: bool) -> ft.Control:
    """The screen's one primary action; gives way to Stop while an answer is written."""
    if chat.busy:
        return stop_button(chat)
    return ft.FilledButton(
        "Generate",
        icon=ft.Icons.PLAY_ARROW,
        tooltip="Ctrl+Enter",
        on_click=guard(state.generate),
        disabled=not ready,
    )
