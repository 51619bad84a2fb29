"""The card “Generation”: preset, sliders and the advanced settings."""

from collections.abc import Callable

import flet as ft

from helpers.local_inference import ContextOverflow, GenerationSettings, setting_range
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import card, card_title, small_text
from ui.components.dialogs import confirm_dialog, text_dialog
from ui.components.draft_field import DraftField
from ui.components.picker import picker
from ui.components.setting_slider import SettingSlider, parse_number
from ui.inference.sampling_state import CUSTOM_PRESET, SamplingState

SLIDER_MAX_NEW_TOKENS = 4096
SLIDER_MIN_NEW_TOKENS = 16
# Setting, then where its slider begins and ends, its step, and the digits after the decimal point.
ADVANCED_SLIDERS: tuple[tuple[str, tuple[float, float, float, int]], ...] = (
    ("top_p", (0.05, 1, 0.05, 2)),
    ("top_k", (0, 200, 1, 0)),
    ("min_p", (0, 1, 0.01, 2)),
    ("typical_p", (0.05, 1, 0.05, 2)),
    ("frequency_penalty", (-2, 2, 0.1, 1)),
    ("presence_penalty", (-2, 2, 0.1, 1)),
    ("dynatemp_range", (0, 2, 0.05, 2)),
    ("dynatemp_exponent", (0.1, 10, 0.1, 1)),
    ("no_repeat_ngram_size", (0, 20, 1, 0)),
    ("penalty_alpha", (0, 1, 0.05, 2)),
)


@safe_component
def SamplingCard(sampling: SamplingState, context_length: int | None, recount: Callable[[], None]) -> ft.Control:
    """How the next answer is sampled. ``recount`` is told when the prompt's length changes with a setting."""
    advanced, set_advanced = ft.use_state(False)
    rows: list[ft.Control] = [
        card_title(ft.Icons.TUNE, "Generation"),
        PresetPicker(sampling),
        *_main_sliders(sampling, context_length),
        ft.ListTile(
            title=ft.Text("Advanced", size=theme.TEXT_BODY),
            subtitle=small_text(_advanced_summary(sampling), max_lines=1, overflow=ft.TextOverflow.ELLIPSIS),
            trailing=ft.Icon(ft.Icons.EXPAND_LESS if advanced else ft.Icons.EXPAND_MORE),
            content_padding=ft.Padding.symmetric(horizontal=4),
            dense=True,
            on_click=guard(lambda: set_advanced(not advanced)),
            tooltip="Everything else that decides an answer",
        ),
    ]
    if advanced:
        rows.append(_advanced(sampling, recount))
    return card(*rows)


@safe_component
def PresetPicker(sampling: SamplingState) -> ft.Control:
    """Choose a preset; save and delete own ones."""
    naming, set_naming = ft.use_state(False)
    replacing, set_replacing = ft.use_state("")

    async def save(name: str) -> None:
        set_naming(False)
        if name in sampling.own_presets:
            set_replacing(name)
        else:
            await sampling.save_preset(name)

    async def replace() -> None:
        set_replacing("")
        await sampling.save_preset(replacing)

    ft.use_dialog(
        confirm_dialog(
            title="Replace preset?",
            text=f"You already have a preset called “{replacing}”. Its values are replaced by those on screen.",
            yes="Replace",
            on_yes=replace,
            on_close=lambda: set_replacing(""),
        )
        if replacing
        else None
    )
    ft.use_dialog(
        text_dialog(
            title="Save preset",
            label="Name",
            hint="Keeps temperature, lengths, penalties, seed and stop sequences under this name.",
            yes="Save",
            on_text=save,
            on_close=lambda: set_naming(False),
        )
        if naming
        else None
    )
    names = sampling.preset_names
    if sampling.preset == CUSTOM_PRESET:
        names = [*names, CUSTOM_PRESET]
    buttons: list[ft.Control] = [
        ft.IconButton(
            ft.Icons.BOOKMARK_ADD_OUTLINED, tooltip="Save as preset", on_click=guard(lambda: set_naming(True))
        )
    ]
    if sampling.preset_is_own:
        buttons.append(
            ft.IconButton(
                ft.Icons.DELETE_OUTLINE, tooltip="Delete this preset", on_click=guard(sampling.delete_preset)
            )
        )
    options = [ft.DropdownOption(key=name, text=name) for name in names]
    return ft.Row(
        [picker("Preset", sampling.preset, options, sampling.choose_preset, expand=True), *buttons], spacing=4
    )


