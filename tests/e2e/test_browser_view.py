"""The browser view in a real browser: it draws every script, asks no other machine for help, and ends well."""

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page

from e2e.app_driver import WAIT_MS, AppPage
from e2e.inference_steps import choose_run, generate
from launched_app import launched_app

TESTS = Path(__file__).resolve().parents[1]
EXPECTED = {"notocoloremoji", "notosans", "notosanssc", "notosanskr", "notosansarabic", "notosansthai"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src"), "BROWSER": "true", "HF_HUB_OFFLINE": "1"}
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
    fonts: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    complaints: list[str] = []
    with launched_app(command, tmp_path, ENVIRONMENT) as app:
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


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; one that has ended is listed until its parent, which may be any, takes note."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C cannot be sent to one process on Windows")
def test_ctrl_c_in_mid_answer_ends_the_app_and_the_model_process(browser: Browser, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "main", "--demo", "--port", "0", "--data-dir", str(tmp_path)]
    with launched_app(command, tmp_path, ENVIRONMENT) as app:
        window = AppPage.opened(browser, app.address())
        choose_run(window, "pirate-speak")
        window.type("Prompt", "Tell me a story about a dragon.")
        generate(window)
        children = psutil.Process(app.process.pid).children(recursive=True)
        app.end(signal.SIGINT)
        window.page.context.close()
    assert children
    assert not any(lives(child) for child in children)
