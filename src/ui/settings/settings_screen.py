"""The Settings screen: look, how models are loaded, where the workspace lies."""

import flet as ft

from helpers.local_inference import Quantization
from ui import theme
from ui.app_state import THEME_CHOICES, WindowState
from ui.background_tasks import guard, safe_component, show_notice
from ui.components.cards import card, card_title, icon_button, said, small_text
from ui.components.picker import picker
from ui.inference.inference_state import InferenceState
from ui.inference.loaded_model_words import QUANTIZATION_WORDS
from ui.inference.model_choice_state import ModelChoiceState


@safe_component
def SettingsScreen(window: WindowState, state: InferenceState) -> ft.Control:
    """One column of cards, at a width that reads well."""
    return ft.Row(
        [
            ft.Container(
                width=min(720, window.width - 140),
                content=ft.Column(
                    [
                        LookCard(window),
                        LoadingCard(state.model, state),
                        LocatedBasesCard(state.model),
                        WorkspaceCard(state),
                    ],
                    spacing=theme.SPACE_M,
                    scroll=ft.ScrollMode.AUTO,
                ),
            )
        ],
        alignment=ft.MainAxisAlignment.CENTER,
        vertical_alignment=ft.CrossAxisAlignment.START,
        expand=True,
    )


@safe_component
def LookCard(window: WindowState) -> ft.Control:
    """Light, dark, or as the system."""
    return card(
        card_title(ft.Icons.PALETTE_OUTLINED, "Look"),
        ft.SegmentedButton(
            segments=[ft.Segment(value=name, label=ft.Text(name.capitalize())) for name in THEME_CHOICES],
            selected=[window.theme_choice],
            show_selected_icon=False,
            on_change=guard(lambda e: window.choose_theme(next(iter(e.control.selected)))),
        ),
    )


@safe_component
def LoadingCard(model: ModelChoiceState, state: InferenceState) -> ft.Control:
    """Quantisation, and giving the memory back."""

    async def unload() -> None:
        show_notice(await state.unload())

    return card(
        card_title(ft.Icons.MEMORY, "Model loading"),
        picker(
            "Quantisation",
            str(model.quantization),
            [ft.DropdownOption(key=str(kind), text=words) for kind, words in QUANTIZATION_WORDS.items()],
            lambda key: model.choose_quantization(Quantization(key)),
            helper_text="How the base model's weights are held; applies from the next answer on.",
        ),
        small_text("What was chosen, and why, stands in the details of the Inference tab once a model is loaded."),
        ft.Row(
            [
                ft.OutlinedButton(
                    "Unload model",
                    icon=ft.Icons.EJECT,
                    on_click=guard(unload),
                    tooltip="Ends the model process; its memory is given back",
                )
            ]
        ),
    )


@safe_component
def LocatedBasesCard(model: ModelChoiceState) -> ft.Control:
    """Where bases lie that were recorded on another machine."""
    rows: list[ft.Control] = [_location_row(name, folder, model) for name, folder in sorted(model.locations.items())]
    if not rows:
        rows = [small_text("None yet. “Locate base model...” in the Inference tab remembers a folder for every run.")]
    return card(card_title(ft.Icons.PLACE_OUTLINED, "Located base models"), *rows)


def _location_row(name: str, folder: str, model: ModelChoiceState) -> ft.Control:
    return ft.Row(
        [
            ft.Column(
                [said(name, 13), said(folder, theme.TEXT_SMALL, theme.SECONDARY_TEXT)],
                spacing=2,
                tight=True,
                expand=True,
            ),
            icon_button(
                ft.Icons.CLOSE,
                f"Forget where {name} lies; its folder is kept",
                lambda: model.forget_base_location(name),
            ),
        ],
        spacing=theme.SPACE_S,
    )


@safe_component
def WorkspaceCard(state: InferenceState) -> ft.Control:
    """Where everything is kept."""
    services = state.services
    rows: list[ft.Control] = [
        card_title(ft.Icons.FOLDER_OUTLINED, "Workspace"),
        said(str(services.workspace), 13),
        small_text(
            "The demo workspace. Your own opens without --demo."
            if services.demo
            else "Runs, datasets and settings are kept here. Nothing leaves this machine."
        ),
    ]
    if services.quit is not None:
        quit_app = services.quit
        rows.append(
            ft.Row(
                [
                    ft.OutlinedButton(
                        "Quit Adapter Playground",
                        icon=ft.Icons.POWER_SETTINGS_NEW,
                        on_click=guard(lambda: quit_app()),
                        tooltip="Ends the app and its model process; closing the browser tab alone does not",
                    )
                ]
            )
        )
    return card(*rows)