def _main_sliders(sampling: SamplingState, context_length: int | None) -> list[ft.Control]:
    settings = sampling.settings
    most_tokens = max(min(SLIDER_MAX_NEW_TOKENS, context_length or SLIDER_MAX_NEW_TOKENS), 2 * SLIDER_MIN_NEW_TOKENS)
    return [
        _slider(sampling, "temperature", settings.temperature, 0, 2, 0.05, 2),
        _slider(sampling, "max_new_tokens", settings.max_new_tokens, SLIDER_MIN_NEW_TOKENS, most_tokens, 16, 0),
        _slider(sampling, "repetition_penalty", settings.repetition_penalty, 1, 2, 0.05, 2),
    ]


def _slider(
    sampling: SamplingState, name: str, value: float, low: float, high: float, step: float, digits: int
) -> ft.Control:
    return SettingSlider(
        name, value, low, high, step, digits, lambda chosen: sampling.change(**{name: chosen}), key=name
    )


def _advanced(sampling: SamplingState, recount: Callable[[], None]) -> ft.Control:
    def change_system_prompt(text: str) -> None:
        sampling.system_prompt = text
        recount()

    def change_history(e: ft.Event[ft.Switch]) -> None:
        sampling.include_history = bool(e.control.value)
        recount()

    async def change_overflow(e: ft.Event[ft.Switch]) -> None:
        await sampling.choose_overflow(ContextOverflow.DROP_OLDEST if e.control.value else ContextOverflow.REFUSE)
        recount()

    return ft.Column(
        [
            DraftField(
                sampling.system_prompt,
                0,
                on_change=change_system_prompt,
                label="System prompt",
                multiline=True,
                min_lines=2,
                max_lines=5,
                text_size=theme.TEXT_BODY,
                tooltip="Sent before the conversation, where the chat template has a place for it.",
            ),
            ft.Switch(
                label="Include history",
                value=sampling.include_history,
                on_change=guard(change_history),
                tooltip="Off: each Generate is a fresh single turn. The Full Chat View always sends the history.",
            ),
            ft.Switch(
                label="Leave out the oldest turns when too long",
                value=sampling.on_overflow is ContextOverflow.DROP_OLDEST,
                on_change=guard(change_overflow),
                tooltip="When the conversation is longer than the model's context. Off: it is refused.",
            ),
            *(_slider(sampling, name, getattr(sampling.settings, name), *shape) for name, shape in ADVANCED_SLIDERS),
            SeedField(sampling),
            StopField(sampling),
        ],
        spacing=theme.SPACE_S,
        tight=True,
        horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
    )


@safe_component
def SeedField(sampling: SamplingState) -> ft.Control:
    """Empty = a new seed for each answer, recorded with it."""
    known = setting_range("seed")
    seed = sampling.settings.seed

    def commit(text: str) -> None:
        sampling.change(seed=int(parse_number(known.label, text, whole=True)) if text.strip() else None)

    return DraftField(
        "" if seed is None else str(seed),
        hash((seed, sampling.version)),
        on_commit=commit,
        label=known.label,
        hint_text="random",
        dense=True,
        text_size=theme.TEXT_BODY,
        tooltip=known.explanation,
    )


@safe_component
def StopField(sampling: SamplingState) -> ft.Control:
    """One stop sequence a line; ``\\n`` stands for a line break."""
    known = setting_range("stop")
    shown = "\n".join(text.replace("\n", "\\n") for text in sampling.settings.stop)

    def commit(text: str) -> None:
        sampling.change(stop=tuple(line.replace("\\n", "\n") for line in text.splitlines() if line))

    return DraftField(
        shown,
        hash((shown, sampling.version)),
        on_commit=commit,
        label="Stop sequences, one a line",
        multiline=True,
        min_lines=1,
        max_lines=4,
        text_size=theme.TEXT_BODY,
        tooltip=f"{known.explanation} Write \\n for a line break.",
    )


def _advanced_summary(sampling: SamplingState) -> str:
    settings, plain = sampling.settings, GenerationSettings()
    parts: list[str] = []
    if sampling.system_prompt.strip():
        parts.append("system prompt")
    if sampling.include_history:
        parts.append("with history")
    if sampling.on_overflow is ContextOverflow.DROP_OLDEST:
        parts.append("oldest turns left out")
    for name in (*(name for name, _ in ADVANCED_SLIDERS), "seed"):
        value = getattr(settings, name)
        if value != getattr(plain, name):
            parts.append(f"{setting_range(name).label.lower()} {value:g}")
    if settings.stop:
        parts.append(f"{len(settings.stop)} stop")
    return ", ".join(parts) if parts else "system prompt, top-p, top-k, min-p, seed, stop sequences"
