"""The frame round every screen: title bar, navigation, theme, keyboard, and one state for each window."""

from collections.abc import Callable
from dataclasses import dataclass

import flet as ft

from ui import theme
from ui.app_services import AppServices
from ui.app_state import WindowState
from ui.app_states import AppStates, ScreenPlace
from ui.background_tasks import guard, safe_component, show_notice
from ui.components.cards import fact_chip
from ui.datasets.datasets_screen import DatasetsScreen
from ui.datasets.datasets_state import DatasetsState
from ui.fonts import FONTS
from ui.inference.inference_state import InferenceState
from ui.inference.inference_tab import InferenceTab
from ui.runs.quick_state import QuickState
from ui.runs.runs_screen import RunsScreen
from ui.runs.runs_state import RunsState
from ui.runs.scan_state import ScanState
from ui.settings.settings_screen import SettingsScreen


@dataclass(frozen=True)
class Screen:
    """One destination of the rail. ``draw`` gives a component what it draws of the window's states."""

    name: str
    icon: ft.IconData
    chosen_icon: ft.IconData
    draw: Callable[[AppStates], ft.Control]


SCREENS = {
    ScreenPlace.INFERENCE: Screen(
        "Inference",
        ft.Icons.CHAT_OUTLINED,
        ft.Icons.CHAT,
        lambda states: InferenceTab(states.window, states.inference, key="Inference"),
    ),
    ScreenPlace.RUNS: Screen(
        "Runs",
        ft.Icons.MODEL_TRAINING_OUTLINED,
        ft.Icons.MODEL_TRAINING,
        lambda states: RunsScreen(
            states.window, states.runs, states.scan, states.quick, states.open_in_inference, key="Runs"
        ),
    ),
    ScreenPlace.DATASETS: Screen(
        "Datasets",
        ft.Icons.DATASET_OUTLINED,
        ft.Icons.DATASET,
        lambda states: DatasetsScreen(states.window, states.datasets, key="Datasets"),
    ),
    ScreenPlace.SETTINGS: Screen(
        "Settings",
        ft.Icons.SETTINGS_OUTLINED,
        ft.Icons.SETTINGS,
        lambda states: SettingsScreen(states.window, states.inference, key="Settings"),
    ),
}


def make_app(services: AppServices) -> Callable[[ft.Page], None]:
    """The function Flet calls for each new window; every window has its own state on shared services."""

    def main(page: ft.Page) -> None:
        page.title = "Adapter Playground"
        page.padding = 0
        page.fonts = FONTS
        page.theme = theme.app_theme()
        page.dark_theme = theme.app_theme()
        window = WindowState(services.database, web=page.web)
        inference = InferenceState(services, show_notice)
        datasets = DatasetsState(services.database, show_notice, on_change=inference.prompt.load)
        quick = QuickState(services, show_notice)
        runs = RunsState(services.database, show_notice, quick.close, lambda: states.read_choices_again())
        states = AppStates(window, inference, datasets, runs, ScanState(services.database), quick)
        page.on_connect = lambda _: window.redraw()
        page.render(App, window, states)

    return main


@safe_component
def App(window: WindowState, states: AppStates) -> ft.Control:
    """Title bar, rail and the open screen."""
    page, state = ft.context.page, states.inference

    def look() -> None:
        page.theme_mode = theme.THEME_MODES[window.theme_choice]
        window.dark = theme.is_dark(page)

    def size(e: ft.PageResizeEvent | None = None) -> None:
        window.resized(e.width if e else page.width or window.width, e.height if e else page.height or window.height)

    async def install() -> None:
        page.on_resize = guard(size)
        page.on_platform_brightness_change = guard(look)
        page.on_keyboard_event = guard(lambda e: keyboard(e, window, states))
        size()
        look()
        await guard(window.load)()
        look()
        await guard(state.load)()

    ft.use_effect(install, [])
    ft.use_effect(look, [window.theme_choice])
    screen = SCREENS[ScreenPlace(window.screen)]
    return ft.SafeArea(
        expand=True,
        content=ft.Column(
            [
                TitleBar(window, state),
                ft.Divider(height=1, thickness=1, color=ft.Colors.OUTLINE_VARIANT),
                ft.Row(
                    [
                        ft.NavigationRail(
                            selected_index=window.screen,
                            label_type=ft.NavigationRailLabelType.ALL,
                            min_width=theme.RAIL_WIDTH,
                            destinations=[
                                ft.NavigationRailDestination(
                                    icon=entry.icon, selected_icon=entry.chosen_icon, label=entry.name
                                )
                                for entry in SCREENS.values()
                            ],
                            on_change=guard(lambda e: window.open_screen(e.control.selected_index or 0)),
                        ),
                        ft.VerticalDivider(width=1, thickness=1, color=ft.Colors.OUTLINE_VARIANT),
                        ft.Container(screen.draw(states), expand=True, padding=16),
                    ],
                    expand=True,
                    spacing=0,
                    vertical_alignment=ft.CrossAxisAlignment.STRETCH,
                ),
            ],
            spacing=0,
            expand=True,
        ),
    )


@safe_component
def TitleBar(window: WindowState, state: InferenceState) -> ft.Control:
    """The name of the app, the demo mark, and the theme switch."""
    next_theme = "light" if window.dark else "dark"
    controls: list[ft.Control] = [
        ft.Icon(ft.Icons.AUTO_AWESOME, color=ft.Colors.PRIMARY, size=20),
        ft.Text("Adapter Playground", size=theme.TEXT_TITLE, weight=ft.FontWeight.W_500),
    ]
    if state.services.demo:
        controls.append(fact_chip("Demo workspace", "A small model made for trying things out; works offline", True))
    controls += [
        ft.Container(expand=True),
        ft.IconButton(
            ft.Icons.LIGHT_MODE_OUTLINED if window.dark else ft.Icons.DARK_MODE_OUTLINED,
            tooltip=f"Switch to the {next_theme} theme",
            on_click=guard(lambda: window.choose_theme(next_theme)),
        ),
    ]
    return ft.Container(
        ft.Row(controls, spacing=theme.SPACE_M), padding=ft.Padding.symmetric(horizontal=20, vertical=8), height=56
    )


async def keyboard(e: ft.KeyboardEvent, window: WindowState, states: AppStates) -> None:
    """Ctrl+Enter generates, Esc stops or closes, Ctrl+Shift+F opens the Full Chat View."""
    state, quick = states.inference, states.quick.desk
    command = e.ctrl or e.meta
    if e.key == "Escape":
        if state.chat.busy:
            state.chat.stop()
        elif quick is not None and quick.chat.busy:
            quick.chat.stop()
        elif window.full_chat_open:
            window.close_full_chat()
        elif window.screen == ScreenPlace.RUNS:
            states.back_from_runs()
    elif command and e.shift and e.key.upper() == "F":
        window.open_full_chat()
    elif command and e.key == "Enter" and not window.full_chat_open and window.screen == ScreenPlace.INFERENCE:
        await state.generate()
