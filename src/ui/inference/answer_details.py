"""“What made this answer” and “Exact prompt”: the two dialogs that explain instead of doing."""

from collections.abc import Callable, Sequence
from typing import Any

import flet as ft

from helpers.chat_session import Message
from helpers.local_inference import GenerationResult, RenderedPrompt
from ui import theme
from ui.background_tasks import guard
from ui.components.cards import fact_row, said, small_text
from ui.fonts import CODE_FONT


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
        content=ft.Container(
            ft.Column(list(rows), spacing=theme.SPACE_S, tight=True, scroll=ft.ScrollMode.AUTO), width=640
        ),
        actions=[
            ft.TextButton("Copy", icon=ft.Icons.CONTENT_COPY, action=ft.CopyToClipboard(copied)),
            ft.FilledTonalButton("Close", autofocus=True, on_click=guard(close)),
        ],
        on_dismiss=guard(close),
    )


def _pairs(result: GenerationResult) -> list[tuple[str, str]]:
    model, settings = result.model, result.settings
    sampled = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in settings.model_dump(mode="json").items()
        if name != "seed" and value not in ([], None)
    )
    return [
        ("Base model", model.base_model),
        ("Adapter", model.adapter_path or "none, the base alone"),
        ("Fingerprint", model.adapter_fingerprint or "-"),
        ("Type and rank", f"{model.peft_type} r{model.rank}" if model.peft_type else "-"),
        ("Runs as", f"{model.dtype} on {model.device}"),
        ("Quantisation", f"{model.quantization}. {model.quantization_reason}"),
        ("Tokenizer", model.tokenizer_source),
        ("Chat template", model.template_source),
        ("Settings", sampled),
        ("Seed", str(result.seed)),
        ("Tokens", f"{result.prompt_tokens} in the prompt, {result.new_tokens} written"),
        ("Ended by", str(result.finish_reason)),
        ("Time", f"{result.seconds:.2f} s, first token after {result.time_to_first_token:.2f} s"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in model.versions)),
        *(("Note", note) for note in model.notes),
    ]
