"""The browser view in a real browser without network: it draws every script and asks no other machine for help."""

import json
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

from playwright.sync_api import Browser, Page

from e2e.app_driver import WAIT_MS
from launched_app import launched_app

TESTS = Path(__file__).resolve().parents[1]
EXPECTED = {"notocoloremoji", "notosans", "notosanssc", "notosanskr", "notosansarabic", "notosansthai"}
UNKNOWN_TO_NOTO = "Could not find a set of Noto fonts"


def families(fonts: Counter[str]) -> set[str]:
    return {path.partition("/")[0] for path in fonts}


def draw_frames(page: Page, count: int) -> None:
    for _ in range(count):
        page.evaluate("new Promise(requestAnimationFrame)")


def test_all_scripts_are_drawn_from_fonts_of_this_machine_and_each_is_asked_for_once(
    browser: Browser, tmp_path: Path
) -> None:
    command = [sys.executable, str(TESTS / "stand_in_app.py"), json.dumps({"web": True, "port": 0})]
    variables = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src"), "BROWSER": "true"}
    fonts: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    complaints: list[str] = []
    with launched_app(command, tmp_path, variables) as app:
        address = app.address()
        page = browser.new_page()
        page.on("response", lambda response: hosts.update([response.url.split("/")[2]]))
        page.on("response", lambda response: fonts.update(re.findall(r"/fonts/(noto.*)", response.url)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(address)
        page.wait_for_selector("flt-semantics-placeholder", state="attached", timeout=WAIT_MS)
        deadline = time.monotonic() + WAIT_MS / 1000
        while not families(fonts) >= EXPECTED and time.monotonic() < deadline:
            draw_frames(page, 1)
        # Time enough for an endless repetition to show.
        draw_frames(page, 60)
        page.context.close()
    assert families(fonts) >= EXPECTED
    assert set(fonts.values()) == {1}
    assert set(hosts) == {address.split("/")[2]}
    assert not [text for text in complaints if UNKNOWN_TO_NOTO in text or "Failed to load font" in text]
