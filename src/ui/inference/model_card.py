"""The card “Model & adapter”: run, base model, status and what is known about them."""

from pathlib import Path

import flet as ft

from helpers.adapter_validation import AdapterSummary, Severity
from helpers.local_inference import LoadedModel, SettingRange
from helpers.local_inference.adapter_strength import LEAST_STRENGTH, MOST_STRENGTH
from ui import theme
from ui.background_tasks import guard, safe_component
from ui.components.cards import card, card_title, fact_chip, facts, small_text, text_button
from ui.components.dialogs import Answer, text_dialog
from ui.components.doctor_report import DoctorReport, fact_section, peft_words
from ui.components.draft_field import DraftField
from ui.components.picker import picker
from ui.components.readable import readable_bytes
from ui.components.setting_slider import SettingSlider
from ui.inference.inference_state import InferenceState, ObservableChat
from ui.inference.loaded_model_words import effect_words, loaded_model_pairs
from ui.inference.model_choice_state import ChoicePhase, ModelChoiceState
from ui.inference.status_line import status_line

CHOSEN = "chosen"
STRENGTH = SettingRange(
    "adapter_strength",
    "Strength",
    "Multiplies what the adapter adds, from the next answer on. Nothing is loaded again.",
    LEAST_STRENGTH,
    MOST_STRENGTH,
)


@safe_component
def ModelCard(model: ModelChoiceState, chat: ObservableChat, state: InferenceState, dark: bool) -> ft.Control:
    """What answers: choose it, see whether it is fit to, and why."""
    details_open, set_details_open = ft.use_state(False)
    asking, set_asking = ft.use_state("")
    files = ft.use_memo(ft.FilePicker, [])
    ft.use_dialog(_folder_question(asking, model, files, lambda: set_asking("")) if asking else None)
    ready = model.phase is ChoicePhase.READY
    rows: list[ft.Control] = [
        card_title(ft.Icons.MEMORY, "Model & adapter"),
        RunPicker(model, chat.busy),
        DraftField(
            model.base_model,
            hash(model.base_model),
            on_commit=model.change_base_model,
            label="Base model",
            dense=True,
            text_size=theme.TEXT_BODY,
            disabled=chat.busy,
            tooltip="A Hugging Face id or a folder on this machine. Enter applies it and validates again.",
        ),
        status_line(model.phase, model.status, model.hint, dark),
    ]
    if ready and model.report is not None and model.report.adapter is not None:
        rows.append(_meta_line(model, model.report.adapter, state.services.workspace))
        rows.append(facts(_fact_chips(model, model.report.adapter, chat.loaded_model)))
        rows.append(_strength(model))
    if model.report is not None:
        words, icon = ("Hide details", ft.Icons.EXPAND_LESS) if details_open else ("Details", ft.Icons.EXPAND_MORE)
        rows.append(ft.Row([text_button(words, icon, lambda: set_details_open(not details_open))]))
        if details_open:
            rows.append(_details(model, chat.loaded_model))
    rows.append(_buttons(model, chat.busy, set_asking))
    return card(*rows)


@safe_component
def RunPicker(model: ModelChoiceState, busy: bool) -> ft.Control:
    """The recent runs, newest first; runs that cannot be used are listed with the reason."""

    options = [
        ft.DropdownOption(
            key=str(run.id),
            text=run.label,
            disabled=bool(run.blocked),
            content=_run_entry(run.label, run.blocked),
        )
        for run in model.runs
    ]
    if (model.checkpoint_path or model.run_id not in [run.id for run in model.runs]) and model.run_id is not None:
        # A checkpoint, or an older run that the Runs screen opened, is not among the recent ones.
        options.insert(0, ft.DropdownOption(key=CHOSEN, text=model.run_name))
        chosen: str | None = CHOSEN
    else:
        chosen = str(model.run_id) if model.run_id is not None else None

    async def choose(key: str) -> None:
        if key != CHOSEN:
            await model.select_run(int(key))

    return ft.Row(
        [
            picker(
                "Training run",
                chosen,
                options,
                choose,
                expand=True,
                hint_text="Choose a run" if model.runs else "No training runs yet",
                disabled=busy or not model.runs,
                menu_height=420,
            ),
            ft.IconButton(
                ft.Icons.REFRESH,
                tooltip="Refresh the list of runs",
                on_click=guard(model.refresh_runs),
                disabled=busy,
            ),
        ],
        spacing=4,
    )


def _run_entry(label: str, blocked: str) -> ft.Control:
    if not blocked:
        return ft.Text(label, size=theme.TEXT_BODY)
    return ft.Column(
        [
            ft.Text(label, size=theme.TEXT_BODY, color=ft.Colors.OUTLINE),
            ft.Text(blocked, size=theme.TEXT_SMALL, color=ft.Colors.OUTLINE, max_lines=2, width=300),
        ],
        spacing=0,
        tight=True,
    )


