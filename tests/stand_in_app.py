"""Run as a program: launches a page of one line, as ``main`` launches the app. Arguments: those of run_app, as JSON.

``{"quit_at_once": true}`` presses Quit as soon as a page is open.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flet as ft

from errors import PlaygroundError
from ui.fonts import FONTS
from ui.launch import run_app

ASSETS = Path(__file__).resolve().parents[1] / "src" / "assets"
# Some of everything that Roboto lacks: blocks, arrows, marks, emoji, scripts, mathematics.
FOREIGN_TEXT = "▍ → ⇒ ✓ 🚀 👩‍🚀 🇩🇪 你好 適配器 こんにちは 한국어 مرحبا नमस्ते สวัสดี ∀x∈ℝ"


def main(options: dict[str, Any]) -> None:
    quit_at_once = options.pop("quit_at_once", False)

    def make_main(quit_app: Callable[[], None] | None) -> Callable[[ft.Page], None]:
        def show(page: ft.Page) -> None:
            print("page open", flush=True)
            page.fonts = FONTS
            page.add(ft.Text("Stand-in page"), ft.Text(FOREIGN_TEXT, size=24))
            if quit_at_once and quit_app is not None:
                quit_app()

        return show

    try:
        run_app(make_main, assets_dir=ASSETS, **options)
    except PlaygroundError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
