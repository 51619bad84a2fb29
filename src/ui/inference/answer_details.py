"""“What made this answer” and “Exact prompt”: the two dialogs that explain instead of doing."""

from collections.abc import Callable, Sequence
from typing import Any

import flet as ft

from helpers.adapter_validation import short_fingerprint
from helpers.chat_session import Message
from helpers.local_inference import GenerationResult, GenerationSettings, RenderedPrompt, setting_range
from ui import theme
from ui.background_tasks import guard
from ui.components.cards import fact_row, said, small_text
from ui.components.readable import readable_seconds
from ui.fonts import CODE_FONT
from ui.inference.loaded_model_words import loaded_model_pairs, peft_words, strength_words

_MAIN_SETTINGS = ("temperature", "max_new_tokens", "repetition_penalty")


def answer_details_dialog(message: Message, close: Callable[[], Any]) -> ft.AlertDialog:
    """Model, adapter, template, settings, seed, counts and times of one answer."""
    pairs = _pairs(message.result) if message.result is not None else []
    return _dialog(
        "What made this answer",
        [fact_row(name, value, 130) for name, value in pairs],
        "\n".join(f"{name}: {value}" for name, value in pairs),
        close,
    )


def exact_prompt_dialog(rendered: RenderedPrompt, close: Callable[[], Any]) -> ft.AlertDialog:
    """The rendered template, special tokens visible."""
    source = f"Template: {rendered.template_source}. Tokenizer: {rendered.tokenizer_source}."
    return _dialog(
        f"Exact prompt · {rendered.token_count:,} tokens",
        [
            small_text(" ".join([source, *rendered.notes])),
            ft.Container(
                said(rendered.text, 13, font_family=CODE_FONT),
                bgcolor=ft.Colors.SURFACE_CONTAINER_LOWEST,
                border_radius=theme.RADIUS_S,
                padding=theme.SPACE_M,
            ),
        ],
        rendered.text,
        close,
    )


def _dialog(title: str, rows: Sequence[ft.Control], copied: str, close: Callable[[], Any]) -> ft.AlertDialog:
    return ft.AlertDialog(
        title=ft.Text(title, size=20),
        scrollable=True,
        content=ft.Container(ft.Column(list(rows), spacing=theme.SPACE_S, tight=True), width=640),
        actions=[
            ft.TextButton("Copy", icon=ft.Icons.CONTENT_COPY, action=ft.CopyToClipboard(copied)),
            ft.FilledTonalButton("Close", autofocus=True, on_click=guard(close)),
        ],
        on_dismiss=guard(close),
    )


def _pairs(result: GenerationResult) -> list[tuple[str, str]]:
    model = result.model
    return [
        ("Base model", model.base_model),
        ("Adapter", model.adapter_path or "none, the base alone"),
        ("Fingerprint", short_fingerprint(model.adapter_fingerprint or "-")),
        ("Type and rank", peft_words(model.peft_type, model.rank)),
        *([("Strength", strength_words(model.adapter_strength))] if model.adapter_path else []),
        *loaded_model_pairs(model),
        ("Settings", _sampled(result.settings)),
        ("Seed", str(result.seed)),
        (
            "Tokens",
            f"{result.prompt_tokens} in the prompt ({result.cached_tokens} reused), {result.new_tokens} written",
        ),
        ("Ended by", str(result.finish_reason)),
        (
            "Time",
            f"{readable_seconds(result.seconds)}, first token after {readable_seconds(result.time_to_first_token)}",
        ),
        ("Versions", ", ".join(f"{name} {version}" for name, version in model.versions)),
    ]


def _sampled(settings: GenerationSettings) -> str:
    """The three main settings, and the others that are not off."""
    off = GenerationSettings().model_dump(mode="json")
    parts = [
        f"{setting_range(name).label} {value}"
        for name, value in settings.model_dump(mode="json").items()
        if name in _MAIN_SETTINGS or (name != "seed" and value != off[name])
    ]
    return ", ".join(parts)