def _meta_line(model: ModelChoiceState, adapter: AdapterSummary, workspace: Path) -> ft.Control:
    inside = adapter.path.is_relative_to(workspace)
    shown = adapter.path.relative_to(workspace) if inside else adapter.path
    return ft.Container(
        tooltip=f"Adapter: {adapter.path}\nBase model: {model.base_model}",
        content=ft.Column(
            [
                small_text(f"Adapter: {shown}", max_lines=1, overflow=ft.TextOverflow.ELLIPSIS),
                small_text(f"Base model: {model.base_model}", max_lines=1, overflow=ft.TextOverflow.ELLIPSIS),
            ],
            spacing=2,
            tight=True,
        ),
    )


def _fact_chips(model: ModelChoiceState, adapter: AdapterSummary, loaded: LoadedModel | None) -> list[ft.Control]:
    chips: list[ft.Control] = [
        fact_chip(
            peft_words(adapter.peft_type, adapter.rank), f"Target modules: {', '.join(adapter.target_modules)}"
        ),
        fact_chip(readable_bytes(adapter.size_bytes), "Size of the adapter's weights"),
    ]
    if loaded is not None and loaded.adapter_path == model.adapter_path:
        chips.append(
            fact_chip(f"{loaded.dtype} · {loaded.device}", f"{loaded.quantization}: {loaded.quantization_reason}")
        )
        if loaded.effect is not None:
            layers = f"{loaded.effect.matched_layers} layers"
            chips.append(fact_chip(layers, f"The adapter is {effect_words(loaded.effect)}."))
        chips.append(fact_chip(f"template: {loaded.template_source}", "Where the chat template comes from"))
    warnings = [finding for finding in model.remarks if finding.severity is Severity.WARNING]
    if warnings:
        chips.append(fact_chip(f"{len(warnings)} to note", "\n".join(finding.message for finding in warnings), True))
    return chips


def _strength(model: ModelChoiceState) -> ft.Control:
    fixed = model.fixed_strength
    words = (
        f"This adapter acts as trained or not at all: {fixed}." if fixed else "0 = the base alone, 1 = as trained."
    )
    slider = SettingSlider(
        STRENGTH,
        model.strength,
        LEAST_STRENGTH,
        MOST_STRENGTH,
        0.05,
        2,
        model.choose_strength,
        disabled=fixed is not None,
        key="strength",
    )
    return ft.Column(
        [slider, small_text(words)], spacing=0, tight=True, horizontal_alignment=ft.CrossAxisAlignment.STRETCH
    )


def _details(model: ModelChoiceState, loaded: LoadedModel | None) -> ft.Control:
    parts: list[ft.Control] = [DoctorReport(model.report)] if model.report is not None else []
    if loaded is not None and loaded.adapter_path == model.adapter_path:
        parts.append(fact_section("As loaded", loaded_model_pairs(loaded)))
    elif model.phase is ChoicePhase.READY:
        parts.append(fact_section("As loaded", [("Runs as", "decided and explained here when it is loaded")]))
    return ft.Column(parts, spacing=theme.SPACE_L, tight=True)


def _buttons(model: ModelChoiceState, busy: bool, ask: Answer) -> ft.Control:
    buttons: list[ft.Control] = [
        text_button("Use latest completed run", ft.Icons.HISTORY, model.use_latest_run, disabled=busy),
        text_button(
            "Adapter folder...",
            ft.Icons.CREATE_NEW_FOLDER_OUTLINED,
            lambda: ask("adapter"),
            "Use an adapter that is in no run yet",
            busy,
        ),
    ]
    if model.base_is_missing:
        buttons.append(
            ft.FilledTonalButton(
                "Locate base model...",
                icon=ft.Icons.SEARCH,
                tooltip="Choose the folder where this base model lies on this machine; it is remembered",
                on_click=guard(lambda: ask("base")),
                disabled=busy,
            )
        )
    return ft.Row(buttons, wrap=True, spacing=0, run_spacing=4)


def _folder_question(asking: str, model: ModelChoiceState, files: ft.FilePicker, close: Answer) -> ft.AlertDialog:
    adapter = asking == "adapter"

    async def take(folder: str) -> None:
        close()
        if folder.strip():
            await (model.add_adapter_folder if adapter else model.locate_base_model)(folder.strip())

    async def browse() -> None:
        title = "Choose the adapter folder" if adapter else "Choose the base model's folder"
        folder = await files.get_directory_path(dialog_title=title)
        if folder:
            await take(folder)

    # A browser may not see the folders of the machine, so there the path is typed.
    can_browse = not ft.context.page.web
    return text_dialog(
        title="Adapter folder" if adapter else "Locate base model",
        label="Folder",
        hint=(
            "The folder that holds adapter_config.json and the adapter's weights. It is kept as an imported run."
            if adapter
            else f"The folder on this machine that holds {model.base_model}. It is remembered."
        ),
        yes="Use folder",
        on_text=take,
        on_close=close,
        on_browse=browse if can_browse else None,
    )
