"""Draw the app's icon into src/assets, in every size that the window, the browser tab and the loading screen want.

    PYTHONPATH=tests python scripts/draw_icon.py

A chat bubble whose text is the two thin matrices of a LoRA adapter. Needs Chromium, which the browser tests need too.
"""

import struct
from pathlib import Path

from playwright.sync_api import Browser

from e2e.app_driver import launched_browser

ASSETS = Path(__file__).resolve().parent.parent / "src" / "assets"

_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 512 512">
  <defs>
    <linearGradient id="ground" x1="0" y1="0" x2="1" y2="1">
      <stop offset="0" stop-color="#8B72D6"/>
      <stop offset="1" stop-color="#4F378B"/>
    </linearGradient>
  </defs>
  <rect width="512" height="512" rx="{corner}" fill="url(#ground)"/>
  <g transform="translate(256 256) scale({scale}) translate(-256 -256)">
    <path fill="#FFFFFF" d="M140 96 h232 a56 56 0 0 1 56 56 v152 a56 56 0 0 1 -56 56 h-118 l-78 68
      a12 12 0 0 1 -20 -9 v-59 h-16 a56 56 0 0 1 -56 -56 v-152 a56 56 0 0 1 56 -56 z"/>
    <rect x="148" y="150" width="44" height="156" rx="14" fill="#4F378B"/>
    <rect x="220" y="150" width="144" height="44" rx="14" fill="#8B72D6"/>
    <circle cx="242" cy="284" r="22" fill="#CFC3F2"/>
    <circle cx="308" cy="284" r="22" fill="#CFC3F2"/>
  </g>
</svg>
"""
# Systems that cut the icon to their own shape need the whole square filled and the picture smaller.
_ROUNDED = {"corner": 112, "scale": 1.0}
_WHOLE_SQUARE = {"corner": 0, "scale": 0.78}

_PICTURES = (
    ("icon.png", 512, _ROUNDED),
    ("favicon.png", 64, _ROUNDED),
    ("icons/icon-192.png", 192, _ROUNDED),
    ("icons/icon-512.png", 512, _ROUNDED),
    ("icons/icon-maskable-192.png", 192, _WHOLE_SQUARE),
    ("icons/icon-maskable-512.png", 512, _WHOLE_SQUARE),
    ("icons/apple-touch-icon-192.png", 192, _WHOLE_SQUARE),
    ("icons/loading-animation.png", 400, _ROUNDED),
)


def draw(browser: Browser, size: int, svg: str) -> bytes:
    """The picture as PNG, ``size`` pixels wide, on nothing."""
    page = browser.new_page(viewport={"width": size, "height": size})
    page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block; width: {size}px }}</style>{svg}")
    picture = page.screenshot(omit_background=True)
    page.close()
    return picture


def as_ico(png: bytes, size: int) -> bytes:
    """A Windows icon file that holds one PNG of ``size`` pixels, at most 256."""
    header = struct.pack("<HHH", 0, 1, 1)
    entry = struct.pack("<BBBBHHII", size % 256, size % 256, 0, 0, 1, 32, len(png), 22)
    return header + entry + png


def main() -> None:
    (ASSETS / "icons").mkdir(parents=True, exist_ok=True)
    (ASSETS / "icon.svg").write_text(_SVG.format(**_ROUNDED), encoding="utf-8")
    with launched_browser() as browser:
        for name, size, shape in _PICTURES:
            (ASSETS / name).write_bytes(draw(browser, size, _SVG.format(**shape)))
        (ASSETS / "icon.ico").write_bytes(as_ico(draw(browser, 256, _SVG.format(**_ROUNDED)), 256))


if __name__ == "__main__":
    main()
